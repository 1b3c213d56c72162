"""CUSUM: signals when a stream stays above the mean that it is known to have.

    S_t = max(0, S_{t-1} + x_t - mean - delta)       (1)
    signal where S_t > threshold                     (2), then start anew

Page-Hinkley estimates the mean from the stream; here it is given. Values in units of their usual size have mean one by
construction, so nothing need be learned first: it may signal from the first event on. What it cannot know is a stream whose
mean is another, and where that is above mean + delta it signals again and again.

Source: Page (1954), "Continuous inspection schemes". Cost O(1).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from models.drift.values import put, taken
from models.protocols import Array, BoolArray, Fields, State

MEAN: Final = 1.0
"""Of the values while nothing changes."""

DELTA: Final = 0.25
"""Rises smaller than this are tolerated: half of the rise of .5 that it is to find soonest (Page's rule)."""

THRESHOLD: Final = 25.0
"""In means: a doubling of the error is signalled after some 33 events."""


class Cusum:
    """One-sided: only a rise of the error is of interest."""

    warning: Final = np.inf

    def __init__(self, *, mean: float = MEAN, delta: float = DELTA, threshold: float = THRESHOLD) -> None:
        """Take the mean, the tolerance and the threshold in units of the values."""
        self.mean, self.delta, self.threshold = mean, delta, threshold

    def init_state(self) -> Fields:
        """Return a sum of nothing."""
        return {"sum": np.zeros(())}

    def update(self, state: State, value: Array, valid: BoolArray) -> BoolArray:
        """Take one value a row where valid, in place; return where a change is signalled, (B,)."""
        clean = taken(value, valid, "CUSUM")
        grown = np.maximum(0.0, state["sum"] + clean - self.mean - self.delta)  # Eq. (1)
        signal: BoolArray = valid & (grown > self.threshold)  # Eq. (2)
        put(state, {"sum": grown}, self.init_state(), valid=valid, anew=signal)
        return signal

    def statistic(self, state: State) -> Array:
        """Return S / threshold, (B,)."""
        return state["sum"] / self.threshold
