"""EDDM, the early drift detection method: signals when errors follow one another more closely than they once did.

    p_k, s_k: mean and deviation of the distances between errors, over the k so far      (1)
    q_k = p_k + 2 s_k, q_max: the highest q so far                                       (2)
    warns where q_k / q_max < alpha                                                      (3)
    signals where q_k / q_max < beta                                                     (4), then start anew

Asked at errors alone, after `errors_min` of them; between them what was found holds on.

Source: Baena-Garcia et al. (2006), "Early drift detection method". Cost O(1).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from models.drift.values import ERROR_OVER, errors, put, taken
from models.protocols import Array, BoolArray, Fields, State

ALPHA: Final = 0.75
BETA: Final = 0.65
ERRORS_MIN: Final = 100
"""Published are .95, .9 and 30, within which q stays no thousand events: its maximum is taken early, when few distances are
known."""


class Eddm:
    """Watches the distances between errors; see `models.drift.values` for what is one."""

    def __init__(
        self,
        *,
        alpha: float = ALPHA,
        beta: float = BETA,
        errors_min: int = ERRORS_MIN,
        over: float = ERROR_OVER,
    ) -> None:
        """Take the levels of warning and signal, after how many events and errors it may signal, and what an error is."""
        self.beta, self.errors_min, self.over = beta, errors_min, over
        self.warning = (1.0 - alpha) / (1.0 - beta)

    def init_state(self) -> Fields:
        """Return a new detector."""
        count, zero = np.zeros((), dtype=np.int64), np.zeros(())
        return {
            "seen": count,
            "errors": count,
            "last": count,
            "mean": zero,
            "square": zero,
            "highest": zero,
            "level": np.ones(()),
        }

    def update(self, state: State, value: Array, valid: BoolArray) -> BoolArray:
        """Take one value a row where valid, in place; return where a change is signalled, (B,)."""
        error = valid & (errors(taken(value, valid, "EDDM"), self.over) > 0.0)
        seen = state["seen"] + valid
        count = state["errors"] + error
        distance = (seen - state["last"]).astype(np.float64)
        mean = state["mean"] + (1.0 / np.maximum(count, 1)) * (distance - state["mean"])
        square = state["square"] + (distance - state["mean"]) * (distance - mean)
        spread = np.sqrt(square / np.maximum(count - 1, 1))
        reach = np.where(count > 1, mean + 2.0 * spread, mean)  # Eq. (2)
        known = error & (seen > self.errors_min)
        higher = known & (reach > state["highest"])
        highest = np.where(higher, reach, state["highest"])
        asked = known & (count > self.errors_min)
        level = np.where(asked, reach / np.where(highest > 0.0, highest, 1.0), state["level"])
        signal: BoolArray = asked & (level < self.beta)  # Eq. (4)
        after = {
            "seen": seen,
            "errors": count,
            "last": np.where(error, seen, state["last"]),
            "mean": np.where(error, mean, state["mean"]),
            "square": np.where(error, square, state["square"]),
            "highest": highest,
            "level": level,
        }
        put(state, after, self.init_state(), valid=valid, anew=signal)
        return signal

    def statistic(self, state: State) -> Array:
        """Return (1 - q / q_max) / (1 - beta), (B,)."""
        return (1.0 - state["level"]) / (1.0 - self.beta)
