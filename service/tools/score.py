"""Score a replay: errors of the forecasts and of each expert, series by series, as sums that never grow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.table import Table as Grid

from models.bank import StepResult
from models.specification import Specification

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

BASELINE = "last_value"
"""What skill is measured against: repeating the last value needs no model at all."""
GRID_ROWS_MAX = 60


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
    """Running sums of errors, one line per series; a series is known by its index, from 0 upwards.

    A forecast counts when its target's row is at `warmup` rows of its series or after. Errors are in raw units,
    or, for a series with `statistics_rows`, divided by the population standard deviation s of its first rows:

        s^2 = 1/N sum_i (y_i - mean(y))^2                                       (1)
    """

    def __init__(self, specification: Specification) -> None:
        self._specification = specification
        self._names: list[tuple[str, ...]] = []
        self._warmup: IntArray = np.zeros(0, np.int64)
        self._statistics_rows: IntArray = np.zeros(0, np.int64)
        self._events: IntArray = np.zeros(0, np.int64)
        per_target = (0, len(specification.targets))
        per_forecast = (*per_target, len(specification.horizons))
        per_expert = (*per_forecast, len(specification.experts))
        self._mean = np.zeros(per_target)
        self._squares = np.zeros(per_target)
        self._n = np.zeros(per_forecast, np.int64)
        self._covered = np.zeros(per_forecast, np.int64)
        self._squared = np.zeros(per_forecast)
        self._absolute = np.zeros(per_forecast)
        self._expert_squared = np.zeros(per_expert)
        self._expert_absolute = np.zeros(per_expert)

    def admit(self, names: tuple[str, ...], *, warmup: int, statistics_rows: int) -> int:
        """Take in a series, by the names of its targets, and return its index."""
        index = len(self._names)
        self._names.append(names)
        if index == len(self._events):
            self._grow(max(64, 2 * index))
        self._warmup[index] = warmup
        self._statistics_rows[index] = statistics_rows
        return index

    def add(self, index: IntArray, values: Array, result: StepResult) -> None:
        """Take in one micro-batch: the series' indices, each once, their values (B, K), and what the bank said."""
        row = self._events[index]
        self._add_statistics(index, row, values)
        self._events[index] += 1
        counted = result.settled & (row >= self._warmup[index])[:, None, None]
        if not counted.any():
            return
        self._n[index] += counted
        self._covered[index] += counted & result.covered
        error = np.where(counted, result.error, 0.0)
        self._squared[index] += error * error
        self._absolute[index] += np.abs(error)
        error = np.where(counted[..., None], result.expert_errors, 0.0)
        self._expert_squared[index] += error * error
        self._expert_absolute[index] += np.abs(error)

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
        n, deviation = int(self._n[at]), self._deviation(index, target)

        def errors(squared: float, absolute: float) -> dict[str, float | None]:
            if n == 0 or deviation == 0.0:
                return {"mse": None, "mae": None}
            return {"mse": float(squared) / n / deviation**2, "mae": float(absolute) / n / deviation}

        experts = {
            name: errors(self._expert_squared[(*at, expert)], self._expert_absolute[(*at, expert)])
            for expert, name in enumerate(self._specification.experts)
        }
        coverage = int(self._covered[at]) / n if n else None
        return {
            "n": n,
            **errors(self._squared[at], self._absolute[at]),
            "coverage": coverage,
            "experts": experts,
        }

    def _deviation(self, index: int, target: int) -> float:
        rows = min(int(self._statistics_rows[index]), int(self._events[index]))
        return float(np.sqrt(self._squares[index, target] / rows)) if rows else 1.0

    def _add_statistics(self, index: IntArray, row: IntArray, values: Array) -> None:
        first = row < self._statistics_rows[index]
        if not first.any():
            return
        index, values, count = index[first], values[first], row[first, None] + 1
        # Welford (1962): the sum of squares about a running mean loses no digits.
        difference = values - self._mean[index]
        self._mean[index] += difference / count
        self._squares[index] += difference * (values - self._mean[index])

    def _grow(self, capacity: int) -> None:
        for name, array in vars(self).items():
            if isinstance(array, np.ndarray):
                grown = np.zeros((capacity, *array.shape[1:]), array.dtype)
                grown[: len(array)] = array
                setattr(self, name, grown)


def grid(summary: dict[str, Any], *, standardised: bool) -> Grid:
    """Return the table for the terminal: each series' error beside those of its experts, and their mean."""
    rows = [
        (name, horizon, one)
        for name, series in summary["series"].items()
        for horizon, one in series["horizons"].items()
    ]
    experts = list(rows[0][2]["experts"]) if rows else []
    horizons = list(dict.fromkeys(horizon for _, horizon, _ in rows))
    unit = "standardised" if standardised else "raw units"
    table = Grid(title=f"Mean squared error ({unit})", title_justify="left", show_footer=False)
    table.add_column("series", overflow="fold")
    for name in (
        "horizon",
        "scored",
        "Onward",
        *(expert.replace("_", " ") for expert in experts),
        "skill",
        "coverage",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for name, horizon, one in rows[:GRID_ROWS_MAX]:
        table.add_row(name, horizon, str(one["n"]), *_cells(one, experts))
    if len(rows) > GRID_ROWS_MAX:
        table.add_row(f"... {len(rows) - GRID_ROWS_MAX} more, see --summary")
    if len(summary["series"]) > 1:
        table.add_section()
        for horizon in horizons:
            scored = [one for _, other, one in rows if other == horizon and one["mse"] is not None]
            if scored:
                table.add_row(
                    "mean", horizon, str(sum(one["n"] for one in scored)), *_cells(_mean(scored), experts)
                )
    return table


def _mean(scored: list[dict[str, Any]]) -> dict[str, Any]:
    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    return {
        "mse": mean([one["mse"] for one in scored]),
        "coverage": mean([one["coverage"] for one in scored]),
        "experts": {
            expert: {"mse": mean([one["experts"][expert]["mse"] for one in scored])}
            for expert in scored[0]["experts"]
        },
    }


def _cells(one: dict[str, Any], experts: list[str]) -> list[str]:
    errors = [one["mse"], *(one["experts"][expert]["mse"] for expert in experts)]
    baseline = one["experts"].get(BASELINE, {}).get("mse")
    # Where the last value is never wrong there is nothing to be better at.
    skill = f"{1.0 - one['mse'] / baseline:+.1%}" if baseline and one["mse"] is not None else "-"
    coverage = "-" if one["coverage"] is None else f"{one['coverage']:.1%}"
    return [*("-" if error is None else f"{error:.4g}" for error in errors), skill, coverage]
