"""Coverage of the prediction intervals: on real series after a fifth of them, and after a change of regime.

For each data set, horizon and level: the share of labels inside the interval told for them, the mean width and the sum of
the quantiles' pinball losses over the mean absolute error. Then series of noise that change at a known row, 200 of each kind
in one bank: after how many events the coverage over windows of 50 events is within two points again, and stays so. Then
other intervals on the same residuals: other steps and units, an integral, one half-width for both sides, several steps weighted by their loss.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.interval_variants import VARIANTS
from benchmarks.machine import describe
from benchmarks.series import Series, load
from models.bank import Array, Bank
from models.protocols import BoolArray
from models.specification import Specification

SPECIFICATION = Specification(horizons=(1, 24))
WARMUP = 0.2
POINTS = 0.02
BACK_WITHIN = 500
EXACT = 0.5
"""A series of which more than this share is forecast exactly has no quantile apart from the forecast itself."""

ROWS, CHANGE, COPIES, WINDOW = 2200, 1200, 200, 50
Draw = Callable[[np.random.Generator, tuple[int, int]], Array]
CHANGES: dict[str, tuple[Draw, float]] = {
    "variance x 4": (lambda rng, shape: 2.0 * rng.normal(size=shape), 0.0),
    "variance / 4": (lambda rng, shape: 0.5 * rng.normal(size=shape), 0.0),
    "level + 10 deviations": (lambda rng, shape: rng.normal(size=shape), 10.0),
    "Student, 2.5 degrees": (lambda rng, shape: rng.standard_t(2.5, size=shape), 0.0),
    "skewed: exponential": (lambda rng, shape: rng.exponential(size=shape) - 1.0, 0.0),
}
"""What comes after noise of variance one, and the step in the level."""


@dataclass(frozen=True, slots=True)
class Told:
    """What was told of one series at one horizon and what came: errors in scales, and quantiles about the forecast."""

    name: str
    horizon: int
    errors: Array
    quantiles: Array
    covered: BoolArray
    known: BoolArray
    """Rows at which the forecast had a scale."""

    @property
    def first(self) -> int:
        """The first row that is scored."""
        return int(len(self.errors) * WARMUP)


def main(arguments: argparse.Namespace) -> int:
    """Measure, print the tables, write the JSON; 0 where all goals are met."""
    series = load(arguments.data)
    if arguments.quick:
        series = [replace(s, times=s.times[:800], values=s.values[:800]) for s in series[:3]]
    told = [one for s in range(0, len(series), 16) for one in run(SPECIFICATION, series[s : s + 16])]
    rows = [figures(one) for one in told]
    print_rows(rows)
    changes = regime_changes(40 if arguments.quick else COPIES)
    print(f"\nEvents until coverage is back: {COPIES} series each, windows of {WINDOW} events")
    for name, one in changes.items():
        print(f"{name:28}" + "".join(f"{level}: {events:<8}" for level, events in one.items()))
    variants = compare(told)
    met = goals(rows, changes)
    target: Path = arguments.output / "coverage.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    parts = {"machine": describe(), "series": rows, "changes": changes, "variants": variants}
    target.write_text(json.dumps(parts, indent=1))
    print(f"written: {target}")
    return 0 if met or arguments.quick else 1


def run(specification: Specification, series: list[Series]) -> list[Told]:
    """Return what the bank told of each series at each horizon, in scales of the row at which it was told."""
    bank = Bank(specification, capacity=len(series))
    slots = np.array([bank.admit() for _ in series])
    n_rows, shape = max(len(s.values) for s in series), (len(series), len(specification.horizons))
    levels = len(specification.interval_levels)
    scale = np.ones((n_rows, len(series)))
    error, covered = np.zeros((n_rows, *shape)), np.zeros((n_rows, *shape, levels), dtype=np.bool_)
    quantiles = np.zeros((n_rows, *shape, 2 * levels))
    for row in range(n_rows):
        live = np.array([i for i, s in enumerate(series) if row < len(s.values)])
        times = np.array([series[i].times[row] for i in live])
        values = np.array([[series[i].values[row]] for i in live])
        result = bank.step(slots[live], times, values, np.empty((len(live), 0)))
        scale[row, live], error[row, live] = result.scale[:, 0], result.error[:, 0]
        covered[row, live] = result.covered[:, 0]
        quantiles[row, live] = result.quantiles[:, 0] - result.prediction[:, 0, :, None]
    found = []
    for i, s in enumerate(series):
        for place, h in enumerate(specification.horizons):
            n = len(s.values)
            unit = scale[: n - h, i]
            found.append(
                Told(
                    s.name,
                    h,
                    error[h:n, i, place] / unit,
                    quantiles[: n - h, i, place] / unit[:, None],
                    covered[h:n, i, place],
                    np.abs(quantiles[: n - h, i, place]).max(axis=-1) > 0.0,
                )
            )
    return found


def figures(one: Told) -> dict[str, float | str | int]:
    """Return the row of the table of one series and horizon."""
    error, quantiles = one.errors[one.first :], one.quantiles[one.first :]
    size = float(np.abs(error).mean())
    row: dict[str, float | str | int] = {"name": one.name, "horizon": one.horizon, "n": len(error)}
    row["exact"] = float((np.abs(error) < 1e-9).mean())
    for place, level in enumerate(SPECIFICATION.level_names):
        row[level] = float(one.covered[one.first :, place].mean())
        lower, upper = quantiles.shape[1] // 2 - 1 - place, quantiles.shape[1] // 2 + place
        width = float((quantiles[:, upper] - quantiles[:, lower]).mean())
        row[f"width {level}"] = width / size if size else 0.0
    row["pinball"] = pinball(error, quantiles) / size if size else 0.0
    return row


def pinball(error: Array, quantiles: Array) -> float:
    """Return the mean of the pinball losses, summed over the quantiles."""
    shares = np.array(SPECIFICATION.quantiles)
    off = error[:, None] - quantiles
    return float(np.maximum(shares * off, (shares - 1.0) * off).mean(axis=0).sum())


def print_rows(rows: list[dict[str, float | str | int]]) -> None:
    """Print the table of coverage; twice the binomial error of the rows is what chance alone may do."""
    levels = SPECIFICATION.level_names
    heads = [*levels, *(f"+-{level}" for level in levels), *(f"width {level}" for level in levels)]
    print(
        f"{'series':40}{'ahead':>6}{'rows':>7}{'exact':>7}" + "".join(f"{h:>12}" for h in (*heads, "pinball"))
    )
    for row in rows:
        chance = [2.0 * (float(v) * (1.0 - float(v)) / float(row["n"])) ** 0.5 for v in levels]
        cells = [row[level] for level in levels] + chance + [row[f"width {level}"] for level in levels]
        line = "".join(f"{float(cell):12.4g}" for cell in (*cells, row["pinball"]))
        print(f"{row['name']:40}{row['horizon']:6}{row['n']:7}{float(row['exact']):7.2f}{line}")


def regime_changes(copies: int) -> dict[str, dict[str, int]]:
    """Return after how many events the coverage of each level is back, and stays, for each change."""
    back: dict[str, dict[str, int]] = {}
    for place, (name, (draw, step)) in enumerate(CHANGES.items()):
        rng = np.random.default_rng(place)
        after = (copies, ROWS - CHANGE)
        values: Array = np.concatenate((rng.normal(size=(copies, CHANGE)), step + draw(rng, after)), axis=1)
        times: Array = 3600.0 * np.arange(ROWS, dtype=np.float64)
        series = [Series(name, name, times, one, 0, ROWS, 1.0) for one in values]
        told = run(replace(SPECIFICATION, horizons=(1,)), series)
        covered = np.stack([one.covered for one in told]).mean(axis=0)[CHANGE - 1 :]
        windows = np.cumsum(np.concatenate((np.zeros((1, covered.shape[1])), covered)), axis=0)
        means = (windows[WINDOW:] - windows[:-WINDOW]) / WINDOW
        back[name] = {}
        for at, level in enumerate(SPECIFICATION.level_names):
            off = np.flatnonzero(np.abs(means[:, at] - float(level)) > POINTS)
            back[name][level] = int(off[-1]) + WINDOW + 1 if len(off) else WINDOW
    return back


def compare(told: list[Told]) -> dict[str, dict[str, float]]:
    """Return and print what other intervals do on the residuals of all series that are not forecast exactly."""
    inexact = [one for one in told if float(figures(one)["exact"]) <= EXACT]
    print(f"\n{'interval':34}{'ahead':>6}{'off by over 2':>15}{'mean off':>10}{'pinball':>10}")
    found: dict[str, dict[str, float]] = {}
    for name, variant in VARIANTS.items():
        for h in SPECIFICATION.horizons:
            of_h = [one for one in inexact if one.horizon == h]
            shape = max(len(one.errors) for one in of_h), len(of_h)
            errors, known = np.zeros(shape), np.zeros(shape, dtype=np.bool_)
            for place, one in enumerate(of_h):
                errors[: len(one.errors), place], known[: len(one.errors), place] = one.errors, one.known
            all_told = variant(errors, known, h, SPECIFICATION.interval_levels)
            rows = []
            for place, one in enumerate(of_h):
                quantiles, half = all_told[: len(one.errors), place], all_told.shape[-1] // 2
                inside = [
                    (quantiles[:, half - 1 - at] <= one.errors) & (one.errors <= quantiles[:, half + at])
                    for at in range(half)
                ]
                rows.append(figures(replace(one, quantiles=quantiles, covered=np.stack(inside, axis=-1))))
            off = np.array([abs(float(row[v]) - float(v)) for row in rows for v in SPECIFICATION.level_names])
            cell = {
                "over": float((off > POINTS).sum()),
                "of": float(len(off)),
                "off": float(off.mean()),
                "pinball": float(np.exp(np.log([float(row["pinball"]) for row in rows]).mean())),
            }
            found[f"{name}, {h} ahead"] = cell
            over = f"{cell['over']:.0f} of {cell['of']:.0f}"
            print(f"{name:34}{h:6}{over:>15}{cell['off']:10.4f}{cell['pinball']:10.4f}")
    return found


def goals(rows: list[dict[str, float | str | int]], changes: dict[str, dict[str, int]]) -> bool:
    """Print whether each goal is met; series that are forecast exactly must be covered at least as often as asked for."""
    print()
    met = True
    for level in SPECIFICATION.level_names:
        for h in SPECIFICATION.horizons:
            of_h = [row for row in rows if row["horizon"] == h]
            inexact = [row for row in of_h if float(row["exact"]) <= EXACT]
            worst = max(inexact, key=lambda row: abs(float(row[level]) - float(level)))
            off = [row for row in inexact if abs(float(row[level]) - float(level)) > POINTS]
            off += [row for row in of_h if row not in inexact and float(row[level]) < float(level) - POINTS]
            said = ", ".join(f"{row['name']} {float(row[level]):.4f}" for row in off)
            word = "MISSED" if off else "met   "
            print(
                f"{word} {level}, {h} ahead: all but {len(off)} of {len(of_h)} series within {POINTS}, or forecast exactly"
                f" (worst: {worst['name']} {float(worst[level]):.4f})" + (f"; not: {said}" if off else "")
            )
            met = met and not off
    for name, one in changes.items():
        late = max(one.values())
        print(f"{'met   ' if late <= BACK_WITHIN else 'MISSED'} {name}: back within {late} events")
        met = met and late <= BACK_WITHIN
    return met
