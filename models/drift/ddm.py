"""DDM, the drift detection method: signals when the share of errors has left its lowest value.

    p_t: the share of errors so far, s_t = sqrt(p_t (1 - p_t) / t)                (1)
    (p_min, s_min): those at which p + s was least, once there were errors        (2)
    warns where p_t + s_t > p_min + warning s_min                                 (3)
    signals where p_t + s_t > p_min + threshold s_min                             (4), then start anew

Eq. (2) waits for an error: with p = 0 the normal approximation that s stands for says that there will never be one, and the
first would be a signal.

Source: Gama, Medas, Castillo & Rodrigues (2004), "Learning with drift detection". Cost O(1).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from models.drift.values import ERROR_OVER, errors, put, taken
from models.protocols import Array, BoolArray, Fields, State

THRESHOLD: Final = 4.0
WARNING: Final = 3.0
EVENTS_MIN: Final = 200
"""Published are 3, 2 and 30, with which the least p + s is often that of the first few errors."""


class Ddm:
    """Watches a share of errors; see `models.drift.values` for what is one."""

    def __init__(
        self,
        *,
        threshold: float = THRESHOLD,
        warning: float = WARNING,
        events_min: int = EVENTS_MIN,
        over: float = ERROR_OVER,
    ) -> None:
        """Take the thresholds in units of s_min, after how many events it may signal, and what an error is."""
        self.threshold, self.events_min, self.over = threshold, events_min, over
        self.warning = warning / threshold

    def init_state(self) -> Fields:
        """Return a new detector. No p + s reaches 2, so the first is the least."""
        return {
            "seen": np.zeros((), dtype=np.int64),
            "share": np.zeros(()),
            "least_share": np.ones(()),
            "least_deviation": np.ones(()),
        }

    def update(self, state: State, value: Array, valid: BoolArray) -> BoolArray:
        """Take one value a row where valid, in place; return where a change is signalled, (B,)."""
        error = errors(taken(value, valid, "DDM"), self.over)
        seen = state["seen"] + valid
        share = state["share"] + (1.0 / np.maximum(seen, 1)) * (error - state["share"])
        deviation = _deviation(share, seen)  # Eq. (1)
        known = (seen > self.events_min) & (share > 0.0)
        lower = known & (share + deviation <= state["least_share"] + state["least_deviation"])
        least_share = np.where(lower, share, state["least_share"])  # Eq. (2)
        least_deviation = np.where(lower, deviation, state["least_deviation"])
        bound = least_share + self.threshold * least_deviation
        signal: BoolArray = valid & known & (share + deviation > bound)  # Eq. (4)
        after = {
            "seen": seen,
            "share": share,
            "least_share": least_share,
            "least_deviation": least_deviation,
        }
        put(state, after, self.init_state(), valid=valid, anew=signal)
        return signal

    def statistic(self, state: State) -> Array:
        """Return (p + s - p_min) / (threshold s_min), at least 0, (B,)."""
        above = state["share"] + _deviation(state["share"], state["seen"]) - state["least_share"]
        unit = self.threshold * state["least_deviation"]
        return np.where(unit > 0.0, np.maximum(above, 0.0) / np.where(unit > 0.0, unit, 1.0), 0.0)


def _deviation(share: Array, seen: Array) -> Array:
    return np.sqrt(share * (1.0 - share) / np.maximum(seen, 1))
