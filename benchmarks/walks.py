"""What a forecaster adds to the error where nothing can be forecast: random walks, for which the last value is the best there is.

Increments are normal, of Student's t with 3 degrees of freedom, or of a variance that clusters as that of prices. Errors are over the
last value's on the same rows, mean and worst of the series: early, and once there is a history. Beside the default stands
the mixture as it would be without `models.trust`.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Final

import numpy as np

from benchmarks.machine import describe
from benchmarks.tasks.recipe import Goal, at_most
from models.bank import Array, Bank
from models.specification import Specification

SERIES: Final = 16
ROWS: Final = 6000
QUICK_ROWS: Final = 1500
HORIZONS: Final = (1, 6, 24, 48)
WINDOWS: Final = {"early": (100, 1000), "late": (1000, ROWS)}
KINDS: Final = ("normal", "student", "clusters")
PROVEN: Final = 1e9
"""A gain so large that the mixture is followed whole."""
GOAL: Final = 1.02
"""Of the worst series one row ahead, and of the mean once there is a history at every horizon: as of real series over the best expert."""


def main(arguments: argparse.Namespace) -> int:
    """Run all kinds, print the table, write the JSON; 0 where the goal is met."""
    rows, start = QUICK_ROWS if arguments.quick else ROWS, time.perf_counter()
    found = {
        name: {kind: _ratios(_walks(kind, rows), drawn=drawn) for kind in KINDS}
        for name, drawn in (("default", True), ("without trust", False))
    }
    print(f"{SERIES} walks of {rows} rows of each kind in {time.perf_counter() - start:.0f} s")
    print("error over the last value's, rows ahead: mean, worst\n")
    print(f"{'':34}" + "".join(f"{horizon:>16}" for horizon in HORIZONS))
    for name, by_kind in found.items():
        for kind, by_window in by_kind.items():
            for window, ratios in by_window.items():
                told = "".join(f"{mean:9.4f}{worst:7.3f}" for mean, worst in ratios)
                print(f"{f'{name}, {kind}, {window}':34}{told}")
    own = found["default"].values()
    near = max(ratios[0][1] for by_window in own for ratios in by_window.values())
    late = max(mean for by_window in own for mean, _ in by_window["late"])
    goals: list[Goal] = [
        at_most("the worst walk, one row ahead", near, GOAL),
        at_most("the mean of a kind, late, at any horizon", late, GOAL),
    ]
    for goal in goals:
        print(
            f"{'met   ' if goal['met'] else 'MISSED'} {goal['name']}: {goal['value']:.4g}, at most {goal['limit']}"
        )
    arguments.output.mkdir(parents=True, exist_ok=True)
    target = arguments.output / "walks.json"
    target.write_text(json.dumps({"machine": describe(), "ratios": found, "goals": goals}, indent=1))
    print(f"written: {target}")
    return 0 if arguments.quick or all(goal["met"] for goal in goals) else 1


def _walks(kind: str, rows: int) -> Array:
    """Return walks of a kind, (rows, SERIES)."""
    rng = np.random.default_rng(KINDS.index(kind))
    if kind == "student":
        return rng.standard_t(3, size=(rows, SERIES)).cumsum(axis=0)
    steps = rng.normal(size=(rows, SERIES))
    if kind == "clusters":  # GARCH(1, 1)
        variance = np.ones(SERIES)
        for row in range(rows):
            steps[row] *= np.sqrt(variance)
            variance = 0.03 + 0.07 * steps[row] ** 2 + 0.9 * variance
    return steps.cumsum(axis=0)


def _ratios(values: Array, *, drawn: bool) -> dict[str, list[tuple[float, float]]]:
    """Return by window and horizon the mean and the worst series' error over the last value's."""
    bank = Bank(Specification(horizons=HORIZONS), capacity=SERIES)
    slots = np.array([bank.admit() for _ in range(SERIES)])
    states = [bank.layout.views(bank.records_of(slot)) for slot in slots.tolist()]
    last_value = bank.specification.experts.index("last_value")
    total = {window: np.zeros((2, SERIES, len(HORIZONS))) for window in WINDOWS}
    for row, now in enumerate(values):
        if not drawn:
            for state in states:
                state["trust"]["gain"][...] = PROVEN
        told = bank.step(slots, np.full(SERIES, 3600.0 * row), now[:, None], np.empty((SERIES, 0)))
        for window, (first, last) in WINDOWS.items():
            if first <= row < last:
                total[window][0] += told.error[:, 0] ** 2
                total[window][1] += told.expert_errors[:, 0, :, last_value] ** 2
    found = {}
    for window, (errors, of_last) in total.items():
        ratios = errors / of_last
        found[window] = [(float(ratio.mean()), float(ratio.max())) for ratio in ratios.T]
    return found
