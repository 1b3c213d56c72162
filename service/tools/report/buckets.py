"""Keep a table of any length in bounded memory: rows in buckets of equal width, which doubles when there are too many.

Bucket i holds the rows i w to (i + 1) w - 1, with w a power of two, 1 at first. Each column is one of four kinds, by
how the rows of a bucket become one figure:

    first: x_{iw}     low: min x_j     high: max x_j     total: sum_j x_j      over the bucket's rows j      (1)

All four can be taken of buckets as of rows, so two buckets become one without their rows. NaN is "nothing": low and
high pass over it. A row costs O(1) on average, as each halving is paid for by the rows since the one before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

KINDS: Final[dict[str, np.ufunc | None]] = {"first": None, "low": np.fmin, "high": np.fmax, "total": np.add}


class Buckets:
    """The buckets of one table with named columns."""

    def __init__(self, columns: Mapping[str, Sequence[str]]) -> None:
        """Make an empty one; `columns` names those of each kind, (1)."""
        self.width = 1
        self.rows = 0
        self._spans: list[tuple[np.ufunc | None, slice]] = []
        self._place: dict[str, int] = {}
        for kind, names in columns.items():
            start = len(self._place)
            self._place.update({name: start + at for at, name in enumerate(names)})
            self._spans.append((KINDS[kind], slice(start, start + len(names))))
        self.n_columns = len(self._place)
        self._held = np.empty((0, self.n_columns))
        self._n = 0

    def __len__(self) -> int:
        return self._n

    def add(self, columns: Mapping[str, Array], limit: int) -> None:
        """Take in some rows, a column of (n,) each, and hold at most `limit` >= 2 buckets afterwards."""
        n = len(next(iter(columns.values())))
        block = np.empty((n, self.n_columns))
        for name, place in self._place.items():
            block[:, place] = columns[name]
        offset = self.rows % self.width
        starts = np.arange((self.width - offset) % self.width, n, self.width)
        if offset and n:
            # The bucket that is not full yet stands before the rows, as one of them.
            self._n -= 1
            block = np.concatenate((self._held[self._n : self._n + 1], block))
            starts = np.concatenate(([0], starts + 1))
        self._append(self._reduce(block, starts.astype(np.int64)))
        self.rows += n
        self.shrink(limit)

    def shrink(self, limit: int) -> None:
        """Halve until there are at most `limit` >= 1 buckets."""
        while self._n > limit:
            halved = self._reduce(self._held[: self._n], np.arange(0, self._n, 2))
            self._held, self._n, self.width = halved, len(halved), 2 * self.width

    def column(self, name: str) -> Array:
        """Return a column, (buckets,)."""
        return self._held[: self._n, self._place[name]]

    def counts(self) -> Array:
        """Return how many rows each bucket holds; only the last may hold fewer than `width`."""
        return np.minimum(self.width, self.rows - self.width * np.arange(self._n)).astype(np.float64)

    def _reduce(self, rows: Array, starts: npt.NDArray[np.int64]) -> Array:
        out = np.empty((len(starts), self.n_columns))
        if not len(starts):
            return out
        for function, span in self._spans:
            if function is None:
                out[:, span] = rows[starts, span]
            else:
                out[:, span] = function.reduceat(rows[:, span], starts, axis=0)
        return out

    def _append(self, rows: Array) -> None:
        needed = self._n + len(rows)
        if needed > len(self._held):
            grown = np.empty((max(needed, 2 * len(self._held)), self.n_columns))
            grown[: self._n] = self._held[: self._n]
            self._held = grown
        self._held[self._n : needed] = rows
        self._n = needed
