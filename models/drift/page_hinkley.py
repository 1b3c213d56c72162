"""Page-Hinkley: signals when a stream's mean has risen.

    mean_t: the running mean of x                    (1)
    m_t = m_{t-1} + x_t - mean_t - delta             (2)
    signal where m_t - min_s m_s > threshold         (3), then start anew

Source: Page (1954), Hinkley (1971).
"""

from __future__ import annotations

import numpy as np

from models.protocols import Array, BoolArray, Fields, State

DELTA = 0.1
"""Rises smaller than this part of the mean are tolerated (the values have mean one)."""

THRESHOLD = 30.0
"""In means: a doubling of the error is signalled after some 33 events."""

EVENTS_MIN = 100
"""The mean must be known before a change of it can be."""


class PageHinkley:
    """One-sided: only a rise of the error is of interest."""

    def init_state(self) -> Fields:
        """Return a new detector."""
        zero = np.zeros(())
        return {"seen": np.zeros((), dtype=np.int64), "mean": zero, "sum": zero, "least": zero}

    def update(self, state: State, value: Array, valid: BoolArray) -> BoolArray:
        """Take one value a row where valid, in place; return where a change is signalled, (B,).

        Raises:
            ValueError: a valid value is not finite; the state is as before.
        """
        if not np.isfinite(value[valid]).all():
            raise ValueError("Page-Hinkley takes finite values only")
        clean = np.where(valid, value, 0.0)
        seen = state["seen"] + valid
        mean = state["mean"] + (clean - state["mean"]) / np.maximum(seen, 1)
        total = state["sum"] + clean - mean - DELTA
        least = np.minimum(state["least"], total)
        signal: BoolArray = valid & (total - least > THRESHOLD) & (seen >= EVENTS_MIN)
        keep = valid & ~signal
        state["seen"] = np.where(signal, 0, seen)
        for name, new in (("mean", mean), ("sum", total), ("least", least)):
            state[name] = np.where(keep, new, np.where(signal, 0.0, state[name]))
        return signal

    def statistic(self, state: State) -> Array:
        """Return (m - min m) / threshold, (B,)."""
        return (state["sum"] - state["least"]) / THRESHOLD
