"""Goal: scales follow their equations, do not start biased, and bear outliers.

Method: the equations once more in a plain loop over Python's floats; cases with known answers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from models.protocols import Array
from models.scaling import FeatureScale, IncrementScale, winsorise
from tests.models.streams import rows_of

SEEN = np.array([True])
SPAN, WINSOR, FEATURE_WINSOR = 1000, 6.0, 5.0


def clip(value: float, bound: float) -> float:
    return max(-bound, min(bound, value))


def plain_increments(values: list[float]) -> Iterator[tuple[float, float, float]]:
    """Yield scale, increment and deviation at each value."""
    variance = mean = spread = 0.0
    for t, value in enumerate(values):
        if t == 0:
            mean = value
            yield 1.0, 0.0, 0.0
            continue
        change = value - values[t - 1]
        inside = clip(change, WINSOR * math.sqrt(variance)) if variance > 0.0 else change
        variance += max(1 / SPAN, 1 / t) * (inside * inside - variance)
        mean += max(1 / SPAN, 1 / (t + 1)) * (value - mean)
        scale = math.sqrt(variance) if math.sqrt(variance) > 1e-150 else 1.0
        off = value - mean
        inside = clip(off, WINSOR * math.sqrt(spread)) if spread > 0.0 else off
        spread += max(1 / SPAN, 1 / (t + 1)) * (inside * inside - spread)
        unit = math.sqrt(spread) if math.sqrt(spread) > 1e-150 else 1.0
        yield scale, clip(change / scale, WINSOR), clip(off / unit, WINSOR)


def plain_features(values: list[float]) -> Iterator[float]:
    """Yield each value standardised."""
    variance = mean = 0.0
    for t, value in enumerate(values):
        rate = max(1 / SPAN, 1 / (t + 1))
        deviation = value - mean
        if variance > 0.0:
            deviation = clip(deviation, FEATURE_WINSOR * math.sqrt(variance))
        mean += rate * deviation
        variance = (1 - rate) * (variance + rate * deviation * deviation)
        root = math.sqrt(variance)
        yield clip((value - mean) / (root if root > 1e-150 else 1.0), FEATURE_WINSOR)


VALUES = st.lists(
    st.floats(-1e15, 1e15, allow_subnormal=False) | st.sampled_from([0.0, 1.0, 1e12, -3.5]),
    min_size=1,
    max_size=40,
)


@hypothesis_settings(max_examples=60)
@given(values=VALUES)
def test_increments_scale_by_the_equations(values: list[float]) -> None:
    scaler = IncrementScale()
    state = rows_of(scaler.init_state())
    for value, expected in zip(values, plain_increments(values), strict=True):
        told = scaler.update(state, np.array([value]), SEEN)
        np.testing.assert_allclose([part[0] for part in told], expected, rtol=1e-9, atol=1e-9)
        seen = values[: int(state["seen"][0])]
        margin = 0.1 * (max(seen) - min(seen))
        told_bounds = [bound[0] for bound in scaler.bounds(state)]
        np.testing.assert_allclose(told_bounds, [min(seen) - margin, max(seen) + margin], rtol=1e-12)


@hypothesis_settings(max_examples=60)
@given(values=VALUES)
def test_features_scale_by_the_equations(values: list[float]) -> None:
    scaler = FeatureScale(2)
    state = rows_of(scaler.init_state())
    for value, expected in zip(values, plain_features(values), strict=True):
        told = scaler.update(state, np.array([[value, -value]]))
        np.testing.assert_allclose(told[0], [expected, -expected], rtol=1e-7, atol=1e-7)


def test_both_follow_the_equations_beyond_the_span() -> None:
    values = np.random.default_rng(0).normal(size=2500).cumsum().tolist()
    scaler, features = IncrementScale(), FeatureScale(1)
    state, feature_state = rows_of(scaler.init_state()), rows_of(features.init_state())
    pairs = zip(plain_increments(values), plain_features(values), strict=True)
    for value, (expected, expected_feature) in zip(values, pairs, strict=True):
        told = scaler.update(state, np.array([value]), SEEN)
        told_feature = features.update(feature_state, np.array([[value]]))
        np.testing.assert_allclose([part[0] for part in told], expected, rtol=1e-11, atol=1e-11)
        np.testing.assert_allclose(told_feature, [[expected_feature]], rtol=1e-11, atol=1e-11)


def test_the_scale_is_there_from_the_first_change_without_bias() -> None:
    """The first increment is the scale; after t of them it is their plain root mean square."""
    changes = np.array([2.0, -1.0, 3.0, 0.5, -2.5])
    scaler = IncrementScale()
    state = rows_of(scaler.init_state())
    scale, increment, deviation = scaler.update(state, np.array([100.0]), SEEN)
    assert (scale[0], increment[0], deviation[0], scaler.known(state)[0]) == (1.0, 0.0, 0.0, False)
    for t, value in enumerate(100.0 + changes.cumsum(), start=1):
        scale, _, _ = scaler.update(state, np.array([value]), SEEN)
        assert scaler.known(state)[0]
        np.testing.assert_allclose(scale, [np.sqrt((changes[:t] ** 2).mean())], rtol=1e-14)


def test_a_series_that_stands_still_has_no_scale_until_it_moves() -> None:
    scaler = IncrementScale()
    state = rows_of(scaler.init_state())
    for _ in range(50):
        told = scaler.update(state, np.array([7.0]), SEEN)
        assert [part[0] for part in told] == [1.0, 0.0, 0.0]
        assert not scaler.known(state)[0]
    scale, increment, _ = scaler.update(state, np.array([7.5]), SEEN)
    assert scaler.known(state)[0]
    np.testing.assert_allclose(scale, [0.5 / np.sqrt(50)], rtol=1e-14)
    assert increment[0] == WINSOR


def test_one_wild_value_hardly_moves_the_scales() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=600)
    spiked = values.copy()
    spiked[500] = 1e12
    scaler, features = IncrementScale(), FeatureScale(2)
    state, feature_state = rows_of(scaler.init_state(), rows=2), rows_of(features.init_state())
    scale = np.ones(2)
    for pair in zip(values, spiked, strict=True):
        scale, increment, deviation = scaler.update(state, np.array(pair), np.repeat(SEEN, 2))
        assert np.abs(increment).max() <= WINSOR
        assert np.abs(deviation).max() <= WINSOR
        assert np.abs(features.update(feature_state, np.array([pair]))).max() <= FEATURE_WINSOR
    assert scale[1] < 1.1 * scale[0]
    deviations = np.sqrt(feature_state["variance"][0])
    assert deviations[1] < 1.1 * deviations[0]


@pytest.mark.parametrize("constant", [0.0, -3.0, 1e15, 1e-300])
def test_a_constant_feature_is_zero(constant: float) -> None:
    features = FeatureScale(1)
    state = rows_of(features.init_state())
    for _ in range(100):
        assert features.update(state, np.array([[constant]])).tolist() == [[0.0]]


def test_no_features_are_no_features() -> None:
    features = FeatureScale(0)
    assert features.update(rows_of(features.init_state(), rows=3), np.empty((3, 0))).shape == (3, 0)


def test_standardised_features_have_mean_zero_and_variance_one() -> None:
    rng = np.random.default_rng(2)
    values = np.stack((1e6 + rng.normal(size=3000), 1e-6 * rng.uniform(size=3000)), axis=1)
    features = FeatureScale(2)
    state = rows_of(features.init_state())
    told: Array = np.concatenate([features.update(state, row[None]) for row in values])[500:]
    assert np.abs(told.mean(axis=0)).max() < 0.05
    assert np.abs(told.std(axis=0) - 1.0).max() < 0.05


def test_winsorising_bounds_and_leaves_what_is_inside() -> None:
    inside = np.linspace(-WINSOR, WINSOR, 7)
    assert winsorise(inside).tolist() == inside.tolist()
    assert winsorise(np.array([-1e300, -6.1, 6.1, np.inf])).tolist() == [-WINSOR, -WINSOR, WINSOR, WINSOR]
