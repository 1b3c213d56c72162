"""`python -m benchmarks tasks`: every task, its table, its plot, and whether its goals are met."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.machine import describe
from benchmarks.tasks import add, gradients, machines, memory, sequences, series

Tasks = dict[str, tuple[Callable[..., dict[str, Any]], Callable[[dict[str, Any]], str], Callable[..., None]]]
"""Of each how it is measured, told and drawn."""

TASKS: Tasks = {
    "memory": (memory.measure, memory.table, memory.draw),
    "gradients": (gradients.measure, gradients.table, gradients.draw),
    "machines": (machines.measure, machines.table, machines.draw),
    "sequences": (sequences.measure, sequences.table, sequences.draw),
    "series": (series.measure, series.table, series.draw),
    "add": (add.measure, add.table, add.draw),
}


def main(arguments: argparse.Namespace) -> int:
    """Run the tasks that --only names, or all; 0 where all goals are met."""
    return run_all(TASKS, "tasks", arguments)


def run_all(tasks: Tasks, prefix: str, arguments: argparse.Namespace) -> int:
    """Measure, tell and draw; write a JSON file each, named by the prefix; 0 where all goals are met."""
    names = arguments.only or list(tasks)
    unknown = [name for name in names if name not in tasks]
    if unknown:
        raise SystemExit(f"--only: {', '.join(tasks)}, not {', '.join(unknown)}")
    folder: Path = arguments.output
    folder.mkdir(parents=True, exist_ok=True)
    met = True
    for name in names:
        print(f"{name}:", flush=True)
        start = time.perf_counter()
        measure, table, draw = tasks[name]
        result = measure(arguments.quick, arguments.data) if name == "series" else measure(arguments.quick)
        result |= {"machine": describe(), "seconds": time.perf_counter() - start, "quick": arguments.quick}
        (folder / f"{prefix}-{name}.json").write_text(json.dumps(result, indent=1))
        draw(result, folder)
        print(table(result))
        for goal in result["goals"]:
            word = "met" if goal["met"] else "NOT MET"
            print(f"{word}: {goal['name']}: {goal['value']:.4g}")
            met = met and goal["met"]
        print(f"({result['seconds']:.0f} s; {folder}/{prefix}-{name}.json)\n", flush=True)
    return 0 if met or arguments.quick else 1
