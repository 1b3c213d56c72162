"""Tests of the deployment's files: each is checked by the program that reads it, and against a running worker."""
