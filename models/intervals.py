"""Prediction intervals: online quantiles of the forecast's residual, each followed by itself.

For each nominal level two quantiles, of the shares tau = (1 - level) / 2 and 1 - tau of the residual e:

    u: running mean of min(|e|, 20 u), over 50 events                        (1)
    s_tau = eta (tau - 1[e < told_tau])                                      (2)
    s_{1-tau} = -eta (tau - 1[e > told_{1-tau}])                             (3)
    q <- q + s + s of the narrower levels on the same side                   (4)
    told: u times q, in ascending order, upon the forecast                   (5)

This is quantile tracking (Gibbs & Candes 2021, Angelopoulos, Candes & Tibshirani 2023) in units of a running size of the
residual. The steps of (2) add up to how far q has come from that of the next narrower level, so that over T labels the share
that was missed on a side is tau to within that way over eta T, whatever the residuals and their order are. By (4) a wide
interval, which is seldom missed and would learn slowly, goes along with the narrow one when the residuals change. Both sides
by themselves: an interval need not be symmetric, and where the forecast is not the median it may lie outside a narrow one.

What a label is compared with is what was told for it, h rows before, so this holds at every horizon. Cost: O(H L) numbers
and steps for H horizons and L levels.
"""

from __future__ import annotations

import numpy as np

from models.protocols import Array, BoolArray, Fields, State

SPREAD_SPAN_EVENTS = 200.0
"""Of the mean absolute residual that errors are called surprising by: slow, so that a change is seen against it."""

SIZE_SPAN_EVENTS = 50.0
"""Of the unit of the quantiles: calm and wild hours differ, and after a change of the variance it is soon the new one."""

WINSOR = 20.0
"""A residual counts as at most this many mean ones: one wild value must not widen the interval for
thousands of rows, and a change of the variance by a factor e is still followed within ten or so."""

STEP = 0.06
"""Of the quantiles, in units. Larger: sooner back after a change, and nearer the level; smaller: less pinball loss far ahead, by
up to a twentieth, but over two points off on many series of some thousand rows. `python -m benchmarks coverage` compares."""

QUANTILE_MAX = 1e3
"""In units. Nothing gets there but by errors without end."""


class Interval:
    """Quantiles of the residual, two a level, for each horizon."""

    def __init__(self, horizons: tuple[int, ...], levels: tuple[float, ...], *, step: float = STEP) -> None:
        """Make one for these horizons, in rows, and these nominal coverages, ascending."""
        self.horizons = np.array(horizons, dtype=np.float64)
        self.n_horizons, self.n_levels, self.step = len(horizons), len(levels), step
        of_level = (1.0 - np.array(levels, dtype=np.float64)) / 2.0
        self.missed: Array = np.concatenate((of_level[::-1], of_level))
        """The share of labels that is to lie beyond each quantile, on its side, (2 L,)."""
        self.side: Array = np.repeat([-1.0, 1.0], len(levels))

    def init_state(self) -> Fields:
        """Return a new interval.

        For a Laplace distribution q = -ln(2 tau) mean absolute residuals. Until there is a residual, what is known is
        the scale of one step, and a random walk's spread grows with the root of the horizon.
        """
        start = self.side * np.maximum(-np.log(2.0 * self.missed), 0.0)
        return {
            "spread": np.sqrt(self.horizons),
            "size": np.sqrt(self.horizons),
            "quantile": np.tile(start, (self.n_horizons, 1)),
            "seen": np.zeros(self.n_horizons, dtype=np.int64),
        }

    def quantiles(self, state: State) -> Array:
        """Return the quantiles of the residual in scales, ascending, (B, H, 2 L)."""
        return state["quantile"] * state["size"][..., None]

    def beyond(self, value: Array, quantiles: Array) -> BoolArray:
        """Return where a value (B, H) lies beyond a quantile (B, H, 2 L): below a lower one or above an upper one."""
        below = value[..., None] < quantiles[..., : self.n_levels]
        above = value[..., None] > quantiles[..., self.n_levels :]
        return np.concatenate((below, above), axis=-1)

    def covered(self, beyond: BoolArray) -> BoolArray:
        """Return which levels' intervals held the value, (B, H, L), in the order of the levels."""
        return ~(beyond[..., : self.n_levels][..., ::-1] | beyond[..., self.n_levels :])

    def learn(self, state: State, residual: Array, beyond: BoolArray, valid: BoolArray) -> None:
        """Take the residuals of the forecasts that are due, (B, H); `beyond` says where they were of what was told."""
        size = np.abs(residual)
        seen = state["seen"] + valid
        for name, span in (("spread", SPREAD_SPAN_EVENTS), ("size", SIZE_SPAN_EVENTS)):
            mean = state[name]
            bound = WINSOR * mean
            counted = np.where(bound > 0.0, np.minimum(size, bound), size)
            rate = np.maximum(1.0 / span, 1.0 / np.maximum(seen, 1))
            state[name] = np.where(valid, mean + rate * (counted - mean), mean)
        step = self.side * (self.step * (beyond - self.missed))
        lower = np.cumsum(step[..., : self.n_levels][..., ::-1], axis=-1)[..., ::-1]
        upper = np.cumsum(step[..., self.n_levels :], axis=-1)
        moved = state["quantile"] + np.concatenate((lower, upper), axis=-1)
        moved = np.sort(np.clip(moved, -QUANTILE_MAX, QUANTILE_MAX), axis=-1)
        state["quantile"] = np.where(valid[..., None], moved, state["quantile"])
        state["seen"] = seen
