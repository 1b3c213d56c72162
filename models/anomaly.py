"""The anomaly score: how much less surprising than this event the past was.

Three tail probabilities of the past are put together. With e the residual of the shortest horizon, y the level:

    s_t = |e_t| / u_t                 u: running mean of |e|                                     (1)
    d_t: mean of T(s) over 3 events   a short-term likelihood: surprise that lasts               (2)
    m_t = |mean of e over 6 events|, over its running mean     residuals that lean to one side   (3)
    n_t = distance of y outside of all that was seen, over the range of what was seen            (4)

    T(x) = log10((N + 1) / (1 + number of past events at least as large as x))                   (5)
    G_t = (log s - log s_max) / g, 0 where s is not beyond s_max, the largest seen               (6)
    S_t = T(d) + T(m) + T(n) + log10(e) G_t                                                      (7)

Eq. (5) counts in bins of equal width in the logarithm; a value in the same bin counts as as large, so what
is usual, zeros too, is no surprise. Nothing can be rarer than once in what was seen; eq. (6) follows the tail
of s further, as a power law with Hill's estimate of its exponent (1975): g is the mean logarithm of the largest
twentieth over its smallest. Eq. (7) is Fisher's way to combine tail probabilities (1925): under independence the
sum of two such logarithms x = S ln 10 has the tail exp(-x) (1 + x), and eq. (4) is zero but at new extremes.
The logarithm of that tail is the log score, which has no end:

    L_t = S - log10(1 + S ln 10), 0 while a larger S is at most 200 events old                   (8)

so that an anomaly is told once, and again where it grows. The three are not independent, so the score in
[0, 1] is counted, not computed: the share of past S below this one. Over a stationary stream it is uniform,
and a score above .99 comes once in a hundred events.

Cost: O(BINS) a row, no memory of single events. Robust to its own anomalies: residuals are bounded before they enter
means, an extreme widens the range at most twofold, and a histogram takes one count.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from models.protocols import Array, BoolArray, Fields, IntArray, State

BINS: Final = 48
LOG10_LOWEST, LOG10_HIGHEST = -3.0, 3.0
"""Eight bins a decade: finer ones cost more and told no more on the benchmark's series."""

SPAN_EVENTS = 5000.0
"""Of running means and histograms: some thousands of events hold what comes once in a thousand."""

EARLY = 2.0
"""An event of a new series counts in proportion to its number (the rate is 2/t): a forecaster's first residuals,
before it has learned, must not make later ones look small."""

SURPRISE_EVENTS = 3.0
LEAN_EVENTS = 6.0
"""Of the exponential means of eqs. (2) and (3), each about half of a window of 5 and 11 events."""

WINSOR = 20.0
"""A residual enters a mean as at most this many mean ones, as in the interval."""

RANGE_GROWTH = 1.0
"""A new extreme widens the range by at most this share of it."""

NEGLIGIBLE = 1e-6
"""A residual below this share of the range of the levels is rounding, not surprise."""

TAIL_SHARE = 0.05
"""Of the residuals, the largest, whose tail is followed beyond the largest: as in common use of Hill's estimate."""

SURPRISE_MAX = 1e30
"""Beyond it nothing is more surprising, so that no logarithm is infinite."""

HOLD_EVENTS = 200
"""A weaker anomaly within so many events of a stronger one is the same one."""

PRIOR_EVENTS = 20.0
"""So many events of the distribution of eq. (8) stand behind the share of a new series."""

SURPRISE, RECENT, LEAN, LEVEL, SUM = range(5)
"""The histograms."""

PARTS: Final = (RECENT, LEAN, LEVEL)
"""What is summed in eq. (7)."""

LN10 = float(np.log(10.0))


