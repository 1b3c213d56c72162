"""A thousand seeded faults: is every number finite, does the model recover, and how good is it afterwards?

Each series has a twin with the same values and no fault. All learn side by side; at a row a fault begins in one of the two. RECOVERY rows
after its end the errors of both are compared over the rows that follow, in units of the series' own noise. How far two models that learned
equally well differ is the floor of that measure: some series run a third time, with one value missing where faults begin.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Final

import numpy as np

from benchmarks.machine import describe
from benchmarks.tasks.recipe import Goal, at_most
from models.bank import Array, Bank, IntArray
from models.specification import Specification

RUNS: Final = 1000
WARM_UP: Final = 1200
FAULT: Final = 50
RECOVERY: Final = 500
SCORED: Final = 800
SEASON: Final = 24
RATIO_GOAL: Final = 1.05
"""Of the error behind the recovery, over a run's without the fault."""
FLOOR: Final = "nothing: one value missing"

Fault = Callable[[Array, Array, np.random.Generator], Array]
"""From values of some rows and series (T, N) and their noise (N,), the values that are seen instead."""


def _outliers(values: Array, noise: Array, rng: np.random.Generator) -> Array:
    wild = rng.choice([-1.0, 1.0], values.shape) * 10.0 ** rng.uniform(1.0, 6.0, values.shape)
    return np.where(rng.random(values.shape) < 0.3, values + wild * noise, values)


def _missing(values: Array, _noise: Array, rng: np.random.Generator) -> Array:
    return np.where(rng.random(values.shape) < 0.9, np.nan, values)


def _scaled(values: Array, _noise: Array, rng: np.random.Generator) -> Array:
    return values * np.where(rng.random(values.shape[1]) < 0.5, 1e3, 1e-3)


def _stuck(values: Array, _noise: Array, _rng: np.random.Generator) -> Array:
    return np.repeat(values[:1], len(values), axis=0)


def _as_they_are(values: Array, _noise: Array, _rng: np.random.Generator) -> Array:
    return values


VALUE_FAULTS: Final[dict[str, Fault]] = {
    "outliers": _outliers,
    "missing": _missing,
    "scale by 1000": _scaled,
    "stuck": _stuck,
    "chaos in the weights": _as_they_are,
    "spoilt readout": _as_they_are,
    "adversary": _as_they_are,
}
"""What the values become while the fault lasts; the last three act on the model, or after its forecast."""


def main(arguments: argparse.Namespace) -> int:
    """Run all faults, print the table, write the JSON; 0 where all goals are met."""
    runs = RUNS // 10 if arguments.quick else RUNS
    start = time.perf_counter()
    ratios, floor, not_finite, kinds = run(runs)
    seconds = time.perf_counter() - start
    names = list(VALUE_FAULTS)
    print(f"{runs} runs of {WARM_UP + FAULT + RECOVERY + SCORED} events and their twins in {seconds:.0f} s\n")
    print(
        f"{'fault':28}{'runs':>6}{'error over the twin: mean':>27}{'median':>9}{'worst':>9}{'over 1.05':>11}"
    )
    rows = {}
    of_kind = {name: ratios[kinds == at] for at, name in enumerate(names)} | {FLOOR: floor}
    for name, own in of_kind.items():
        rows[name] = {
            "runs": len(own),
            "mean": float(own.mean()),
            "median": float(np.median(own)),
            "worst": float(own.max()),
            "over": int((own > RATIO_GOAL).sum()),
        }
        row = rows[name]
        print(
            f"{name:28}{row['runs']:6d}{row['mean']:27.3f}{row['median']:9.3f}{row['worst']:9.3f}{row['over']:11d}"
        )
    goals: list[Goal] = [
        at_most("numbers that are not finite", not_finite, 0.0),
        at_most("mean error after faults over the twins'", float(ratios.mean()), RATIO_GOAL),
        at_most("share of runs that are over it", float((ratios > RATIO_GOAL).mean()), 0.0),
    ]
    for goal in goals:
        print(
            f"{'met   ' if goal['met'] else 'MISSED'} {goal['name']}: {goal['value']:.4g}, at most {goal['limit']}"
        )
    arguments.output.mkdir(parents=True, exist_ok=True)
    target = arguments.output / "faults.json"
    target.write_text(
        json.dumps({"machine": describe(), "seconds": seconds, "faults": rows, "goals": goals}, indent=1)
    )
    print(f"written: {target}")
    return 0 if arguments.quick or all(goal["met"] for goal in goals) else 1


