"""Write predictions as a table: one row per prediction, as it was made, with the target that came later."""

from __future__ import annotations

import csv
import math
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, TextIO

HEADER = ("series", "time", "target_time", "horizon", "target", "prediction")
"""What a row begins with; the quantiles follow, by the names of their shares, and then the anomaly scores."""


class Made(NamedTuple):
    """What was predicted at one row of a series, one entry per horizon."""

    time: str
    value: float
    """NaN where it was missing; it is written as nothing, and so is a prediction that there is none of yet."""
    predictions: Sequence[float]
    quantiles: Sequence[Sequence[float]]
    anomaly_score: float
    anomaly_log_score: float


class PredictionsFile:
    """Writes rows in the order in which they were made, series by series.

    A row waits until the target of the farthest horizon has come, so at most that many rows of a series are held
    back. Nothing of a prediction is changed while it waits: targets are taken from the rows that came after it.
    """

    def __init__(self, stream: TextIO, horizons: Sequence[int], quantiles: Sequence[str]) -> None:
        self._horizons = tuple(horizons)
        self._waiting: dict[str, deque[Made]] = {}
        self._writer = csv.writer(stream, lineterminator="\n")
        self._writer.writerow(
            (*HEADER, *(f"q{name}" for name in quantiles), "anomaly_score", "anomaly_log_score")
        )

    def add(self, series: str, made: Made) -> None:
        """Take in what was predicted at a series' next row; write what need not wait any longer."""
        waiting = self._waiting.setdefault(series, deque())
        waiting.append(made)
        if len(waiting) > self._horizons[-1]:
            self._write(series, waiting)

    def finish(self, series: Sequence[str] | None = None) -> None:
        """Write what still waits, of some series or of all; a target that never came stays empty."""
        for name in list(self._waiting) if series is None else series:
            waiting = self._waiting.pop(name, deque())
            while waiting:
                self._write(name, waiting)

    def _write(self, series: str, waiting: deque[Made]) -> None:
        made = waiting[0]
        rows = []
        for at, horizon in enumerate(self._horizons):
            target = waiting[horizon] if horizon < len(waiting) else None
            rows.append(
                (
                    series,
                    made.time,
                    "" if target is None else target.time,
                    horizon,
                    "" if target is None else _cell(target.value),
                    _cell(made.predictions[at]),
                    *map(_cell, made.quantiles[at]),
                    made.anomaly_score,
                    made.anomaly_log_score,
                )
            )
        self._writer.writerows(rows)
        waiting.popleft()


def _cell(value: float) -> float | str:
    return "" if math.isnan(value) else value
