"""HDDM-W: as HDDM-A, with means that forget: an abrupt change is seen sooner.

    z: mean of values in [0, 1] by weights that fall by 1 - rate, b: the sum of their squares    (1)
    bound(b, delta) = sqrt(b ln(1 / delta) / 2)                                                   (2)
    cut: the last time at which z + bound(b) was least; z_1, b_1 as they were there,
    z_2, b_2 of what came since                                                                  (3)
    signals where z_2 - z_1 > bound(b_1 + b_2)                                                   (4), then start anew

Warns by (4) with a greater delta. (2) is McDiarmid's bound.

Source: Frias-Blanco et al. (2015), "Online and non-parametric drift detection methods based on Hoeffding's bounds", the
test of weighted moving averages. Cost O(1).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from models.drift.values import ERROR_OVER, errors, put, taken
from models.protocols import Array, BoolArray, Fields, State

CONFIDENCE: Final = 0.001
WARNING_CONFIDENCE: Final = 0.005
RATE: Final = 0.05
"""As published."""

BOUND_MAX: Final = 1e6
"""No z + bound comes near it, so the first is the least."""


class HddmW:
    """Watches a share of errors, one-sided; see `models.drift.values` for what is one."""

    def __init__(
        self,
        *,
        confidence: float = CONFIDENCE,
        warning_confidence: float = WARNING_CONFIDENCE,
        rate: float = RATE,
        over: float = ERROR_OVER,
    ) -> None:
        """Take delta of the signal and of the warning, the weight of the newest value, and what an error is."""
        self.confidence, self.rate, self.over = confidence, rate, over
        self.warning = math.sqrt(math.log(1.0 / warning_confidence) / math.log(1.0 / confidence))

    def init_state(self) -> Fields:
        """Return a new detector: no mean yet, and of a mean of nothing b is 1."""
        count, zero, one = np.zeros((), dtype=np.int64), np.zeros(()), np.ones(())
        return {
            "seen": count,
            "mean": zero,
            "weight": one,
            "cut_bound": np.full((), BOUND_MAX),
            "cut_mean": zero,
            "cut_weight": one,
            "since": count,
            "since_mean": zero,
            "since_weight": one,
        }

    def update(self, state: State, value: Array, valid: BoolArray) -> BoolArray:
        """Take one value a row where valid, in place; return where a change is signalled, (B,)."""
        error = errors(taken(value, valid, "HDDM-W"), self.over)
        mean, weight = self._moved(state["seen"], state["mean"], state["weight"], error)
        bound = mean + np.sqrt(weight * math.log(1.0 / self.confidence) / 2)
        lower = bound < state["cut_bound"]  # Eq. (3)
        since_mean, since_weight = self._moved(
            state["since"], state["since_mean"], state["since_weight"], error
        )
        after = {
            "seen": state["seen"] + 1,
            "mean": mean,
            "weight": weight,
            "cut_bound": np.where(lower, bound, state["cut_bound"]),
            "cut_mean": np.where(lower, mean, state["cut_mean"]),
            "cut_weight": np.where(lower, weight, state["cut_weight"]),
            "since": np.where(lower, 0, state["since"] + 1),
            "since_mean": np.where(lower, 0.0, since_mean),
            "since_weight": np.where(lower, 1.0, since_weight),
        }
        gap, allowed = self._gap(after)
        signal: BoolArray = valid & (after["since"] > 0) & (gap > allowed)  # Eq. (4)
        put(state, after, self.init_state(), valid=valid, anew=signal)
        return signal

    def statistic(self, state: State) -> Array:
        """Return z_2 - z_1 in units of what (4) allows, at least 0, (B,)."""
        gap, allowed = self._gap(state)
        return np.where(state["since"] > 0, np.maximum(gap, 0.0) / allowed, 0.0)

    def _moved(self, seen: Array, mean: Array, weight: Array, error: Array) -> tuple[Array, Array]:
        new = np.where(seen == 0, error, self.rate * error + (1.0 - self.rate) * mean)
        return new, self.rate * self.rate + (1.0 - self.rate) ** 2 * weight

    def _gap(self, state: State) -> tuple[Array, Array]:
        weight = state["cut_weight"] + state["since_weight"]
        return (
            state["since_mean"] - state["cut_mean"],
            np.sqrt(weight * math.log(1.0 / self.confidence) / 2),
        )
