"""The twin of `models.anomaly.AnomalyScore`, for one row of the records."""

from __future__ import annotations

from typing import Final

import numpy as np

from models.kernels.forecaster_parts import Constants, Places, clipped
from models.kernels.jit import inner
from models.protocols import Array, IntArray

SURPRISE: Final = 0
RECENT: Final = 1
LEAN: Final = 2
LEVEL: Final = 3
SUM: Final = 4
"""The histograms, as in `models.anomaly`."""


@inner
def novelty_update(f: Array, i: IntArray, at: Places, c: Constants, level: float) -> float:
    """Twin of `AnomalyScore._novelty`: return how far the level is outside of what was seen."""
    first = i[at.anomaly_events] == 0
    i[at.anomaly_events] += 1
    lowest = level if first else f[at.anomaly_lowest]
    highest = level if first else f[at.anomaly_highest]
    size = highest - lowest
    excess = max(level - highest, lowest - level, 0.0)
    growth = min(excess, c.anomaly_range_growth * size) if size > 0.0 else excess
    f[at.anomaly_lowest] = lowest - growth if level < lowest else lowest
    f[at.anomaly_highest] = highest + growth if level > highest else highest
    return _over(excess, size)


@inner
def anomaly_update(
    f: Array, i: IntArray, at: Places, c: Constants, novelty: float, residual: float
) -> tuple[float, float]:
    """Twin of `AnomalyScore.update` where there is a residual: return score and log score, then count it."""
    if not abs(residual) > c.anomaly_negligible * (f[at.anomaly_highest] - f[at.anomaly_lowest]):
        residual = 0.0
    seen = i[at.anomaly_seen] + 1
    i[at.anomaly_seen] = seen
    rate = max(1.0 / c.anomaly_span, 1.0 / seen)
    spread, spread_lean = f[at.anomaly_spread], f[at.anomaly_spread + 1]
    bounded = _bounded(residual, spread, c)
    lean = f[at.anomaly_lean]
    lean = lean + max(1.0 / c.anomaly_lean_events, 1.0 / seen) * (bounded - lean)
    f[at.anomaly_lean] = lean
    counts = f[at.anomaly_counts : at.anomaly_counts + 5 * c.bins]
    keep = 1.0 - max(1.0 / c.anomaly_span, min(c.anomaly_early / seen, 1.0))

    surprise = min(_over(abs(residual), spread), c.anomaly_surprise_max)
    evidence = _beyond(counts[SURPRISE * c.bins : (SURPRISE + 1) * c.bins], _place(surprise, c), c)
    tail = _counted(counts, SURPRISE, keep, c, surprise)
    recent = f[at.anomaly_surprise]
    recent = recent + max(1.0 / c.anomaly_surprise_events, 1.0 / seen) * (tail - recent)
    f[at.anomaly_surprise] = recent
    evidence += _counted(counts, RECENT, keep, c, recent)
    evidence += _counted(counts, LEAN, keep, c, _over(abs(lean), spread_lean))
    evidence += _counted(counts, LEVEL, keep, c, novelty)

    place = _place(evidence, c)
    index = _bin(place, c)
    first = SUM * c.bins
    above, total = _at_least(counts, first, index, c)
    below = total - above + counts[first + index] * min(max(place - index, 0.0), 1.0)
    _count(counts, SUM, index, keep, c)
    power = evidence * np.log(10.0)
    expected = 1.0 - np.exp(-power) * (1.0 + power)
    score = (below + c.anomaly_prior * expected) / (total + c.anomaly_prior)

    f[at.anomaly_spread] = spread + rate * (abs(bounded) - spread)
    f[at.anomaly_spread + 1] = spread_lean + rate * (abs(_bounded(lean, spread_lean, c)) - spread_lean)
    left = i[at.anomaly_left]
    record = f[at.anomaly_record] if left > 0 else 0.0
    log_score = 0.0
    if evidence > record:
        log_score = max(evidence - np.log10(1.0 + power), 0.0)
        record, left = evidence, c.anomaly_hold + 1
    f[at.anomaly_record], i[at.anomaly_left] = record, max(left - 1, 0)
    return float(min(max(score, 0.0), 1.0)), float(log_score)


@inner
def _beyond(counts: Array, place: float, c: Constants) -> float:
    """Twin of `models.anomaly._beyond`, by how many events are in each bin."""
    top, n_tail, summed, at_least = -1, 0.0, 0.0, 0.0
    total = _at_least(counts, 0, 0, c)[1]
    for b in range(c.bins - 1, -1, -1):
        at_least += counts[b]
        if top < 0 and at_least >= 0.5:
            top = b
        if n_tail == 0.0:
            summed += at_least
            if at_least >= c.anomaly_tail_share * total:
                n_tail = at_least
    if top < 0 or not place > top + 1.0 or not n_tail > 0.0:
        return 0.0
    mean_excess = (summed - 0.5 * n_tail) / n_tail
    return float((place - top - 1.0) / mean_excess / np.log(10.0))


@inner
def _bounded(value: float, spread: float, c: Constants) -> float:
    bound = c.anomaly_winsor * spread
    return clipped(value, bound) if bound > 0.0 else value


@inner
def _over(value: float, unit: float) -> float:
    return value / unit if unit > 0.0 else 0.0


@inner
def _place(value: float, c: Constants) -> float:
    log = np.log10(max(value, 10.0**c.log_lowest))
    return float((log - c.log_lowest) * (c.bins / (c.log_highest - c.log_lowest)))


@inner
def _bin(place: float, c: Constants) -> int:
    return int(min(max(place, 0.0), c.bins - 1.0))


@inner
def _count(counts: Array, histogram: int, index: int, keep: float, c: Constants) -> None:
    first = histogram * c.bins
    for b in range(first, first + c.bins):
        counts[b] *= keep
    counts[first + index] += 1.0


@inner
def _at_least(counts: Array, first: int, index: int, c: Constants) -> tuple[float, float]:
    """Return how many events are in a bin or above it, and how many there are."""
    total, at_least = 0.0, 0.0
    for b in range(c.bins - 1, -1, -1):
        total += counts[first + b]
        if b == index:
            at_least = total
    return at_least, total


@inner
def _counted(counts: Array, histogram: int, keep: float, c: Constants, value: float) -> float:
    """Return the logarithm of a value's tail probability by a histogram, then count it there."""
    index = _bin(_place(value, c), c)
    at_least, total = _at_least(counts, histogram * c.bins, index, c)
    _count(counts, histogram, index, keep, c)
    return float(np.log10((total + 1.0) / (1.0 + at_least)))
