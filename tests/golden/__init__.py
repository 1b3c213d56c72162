"""Runs that were kept, to notice when what a model says changes."""
