"""Goal: a missing value is predicted past: nothing is scored, learned or counted, and the state goes on without innovation.

Method: states before and after compared field by field; the state of a diagonal cell against its closed form; runs that
begin with nothing, or go on with nothing for ever; results of a stream with holes scored by hand.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.bank import Bank, StepResult
from models.cells import CELLS
from models.protocols import Array
from models.scaling import FeatureScale, IncrementScale
from models.specification import Specification
from tests.models.streams import SMALL, make_stream, row_bytes, rows_of, run, state_bytes, step, univariate

HOUR = 3600.0
COMPILED = pytest.mark.parametrize("compiled", [True, False])


def give(bank: Bank, slot: int, row: int, value: float, features: tuple[float, ...] = ()) -> StepResult:
    """Give one series of one target the value of an hour."""
    return bank.step(np.array([slot]), np.array([HOUR * row]), np.array([[value]]), np.array([features]))


def walk(rows: int, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    steps: Array = 20.0 + rng.normal(size=rows).cumsum() + 3.0 * np.sin(np.arange(rows) * 2.0 * np.pi / 24.0)
    return steps


@COMPILED
def test_nothing_is_scored_or_learned_where_the_value_is_missing(compiled: bool) -> None:
    bank = Bank(replace(SMALL, horizons=(1, 3)), compiled=compiled)
    slot = bank.admit()
    for row, value in enumerate(walk(60)):
        give(bank, slot, row, value)
    before = bank.snapshot(slot)
    result = give(bank, slot, 60, np.nan)
    after = bank.snapshot(slot)
    changed = {name for name in before if before[name].tobytes() != after[name].tobytes()}
    learned = ("scale/", "features/", "mixture/", "interval/", "anomaly/", "drift.", "inputs/", "residual/")
    assert {name for name in changed if name.startswith(learned)} == {"scale/level"}
    assert not {name for name in changed if name.endswith(("/weights", "/params")) or "optimizer" in name}
    assert {"clock/count", "expert.recurrent/state", "season/rows"} <= changed
    assert not result.settled.any()
    assert not result.error.any()
    assert result.anomaly_score.tolist() == [[0.0]]
    assert result.begun.all()
    assert np.isfinite(result.prediction).all()


@COMPILED
def test_the_models_own_forecast_stands_in_for_the_value(compiled: bool) -> None:
    for horizons in ((1, 3), (2, 5)):
        bank = Bank(replace(SMALL, horizons=horizons), compiled=compiled)
        slot = bank.admit()
        said = [give(bank, slot, row, value).prediction[0, 0, 0] for row, value in enumerate(walk(60))]
        give(bank, slot, 60, np.nan)
        assert bank.snapshot(slot)["scale/level"][0] == said[-horizons[0]]


@COMPILED
def test_a_value_after_missing_ones_settles_what_was_forecast_for_its_own_row(compiled: bool) -> None:
    """The forecasts of missing rows are scored too: they were published."""
    specification = replace(SMALL, horizons=(1, 3), targets=("a", "b"))
    stream = make_stream(specification, rows=80, series=2, missing=0.3)
    bank = Bank(specification, compiled=compiled)
    told = run(bank, [bank.admit(), bank.admit()], stream)
    observed = ~np.isnan(stream.values)
    assert (told["begun"] == (np.cumsum(observed, axis=0) > 0)).all()
    for place, h in enumerate(specification.horizons):
        settled = told["settled"][h:, ..., place]
        assert (settled == (observed[h:] & told["begun"][:-h])).all()
        error = stream.values[h:] - told["prediction"][:-h, ..., place]
        assert (told["error"][h:, ..., place] == np.where(settled, error, 0.0)).all()


@COMPILED
def test_before_the_first_value_nothing_is_said_and_the_series_stays_new(compiled: bool) -> None:
    specification = replace(SMALL, targets=("a", "b"), features=("f",), joint=True, horizons=(1, 3))
    stream = make_stream(specification, rows=30)
    bank, spared = Bank(specification, compiled=compiled), Bank(specification, compiled=compiled)
    slot, other = bank.admit(), spared.admit()
    new = state_bytes(bank, slot)
    for row in range(5):
        nothing = np.full((1, 2), np.nan)
        result = bank.step(np.array([slot]), stream.times[row], nothing, stream.features[row])
        assert np.isnan(result.prediction).all()
        assert np.isnan(result.quantiles).all()
        assert np.isnan(result.expert_predictions).all()
        assert not result.begun.any()
        for name in ("anomaly_score", "drift", "gradient_norm", "influence_norm", "spectral_radius"):
            assert not getattr(result, name).any(), name
        assert np.allclose(result.weights.sum(axis=-1), 1.0)
        assert state_bytes(bank, slot) == new
    for row in range(5, 30):
        result, expected = step(bank, [slot], stream, row), step(spared, [other], stream, row)
        assert row_bytes(result, 0) == row_bytes(expected, 0)


@COMPILED
def test_a_target_that_has_no_value_yet_leaves_the_others_alone(compiled: bool) -> None:
    both, alone = replace(SMALL, targets=("a", "b")), replace(SMALL, targets=("b",))
    banks = Bank(both, compiled=compiled), Bank(alone, compiled=compiled)
    slots = [bank.admit() for bank in banks]
    for row, value in enumerate(walk(40)):
        time = np.array([HOUR * row])
        two = banks[0].step(np.array([slots[0]]), time, np.array([[np.nan, value]]), np.empty((1, 0)))
        one = banks[1].step(np.array([slots[1]]), time, np.array([[value]]), np.empty((1, 0)))
        assert two.begun.tolist() == [[False, True]]
        assert two.prediction[0, 1].tolist() == one.prediction[0, 0].tolist()


@COMPILED
def test_values_missing_for_ever_leave_all_finite_and_within_what_was_seen(compiled: bool) -> None:
    bank = Bank(replace(SMALL, horizons=(1, 24)), compiled=compiled)
    slot = bank.admit()
    values = walk(80)
    for row, value in enumerate(values):
        give(bank, slot, row, value)
    margin = 0.1 * np.ptp(values) + 1e-9
    for row in range(80, 1500):
        result = give(bank, slot, row, np.nan)
        assert (result.prediction >= values.min() - margin).all()
        assert (result.prediction <= values.max() + margin).all()
    for name, field in bank.snapshot(slot).items():
        assert np.isfinite(field).all(), name
        assert np.abs(field.astype(np.float64)).max(initial=0.0) < 1e9, name


@COMPILED
def test_over_missing_rows_a_diagonal_state_and_its_trace_decay_by_lambda_to_the_rows(compiled: bool) -> None:
    """What two states differ in decays as lambda^k, since inputs are the same; and the trace of input weights with it.

    The readout is at zero, so that the state does not come back as its own input.
    """
    specification = replace(SMALL, experts=("last_value", "recurrent"))
    bank = Bank(specification, compiled=compiled)
    slots = bank.admit(), bank.admit()
    for row, value in enumerate(walk(50)):
        for slot in slots:
            give(bank, slot, row, value)
    for slot, shift in zip(slots, (0.0, 0.3), strict=True):
        fields = bank.snapshot(slot)
        fields["expert.recurrent/weights"][:] = 0.0
        fields["expert.recurrent/state"] += shift
        fields["expert.recurrent/memory.trace"] += shift
        bank.restore(slot, fields)
    n = specification.units
    cell = CELLS["rtu"](n_inputs=2, n_units=n)
    params = bank.snapshot(slots[0])["expert.recurrent/params"]
    transition = cell.step(params, np.zeros((1, 2, n)), np.zeros((1, 2))).transition[0]
    factor = transition[0, 0] + 1j * transition[1, 0]
    rows = 12
    for row in range(50, 50 + rows):
        for slot in slots:
            give(bank, slot, row, np.nan)
    first, second = (bank.snapshot(slot) for slot in slots)
    apart = second["expert.recurrent/state"][0] - first["expert.recurrent/state"][0]
    expected = (0.3 + 0.3j) * factor**rows
    np.testing.assert_allclose(apart[0] + 1j * apart[1], expected, rtol=0, atol=1e-12)
    traces = (
        second["expert.recurrent/memory.trace"][0, :, 2:] - first["expert.recurrent/memory.trace"][0, :, 2:]
    )
    np.testing.assert_allclose(
        traces[0] + 1j * traces[1], np.broadcast_to(expected, traces[0].shape), rtol=0, atol=1e-12
    )


@COMPILED
def test_a_series_with_holes_goes_on_from_a_snapshot_to_the_bit(compiled: bool) -> None:
    specification = replace(SMALL, targets=("a", "b"), features=("f",), joint=True, horizons=(1, 3))
    stream = make_stream(specification, rows=60, missing=0.3)
    bank, other = Bank(specification, compiled=compiled), Bank(specification, compiled=compiled)
    slot = bank.admit()
    for row in range(31):
        step(bank, [slot], stream, row)
    place = other.admit()
    other.restore(place, bank.snapshot(slot))
    for row in range(31, 60):
        went, again = step(bank, [slot], stream, row), step(other, [place], stream, row)
        assert row_bytes(went, 0) == row_bytes(again, 0)
    assert state_bytes(bank, slot) == state_bytes(other, place)


def test_a_missing_feature_counts_as_its_mean_and_changes_no_statistic() -> None:
    scaler = FeatureScale(2)
    state, holes = rows_of(scaler.init_state()), rows_of(scaler.init_state())
    rng = np.random.default_rng(0)
    for t in range(50):
        one, other = rng.normal(3.0, 2.0, size=2)
        missing = t < 5 or t % 3 == 0
        told = scaler.update(holes, np.array([[one, np.nan if missing else other]]))
        if missing:
            assert told[0, 1] == 0.0
        else:  # the second feature alone, with the missing ones left out
            expected = scaler.update(state, np.array([[0.0, other]]))
            assert told[0, 1] == expected[0, 1]
    assert holes["seen"].tolist() == [[50, int(state["seen"][0, 1])]]
    for name in ("mean", "variance"):
        assert holes[name][0, 1] == state[name][0, 1]


def test_the_scale_of_increments_takes_values_alone() -> None:
    scaler = IncrementScale()
    state = rows_of(scaler.init_state())
    for value in (1.0, 3.0, 2.0, 6.0):
        scaler.update(state, np.array([value]), np.array([True]))
    before = {name: field.copy() for name, field in state.items()}
    scale, increment, deviation = scaler.update(state, np.array([7.0]), np.array([False]))
    assert {name for name in before if before[name] != state[name]} == {"level"}
    assert scale == np.sqrt(before["variance"])
    assert increment == 1.0 / scale
    assert deviation == (7.0 - before["mean"]) / np.sqrt(before["spread"])


def test_forecasts_past_missing_values_are_better_than_repeating_the_last_one() -> None:
    """Goal: it is of use. Method: a smooth season with a tenth of its values gone, one step ahead, behind the warm-up."""
    rng = np.random.default_rng(0)
    values = np.sin(np.arange(900) * 2.0 * np.pi / 24.0) + 0.05 * rng.normal(size=900)
    holes = np.where(rng.random(size=900) < 0.1, np.nan, values)
    bank = Bank(Specification(experts=("last_value", "linear"), lags=26))
    told = run(bank, [bank.admit()], univariate(holes, interval=HOUR))
    error = told["prediction"][400:-1, 0, 0, 0] - values[401:]
    naive = values[400:-1] - values[401:]
    assert np.mean(error**2) < 0.3 * np.mean(naive**2)
