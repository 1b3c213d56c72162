"""Goal: drift and smoothing are what their equations say, and win where they should.

Method: by hand on short series; beside the last value on a trend, and on noise about a level that moves.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.experts.smoothing import RATES
from models.protocols import Array
from models.specification import Specification
from tests.models.streams import SMALL, run_new, side_by_side

NAIVE = replace(SMALL, experts=("last_value", "drift", "smoothing"), horizons=(1, 10))


def errors_of(values: Array, specification: Specification = NAIVE) -> dict[str, Array]:
    """Return each expert's mean squared error behind a warm-up, by horizon."""
    told = run_new(specification, side_by_side(values, interval=3600.0))["expert_errors"][300:, 0, 0]
    return dict(zip(specification.experts, (told**2).mean(axis=0).T, strict=True))


def test_the_drift_is_the_mean_increment_times_the_horizon() -> None:
    values = np.array([1.0, 3.0, 2.0, 6.0])
    told = run_new(NAIVE, side_by_side(values))["expert_predictions"][:, 0, 0, :, 1]
    lowest, highest = 1.0 - 0.1 * 5.0, 6.0 + 0.1 * 5.0  # a forecast leaves the range seen by a tenth of it
    increments = np.diff(values, prepend=1.0)
    for row, value in enumerate(values):
        mean = increments[: row + 1].mean()
        if row == len(values) - 1:
            expected = np.clip(value + mean * np.array([1.0, 10.0]), lowest, highest)
            np.testing.assert_allclose(told[row], expected, rtol=1e-12)


def test_smoothing_forecasts_the_level_of_the_rate_that_was_the_best() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=300)
    told = run_new(NAIVE, side_by_side(values))["expert_predictions"][:, 0, 0, :, 2]
    level = values[0]
    for value in values[1:]:
        level += RATES[0] * (value - level)
    np.testing.assert_allclose(told[-1], [level, level], rtol=1e-9)  # of noise alone the longest mean


@pytest.mark.parametrize("seed", range(3))
def test_drift_wins_on_a_trend_and_smoothing_on_a_level_beneath_noise(seed: int) -> None:
    rng = np.random.default_rng(seed)
    trend = (0.5 + rng.normal(size=1500)).cumsum()
    level = 0.1 * rng.normal(size=1500).cumsum() + rng.normal(size=1500)
    of_trend, of_level = errors_of(trend), errors_of(level)
    assert of_trend["drift"][1] < 0.9 * of_trend["last_value"][1]
    assert of_level["smoothing"][0] < 0.7 * of_level["last_value"][0]
