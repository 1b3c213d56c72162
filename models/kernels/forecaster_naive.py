"""The experts that have no weights, for one row of the records: twins of `models.experts.drift` and `.smoothing`."""

from __future__ import annotations

from typing import Final

from models.experts.drift import SPAN_EVENTS as DRIFT_SPAN
from models.experts.smoothing import RATES
from models.experts.smoothing import SPAN_EVENTS as SMOOTHING_SPAN
from models.kernels.forecaster_parts import Constants, clipped
from models.kernels.jit import inner
from models.protocols import Array, IntArray

N_RATES: Final = len(RATES)


@inner
def drift_forecast(
    floats: Array,
    ints: IntArray,
    mean_at: int,
    seen_at: int,
    increment: float,
    scale: float,
    horizons: IntArray,
    forecast: Array,
) -> None:
    """Twin of `Drift.forecast`."""
    seen = ints[seen_at] + 1
    ints[seen_at] = seen
    mean = floats[mean_at] + max(1.0 / DRIFT_SPAN, 1.0 / seen) * (increment * scale - floats[mean_at])
    floats[mean_at] = mean
    for h in range(len(horizons)):
        forecast[h] = mean / scale * horizons[h]


@inner
def smoothing_forecast(
    floats: Array,
    ints: IntArray,
    levels_at: int,
    seen_at: int,
    c: Constants,
    level: float,
    scale: float,
    forecast: Array,
) -> None:
    """Twin of `Smoothing.forecast`: the levels, and behind them the errors."""
    seen, best = ints[seen_at], 0
    for a in range(N_RATES):
        at, errors_at = levels_at + a, levels_at + N_RATES + a
        if seen == 0:
            floats[at], floats[errors_at] = level, 0.0
            continue
        error = clipped((level - floats[at]) / scale, c.winsor)
        rate = max(1.0 / SMOOTHING_SPAN, 1.0 / seen)
        floats[errors_at] += rate * (error * error - floats[errors_at])
        floats[at] += RATES[a] * (level - floats[at])
        if floats[errors_at] < floats[levels_at + N_RATES + best]:
            best = a
    ints[seen_at] = seen + 1
    for h in range(len(forecast)):
        forecast[h] = (floats[levels_at + best] - level) / scale
