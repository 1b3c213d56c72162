"""Exact RTRL of dense cells, a parameter update at every event: step engine, block engine, and its compiled twin.

In double precision, and with what is large of the influence in single precision, which PyTorch works in.

Microseconds an event are medians of runs that take turns in one process. Beside them stand one product of an S x S by an
S x (q n) matrix by the same BLAS, what the step engine has to do at least; of a credit by such a matrix, what every exact engine
has to; backpropagation through 20 steps by the same compiler; and PyTorch's, where it is installed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.kernels import peers
from benchmarks.kernels.truncated import room_for, truncated_events
from benchmarks.tasks.plots import figure, save
from benchmarks.tasks.recipe import Goal, at_least, at_most
from models.cells import CELLS
from models.kernels import COMPILES
from models.kernels.arrays import aligned
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
"""An event of the compiled vanilla cell over the product of the same precision."""
VECTOR_GOALS = {64: 4.5, 128: 3.3}
"""The same over the product of a credit and the influence."""
TORCH_GOALS = {32: 40.0, 64: 10.0, 128: 2.0}
"""Times that it is faster than PyTorch's truncated backpropagation."""
TRUNCATED_GOALS = {32: 1.0}
"""Over compiled truncated backpropagation."""
EXPONENT_GOAL = 3.1
EXPONENT_FROM = 32
"""Units from which the block engine is chosen for a vanilla cell: the power is fitted from there on."""
PRECISIONS = {"": "compiled block", ", single": "compiled, single"}
"""What is appended to a measure's name in a precision, and what is judged by it."""
NUMPY_GOAL = 2.0
"""The block engine without numba over the same with it, from 64 units on."""
FASTER_GOAL = 4.0
"""Of the compiled GRU and LSTM of 64 units over their step engine."""


def bank(cell_name: str, n: int, rule: str, *, compiled: bool, **options: str) -> LearnerBank:
    """Return a bank with one model; options are the rule's."""
    cell = CELLS[cell_name](n_inputs=INPUTS, n_units=n)
    readout = READOUTS["linear"](n_features=features_of(cell), n_outputs=1)
    update = Descent(OPTIMIZERS["sgd"](learning_rate=1e-3))
    learner = OnlineLearner(cell, RULES[rule](cell, **options), readout, LOSSES["squared"](), update)
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

    def product(one: np.ndarray, other: np.ndarray) -> float:
        start = time.perf_counter()
        np.matmul(one, other)
        return time.perf_counter() - start

    def vector(one: np.ndarray, other: np.ndarray) -> float:
        start = time.perf_counter()
        for row in one[:8]:
            np.matmul(row, other)
        return (time.perf_counter() - start) / 8

    in_single = one.astype(np.float32), other.astype(np.float32)
    compiled = bank(cell_name, n, "rtrl_block", compiled=True)
    by_name: dict[str, Callable[[], float]] = {
        "numpy block": consuming(bank(cell_name, n, "rtrl_block", compiled=False), EVENTS),
        "product": partial(product, one, other),
        "vector": partial(vector, one, other),
        "product, single": partial(product, *in_single),
        "vector, single": partial(vector, *in_single),
    }
    if cell_name == "vanilla":
        if COMPILES:
            by_name["compiled truncated"] = truncated(n)
        if peers.has_torch():
            by_name["torch truncated"] = peers.torch_truncated(n, INPUTS)
    if compiled.compiled:
        by_name["compiled block"] = consuming(compiled, EVENTS)
        single = bank(cell_name, n, "rtrl_block", compiled=True, precision="float32")
        by_name["compiled, single"] = consuming(single, EVENTS)
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


