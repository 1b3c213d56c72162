"""Values taken out of real series: predicted past, against filling the last value in and learning from it.

For each series and share of values taken out, one by one or in runs: the standardised mean squared error of the values that
are left, each predicted before it was seen, a few horizons ahead. Draws of what is missing run side by side in one bank.
"""

from __future__ import annotations

import argparse
import json

import numpy as np

from benchmarks.machine import describe
from benchmarks.series import Series, load
from models.bank import Array, Bank, BoolArray
from models.specification import Specification

HORIZONS = (1, 4, 24)
DRAWS = 3
RUN_ROWS = 6
"""Mean length of a run of missing rows, geometric."""
ROWS_MAX = 6000
CASES = {
    "none": (0.0, 1),
    "10%": (0.1, 1),
    "30%": (0.3, 1),
    "10% in runs": (0.1, RUN_ROWS),
    "30% in runs": (0.3, RUN_ROWS),
}
"""Share that is missing, and the mean length of a run."""


def main(arguments: argparse.Namespace) -> int:
    """Run all, print the table, write the JSON."""
    series = [one for one in load(arguments.data) if one.group == "NAB" or arguments.data is not None]
    rows_max = 1200 if arguments.quick else ROWS_MAX
    results = {one.name: compare(one, rows_max) for one in series}
    print(f"{'series':34}{'missing':>14}" + "".join(f"{f'{h} ahead':>12}{'filled in':>12}" for h in HORIZONS))
    for name, cases in results.items():
        for case, errors in cases.items():
            cells = "".join(
                f"{past:12.4g}{filled:12.4g}" for past, filled in zip(*errors.values(), strict=True)
            )
            print(f"{name:34}{case:>14}{cells}")
    arguments.output.mkdir(parents=True, exist_ok=True)
    target = arguments.output / "missing.json"
    target.write_text(json.dumps({"machine": describe(), "series": results}, indent=1))
    print(f"written: {target}")
    return 0


def compare(series: Series, rows_max: int) -> dict[str, dict[str, list[float]]]:
    """Return the errors of each case by horizon: of what is predicted past, and of the last value filled in."""
    values, times = series.values[:rows_max], series.times[:rows_max]
    holes = np.stack(
        [draw(len(values), share, run, seed) for share, run in CASES.values() for seed in range(DRAWS)]
    )
    seen = np.where(holes, np.nan, values)
    last = np.maximum.accumulate(np.where(holes, 0, np.arange(len(values))), axis=1)
    past, filled = (
        errors(times, given, holes, first=len(values) // 5)
        for given in (seen, np.take_along_axis(seen, last, axis=1))
    )
    unit = float(np.var(values))
    by_case = {"predicted past": past, "filled in": filled}
    return {
        case: {
            name: (found[DRAWS * at : DRAWS * (at + 1)].mean(axis=0) / unit).tolist()
            for name, found in by_case.items()
        }
        for at, case in enumerate(CASES)
    }


def draw(rows: int, share: float, run: int, seed: int) -> BoolArray:
    """Return which rows are missing; the first never is."""
    rng = np.random.default_rng(seed)
    holes = np.zeros(rows, dtype=np.bool_)
    row = 1
    while share > 0.0:
        row += int(rng.geometric(share / (run * (1.0 - share) + share)))
        if row >= rows:
            break
        end = row + int(rng.geometric(1.0 / run))
        holes[row:end] = True
        row = end
    return holes


def errors(times: Array, values: Array, holes: BoolArray, *, first: int) -> Array:
    """Return the mean squared errors of values that are there, from row `first` on, (draws, H)."""
    bank = Bank(Specification(horizons=HORIZONS), capacity=len(values))
    slots = np.array([bank.admit() for _ in values])
    total, count = np.zeros((len(values), len(HORIZONS))), np.zeros((len(values), len(HORIZONS)))
    for row, time in enumerate(times):
        result = bank.step(slots, np.full(len(slots), time), values[:, row, None], np.empty((len(slots), 0)))
        counted = result.settled[:, 0] & ~holes[:, row, None] & (row >= first)
        total += np.where(counted, result.error[:, 0] ** 2, 0.0)
        count += counted
    return total / count
