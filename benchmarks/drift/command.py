"""`python -m benchmarks drift`: what detectors find and how soon; with `--reactions` what a model gains by reacting to it."""

from __future__ import annotations

import argparse

from benchmarks.drift import detectors, reactions
from benchmarks.tasks.command import Tasks, run_all

DETECTORS: Tasks = {"detectors": (detectors.measure, detectors.table, detectors.draw)}
REACTIONS: Tasks = {"reactions": (reactions.measure, reactions.table, reactions.draw)}


def main(arguments: argparse.Namespace) -> int:
    """Measure, print the table, write the JSON and draw the picture."""
    return run_all(REACTIONS if arguments.reactions else DETECTORS, "drift", arguments)
