"""`python -m benchmarks kernels`: every kernel's table, plot and goals."""

from __future__ import annotations

import argparse

from benchmarks.kernels import dense, diagonal, exactness, forecaster, replies, shard, stability
from benchmarks.tasks.command import Tasks, run_all

KERNELS: Tasks = {
    "dense": (dense.measure, dense.table, dense.draw),
    "diagonal": (diagonal.measure, diagonal.table, diagonal.draw),
    "replies": (replies.measure, replies.table, replies.draw),
    "exactness": (exactness.measure, exactness.table, exactness.draw),
    "forecaster": (forecaster.measure, forecaster.table, forecaster.draw),
    "stability": (stability.measure, stability.table, stability.draw),
    "shard": (shard.measure, shard.table, shard.draw),
}


def main(arguments: argparse.Namespace) -> int:
    """Run the kernels that --only names, or all; 0 where all goals are met. --stability is --only stability."""
    if arguments.stability:
        arguments.only = ["stability"]
    return run_all(KERNELS, "kernels", arguments)
