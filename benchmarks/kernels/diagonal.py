"""Exact RTRL of diagonal cells, a parameter update at every event: many models in one compiled call, and one event in numpy.

`compiled batch` takes 256 events of random ones among 4,096 models in a call; `numpy batch` the same without the twin; `single` one event
of one model a call in numpy. `compiled, few models` has 16, which shows what the memory of 4,096 costs, too much for the
caches near a core. `compiled, single` keeps models and traces in single precision, as PyTorch does. They take turns in one process; microseconds an event are medians.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.kernels import peers
from benchmarks.tasks.plots import figure, save
from benchmarks.tasks.recipe import Goal, at_most
from models.cells import CELLS
from models.learner import OnlineLearner, features_of
from models.learner_bank import LearnerBank
from models.losses import LOSSES
from models.optimizers import JACOBIAN_OPTIMIZERS, OPTIMIZERS
from models.precision import Precision
from models.readouts import READOUTS
from models.rules import RULES
from models.updates import Descent, Filter, Update

INPUTS = 8
UNITS = 32
MODELS = 4096
FEW_MODELS = 16
QUICK_MODELS = 256
EVENTS = 256
TURNS = 21
CELL_NAMES = ("elstm", "rtu", "lru")
UPDATES = ("sgd", "adam", "ekf_node")
WAYS = ("single", "numpy batch", "compiled batch", "compiled, single", "compiled, few models")
PEER = "deep-river"
"""For the pace of the machine."""
SINGLE_GOAL = 0.04
"""An event in a compiled batch over one alone in numpy."""
SGD_GOAL = 1.0
"""Microseconds an event in a compiled batch with SGD."""
SGD_GOAL_CELLS = ("elstm", "rtu")
"""The one that takes less."""


def learner(cell_name: str, update_name: str, precision: Precision = "float64") -> OnlineLearner:
    """Return what is measured: a linear readout of one output, squared loss; models and traces in this precision."""
    cell = CELLS[cell_name](n_inputs=INPUTS, n_units=UNITS)
    readout = READOUTS["linear"](n_features=features_of(cell), n_outputs=1)
    update: Update = (
        Descent(OPTIMIZERS[update_name](learning_rate=1e-3))
        if update_name in OPTIMIZERS
        else Filter(JACOBIAN_OPTIMIZERS[update_name]())
    )
    rule = RULES["rtrl_trace"](cell, precision=precision)
    return OnlineLearner(cell, rule, readout, LOSSES["squared"](), update, precision=precision)


def consuming(made: OnlineLearner, models: int, events: int, *, compiled: bool) -> Callable[[], float]:
    """Return what takes a call of events, of other random models each time, and gives seconds an event."""
    bank = LearnerBank(made, capacity=models, compiled=compiled)
    for seed in range(models):
        bank.admit(seed)
    rng = np.random.default_rng(0)

    def run() -> float:
        slots = rng.integers(0, models, events)
        inputs = rng.normal(size=(events, INPUTS))
        targets = inputs[:, :1].copy()
        start = time.perf_counter()
        bank.consume(slots, inputs, targets)
        return (time.perf_counter() - start) / events

    return run


def measure_learner(cell_name: str, update_name: str, models: int, turns: int) -> dict[str, Any]:
    """Return the medians of a cell and an update, in microseconds; single events as the median of 16 a turn."""
    made, of_single = learner(cell_name, update_name), learner(cell_name, update_name, "float32")
    single = consuming(made, 1, 1, compiled=False)
    by_name = {
        "single": lambda: float(np.median([single() for _ in range(16)])),
        "numpy batch": consuming(made, models, EVENTS, compiled=False),
        "compiled batch": consuming(made, models, EVENTS, compiled=True),
        "compiled, single": consuming(of_single, models, EVENTS, compiled=True),
        "compiled, few models": consuming(made, FEW_MODELS, EVENTS, compiled=True),
    }
    if peers.has_deep_river():
        by_name[PEER] = peers.deep_river_lstm()
    taken: dict[str, list[float]] = {name: [] for name in by_name}
    for _ in range(turns + 1):  # the first turn warms up, and compiles
        for name, run in by_name.items():
            taken[name].append(run())
    return {
        "cell": cell_name,
        "update": update_name,
        "models": models,
        "bytes": [LearnerBank(kept, capacity=1).bytes_per_model() for kept in (made, of_single)],
        "microseconds": {name: 1e6 * float(np.median(values[1:])) for name, values in taken.items()},
    }


def measure(quick: bool) -> dict[str, Any]:
    """Measure all cells and updates."""
    runs = []
    for update_name in UPDATES:
        for cell_name in CELL_NAMES:
            models, turns = (QUICK_MODELS, 3) if quick else (MODELS, TURNS)
            runs.append(measure_learner(cell_name, update_name, models, turns))
            told = ", ".join(f"{name} {value:.2f}" for name, value in runs[-1]["microseconds"].items())
            print(f"  {cell_name} {update_name}: {told} us", flush=True)
    return {"runs": runs, "goals": _goals(runs)}


def _goals(runs: list[dict[str, Any]]) -> list[Goal]:
    goals: list[Goal] = []
    for run in runs:
        taken, name = run["microseconds"], f"{run['cell']} {run['update']}"
        ratio = taken["compiled batch"] / taken["single"]
        goals.append(at_most(f"{name}: an event in a compiled batch over one in numpy", ratio, SINGLE_GOAL))
    for way in ("compiled batch", "compiled, single"):
        least = min(
            (run for run in runs if run["update"] == "sgd" and run["cell"] in SGD_GOAL_CELLS),
            key=lambda run: run["microseconds"][way],
        )
        taken, told = least["microseconds"], f"{least['cell']} sgd, {way}: microseconds an event"
        goals.append(peers.at_pace(told, taken[way], SGD_GOAL, taken.get(PEER)))
    return goals


def table(result: dict[str, Any]) -> str:
    """Return the medians."""
    models = result["runs"][0]["models"]
    lines = [
        f"\nExact RTRL, {UNITS} units, {INPUTS} inputs, an update at every event: microseconds an event, batches of {EVENTS}\n",
        f'Among {models} models, or {FEW_MODELS}; "compiled, single" with models and traces in single precision, moments and covariances in double.\n',
        f"| update | cell | bytes a model | in single | {' | '.join(WAYS)} | batch over single |",
        "|---" * (len(WAYS) + 5) + "|",
    ]
    for run in result["runs"]:
        taken = run["microseconds"]
        figures = " | ".join(f"{taken[name]:.2f}" for name in WAYS)
        ratio = taken["compiled batch"] / taken["single"]
        double, in_single = run["bytes"]
        lines.append(
            f"| {run['update']} | {run['cell']} | {double} | {in_single} | {figures} | {ratio:.4f} |"
        )
    return "\n".join(lines)


def draw(result: dict[str, Any], folder: Path) -> None:
    """Plot time an event by update, one panel a cell."""
    canvas, axes = figure(width=11.0, height=3.6, columns=len(CELL_NAMES))
    for axis, cell_name in zip(axes, CELL_NAMES, strict=True):
        own = [run for run in result["runs"] if run["cell"] == cell_name]
        places = np.arange(len(own))
        for at, name in enumerate(WAYS):
            heights = [run["microseconds"][name] for run in own]
            axis.bar(places + 0.16 * (at - 2), heights, width=0.16, label=name)
        axis.set_yscale("log")
        axis.set_xticks(places, [run["update"] for run in own])
        axis.set(title=cell_name, ylabel="microseconds an event", ylim=(1.0, 2e4))
        axis.legend(fontsize=7, ncols=2, loc="upper left")
    save(canvas, folder / "kernels-diagonal.svg")
