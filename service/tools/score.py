"""Score a replay: errors of the forecasts and of each expert, series by series, as sums that never grow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt

from models.bank import StepResult
from models.specification import Specification

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

BASELINE = "last_value"
"""What skill is measured against: repeating the last value needs no model at all."""
TABLE_ROWS_MAX = 60


@dataclass(frozen=True, slots=True)
class Share:
    """A number of rows, given as it is or in percent of a series' rows."""

    rows: int = 0
    percent: float | None = None

    @classmethod
    def parse(cls, text: str) -> Share:
        """Read `3600` or `20%`.

        Raises:
            ValueError: it is neither.
        """
        share = cls(percent=float(text[:-1])) if text.endswith("%") else cls(rows=int(text))
        if share.rows < 0 or not (share.percent is None or 0.0 <= share.percent <= 100.0):
            raise ValueError(text)
        return share

    def of(self, total: int) -> int:
        """Return how many of a series' `total` rows this is."""
        return self.rows if self.percent is None else int(total * self.percent / 100.0)


NOTHING = Share()


class Score:
    """Running sums of errors, one line per series, of what answered, of its experts, and of each make where two learn; a series is known by its index, from 0 upwards.

    A forecast counts when its target's row is at `warmup` rows of its series or after. Errors are in raw units,
    or, for a series with `statistics_rows`, divided by the population standard deviation s of its first rows:

        s^2 = 1/N sum_i (y_i - mean(y))^2                                       (1)
    """

    def __init__(self, specification: Specification, makes: Sequence[str] = ()) -> None:
        self._specification = specification
        self._makes = tuple(makes)
        self._names: list[tuple[str, ...]] = []
        self._warmup: IntArray = np.zeros(0, np.int64)
        self._statistics_rows: IntArray = np.zeros(0, np.int64)
        self._events: IntArray = np.zeros(0, np.int64)
        per_target = (0, len(specification.targets))
        per_forecast = (*per_target, len(specification.horizons))
        per_expert = (*per_forecast, len(specification.experts))
        self._mean = np.zeros(per_target)
        self._squares = np.zeros(per_target)
        self._counted = np.zeros(per_target, np.int64)
        self._n = np.zeros(per_forecast, np.int64)
        self._covered = np.zeros((*per_forecast, len(specification.interval_levels)), np.int64)
        self._squared = np.zeros(per_forecast)
        self._absolute = np.zeros(per_forecast)
        self._expert_squared = np.zeros(per_expert)
        self._expert_absolute = np.zeros(per_expert)
        self._make_squared = np.zeros((*per_forecast, len(makes)))
        self._make_absolute = np.zeros((*per_forecast, len(makes)))

    def admit(self, names: tuple[str, ...], *, warmup: int, statistics_rows: int) -> int:
        """Take in a series, by the names of its targets, and return its index."""
        index = len(self._names)
        self._names.append(names)
        if index == len(self._events):
            self._grow(max(64, 2 * index))
        self._warmup[index] = warmup
        self._statistics_rows[index] = statistics_rows
        return index

    def rows_of(self, index: IntArray) -> IntArray:
        """Return how many rows of some series were taken in."""
        return self._events[index]

    def add(
        self, index: IntArray, values: Array, result: StepResult, of_makes: Sequence[StepResult] = ()
    ) -> None:
        """Take in one micro-batch: the series' indices, each once, their values (B, K), NaN if missing, what answered, and what each make said."""
        row = self._events[index]
        self._add_statistics(index, row, values)
        self._events[index] += 1
        counted = result.settled & (row >= self._warmup[index])[:, None, None]
        if not counted.any():
            return
        self._n[index] += counted
        self._covered[index] += counted[..., None] & result.covered
        error = np.where(counted, result.error, 0.0)
        self._squared[index] += error * error
        self._absolute[index] += np.abs(error)
        error = np.where(counted[..., None], result.expert_errors, 0.0)
        self._expert_squared[index] += error * error
        self._expert_absolute[index] += np.abs(error)
        for make, said in enumerate(of_makes):
            error = np.where(counted, said.error, 0.0)
            self._make_squared[index, ..., make] += error * error
            self._make_absolute[index, ..., make] += np.abs(error)

    @property
    def events(self) -> int:
        """How many events were taken in, of all series."""
        return int(self._events.sum())

    def summary(self, seconds: float) -> dict[str, Any]:
        """Return the summary; what could not be scored is None."""
        series = {}
        for index, names in enumerate(self._names):
            for target, name in enumerate(names):
                horizons = {
                    str(horizon): self._scored(index, target, at)
                    for at, horizon in enumerate(self._specification.horizons)
                }
                series[name] = {"events": int(self._events[index]), "horizons": horizons}
        return {"events": self.events, "seconds": seconds, "series": series}

    def _scored(self, index: int, target: int, horizon: int) -> dict[str, Any]:
        at = (index, target, horizon)
        n, deviation = int(self._n[at]), self.deviation(index, target)

        def errors(squared: float, absolute: float) -> dict[str, float | None]:
            if n == 0 or deviation == 0.0:
                return {"mse": None, "mae": None}
            return {"mse": float(squared) / n / deviation**2, "mae": float(absolute) / n / deviation}

        experts = {
            name: errors(self._expert_squared[(*at, expert)], self._expert_absolute[(*at, expert)])
            for expert, name in enumerate(self._specification.experts)
        }
        makes = {
            name: errors(self._make_squared[(*at, make)], self._make_absolute[(*at, make)])
            for make, name in enumerate(self._makes)
        }
        covered = zip(self._specification.level_names, self._covered[at].tolist(), strict=True)
        coverage = {level: count / n if n else None for level, count in covered}
        return {
            "n": n,
            **errors(self._squared[at], self._absolute[at]),
            "coverage": coverage,
            "experts": experts,
            **({"makes": makes} if makes else {}),
        }

    def deviation(self, index: int, target: int) -> float:
        """Return what errors of a series' target are divided by, (1); 1 where they stay in raw units."""
        if not min(self._statistics_rows[index], self._events[index]):
            return 1.0
        rows = int(self._counted[index, target])
        return float(np.sqrt(self._squares[index, target] / rows)) if rows else 0.0

    def _add_statistics(self, index: IntArray, row: IntArray, values: Array) -> None:
        first = row < self._statistics_rows[index]
        if not first.any():
            return
        index, values = index[first], values[first]
        there = ~np.isnan(values)
        self._counted[index] += there
        # Welford (1962): the sum of squares about a running mean loses no digits.
        difference = np.where(there, values - self._mean[index], 0.0)
        self._mean[index] += difference / np.maximum(self._counted[index], 1)
        self._squares[index] += difference * np.where(there, values - self._mean[index], 0.0)

    def _grow(self, capacity: int) -> None:
        for name, array in vars(self).items():
            if isinstance(array, np.ndarray):
                grown = np.zeros((capacity, *array.shape[1:]), array.dtype)
                grown[: len(array)] = array
                setattr(self, name, grown)


