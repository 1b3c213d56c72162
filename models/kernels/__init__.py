"""Compiled twins of the hot paths, with the same semantics."""
