"""What outliers, changes of regime and gaps do to forecasts, on streams whose values beneath are known.

`switching`: an AR(2) that changes its coefficients three times, with .5% outliers of 20 deviations of its noise. Scored against the values
beneath: an outlier itself nobody can forecast. `endless`: 10^7 events of many such series with seasons, levels, outliers, values that are
missing and gaps; the last regime is the first one again, and may not be forecast worse.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from benchmarks.machine import describe
from benchmarks.tasks.recipe import Goal, at_most
from models.bank import Array, Bank
from models.specification import Specification

NOISE: Final = 0.1
OUTLIER_SHARE: Final = 0.005
OUTLIER_DEVIATIONS: Final = 20.0
REGIMES: Final = ((0.25, 0.995, 0.0), (0.6, 0.98, 0.0), (1.1, 0.99, 0.5), (0.4, 0.97, 0.0))
"""Frequency and radius of the AR(2)'s poles, and a constant."""
REGIME_ROWS: Final = 2500
SEEDS: Final = 8
EARLY: Final = slice(200, REGIME_ROWS)
LATE: Final = slice(8000, 10_000)
EARLY_GOAL, LATE_GOAL = 0.03, 0.0095
"""Of the error over the variance, by a filter with a gate on such a stream."""

ENDLESS_EVENTS: Final = 10_000_000
ENDLESS_SERIES: Final = 200
ENDLESS_REGIMES: Final = 10
SEASON_ROWS: Final = 24
MISSING_SHARE: Final = 0.002
"""Of rows, at which ten values in a row begin to be missing."""
GAP_SHARE: Final = 0.0001
"""Of rows, before which there is a gap so long that what is pending is forgotten."""
WARM_UP: Final = 0.1
"""Of a regime: the rows in which it is learned."""
LAST_GOAL: Final = 1.05

DEFAULT = Specification()
VARIANTS: Final = {
    "default": DEFAULT,
    "frozen recurrent weights": replace(DEFAULT, optimizer="sgd", learning_rate=0.0),
    "no recurrent expert": replace(
        DEFAULT, experts=tuple(name for name in DEFAULT.experts if name != "recurrent")
    ),
    "stacked": replace(DEFAULT, mixture="stacked"),
}


def main(arguments: argparse.Namespace) -> int:
    """Run both parts, print them, write the JSON; 0 where all goals are met."""
    switching = {
        f"{name}, {'with' if outliers else 'without'} outliers": _switching(specification, outliers=outliers)
        for name, specification in VARIANTS.items()
        for outliers in (False, True)
    }
    print(f"{'error over variance, median of ' + str(SEEDS):48}{'early':>10}{'late':>10}")
    for name, (early, late) in switching.items():
        print(f"{name:48}{early:10.4f}{late:10.4f}")
    events = ENDLESS_EVENTS // 50 if arguments.quick else ENDLESS_EVENTS
    endless = _endless(events)
    print(
        f"\n{endless.events} events of {ENDLESS_SERIES} series in {endless.seconds:.0f} s; error over the noise by regime: "
        + " ".join(f"{value:.3f}" for value in endless.by_regime)
    )
    early, late = switching["default, with outliers"]
    goals: list[Goal] = [
        at_most("switching, early", early, EARLY_GOAL),
        at_most("switching, late", late, LATE_GOAL),
        at_most("endless: numbers that are not finite", endless.not_finite, 0.0),
        at_most("endless: the last regime's error over the first's", endless.last_over_first, LAST_GOAL),
    ]
    for goal in goals:
        print(
            f"{'met   ' if goal['met'] else 'MISSED'} {goal['name']}: {goal['value']:.4g}, at most {goal['limit']}"
        )
    arguments.output.mkdir(parents=True, exist_ok=True)
    target = arguments.output / "robust.json"
    report = {
        "machine": describe(),
        "switching": switching,
        "endless": {
            "events": endless.events,
            "seconds": endless.seconds,
            "by_regime": endless.by_regime,
            "not_finite": endless.not_finite,
        },
        "goals": goals,
    }
    target.write_text(json.dumps(report, indent=1))
    print(f"written: {target}")
    return 0 if arguments.quick or all(goal["met"] for goal in goals) else 1


