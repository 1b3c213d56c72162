"""ADWIN, adaptive windowing: signals when two parts of a window that grows have means that differ.

The window is kept as buckets, an exponential histogram: up to M of each size 1, 2, 4 .. 2^(L-1), with the sum and the sum of
squared deviations of what is in each. A bucket too many of one size, and the two oldest become one of the next. For each place
between two buckets, with n_0 older and n_1 newer values of mean u_0 and u_1, and v the variance of the whole window,

    d = ln(2 ln(n_0 + n_1) / delta)                                              (1)
    r = 1 / (n_0 - n_min + 1) + 1 / (n_1 - n_min + 1), n_0 and n_1 >= n_min      (2)
    e = sqrt(2 r v d) + 2/3 r d                                                  (3)
    signals where |u_0 - u_1| > e at any place                                   (4), then start anew

asked every `clock` events. What is a change is so at any place in the past, and no window length need be chosen. With `rising`
it signals one alone after which the mean is higher; after another it starts anew without a signal. The paper goes on with the
newer part; here, as every detector, it starts anew: one signal a change.

Full of buckets, at M (2^L - 1) values, it forgets the oldest. Source: Bifet & Gavalda (2007), "Learning from time-changing data
with adaptive windowing". Time O(1) an event but for every `clock`th, O(M L); memory O(M L), L = log2 of the longest window.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from models.drift.values import taken
from models.protocols import Array, BoolArray, Fields, IntArray, State

DELTA: Final = 0.002
CLOCK: Final = 32
BUCKETS: Final = 5
PART_MIN: Final = 5
EVENTS_MIN: Final = 10
"""As published, with n_min of the reference implementation: the smallest part that is looked at."""

LEVELS: Final = 16
"""Sizes of buckets: with five of each a window of 327,675 values."""


class Adwin:
    """Watches the mean over a window of any length."""

    warning: Final = np.inf

    def __init__(
        self, *, delta: float = DELTA, clock: int = CLOCK, levels: int = LEVELS, rising: bool = True
    ) -> None:
        """Take delta, how often to ask, L, and whether only a rise is signalled."""
        self.delta, self.clock, self.levels, self.rising = delta, clock, levels, rising
        self.sizes: Array = np.exp2(np.arange(levels, dtype=np.float64))

    def init_state(self) -> Fields:
        """Return an empty window."""
        zero, buckets = np.zeros(()), np.zeros((self.levels, BUCKETS + 1))
        return {
            "seen": np.zeros((), dtype=np.int64),
            "width": zero,
            "total": zero,
            "square": zero,
            "counts": np.zeros(self.levels, dtype=np.int64),
            "totals": buckets,
            "squares": buckets,
            "statistic": zero,
        }

    def update(self, state: State, value: Array, valid: BoolArray) -> BoolArray:
        """Take one value a row where valid, in place; return where a change is signalled, (B,)."""
        clean = taken(value, valid, "ADWIN")
        before = state["width"]
        off = clean - state["total"] / np.maximum(before, 1.0)
        width = before + valid
        grown = np.where(before > 0.0, before * off * off / np.maximum(width, 1.0), 0.0)
        state["seen"] = state["seen"] + valid
        state["width"] = width
        state["total"] = np.where(valid, state["total"] + clean, state["total"])
        state["square"] = np.where(valid, state["square"] + grown, state["square"])
        self._insert(state, np.flatnonzero(valid), clean)
        signal = np.zeros(len(value), dtype=np.bool_)
        asked = np.flatnonzero(valid & (state["seen"] % self.clock == 0) & (state["width"] > EVENTS_MIN))
        if len(asked) > 0:
            either, rise = self._compare(state, asked)
            state["statistic"] = state["statistic"].copy()  # what `statistic` returned before stays as it was
            state["statistic"][asked] = rise if self.rising else either
            changed = asked[either > 1.0]
            signal[asked[(rise if self.rising else either) > 1.0]] = True
            for name, new in self.init_state().items():
                state[name][changed] = new
        return signal

    def statistic(self, state: State) -> Array:
        """Return the greatest difference of means in units of (3), as last asked, (B,)."""
        return state["statistic"]

    def _insert(self, state: State, rows: IntArray, value: Array) -> None:
        """Put each row's value into a bucket of its own, and make the two oldest of a size one where they are too many."""
        counts, totals, squares = state["counts"], state["totals"], state["squares"]
        totals[rows, 0, counts[rows, 0]] = value[rows]
        counts[rows, 0] += 1
        for level in range(self.levels):
            rows = rows[counts[rows, level] > BUCKETS]
            if len(rows) == 0:
                return
            size = self.sizes[level]
            total, square = totals[rows, level], squares[rows, level]
            if level + 1 < self.levels:
                place = counts[rows, level + 1]
                off = total[:, 0] / size - total[:, 1] / size
                totals[rows, level + 1, place] = total[:, 0] + total[:, 1]
                squares[rows, level + 1, place] = square[:, 0] + square[:, 1] + size * 0.5 * off * off
                counts[rows, level + 1] += 1
                gone = 2
            else:
                self._forget(state, rows, total[:, 0], square[:, 0], size)
                gone = 1
            for kept, all_of in ((totals, total), (squares, square)):
                kept[rows, level, : BUCKETS + 1 - gone] = all_of[:, gone:]
                kept[rows, level, BUCKETS + 1 - gone :] = 0.0
            counts[rows, level] -= gone

    def _forget(self, state: State, rows: IntArray, total: Array, square: Array, size: float) -> None:
        """Take the oldest bucket out of the window's sums."""
        width = state["width"][rows] - size
        rest = state["total"][rows] - total
        off = total / size - rest / width
        state["square"][rows] -= square + size * width * off * off / (size + width)
        state["width"][rows], state["total"][rows] = width, rest

    def _compare(self, state: State, rows: IntArray) -> tuple[Array, Array]:
        """Return the greatest |u_1 - u_0| / e and the greatest (u_1 - u_0) / e, at least 0, (R,) each."""
        width, whole = state["width"][rows][:, None], state["total"][rows][:, None]
        # From the oldest to the newest: the largest buckets first, and of one size in their order.
        there = np.arange(BUCKETS + 1) < state["counts"][rows][:, ::-1, None]
        count = np.where(there, self.sizes[::-1, None], 0.0).reshape(len(rows), -1)
        total = state["totals"][rows][:, ::-1].reshape(len(rows), -1)
        older = np.cumsum(count, axis=1)
        newer = width - older
        first = np.cumsum(total, axis=1)
        last = np.cumsum(np.concatenate((whole, -total), axis=1), axis=1)[:, 1:]
        possible = there.reshape(len(rows), -1) & (older >= PART_MIN) & (newer >= PART_MIN)
        gap = last / np.where(possible, newer, 1.0) - first / np.where(possible, older, 1.0)
        log = np.log(2.0 * np.log(width) / self.delta)  # Eq. (1)
        part = np.where(possible, newer, PART_MIN) - PART_MIN + 1.0
        inverse = 1.0 / (np.where(possible, older, PART_MIN) - PART_MIN + 1.0) + 1.0 / part  # Eq. (2)
        variance = np.maximum(state["square"][rows][:, None], 0.0) / width
        allowed = np.sqrt(2.0 * inverse * variance * log) + 2.0 / 3.0 * log * inverse  # Eq. (3)
        ratio = np.where(possible, gap / allowed, 0.0)
        return np.abs(ratio).max(axis=1), np.maximum(ratio, 0.0).max(axis=1)
