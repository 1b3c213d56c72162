"""The scales of a target's increments and of features, for one row of the records: twins of `models.scaling`."""

from __future__ import annotations

import numpy as np

from models.kernels.forecaster_parts import Constants, Places, clipped
from models.kernels.jit import inner
from models.protocols import Array, BoolArray, IntArray
from models.steady import RATE, TRUST_MIN


@inner
def scale_update(
    floats: Array, ints: IntArray, at: Places, c: Constants, level: float, observed: bool
) -> tuple[float, float, float]:
    """Twin of `IncrementScale.update`: return scale, increment and deviation."""
    if not observed:
        root = np.sqrt(floats[at.scale_variance])
        scale = root if root > c.tiny else 1.0
        increment = level - floats[at.scale_level]
        floats[at.scale_level] = level
        return scale, clipped(increment / scale, c.winsor), deviation_of(floats, at, c, level)
    seen = ints[at.scale_seen]
    first = seen == 0
    rate = max(1.0 / c.scale_span, 1.0 / max(seen, 1))
    increment = 0.0 if first else level - floats[at.scale_level]
    before = floats[at.scale_variance]
    bound = c.winsor * np.sqrt(before)
    bounded = clipped(increment, bound) if bound > 0.0 else increment
    variance = 0.0 if first else before + rate * (bounded * bounded - before)
    root = np.sqrt(variance)
    scale = root if root > c.tiny else 1.0
    rate_mean = max(1.0 / c.scale_span, 1.0 / (seen + 1.0))
    mean = level if first else floats[at.scale_mean] + rate_mean * (level - floats[at.scale_mean])
    ints[at.scale_seen] = seen + 1
    floats[at.scale_level] = level
    floats[at.scale_mean] = mean
    floats[at.scale_variance] = variance
    floats[at.scale_lowest] = level if first else min(floats[at.scale_lowest], level)
    floats[at.scale_highest] = level if first else max(floats[at.scale_highest], level)
    off, before = level - mean, floats[at.scale_spread]
    bound = c.winsor * np.sqrt(before)
    bounded = clipped(off, bound) if bound > 0.0 else off
    spread = before + rate_mean * (bounded * bounded - before)
    floats[at.scale_spread] = spread
    return scale, clipped(increment / scale, c.winsor), deviation_of(floats, at, c, level)


@inner
def deviation_of(floats: Array, at: Places, c: Constants, level: float) -> float:
    """Twin of `IncrementScale.deviation`."""
    root = np.sqrt(floats[at.scale_spread])
    return clipped((level - floats[at.scale_mean]) / (root if root > c.tiny else 1.0), c.winsor)


@inner
def steady_update(
    floats: Array, flags: BoolArray, at: Places, level: float, expected: float, observed: bool, outlier: bool
) -> tuple[float, float]:
    """Twin of `SteadyLevel.update`."""
    if not observed:
        change = level - floats[at.steady_level]
        floats[at.steady_level] = level
        return level, change
    first = outlier and not flags[at.steady_outlier]
    if flags[at.steady_judged]:
        back = abs(level - floats[at.steady_expected]) < abs(level - floats[at.steady_raw])
        floats[at.steady_trust] += RATE * ((1.0 if back else -1.0) - floats[at.steady_trust])
    steady = expected if first and floats[at.steady_trust] > TRUST_MIN else level
    change = steady - floats[at.steady_level]
    floats[at.steady_level], floats[at.steady_raw], floats[at.steady_expected] = steady, level, expected
    flags[at.steady_outlier], flags[at.steady_judged] = outlier, first
    return steady, change


@inner
def features_update(
    floats: Array, ints: IntArray, at: Places, c: Constants, features: Array, scaled: Array
) -> None:
    """Twin of `FeatureScale.update`: put the standardised features into `scaled`."""
    for i in range(len(features)):
        if np.isnan(features[i]):
            scaled[i] = 0.0
            continue
        rate = max(1.0 / c.scale_span, 1.0 / (ints[at.features_seen + i] + 1.0))
        mean, variance = floats[at.features_mean + i], floats[at.features_variance + i]
        deviation = features[i] - mean
        bound = c.feature_winsor * np.sqrt(variance)
        bounded = clipped(deviation, bound) if bound > 0.0 else deviation
        mean = mean + rate * bounded
        variance = (1.0 - rate) * (variance + rate * bounded * bounded)
        floats[at.features_mean + i], floats[at.features_variance + i] = mean, variance
        root = np.sqrt(variance)
        scaled[i] = clipped((features[i] - mean) / (root if root > c.tiny else 1.0), c.feature_winsor)
        ints[at.features_seen + i] += 1