def _switching(specification: Specification, *, outliers: bool) -> tuple[float, float]:
    """Return the error over the variance of the whole series, early and late, medians over seeds."""
    beneath = np.stack([_switching_values(seed) for seed in range(SEEDS)], axis=1)
    seen = beneath
    if outliers:
        rng = np.random.default_rng(1000)
        size = OUTLIER_DEVIATIONS * NOISE
        wild = rng.choice([-size, size], beneath.shape)
        seen = beneath + np.where(rng.random(beneath.shape) < OUTLIER_SHARE, wild, 0.0)
    bank = Bank(specification, capacity=SEEDS)
    slots = np.array([bank.admit() for _ in range(SEEDS)])
    forecast = np.empty_like(beneath)
    for row, values in enumerate(seen):
        told = bank.step(slots, np.full(SEEDS, float(row)), values[:, None], np.empty((SEEDS, 0)))
        forecast[row] = told.prediction[:, 0, 0]
    found = []
    for rows in (EARLY, LATE):
        ahead, made = beneath[rows], forecast[rows.start - 1 : rows.stop - 1]
        found.append(float(np.median(((ahead - made) ** 2).mean(axis=0) / beneath.var(axis=0))))
    return found[0], found[1]


def _switching_values(seed: int) -> Array:
    rng = np.random.default_rng(seed)
    one = two = 0.0
    values = []
    for frequency, radius, constant in REGIMES:
        for _ in range(REGIME_ROWS):
            next_one = (
                2.0 * radius * np.cos(frequency) * one - radius**2 * two + NOISE * rng.normal() + constant
            )
            one, two = next_one, one
            values.append(one)
    return np.array(values)


@dataclass(frozen=True, slots=True)
class Endless:
    """What came of the endless stream: mean squared errors over the noise's variance by regime, medians over series."""

    events: int
    seconds: float
    by_regime: list[float]
    last_over_first: float
    not_finite: int


def _endless(events: int) -> Endless:
    """Run the endless stream."""
    n, rng = ENDLESS_SERIES, np.random.default_rng(7)
    rows = events // (n * ENDLESS_REGIMES)
    regimes = [_regime(rng, n) for _ in range(ENDLESS_REGIMES - 1)]
    regimes.append(regimes[0])
    bank = Bank(DEFAULT, capacity=n)
    slots = np.array([bank.admit() for _ in range(n)])
    one, two, missing, clock = np.zeros(n), np.zeros(n), np.zeros(n, dtype=np.int64), np.zeros(n)
    made, not_finite, errors = np.full(n, np.nan), 0, []
    start = time.perf_counter()
    for frequency, radius, level, swing, noise in regimes:
        total, count = np.zeros(n), np.zeros(n)
        for row in range(rows):
            step = 2.0 * radius * np.cos(frequency) * one - radius**2 * two + noise * rng.normal(size=n)
            one, two = step, one
            beneath = level + one + swing * np.sin(2.0 * np.pi * row / SEASON_ROWS)
            wild = rng.choice([-OUTLIER_DEVIATIONS, OUTLIER_DEVIATIONS], n) * noise
            values = beneath + np.where(rng.random(n) < OUTLIER_SHARE, wild, 0.0)
            missing = np.where(rng.random(n) < MISSING_SHARE, 10, np.maximum(missing - 1, 0))
            values[missing > 0] = np.nan
            scored = (missing == 0) & np.isfinite(made) & (row >= WARM_UP * rows)
            total += np.where(scored, (beneath - np.where(scored, made, 0.0)) ** 2 / noise**2, 0.0)
            count += scored
            gaps = np.flatnonzero(rng.random(n) < GAP_SHARE)
            if gaps.size:
                bank.reset_memory(slots[gaps])
                clock[gaps] += 3600.0 * 1000.0
            clock += 3600.0
            told = bank.step(slots, clock, values[:, None], np.empty((n, 0)))
            made = told.prediction[:, 0, 0].copy()
            for name in ("prediction", "quantiles", "anomaly_score"):
                not_finite += int((~np.isfinite(getattr(told, name)[told.begun])).sum())
        errors.append(total / count)
    fields = bank.snapshot(int(slots[0]))
    not_finite += sum(
        int((~np.isfinite(value)).sum()) for value in fields.values() if value.dtype == np.float64
    )
    return Endless(
        events=rows * ENDLESS_REGIMES * n,
        seconds=time.perf_counter() - start,
        by_regime=[float(np.median(error)) for error in errors],
        last_over_first=float(np.median(errors[-1] / errors[0])),
        not_finite=not_finite,
    )


def _regime(rng: np.random.Generator, n: int) -> tuple[Array, Array, Array, Array, Array]:
    """Return frequency, radius, level, swing of the season and noise of each of n series."""
    noise = np.exp(rng.normal(size=n) * 0.5) * NOISE
    return (
        rng.uniform(0.2, 1.2, n),
        rng.uniform(0.7, 0.98, n),
        rng.normal(size=n) * 10.0 * noise,
        rng.uniform(0.0, 5.0, n) * noise,
        noise,
    )
