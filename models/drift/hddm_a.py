"""HDDM-A: signals when the mean of all is above the lowest mean that was, by more than Hoeffding's bound allows.

    z_n: the mean of n values in [0, 1], e_n = sqrt(ln(1 / delta) / (2 n))                  (1)
    cut: the last m at which z_m + e_m was no more than at the cut before                   (2)
    signals where z_n - z_m >= sqrt((1 / m - 1 / n) ln(2 / delta) / 2)                      (3), then start anew

Warns by (3) with a greater delta. No distribution is assumed, but values in [0, 1] that are independent.

Source: Frias-Blanco et al. (2015), "Online and non-parametric drift detection methods based on Hoeffding's bounds", the
test of moving averages. Cost O(1).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from models.drift.values import ERROR_OVER, errors, put, taken
from models.protocols import Array, BoolArray, Fields, State

CONFIDENCE: Final = 0.001
WARNING_CONFIDENCE: Final = 0.005
"""As published."""


class HddmA:
    """Watches a share of errors, one-sided; see `models.drift.values` for what is one."""

    def __init__(
        self,
        *,
        confidence: float = CONFIDENCE,
        warning_confidence: float = WARNING_CONFIDENCE,
        over: float = ERROR_OVER,
    ) -> None:
        """Take delta of the signal and of the warning, and what an error is."""
        self.confidence, self.over = confidence, over
        self.warning = math.sqrt(math.log(2.0 / warning_confidence) / math.log(2.0 / confidence))

    def init_state(self) -> Fields:
        """Return a new detector."""
        count, zero = np.zeros((), dtype=np.int64), np.zeros(())
        return {"seen": count, "mean": zero, "cut": count, "cut_mean": zero}

    def update(self, state: State, value: Array, valid: BoolArray) -> BoolArray:
        """Take one value a row where valid, in place; return where a change is signalled, (B,)."""
        error = errors(taken(value, valid, "HDDM-A"), self.over)
        seen = state["seen"] + valid
        mean = state["mean"] + (1.0 / np.maximum(seen, 1)) * (error - state["mean"])
        first = state["cut"] == 0
        cut, cut_mean = np.where(first, seen, state["cut"]), np.where(first, mean, state["cut_mean"])
        lower = cut_mean + self._bound(cut) >= mean + self._bound(seen)  # Eq. (2)
        cut, cut_mean = np.where(lower, seen, cut), np.where(lower, mean, cut_mean)
        signal: BoolArray = valid & (cut < seen) & (mean - cut_mean >= self._gap(seen, cut))  # Eq. (3)
        after = {"seen": seen, "mean": mean, "cut": cut, "cut_mean": cut_mean}
        put(state, after, self.init_state(), valid=valid, anew=signal)
        return signal

    def statistic(self, state: State) -> Array:
        """Return z_n - z_m in units of what (3) allows, at least 0, (B,)."""
        gap = self._gap(state["seen"], state["cut"])
        above = np.maximum(state["mean"] - state["cut_mean"], 0.0)
        return np.where(gap > 0.0, above / np.where(gap > 0.0, gap, 1.0), 0.0)

    def _bound(self, count: Array) -> Array:
        return np.sqrt(1.0 / (2 * np.maximum(count, 1)) * math.log(1.0 / self.confidence))

    def _gap(self, seen: Array, cut: Array) -> Array:
        unlike = (seen - cut) / np.maximum(cut, 1) * (1.0 / np.maximum(seen, 1))
        return np.sqrt(unlike / 2 * math.log(2.0 / self.confidence))
