"""Online scaling: exponentially weighted, winsorised, and the same to the bit however rows are batched.

Targets are scaled by the root mean square of their one-step increments, features by their own mean and
deviation. Both statistics see winsorised values, so that one wild value cannot set the scale for long:

    d_t = clip(y_t - y_{t-1}, +-c s_{t-1})                     (1)
    v_t = v_{t-1} + a_t (d_t^2 - v_{t-1}),  s_t = sqrt(v_t)    (2)
    a_t = max(a, 1 / (t + 1))                                  (3)
    m_t = m_{t-1} + a_t (y_t - m_{t-1}),  u_t = u_{t-1} + a_t (clip(y_t - m_t, +-c sqrt(u_{t-1}))^2 - u_{t-1})    (4)

The level is standardised by Eq. (4): many increments away from its mean it is still a number of order one. Eq. (3) is the plain mean until the span 1 / a is reached, so there is no start-up bias.
"""

from __future__ import annotations

import numpy as np

from models.protocols import Array, BoolArray, Fields, State

SPAN_EVENTS = 1000.0
"""Of the exponential windows: long against a day of half hours or minutes, short against a season."""

WINSOR_SCALES = 6.0
"""Values further out than this many scales are outliers (the second rung of the reaction ladder)."""

FEATURE_WINSOR_DEVIATIONS = 5.0
"""Features enter the models bounded by this many standard deviations."""

RANGE_MARGIN = 0.1
"""Forecasts may leave the range of values seen by this part of it: trends go on, explosions do not."""

TINY = 1e-150
"""Below this a scale counts as zero: its square would leave float64's normal range."""


def winsorise(scaled: Array) -> Array:
    """Bound scaled inputs: a model must not follow a value further than it knows its units."""
    return np.clip(scaled, -WINSOR_SCALES, WINSOR_SCALES)


class IncrementScale:
    """Running level, mean and scale of increments of a target."""

    def init_state(self) -> Fields:
        """Return the statistics of a new series."""
        names = ("level", "mean", "variance", "spread", "lowest", "highest")
        return {"seen": np.zeros((), dtype=np.int64)} | {name: np.zeros(()) for name in names}

    def update(self, state: State, level: Array, observed: BoolArray) -> tuple[Array, Array, Array]:
        """Take one value a row, in place.

        Args:
            state: as `init_state`, batched.
            level: the values, or what stands in for one that is missing, (B,), finite.
            observed: which are values, (B,); of the others only the level is kept, the statistics stay as they are.

        Returns:
            scale (B,), positive, 1 while there is none; increment in scales, (B,), and deviation from the running mean in
            deviations of the level, (B,), both winsorised. Cost O(B).
        """
        seen = state["seen"]
        first = seen == 0
        rate = np.maximum(1.0 / SPAN_EVENTS, 1.0 / (np.maximum(seen, 1)))  # Eq. (3), by increments
        increment = np.where(first, 0.0, level - state["level"])
        before = state["variance"]
        bound = WINSOR_SCALES * np.sqrt(before)
        # While there is no scale yet nothing can be called an outlier.
        bounded = np.where(bound > 0.0, np.clip(increment, -bound, bound), increment)
        variance = np.where(first, 0.0, before + rate * (bounded * bounded - before))  # Eq. (2)
        variance = np.where(observed, variance, before)
        root = np.sqrt(variance)
        scale = np.where(root > TINY, root, 1.0)
        rate_mean = np.maximum(1.0 / SPAN_EVENTS, 1.0 / (seen + 1.0))
        mean = np.where(first, level, state["mean"] + rate_mean * (level - state["mean"]))
        mean = np.where(observed, mean, state["mean"])
        off, before = level - mean, state["spread"]
        bound = WINSOR_SCALES * np.sqrt(before)
        bounded = np.where(bound > 0.0, np.clip(off, -bound, bound), off)
        spread = np.where(observed, before + rate_mean * (bounded * bounded - before), before)  # Eq. (4)
        state["seen"] = seen + observed
        state["level"] = level.copy()
        state["mean"] = mean
        state["variance"] = variance
        state["spread"] = spread
        lowest = np.where(first, level, np.minimum(state["lowest"], level))
        highest = np.where(first, level, np.maximum(state["highest"], level))
        state["lowest"] = np.where(observed, lowest, state["lowest"])
        state["highest"] = np.where(observed, highest, state["highest"])
        return (
            scale,
            winsorise(increment / scale),
            self.deviation(state, level),
        )

    def deviation(self, state: State, level: Array) -> Array:
        """Return how far levels are from the running mean, in deviations of the level and winsorised, (B,)."""
        root = np.sqrt(state["spread"])
        return winsorise((level - state["mean"]) / np.where(root > TINY, root, 1.0))

    def known(self, state: State) -> BoolArray:
        """Say where there is a scale: the value has changed at least once, (B,)."""
        return np.sqrt(state["variance"]) > TINY

    def bounds(self, state: State) -> tuple[Array, Array]:
        """Return the lowest and the highest value that a learned forecast may have, (B,) both.

        A forecast far outside all that was ever seen is a fault of the learner, not a finding.
        """
        margin = RANGE_MARGIN * (state["highest"] - state["lowest"])
        return state["lowest"] - margin, state["highest"] + margin


class FeatureScale:
    """Running mean and deviation of exogenous features."""

    def __init__(self, n_features: int) -> None:
        """Make a scaler for this many features."""
        self.n_features = n_features

    def init_state(self) -> Fields:
        """Return the statistics of a new series."""
        zeros = np.zeros(self.n_features)
        return {"seen": np.zeros(self.n_features, dtype=np.int64), "mean": zeros, "variance": zeros}

    def update(self, state: State, features: Array) -> Array:
        """Take one vector a row, in place; return it standardised and winsorised, (B, F).

        A feature that is missing, NaN, counts as its running mean, 0 when standardised, and changes no statistic.
        """
        there = ~np.isnan(features)
        rate = np.maximum(1.0 / SPAN_EVENTS, 1.0 / (state["seen"] + 1.0))
        deviation = np.where(there, features - state["mean"], 0.0)
        bound = FEATURE_WINSOR_DEVIATIONS * np.sqrt(state["variance"])
        bounded = np.where(bound > 0.0, np.clip(deviation, -bound, bound), deviation)
        state["mean"] = state["mean"] + rate * bounded
        variance = (1.0 - rate) * (state["variance"] + rate * bounded * bounded)
        state["variance"] = np.where(there, variance, state["variance"])
        state["seen"] = state["seen"] + there
        root = np.sqrt(state["variance"])
        scaled = np.where(there, features - state["mean"], 0.0) / np.where(root > TINY, root, 1.0)
        return np.clip(scaled, -FEATURE_WINSOR_DEVIATIONS, FEATURE_WINSOR_DEVIATIONS)