class AnomalyScore:
    """Histograms of surprise, and the running means and extremes that it is measured by."""

    def __init__(self, parts: tuple[int, ...] = PARTS) -> None:
        """Take which histograms are summed in eq. (7); fewer than all show what each is worth."""
        self.parts = parts

    def init_state(self) -> Fields:
        """Return the state of a new series."""
        zero, none = np.zeros(()), np.zeros((), dtype=np.int64)
        return {
            "events": none,
            "seen": none,
            "counts": np.zeros((5, BINS)),
            "spread": np.zeros(2),
            "surprise": zero,
            "lean": zero,
            "lowest": zero,
            "highest": zero,
            "record": zero,
            "left": none,
        }

    def update(self, state: State, level: Array, residual: Array, valid: BoolArray) -> tuple[Array, Array]:
        """Return score and log score of each row, (B,) each, then count it; 0 where there is no residual.

        Args:
            state: changed in place.
            level: y, raw units, NaN where it is missing, (B,).
            residual: e, raw units, (B,).
            valid: where there is one, (B,).
        """
        novelty, size = self._novelty(state, level)
        residual = np.where(valid & (np.abs(residual) > NEGLIGIBLE * size), residual, 0.0)
        seen = state["seen"] + valid
        count = np.maximum(seen, 1)
        rate = np.maximum(1.0 / SPAN_EVENTS, 1.0 / count)
        spread, spread_lean = state["spread"][:, 0], state["spread"][:, 1]

        bounded = _bounded(residual, spread)
        lean = state["lean"] + np.maximum(1.0 / LEAN_EVENTS, 1.0 / count) * (bounded - state["lean"])
        values = np.zeros((len(level), 5))
        values[:, SURPRISE] = np.minimum(_over(np.abs(residual), spread), SURPRISE_MAX)
        values[:, LEAN] = _over(np.abs(lean), spread_lean)
        values[:, LEVEL] = novelty
        at_least = state["counts"][:, :, ::-1].cumsum(axis=2)[:, :, ::-1]
        one_more = at_least[:, :, 0] + 1.0
        places, index = _place(values)
        tail = np.log10(one_more[:, SURPRISE] / (1.0 + _take(at_least, index)[:, SURPRISE]))
        recent = state["surprise"] + np.maximum(1.0 / SURPRISE_EVENTS, 1.0 / count) * (
            tail - state["surprise"]
        )
        values[:, RECENT] = recent
        index[:, RECENT] = _place(recent)[1]
        tails = np.log10(one_more / (1.0 + _take(at_least, index)))
        total = _beyond(at_least[:, SURPRISE], places[:, SURPRISE])
        for part in self.parts:
            total = total + tails[:, part]

        place, index[:, SUM] = _place(total)
        above = _take(at_least, index)[:, SUM]
        here = _take(state["counts"], index)[:, SUM]
        part_of_bin = np.clip(place - index[:, SUM], 0.0, 1.0)
        n_counted = at_least[:, SUM, 0]
        below = n_counted - above + here * part_of_bin
        power = total * LN10
        expected = 1.0 - np.exp(-power) * (1.0 + power)
        score = np.clip((below + PRIOR_EVENTS * expected) / (n_counted + PRIOR_EVENTS), 0.0, 1.0)

        record = np.where(state["left"] > 0, state["record"], 0.0)
        stronger = valid & (total > record)
        log_score = np.where(stronger, np.maximum(total - np.log10(1.0 + power), 0.0), 0.0)

        keep = 1.0 - np.maximum(1.0 / SPAN_EVENTS, np.minimum(EARLY / count, 1.0))
        counts = state["counts"] * keep[:, None, None]
        rows = np.arange(len(level))[:, None]
        counts[rows, np.arange(5), index] += 1.0
        state["counts"] = np.where(valid[:, None, None], counts, state["counts"])
        state["seen"] = seen
        new = {
            "surprise": recent,
            "lean": lean,
            "record": np.where(stronger, total, record),
            "left": np.where(stronger, HOLD_EVENTS, np.maximum(state["left"] - 1, 0)),
        }
        for name, value in new.items():
            state[name] = np.where(valid, value, state[name])
        sizes = np.stack((np.abs(bounded), np.abs(_bounded(lean, spread_lean))), axis=1)
        state["spread"] = np.where(
            valid[:, None], state["spread"] + rate[:, None] * (sizes - state["spread"]), state["spread"]
        )
        return np.where(valid, score, 0.0), log_score

    def _novelty(self, state: State, level: Array) -> tuple[Array, Array]:
        """Return eq. (4) and the range of the levels, (B,) each; widen the range."""
        observed = ~np.isnan(level)
        level = np.where(observed, level, state["lowest"])  # is within what was seen, and widens nothing
        first = state["events"] == 0
        lowest = np.where(first, level, state["lowest"])
        highest = np.where(first, level, state["highest"])
        size = highest - lowest
        excess = np.maximum(np.maximum(level - highest, lowest - level), 0.0)
        growth = np.where(size > 0.0, np.minimum(excess, RANGE_GROWTH * size), excess)
        state["events"] = state["events"] + observed
        state["lowest"] = np.where(level < lowest, lowest - growth, lowest)
        state["highest"] = np.where(level > highest, highest + growth, highest)
        return _over(excess, size), state["highest"] - state["lowest"]


def _beyond(at_least: Array, place: Array) -> Array:
    """Return log10(e) times eq. (6), (B,), by how many events are in each bin or above it, (B, BINS)."""
    total = at_least[:, 0]
    top = np.sum(at_least >= 0.5, axis=1) - 1
    edge = np.maximum(np.sum(at_least >= TAIL_SHARE * total[:, None], axis=1) - 1, 0)[:, None]
    n_tail = np.take_along_axis(at_least, edge, axis=1)[:, 0]
    summed = at_least[:, ::-1].cumsum(axis=1)[:, ::-1]
    mean_excess = _over(np.take_along_axis(summed, edge, axis=1)[:, 0] - 0.5 * n_tail, n_tail)
    further = np.where(top >= 0, np.maximum(place - top - 1.0, 0.0), 0.0)
    return _over(further, mean_excess) / LN10


def _bounded(value: Array, spread: Array) -> Array:
    """Return the value within WINSOR spreads, where there is a spread."""
    bound = WINSOR * spread
    return np.where(bound > 0.0, np.clip(value, -bound, bound), value)


def _over(value: Array, unit: Array) -> Array:
    return np.where(unit > 0.0, value / np.where(unit > 0.0, unit, 1.0), 0.0)


def _place(value: Array) -> tuple[Array, IntArray]:
    """Return where a value lies, in bins, and its bin."""
    log = np.log10(np.maximum(value, 10.0**LOG10_LOWEST))
    place = (log - LOG10_LOWEST) * (BINS / (LOG10_HIGHEST - LOG10_LOWEST))
    return place, np.clip(place, 0, BINS - 1).astype(np.int64)


def _take(counts: Array, index: IntArray) -> Array:
    """Return of each histogram the entry at its bin, (B, 5)."""
    return np.take_along_axis(counts, index[..., None], axis=2)[..., 0]
