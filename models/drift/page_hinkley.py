"""Page-Hinkley: signals when a stream's mean has risen.

    mean_t: the running mean of x                    (1)
    m_t = m_{t-1} + x_t - mean_t - delta             (2)
    signal where m_t - min_s m_s > threshold         (3), then start anew

Source: Page (1954), Hinkley (1971). Cost O(1).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from models.drift.values import put, taken
from models.protocols import Array, BoolArray, Fields, State

DELTA = 0.1
"""Rises smaller than this part of the mean are tolerated (the values have mean one)."""

THRESHOLD = 30.0
"""In means: a doubling of the error is signalled after some 33 events."""

EVENTS_MIN = 100
"""The mean must be known before a change of it can be."""


class PageHinkley:
    """One-sided: only a rise of the error is of interest."""

    warning: Final = np.inf

    def __init__(
        self, *, delta: float = DELTA, threshold: float = THRESHOLD, events_min: int = EVENTS_MIN
    ) -> None:
        """Take the tolerance and the threshold in units of the values, and from which event on it may signal."""
        self.delta, self.threshold, self.events_min = delta, threshold, events_min

    def init_state(self) -> Fields:
        """Return a new detector."""
        zero = np.zeros(())
        return {"seen": np.zeros((), dtype=np.int64), "mean": zero, "sum": zero, "least": zero}

    def update(self, state: State, value: Array, valid: BoolArray) -> BoolArray:
        """Take one value a row where valid, in place; return where a change is signalled, (B,)."""
        clean = taken(value, valid, "Page-Hinkley")
        seen = state["seen"] + valid
        mean = state["mean"] + (clean - state["mean"]) / np.maximum(seen, 1)  # Eq. (1)
        total = state["sum"] + clean - mean - self.delta  # Eq. (2)
        least = np.minimum(state["least"], total)
        signal: BoolArray = valid & (total - least > self.threshold) & (seen >= self.events_min)  # Eq. (3)
        after = {"seen": seen, "mean": mean, "sum": total, "least": least}
        put(state, after, self.init_state(), valid=valid, anew=signal)
        return signal

    def statistic(self, state: State) -> Array:
        """Return (m - min m) / threshold, (B,)."""
        return (state["sum"] - state["least"]) / self.threshold
