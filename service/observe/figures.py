"""Running figures over many rows at once: histogram counts, exponentially weighted means, recent quantiles.

Each takes a whole micro-batch in a few numpy calls, for a worker learns thousands of events a second
and must not spend its time counting them. None of them keeps more than a fixed number of values.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

RECENT_ROWS = 1024
"""Rows that quantiles are taken over: enough for a p99 of ten values, and 8 KiB a figure."""


@final
class Buckets:
    """Counts of a classic histogram, observed a batch at a time.

    >>> buckets = Buckets((1.0, 10.0))
    >>> buckets.observe(np.array([0.5, 1.0, 2.0, 99.0]))
    >>> buckets.cumulative()
    [('1', 2), ('10', 3), ('+Inf', 4)]
    >>> buckets.total
    102.5
    """

    def __init__(self, bounds: Iterable[float]) -> None:
        self._bounds = np.array(tuple(bounds), dtype=np.float64)
        self._counts = np.zeros(len(self._bounds) + 1, dtype=np.int64)
        self.total = 0.0

    def observe(self, values: Array) -> None:
        """Count values that are finite; a value equal to a bound belongs below it (`le`)."""
        places = np.searchsorted(self._bounds, values, side="left")
        self._counts += np.bincount(places, minlength=len(self._counts))
        self.total += float(values.sum())

    def cumulative(self) -> list[tuple[str, int]]:
        """Return (upper bound, count of values up to it), the last of them +Inf."""
        names = [f"{bound:.6g}" for bound in self._bounds] + ["+Inf"]
        return list(zip(names, np.cumsum(self._counts).tolist(), strict=True))


@final
class MovingMean:
    """Exponentially weighted means over a span of rows, one for each column.

    After n rows with column means x, and with k = exp(-n / span):

        s <- k s + (1 - k) x,    w <- k w + (1 - k),    mean = s / w        (1)

    so that the mean is unbiased from the first row on, and a batch counts as many rows as it has.
    """

    def __init__(self, span: int, columns: int) -> None:
        self._span = span
        self._sums = np.zeros(columns)
        self._weight = 0.0

    def add(self, rows: Array) -> None:
        """Take in rows of shape (n, columns), all of them finite."""
        if not len(rows):
            return
        keep = math.exp(-len(rows) / self._span)
        self._sums = keep * self._sums + (1.0 - keep) * rows.mean(axis=0)  # Eq. (1)
        self._weight = keep * self._weight + (1.0 - keep)

    def means(self) -> Array:
        """Return the means, zeros before the first row."""
        return self._sums / self._weight if self._weight else self._sums.copy()


@final
class Recent:
    """The last `RECENT_ROWS` rows of some figures, of whichever series they were.

    >>> recent = Recent(2)
    >>> recent.add(np.array([[1.0, 0.5], [3.0, 0.5]]))
    >>> recent.quantile(0, 0.5), recent.quantile(0, 1.0), recent.mean(1)
    (2.0, 3.0, 0.5)
    """

    def __init__(self, columns: int) -> None:
        self._ring = np.zeros((RECENT_ROWS, columns))
        self._count = 0

    def add(self, rows: Array) -> None:
        """Take in rows, of a batch longer than the ring only its last."""
        kept = rows[-RECENT_ROWS:]
        places = (self._count + np.arange(len(kept))) % RECENT_ROWS
        self._ring[places] = kept
        self._count += len(kept)

    def _values(self, column: int) -> Array:
        return self._ring[: min(self._count, RECENT_ROWS), column]

    def quantile(self, column: int, q: float) -> float:
        """Return a quantile of a column, 0 before the first row."""
        return float(np.quantile(self._values(column), q)) if self._count else 0.0

    def mean(self, column: int) -> float:
        """Return the mean of a column, 0 before the first row."""
        return float(self._values(column).mean()) if self._count else 0.0


def closed(values: Iterable[str]) -> dict[tuple[str, ...], float]:
    """Return a count of 0 for each value of a label, so that a dashboard never finds nothing."""
    return {(value,): 0.0 for value in values}


def count_bits(values: npt.NDArray[np.int64], names: Sequence[str]) -> dict[str, int]:
    """Return in how many values the bit of each name is up; the first name's is 1.

    >>> count_bits(np.array([1, 3, 4]), ("one", "two", "four"))
    {'one': 2, 'two': 1, 'four': 1}
    """
    return {name: int(np.count_nonzero(values >> bit & 1)) for bit, name in enumerate(names)}


def add_counts(counts: dict[tuple[str, ...], float], more: Mapping[Any, int]) -> None:
    """Add counts by label value. An unknown value would open a closed set, so it is a KeyError."""
    for name, count in more.items():
        counts[(str(name),)] += count
