"""Goal: a series in other units, upside down, or moved has the forecasts of the series in those units.

Method: whole runs against each other: by powers of two exactly, since no rounding differs; by other factors and
with a constant added, up to rounding.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.mixtures import MIXTURES
from models.protocols import Array
from models.specification import Specification
from tests.models.streams import RESULT_NAMES, SMALL, make_stream, run_new

SPECIFICATION = replace(SMALL, horizons=(1, 3), targets=("a", "b"), features=("f",), joint=True)
IN_UNITS = ("prediction", "quantiles", "expert_predictions", "error", "expert_errors")
WITHOUT_UNIT = tuple(sorted(set(RESULT_NAMES) - {*IN_UNITS, "scale"}))
"""The scale is a unit itself, but for the first row, where it is 1 since there is none."""

ROWS = 110


def largest_difference(one: Array, other: Array, scale: Array) -> float:
    """Return the largest difference of two (T, B, K, ...) in scales."""
    unit = scale.reshape(*scale.shape, *[1] * (one.ndim - scale.ndim))
    return float((np.abs(one - other) / unit).max())


@pytest.mark.parametrize("mixture", MIXTURES)
def test_times_a_power_of_two_gives_the_same_to_the_bit(mixture: str) -> None:
    specification = replace(SPECIFICATION, mixture=mixture)
    stream = make_stream(specification, rows=ROWS, series=2)
    told = run_new(specification, stream)
    for power in (-60, -1, 40):
        scaled = run_new(specification, replace(stream, values=2.0**power * stream.values))
        for name in IN_UNITS:
            assert scaled[name].tobytes() == (2.0**power * told[name]).tobytes(), (power, name)
        for name in WITHOUT_UNIT:
            assert scaled[name].tobytes() == told[name].tobytes(), (power, name)
        assert scaled["scale"][1:].tobytes() == (2.0**power * told["scale"][1:]).tobytes()


@pytest.mark.parametrize(
    "specification", [SPECIFICATION, Specification(lags=24, units=8)], ids=["small", "larger"]
)
def test_times_any_factor_gives_the_same_up_to_rounding(specification: Specification) -> None:
    stream = make_stream(specification, rows=ROWS, series=2)
    told = run_new(specification, stream)
    scaled = run_new(specification, replace(stream, values=1e5 / 3.0 * stream.values))
    for name in IN_UNITS:
        assert largest_difference(scaled[name] / (1e5 / 3.0), told[name], told["scale"]) < 1e-6, name
    assert np.abs(scaled["weights"] - told["weights"]).max() < 1e-6


@pytest.mark.parametrize("constant", [-1000.0, 3e4])
def test_a_constant_added_is_added_to_the_forecasts_up_to_rounding(constant: float) -> None:
    """The constant is of many scales: increments lose as many digits, and no more may be lost in the model."""
    stream = make_stream(SPECIFICATION, rows=ROWS, series=2)
    unit = run_new(SPECIFICATION, stream)["scale"][-1]
    stream = replace(stream, values=stream.values / unit)
    told = run_new(SPECIFICATION, stream)
    moved = run_new(SPECIFICATION, replace(stream, values=stream.values + constant))
    for name in ("prediction", "quantiles", "expert_predictions"):
        assert largest_difference(moved[name] - constant, told[name], told["scale"]) < 1e-5, name
    for name in ("error", "expert_errors"):
        assert largest_difference(moved[name], told[name], told["scale"]) < 1e-5, name
    assert np.abs(moved["weights"] - told["weights"]).max() < 1e-5
    assert (moved["settled"] == told["settled"]).all()


def test_a_series_upside_down_has_the_forecasts_upside_down_to_the_bit() -> None:
    """Nothing in the default model knows up from down: tanh is odd, and the linear cell has no bias."""
    specification = replace(SPECIFICATION, features=())
    stream = make_stream(specification, rows=ROWS, series=2)
    told = run_new(specification, stream)
    turned = run_new(specification, replace(stream, values=-stream.values))
    for name in ("prediction", "expert_predictions", "error", "expert_errors"):
        np.testing.assert_array_equal(turned[name], -told[name], err_msg=name)
    np.testing.assert_array_equal(turned["quantiles"], -told["quantiles"][..., ::-1])
    for name in WITHOUT_UNIT:
        np.testing.assert_array_equal(turned[name], told[name], err_msg=name)


def test_other_weeks_change_nothing() -> None:
    """Of the time itself the model sees where in the day and the week it is, and how far the rows are apart."""
    stream = make_stream(SPECIFICATION, rows=ROWS, series=2)
    stream = replace(stream, times=np.round(stream.times))
    told = run_new(SPECIFICATION, stream)
    later = run_new(SPECIFICATION, replace(stream, times=stream.times + 2800 * 7 * 86_400.0))
    for name in RESULT_NAMES:
        assert later[name].tobytes() == told[name].tobytes(), name