def table_lines(summary: dict[str, Any], *, standardised: bool, width: int) -> list[str]:
    """Return the table for the terminal: each series' errors beside those of its experts, and their mean.

    Where a name and its figures do not fit in the width together, the name has a line of its own.
    """
    rows = [
        (name, horizon, one)
        for name, series in summary["series"].items()
        for horizon, one in series["horizons"].items()
    ]
    experts = list(rows[0][2]["experts"])
    names = [expert.replace("_", " ") for expert in experts]
    coverages = [f"in {100.0 * float(level):.4g}%" for level in rows[0][2]["coverage"]]
    makes = list(rows[0][2].get("makes", ()))
    heads = ["ahead", "scored", "Onward", *(f"the {make}" for make in makes), *names, "skill", *coverages]
    shown = [(name, horizon, one) for name, horizon, one in rows[:TABLE_ROWS_MAX]]
    means = (
        [("mean", horizon, one) for horizon, one in _means(rows).items()]
        if len(summary["series"]) > 1
        else []
    )
    figures = [
        [horizon, f"{one['n']:,}", *_cells(one, makes, experts)] for _, horizon, one in [*shown, *means]
    ]
    widths = [max(map(len, column)) for column in zip(heads, *figures, strict=True)]

    def line(cells: list[str]) -> str:
        return "  ".join(cell.rjust(size) for cell, size in zip(cells, widths, strict=True))

    name_width = max(len(name) for name, _, _ in [*shown, *means])
    beside = name_width + 2 + len(line(heads)) <= width
    unit = "standardised" if standardised else "raw units"
    lines = [f"Mean squared error, {unit}; skill is against repeating the last value", ""]
    lines.append(f"{'':{name_width}}  {line(heads)}" if beside else line(heads))
    previous = ""
    for number, (name, _, _) in enumerate([*shown, *means]):
        if number == len(shown):
            lines += [f"... and {len(rows) - len(shown):,} more, in --summary"] * (len(rows) > len(shown)) + [
                ""
            ]
        if beside:
            lines.append(f"{name:{name_width}}  {line(figures[number])}")
        else:
            lines += [name] * (name != previous) + [line(figures[number])]
        previous = name
    return lines


def _means(rows: Sequence[tuple[str, str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Return the mean over the series of each horizon, of those that could be scored."""
    scored: dict[str, list[dict[str, Any]]] = {}
    for _, horizon, one in rows:
        if one["mse"] is not None:
            scored.setdefault(horizon, []).append(one)
    return {
        horizon: {
            "n": sum(one["n"] for one in ones),
            "mse": fmean(one["mse"] for one in ones),
            "coverage": {
                level: fmean(one["coverage"][level] for one in ones) for level in ones[0]["coverage"]
            },
            "experts": {
                expert: {"mse": fmean(one["experts"][expert]["mse"] for one in ones)}
                for expert in ones[0]["experts"]
            },
            "makes": {
                make: {"mse": fmean(one["makes"][make]["mse"] for one in ones)}
                for make in ones[0].get("makes", ())
            },
        }
        for horizon, ones in scored.items()
    }


def _cells(one: dict[str, Any], makes: list[str], experts: list[str]) -> list[str]:
    errors = [one["mse"], *(one["makes"][make]["mse"] for make in makes)]
    errors += [*(one["experts"][expert]["mse"] for expert in experts)]
    baseline = one["experts"].get(BASELINE, {}).get("mse")
    # Where the last value is never wrong there is nothing to be better at.
    skill = f"{1.0 - one['mse'] / baseline:+.1%}" if baseline and one["mse"] is not None else "-"
    coverages = ["-" if share is None else f"{share:.1%}" for share in one["coverage"].values()]
    return [*map(_number, errors), skill, *coverages]


def _number(value: float | None) -> str:
    """Write a figure with four digits, short: 1.5e7 and not 1.5e+07."""
    return (
        "-" if value is None else f"{value:.4g}".replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")
    )