def truncated(n: int) -> Callable[[], float]:
    """Return a run of truncated backpropagation by the same compiler."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(peers.WINDOW + 64, INPUTS))
    params, readout = aligned((n + INPUTS + 1, n)), np.zeros(n + 1)
    params[...] = 0.1 * rng.normal(size=params.shape)
    targets, room = inputs[:, 0].copy(), room_for(params, peers.WINDOW)

    def run() -> float:
        start = time.perf_counter()
        truncated_events(params, readout, inputs, targets, peers.WINDOW, 1e-3, room)
        return (time.perf_counter() - start) / 65

    return run


def measure(quick: bool) -> dict[str, Any]:
    """Measure all cells and sizes."""
    runs = []
    for cell_name, sizes in SIZES.items():
        for n in sizes[:2] if quick else sizes:
            runs.append(measure_size(cell_name, n, 1 if quick else TURNS))
            told = ", ".join(f"{name} {value:.1f}" for name, value in runs[-1]["microseconds"].items())
            print(f"  {cell_name} {n}: {told} us", flush=True)
    return {
        "runs": runs,
        "goals": _goals(runs),
        "exponents": _exponents(runs),
        "peers": peers.versions(),
    }


def _goals(runs: list[dict[str, Any]]) -> list[Goal]:
    goals: list[Goal] = []
    for run in runs:
        taken, n = run["microseconds"], run["n"]
        if "compiled block" not in taken:
            continue
        if run["cell"] == "vanilla":
            for suffix, judged in PRECISIONS.items():
                goals += _vanilla_goals(taken, n, suffix, taken[judged])
            if n >= 64:
                ratio = taken["numpy block"] / taken["compiled block"]
                goals.append(at_most(f"vanilla {n}: numpy's block over the compiled", ratio, NUMPY_GOAL))
        elif n == SIZES[run["cell"]][-1]:
            name = f"{run['cell']} {n}: times faster than the step engine"
            goals.append(at_least(name, taken["numpy step"] / taken["compiled block"], FASTER_GOAL))
    exponents = _exponents(runs)
    for suffix, judged in PRECISIONS.items():
        if judged in exponents:
            name = (
                f"vanilla{suffix}: time of the block engine from {EXPONENT_FROM} units on, as n to the power"
            )
            goals.append(at_most(name, exponents[judged]["fitted"], EXPONENT_GOAL))
    return goals


def _vanilla_goals(taken: dict[str, float], n: int, suffix: str, exact: float) -> list[Goal]:
    """Return the goals of a size of the vanilla cell, in a precision."""
    name, goals = f"vanilla {n}{suffix}", []
    for told, other, limits in (
        ("one product", "product" + suffix, PRODUCT_GOALS),
        ("the product of a credit", "vector" + suffix, VECTOR_GOALS),
        ("compiled truncated backpropagation", "compiled truncated", TRUNCATED_GOALS),
    ):
        if n in limits:
            goals.append(at_most(f"{name}: an event over {told}", exact / taken[other], limits[n]))
    if n in TORCH_GOALS and "torch truncated" in taken:
        told = f"{name}: times faster than torch's truncated backpropagation"
        goals.append(at_least(told, taken["torch truncated"] / exact, TORCH_GOALS[n]))
    return goals


def _exponents(runs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return the slopes of log time against log n of the vanilla cell: fitted from EXPONENT_FROM on, and of the last two sizes.

    Past some 64 units the influence leaves the caches, so the last is that of the memory as well.
    """
    sizes = [run for run in runs if run["cell"] == "vanilla" and run["n"] >= EXPONENT_FROM]
    if len(sizes) < 2:
        return {}
    logs = np.log([run["n"] for run in sizes])
    found = {}
    for name in sorted(set.intersection(*(set(run["microseconds"]) for run in sizes))):
        times = np.log([run["microseconds"][name] for run in sizes])
        last = (times[-1] - times[-2]) / (logs[-1] - logs[-2])
        found[name] = {"fitted": float(np.polyfit(logs, times, 1)[0]), "last": float(last)}
    return found


def table(result: dict[str, Any]) -> str:
    """Return the medians."""
    names = (
        "numpy step",
        "numpy block",
        "compiled block",
        "compiled, single",
        "product",
        "product, single",
        "vector",
        "vector, single",
        "compiled truncated",
        "torch truncated",
    )
    lines = [
        f"\nExact RTRL, an update at every event, {INPUTS} inputs, SGD: microseconds an event\n",
        f"| cell | n | {' | '.join(names)} |",
        "|---" * (len(names) + 2) + "|",
    ]
    for run in result["runs"]:
        taken = run["microseconds"]
        figures = " | ".join(f"{taken[name]:.1f}" if name in taken else "" for name in names)
        lines.append(f"| {run['cell']} | {run['n']} | {figures} |")
    lines.append(
        f"\nTime of the vanilla cell as n to the power, fitted from {EXPONENT_FROM} units on, and between the last two sizes:\n"
    )
    lines.append("| | fitted | last two |\n|---|---|---|")
    lines += [
        f"| {name} | {own['fitted']:.2f} | {own['last']:.2f} |" for name, own in result["exponents"].items()
    ]
    lines.append("")
    lines.append(f"Beside: {', '.join(f'{name} {value}' for name, value in result['peers'].items())}")
    return "\n".join(lines)


def draw(result: dict[str, Any], folder: Path) -> None:
    """Plot time against units on log axes."""
    canvas, axes = figure(width=11.0, height=3.8, columns=len(SIZES))
    for axis, cell_name in zip(axes, SIZES, strict=True):
        own = [run for run in result["runs"] if run["cell"] == cell_name]
        for name in ("numpy step", "numpy block", "compiled block", "product", "compiled truncated"):
            there = [run for run in own if name in run["microseconds"]]
            axis.loglog(
                [run["n"] for run in there],
                [run["microseconds"][name] for run in there],
                marker="o",
                linewidth=1,
                linestyle="-" if "block" in name or "step" in name else ":",
                label=name,
            )
        axis.set(title=cell_name, xlabel="units", ylabel="microseconds an event")
        axis.legend(fontsize=7)
    save(canvas, folder / "kernels-dense.svg")