def run(runs: int) -> tuple[Array, Array, int, IntArray]:
    """Return each run's error over its twin's, the same of the floor's, how many numbers were not finite, and each run's kind of fault."""
    rng = np.random.default_rng(11)
    values, noise = streams(rng, runs)
    kinds: IntArray = np.mod(np.arange(runs), len(VALUE_FAULTS))
    names = list(VALUE_FAULTS)
    begin, end = WARM_UP, WARM_UP + FAULT
    third = runs // len(VALUE_FAULTS)
    seen = np.concatenate((values, values, values[:, :third]), axis=1)
    truth, total_series = seen.copy(), seen.shape[1]
    seen[begin, 2 * runs :] = np.nan
    for kind, fault in enumerate(VALUE_FAULTS.values()):
        which = np.flatnonzero(np.equal(kinds, kind))
        seen[begin:end, which] = fault(seen[begin:end, which], noise[which], rng)
    adversary = np.flatnonzero(kinds == names.index("adversary"))
    bank = Bank(Specification(), capacity=total_series)
    slots = np.array([bank.admit() for _ in range(total_series)])
    nothing, not_finite = np.empty((total_series, 0)), 0
    made, total = np.zeros(total_series), np.zeros(total_series)
    for row in range(len(values)):
        if row == begin:
            for name in ("chaos in the weights", "spoilt readout"):
                for series in np.flatnonzero(kinds == names.index(name)).tolist():
                    _spoil(bank, int(slots[series]), name, rng)
        if begin <= row < end:  # as far as can be from the forecast, on the side that hurts most
            side = np.where(seen[row, adversary] >= made[adversary], -1.0, 1.0)
            seen[row, adversary] = made[adversary] + side * 8.0 * noise[adversary]
        told = bank.step(slots, np.full(total_series, 3600.0 * row), seen[row][:, None], nothing)
        if row >= end + RECOVERY:
            total += (truth[row] - made) ** 2
        made = told.prediction[:, 0, 0].copy()
        not_finite += int((~np.isfinite(told.prediction)).sum() + (~np.isfinite(told.quantiles)).sum())
    for slot in slots.tolist():
        fields = bank.snapshot(slot).values()
        not_finite += sum(int((~np.isfinite(value)).sum()) for value in fields if value.dtype == np.float64)
    twins = total[runs : 2 * runs]
    return total[:runs] / twins, total[2 * runs :] / twins[:third], not_finite, kinds


def streams(rng: np.random.Generator, runs: int) -> tuple[Array, Array]:
    """Return values (T, N) of autoregressions with a season each, and the deviations of their noise (N,)."""
    rows = WARM_UP + FAULT + RECOVERY + SCORED
    noise = np.exp(rng.normal(size=runs))
    frequency, radius = rng.uniform(0.2, 1.2, runs), rng.uniform(0.6, 0.97, runs)
    level, swing = 20.0 * noise * rng.normal(size=runs), rng.uniform(0.0, 5.0, runs) * noise
    one, two, values = np.zeros(runs), np.zeros(runs), np.empty((rows, runs))
    for row in range(rows):
        step = 2.0 * radius * np.cos(frequency) * one - radius**2 * two + noise * rng.normal(size=runs)
        one, two = step, one
        values[row] = level + one + swing * np.sin(2.0 * np.pi * row / SEASON)
    return values, noise


def _spoil(bank: Bank, slot: int, name: str, rng: np.random.Generator) -> None:
    """Put weights of no sense into a series' recurrent expert."""
    fields = bank.snapshot(slot)
    field = "params" if name == "chaos in the weights" else "weights"
    weights = fields[f"expert.recurrent/{field}"]
    weights[...] = 10.0 * rng.normal(size=weights.shape)
    bank.restore(slot, fields)
