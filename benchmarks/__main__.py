"""Run a benchmark: `python -m benchmarks accuracy --data FOLDER`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

# One BLAS thread, as in the worker, and the processor that numpy finds by itself: set before numpy loads.
for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(name, None)
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

from benchmarks import (  # noqa: E402
    accuracy,
    challenger,
    coverage,
    fault_parts,
    faults,
    missing,
    robust,
    together,
)
from benchmarks.alerts import command as alerts  # noqa: E402
from benchmarks.drift import command as drift  # noqa: E402
from benchmarks.kernels import command as kernels  # noqa: E402
from benchmarks.nab import command as nab  # noqa: E402
from benchmarks.tasks import command as tasks  # noqa: E402

BENCHMARKS = {
    "accuracy": accuracy.main,
    "nab": nab.main,
    "coverage": coverage.main,
    "tasks": tasks.main,
    "kernels": kernels.main,
    "missing": missing.main,
    "together": together.main,
    "robust": robust.main,
    "faults": faults.main,
    "fault_parts": fault_parts.main,
    "drift": drift.main,
    "challenger": challenger.main,
    "alerts": alerts.main,
}


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
    return max(BENCHMARKS[name](arguments) for name in names)


if __name__ == "__main__":
    sys.exit(main())
