"""Exact RTRL of dense cells, a parameter update at every event: step engine, block engine, and its compiled twin.

Microseconds an event are medians of runs that take turns in one process. Beside them stands one product of an S x S by an
S x (q n) matrix by the same BLAS: what the step engine has to do at least.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tasks.plots import figure, save
from benchmarks.tasks.recipe import Goal, at_least, at_most
from models.cells import CELLS
from models.learner import OnlineLearner, features_of
from models.learner_bank import LearnerBank
from models.losses import LOSSES
from models.optimizers import OPTIMIZERS
from models.readouts import READOUTS
from models.rules import RULES
from models.updates import Descent

INPUTS = 8
EVENTS = 256
TURNS = 5
SIZES = {"vanilla": (8, 16, 32, 64, 128), "gru": (16, 32, 64), "lstm": (16, 32, 64)}
STEP_EVENTS = 32
"""Of the step engine in a turn: it takes long."""
STEP_STATES_MAX = 128
PRODUCT_GOALS = {32: 0.55, 64: 0.28, 128: 0.13}
"""An event of the compiled vanilla cell over the product; reached elsewhere in single precision, here in double."""
FASTER_GOAL = 4.0
"""Of the compiled GRU and LSTM of 64 units over their step engine."""


def bank(cell_name: str, n: int, rule: str, *, compiled: bool) -> LearnerBank:
    """Return a bank with one model."""
    cell = CELLS[cell_name](n_inputs=INPUTS, n_units=n)
    readout = READOUTS["linear"](n_features=features_of(cell), n_outputs=1)
    update = Descent(OPTIMIZERS["sgd"](learning_rate=1e-3))
    learner = OnlineLearner(cell, RULES[rule](cell), readout, LOSSES["squared"](), update)
    made = LearnerBank(learner, capacity=1, compiled=compiled)
    made.admit()
    return made


def measure_size(cell_name: str, n: int, turns: int) -> dict[str, Any]:
    """Return the medians of a cell of n units, in microseconds."""
    cell = CELLS[cell_name](n_inputs=INPUTS, n_units=n)
    size, n_params = cell.n_parts * n, cell.n_params_per_unit * n
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(EVENTS, INPUTS))
    targets = np.roll(inputs[:, :1], 2, axis=0)
    slots = np.zeros(EVENTS, dtype=np.int64)
    one, other = rng.normal(size=(size, size)), rng.normal(size=(size, n_params))

    def consuming(made: LearnerBank, events: int) -> Callable[[], float]:
        def run() -> float:
            start = time.perf_counter()
            made.consume(slots[:events], inputs[:events], targets[:events])
            return (time.perf_counter() - start) / events

        return run

    def product() -> float:
        start = time.perf_counter()
        np.matmul(one, other)
        return time.perf_counter() - start

    compiled = bank(cell_name, n, "rtrl_block", compiled=True)
    by_name = {
        "numpy block": consuming(bank(cell_name, n, "rtrl_block", compiled=False), EVENTS),
        "product": product,
    }
    if compiled.compiled:
        by_name["compiled block"] = consuming(compiled, EVENTS)
    if size <= STEP_STATES_MAX:
        by_name["numpy step"] = consuming(bank(cell_name, n, "rtrl_step", compiled=False), STEP_EVENTS)
    taken: dict[str, list[float]] = {name: [] for name in by_name}
    for _ in range(turns + 1):  # the first turn warms up, and compiles
        for name, run in by_name.items():
            taken[name].append(run())
    return {
        "cell": cell_name,
        "n": n,
        "microseconds": {name: 1e6 * float(np.median(values[1:])) for name, values in taken.items()},
    }


def measure(quick: bool) -> dict[str, Any]:
    """Measure all cells and sizes."""
    runs = []
    for cell_name, sizes in SIZES.items():
        for n in sizes[:2] if quick else sizes:
            runs.append(measure_size(cell_name, n, 1 if quick else TURNS))
            told = ", ".join(f"{name} {value:.1f}" for name, value in runs[-1]["microseconds"].items())
            print(f"  {cell_name} {n}: {told} us", flush=True)
    return {"runs": runs, "goals": _goals(runs), "exponents": _exponents(runs)}


def _goals(runs: list[dict[str, Any]]) -> list[Goal]:
    goals: list[Goal] = []
    for run in runs:
        taken, n = run["microseconds"], run["n"]
        if "compiled block" not in taken:
            continue
        if run["cell"] == "vanilla" and n in PRODUCT_GOALS:
            ratio = taken["compiled block"] / taken["product"]
            goals.append(at_most(f"vanilla {n}: an event over one product", ratio, PRODUCT_GOALS[n]))
        if run["cell"] != "vanilla" and n == SIZES[run["cell"]][-1]:
            ratio = taken["numpy step"] / taken["compiled block"]
            goals.append(
                at_least(f"{run['cell']} {n}: times faster than the step engine", ratio, FASTER_GOAL)
            )
    return goals


def _exponents(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Return the slope of log time against log n over the two largest sizes of the vanilla cell."""
    last = [run for run in runs if run["cell"] == "vanilla"][-2:]
    names = set(last[0]["microseconds"]) & set(last[1]["microseconds"])
    ratio = np.log(last[1]["n"] / last[0]["n"])
    return {
        name: float(np.log(last[1]["microseconds"][name] / last[0]["microseconds"][name]) / ratio)
        for name in sorted(names)
    }


def table(result: dict[str, Any]) -> str:
    """Return the medians."""
    names = ("numpy step", "numpy block", "compiled block", "product")
    lines = [
        f"\nExact RTRL, an update at every event, {INPUTS} inputs, SGD, double precision: microseconds an event\n",
        f"| cell | n | {' | '.join(names)} | compiled over product |",
        "|---" * (len(names) + 3) + "|",
    ]
    for run in result["runs"]:
        taken = run["microseconds"]
        figures = " | ".join(f"{taken[name]:.1f}" if name in taken else "" for name in names)
        ratio = f"{taken['compiled block'] / taken['product']:.2f}" if "compiled block" in taken else ""
        lines.append(f"| {run['cell']} | {run['n']} | {figures} | {ratio} |")
    told = ", ".join(f"{name} {value:.2f}" for name, value in result["exponents"].items())
    lines.append(f"\nTime grows as n to the power of, over the two largest vanilla cells: {told}")
    return "\n".join(lines)


def draw(result: dict[str, Any], folder: Path) -> None:
    """Plot time against units on log axes."""
    canvas, axes = figure(width=11.0, height=3.8, columns=len(SIZES))
    for axis, cell_name in zip(axes, SIZES, strict=True):
        own = [run for run in result["runs"] if run["cell"] == cell_name]
        for name in ("numpy step", "numpy block", "compiled block", "product"):
            there = [run for run in own if name in run["microseconds"]]
            axis.loglog(
                [run["n"] for run in there],
                [run["microseconds"][name] for run in there],
                marker="o",
                linewidth=1,
                linestyle=":" if name == "product" else "-",
                label=name,
            )
        axis.set(title=cell_name, xlabel="units", ylabel="microseconds an event")
        axis.legend(fontsize=7)
    save(canvas, folder / "kernels-dense.svg")
