"""Prediction intervals: online quantiles of the forecast's residual, each followed by itself.

For each nominal level two quantiles, of the shares tau = (1 - level) / 2 and 1 - tau of the residual e:

    v, w: running means of min(|e|, 20 v) and of min(|e|, 20 w), over 50 and 200 events  (1)
    u = (3 v + w) / 4                                                                    (2)
    a = 1[e < told_tau] - tau,  b = 1[e > told_{1-tau}] - tau                            (3)
    s_tau = -(eta a + gamma b),  s_{1-tau} = eta b + gamma a                             (4)
    q <- q + s + s of the narrower levels on the same side                               (5)
    told: u times q, in ascending order, upon the forecast                               (6)

This is quantile tracking (Gibbs & Candes 2021, Angelopoulos, Candes & Tibshirani 2023) in units of a size of the residual; (2)
and gamma are added here. The steps of (4) add up to how far q has come from that of the next narrower level, whatever the
residuals and their order are. So while no two quantiles cross, the share missed on both sides over T labels is 2 tau to within
the way of the width, q_{1-tau} - q_tau, over (eta + gamma) T; and the shares of the two sides are alike to within the way of
q_{1-tau} + q_tau over (eta - gamma) T.

- By gamma a miss on one side widens the other too: the coverage is that of a step eta + gamma, while a side by itself moves
  less for a label. gamma = eta would be one half-width for both sides; with less an interval need not be symmetric, and where
  the forecast is not the median it may lie outside a narrow one.
- By (2) the way is short: v follows calm and wild hours, so that q need not; w, the spread, keeps the unit from following too
  much of what will be past h rows later.
- By (5) a wide interval, which is seldom missed and would learn slowly, goes along with the narrow one when the residuals change.

What a label is compared with is what was told for it, h rows before, so this holds at every horizon. Cost: O(H L) numbers
and steps for H horizons and L levels.
"""

from __future__ import annotations

import numpy as np

from models.protocols import Array, BoolArray, Fields, State

SPREAD_SPAN_EVENTS = 200.0
"""Of w, which errors are called surprising by too: slow, so that a change is seen against it."""

SIZE_SPAN_EVENTS = 50.0
"""Of v: calm and wild hours differ, and after a change of the variance it is soon the new one. With ten the
pinball loss one row ahead is 3% less, but an interval is wide before its misses can tell of drift (`models/drift/watch.py`)."""

SPREAD_SHARE = 0.25
"""Of w in the unit. More: less pinball loss far ahead; less: sooner back after a change of the variance."""

WINSOR = 20.0
"""A residual counts as at most this many mean ones: one wild value must not widen the interval for
thousands of rows, and a change of the variance by a factor e is still followed within ten or so."""

STEP, ACROSS = 0.07, 0.04
"""eta and gamma, in units. A larger sum: sooner back after a change, and nearer the level; a smaller one: less pinball loss far
ahead. A smaller difference: the shares of the two sides are later alike. `python -m benchmarks coverage` compares."""

QUANTILE_MAX = 1e3
"""In units. Nothing gets there but by errors without end."""


class Interval:
    """Quantiles of the residual, two a level, for each horizon."""

    def __init__(
        self,
        horizons: tuple[int, ...],
        levels: tuple[float, ...],
        *,
        steps: tuple[float, float] = (STEP, ACROSS),
        span: float = SIZE_SPAN_EVENTS,
        share: float = SPREAD_SHARE,
    ) -> None:
        """Make one for these horizons, in rows, and these nominal coverages, ascending; the rest is to compare with."""
        self.horizons = np.array(horizons, dtype=np.float64)
        self.n_horizons, self.n_levels = len(horizons), len(levels)
        (self.step, self.across), self.span, self.share = steps, span, share
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
        unit = state["size"] + self.share * (state["spread"] - state["size"])
        return state["quantile"] * unit[..., None]

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
        for name, span in (("spread", SPREAD_SPAN_EVENTS), ("size", self.span)):
            mean = state[name]
            bound = WINSOR * mean
            counted = np.where(bound > 0.0, np.minimum(size, bound), size)
            rate = np.maximum(1.0 / span, 1.0 / np.maximum(seen, 1))
            state[name] = np.where(valid, mean + rate * (counted - mean), mean)
        off = beyond - self.missed
        step = self.side * (self.step * off + self.across * off[..., ::-1])
        lower = np.cumsum(step[..., : self.n_levels][..., ::-1], axis=-1)[..., ::-1]
        upper = np.cumsum(step[..., self.n_levels :], axis=-1)
        moved = state["quantile"] + np.concatenate((lower, upper), axis=-1)
        moved = np.sort(np.clip(moved, -QUANTILE_MAX, QUANTILE_MAX), axis=-1)
        state["quantile"] = np.where(valid[..., None], moved, state["quantile"])
        state["seen"] = seen
