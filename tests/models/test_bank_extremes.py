"""Goal: whatever finite values come, all that is said and all that is kept stays finite, and near what was seen.

Method: series of awkward values run side by side for thousands of events, and Hypothesis draws short ones from
all floats; after every event outputs and states are searched for what is not finite.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from models.bank import VALUE_ABS_MAX, Bank, NonFiniteError, StepResult
from models.cells import CELLS
from models.mixtures import MIXTURES
from models.protocols import Array
from models.scaling import RANGE_MARGIN
from tests.models.streams import RESULT_NAMES, SMALL, Stream, run_new, side_by_side, state_bytes, step

ROWS = 1500
SUBNORMAL = 5e-324


def spiked(values: Array, at: int, value: float) -> Array:
    values = values.copy()
    values[at] = value
    return values


def awkward_series(rows: int) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    noise, row = rng.normal(size=rows), np.arange(rows)
    sign = np.where(row % 2 == 0, 1.0, -1.0)
    return {
        "zeros": np.zeros(rows),
        "constant": np.full(rows, 17.3),
        "constant 1e15": np.full(rows, 1e15),
        "noise of 1e15": 1e15 * noise,
        "steps of 1 upon 1e15": 1e15 + np.round(noise),
        "alternating 1e15": 1e15 * sign,
        "alternating 1": sign,
        "noise of 1e-300": 1e-300 * noise,
        "constant 1e-300": np.full(rows, 1e-300),
        "subnormals": SUBNORMAL * rng.integers(-3, 4, size=rows),
        "one spike of 1e12": spiked(noise, rows // 2, 1e12),
        "first a spike": spiked(noise, 0, -1e12),
        "one spike upon zeros": spiked(np.zeros(rows), rows // 2, 1e12),
        "one spike upon 1e-300": spiked(1e-300 * noise, rows // 2, 1e15),
        "all magnitudes": sign * 10.0 ** (rng.uniform(-300.0, 15.0, size=rows)),
        "growing from 1e-300 to 1e15": 10.0 ** np.linspace(-300.0, 15.0, rows),
        "shrinking from 1e15 to 1e-300": 10.0 ** np.linspace(15.0, -300.0, rows),
        "exploding": np.minimum(1.05**row, 1e15),
        "still, then wild": np.where(row < rows // 2, 3.0, 1e6 * noise),
        "wild, then still": np.where(row < rows // 2, 1e6 * noise, 3.0),
        "largest": VALUE_ABS_MAX * sign,
        "largest after smallest": np.where(row < rows // 2, SUBNORMAL * sign, VALUE_ABS_MAX * noise / 10.0),
    }


def not_finite_fields(result: StepResult) -> list[str]:
    return [name for name in RESULT_NAMES if not np.isfinite(getattr(result, name)).all()]


def not_finite_state(bank: Bank, slot: int) -> list[str]:
    return [name for name, value in bank.snapshot(slot).items() if not np.isfinite(value).all()]


@pytest.mark.parametrize(("cell", "rows"), [("rtu", ROWS), ("vanilla", 400)])
def test_thousands_of_awkward_values_leave_outputs_and_state_finite(cell: str, rows: int) -> None:
    series = awkward_series(rows)
    stream = side_by_side(*series.values())
    features = stream.values[:, ::-1]
    stream = Stream(stream.times, stream.values, features)
    bank = Bank(replace(SMALL, cell=cell, features=("f",), horizons=(1, 5), learning_rate=0.01))
    slots = [bank.admit() for _ in series]
    lowest, highest = np.full(len(series), np.inf), np.full(len(series), -np.inf)
    for row in range(rows):
        result = step(bank, slots, stream, row)
        assert not_finite_fields(result) == []
        if row % 100 == 0 or row > rows - 5:
            odd = {name: not_finite_state(bank, slot) for name, slot in zip(series, slots, strict=True)}
            assert not any(odd.values()), odd
        now = stream.values[row, :, 0]
        lowest, highest = np.minimum(lowest, now), np.maximum(highest, now)
        margin = RANGE_MARGIN * (highest - lowest) + 1e-9 * np.maximum(np.abs(lowest), np.abs(highest))
        assert (result.prediction[:, 0] >= (lowest - margin)[:, None]).all()
        assert (result.prediction[:, 0] <= (highest + margin)[:, None]).all()


@hypothesis_settings(max_examples=60)
@given(
    events=st.lists(
        st.tuples(
            st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, SUBNORMAL, 1.0, 1e99]),
            st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, SUBNORMAL, 1.0, 1e99]),
            st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, 1800.0]),
        ),
        min_size=1,
        max_size=25,
    ),
    mixture=st.sampled_from(sorted(MIXTURES)),
    cell=st.sampled_from(sorted(CELLS)),
)
def test_any_finite_value_is_learned_or_refused(
    events: list[tuple[float, float, float]], mixture: str, cell: str
) -> None:
    bank = Bank(replace(SMALL, units=4, mixture=mixture, cell=cell, features=("f",), horizons=(1, 2)))
    slot, time = bank.admit(), 0.0
    for value, feature, gap in events:
        before = state_bytes(bank, slot)
        try:
            result = bank.step(
                np.array([slot]), np.array([time + gap]), np.array([[value]]), np.array([[feature]])
            )
        except NonFiniteError:
            assert max(abs(value), abs(feature), abs(time + gap)) > VALUE_ABS_MAX
            assert state_bytes(bank, slot) == before
            continue
        time += gap
        assert not_finite_fields(result) == []
        assert not_finite_state(bank, slot) == []


def test_a_constant_series_is_forecast_without_error() -> None:
    told = run_new(replace(SMALL, horizons=(1, 3)), side_by_side(np.full(300, 17.3), np.zeros(300)))
    assert (told["prediction"][:, 0] == 17.3).all()
    assert (told["prediction"][:, 1] == 0.0).all()
    assert not told["error"].any()
    assert not told["drift"].any()
    assert not told["anomaly_score"].any()


def test_after_one_wild_value_forecasts_interval_and_score_are_soon_as_if_it_had_not_been() -> None:
    rng = np.random.default_rng(1)
    calm = rng.normal(size=1500).cumsum()
    specification = replace(SMALL, experts=("last_value", "seasonal", "linear"))
    told = run_new(specification, side_by_side(calm, spiked(calm, 1000, 1e12)))
    width = told["quantiles"][:, :, 0, 0, -1] - told["quantiles"][:, :, 0, 0, 0]
    error = np.abs(told["error"][:, :, 0, 0])
    assert told["anomaly_score"][1000, 1] > 0.99
    assert np.median(width[1200:, 1] / width[1200:, 0]) < 1.5
    assert error[1020:, 1].mean() < 1.2 * error[1020:, 0].mean()
    assert told["anomaly_score"][1200:, 1].mean() > 0.3
