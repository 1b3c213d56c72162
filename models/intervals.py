"""The prediction interval: the forecast plus and minus an online quantile of the scaled residual.

    r_t: running mean of min(|e|, 20 r_{t-1})                (1)
    q <- q + eta q (1[|e| > q r] - (1 - level))              (2)

Eq. (2) follows the level-quantile of |e| / r (Gibbs & Candes 2021, adaptive conformal inference, in
the quantile's own scale), so the interval covers `level` of the labels whatever their distribution.
"""

from __future__ import annotations

import numpy as np

from models.protocols import Array, BoolArray, Fields, State

SPAN_EVENTS = 200.0
"""Of the mean absolute residual: a few days of hours, so that calm and wild spells differ."""

WINSOR = 20.0
"""A residual counts as at most this many mean ones: one wild value must not widen the interval for
thousands of rows, and a change of the variance by a factor e is still followed within ten or so."""

STEP = 0.03
"""Of the quantile: back from a change by a factor e within some hundred events."""


class Interval:
    """Half-widths of the interval, one a horizon."""

    def __init__(self, horizons: tuple[int, ...], level: float) -> None:
        """Make one for these horizons, in rows, and this nominal coverage."""
        self.horizons = np.array(horizons, dtype=np.float64)
        self.n_horizons, self.level = len(horizons), level

    def init_state(self) -> Fields:
        """Return a new interval.

        For an exponential distribution q = -ln(1 - level). Until there is a residual, what is known is the
        scale of one step, and a random walk's spread grows with the root of the horizon.
        """
        return {
            "spread": np.sqrt(self.horizons),
            "quantile": np.full(self.n_horizons, -np.log(1.0 - self.level)),
            "seen": np.zeros(self.n_horizons, dtype=np.int64),
        }

    def half_width(self, state: State) -> Array:
        """Return the half-width in scales, (B, H)."""
        return state["quantile"] * state["spread"]

    def learn(self, state: State, residual: Array, outside: BoolArray, valid: BoolArray) -> None:
        """Take the residuals of the forecasts that are due, (B, H); `outside` says where y was."""
        size, bound = np.abs(residual), WINSOR * state["spread"]
        size = np.where(bound > 0.0, np.minimum(size, bound), size)
        seen = state["seen"] + valid
        rate = np.maximum(1.0 / SPAN_EVENTS, 1.0 / np.maximum(seen, 1))
        spread = state["spread"] + rate * (size - state["spread"])
        step = STEP * (outside - (1.0 - self.level))
        quantile = np.clip(state["quantile"] * (1.0 + step), 1e-3, 1e3)
        state["spread"] = np.where(valid, spread, state["spread"])
        state["quantile"] = np.where(valid, quantile, state["quantile"])
        state["seen"] = seen
