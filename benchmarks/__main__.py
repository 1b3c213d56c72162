"""Run a benchmark: `python -m benchmarks accuracy --data FOLDER`."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from pathlib import Path

# One BLAS thread, as in the worker, and the processor that numpy finds by itself: set before numpy loads.
for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(name, None)
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

BENCHMARKS = {
    "accuracy": "benchmarks.accuracy",
    "nab": "benchmarks.nab.command",
    "coverage": "benchmarks.coverage",
    "tasks": "benchmarks.tasks.command",
    "kernels": "benchmarks.kernels.command",
    "missing": "benchmarks.missing",
    "together": "benchmarks.together",
    "robust": "benchmarks.robust",
    "walks": "benchmarks.walks",
    "faults": "benchmarks.faults",
    "fault_parts": "benchmarks.fault_parts",
    "drift": "benchmarks.drift.command",
    "challenger": "benchmarks.challenger",
    "alerts": "benchmarks.alerts.command",
}
"""Where each is. What it needs is loaded with it: the kernels are measured beside libraries that do not go with the service."""


def main() -> int:
    """Read the command line and run what it names, or everything."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="?", choices=[*BENCHMARKS, "all"], default="all")
    parser.add_argument(
        "--data", type=Path, help="folder with ett/, nab/ and series/ (default: the series that are shipped)"
    )
    parser.add_argument("--output", type=Path, default=Path("build/benchmarks"), help="folder for the JSON")
    parser.add_argument("--quick", action="store_true", help="a small part of each, to see that it runs")
    parser.add_argument("--only", nargs="+", help="of the tasks, kernels or alerts, these")
    parser.add_argument("--stability", action="store_true", help="of the kernels, what their figures cost")
    parser.add_argument("--reactions", action="store_true", help="of drift: what reacting to it gains")
    arguments = parser.parse_args()
    names = list(BENCHMARKS) if arguments.name == "all" else [arguments.name]
    return max(int(import_module(BENCHMARKS[name]).main(arguments)) for name in names)


if __name__ == "__main__":
    sys.exit(main())
