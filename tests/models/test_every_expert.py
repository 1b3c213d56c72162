"""Goal: every expert of EXPERTS keeps to the protocol: batched, restorable, causal, bounded, without a unit.

Method: each alone in a model, and beside the last value, over awkward series; compared byte by byte where a
property says "the same".
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.bank import Bank
from models.calendar import N_CALENDAR
from models.experts import EXPERTS
from models.forecast_protocols import Due, Observation
from models.snapshot import dump, load
from models.specification import Specification
from tests.models.streams import SMALL, Stream, make_stream, rows_of, run, run_new, side_by_side, step
from tests.models.test_bank_batches import cut_at_random, together
from tests.models.test_bank_extremes import awkward_series, not_finite_fields, not_finite_state
from tests.models.test_no_leakage import first_difference, with_another_future

for_every_expert = pytest.mark.parametrize("name", EXPERTS)


def alone(name: str, **changes: object) -> Specification:
    return replace(SMALL, experts=(name,), horizons=(1, 3), features=("f",), **changes)  # type: ignore[arg-type]


def observation(specification: Specification, *, rows: int, seed: int) -> Observation:
    """Return an event of order one, with slots of a label clock's sizes."""
    rng = np.random.default_rng(seed)
    n_horizons = len(specification.horizons)
    offsets = np.cumsum((0, *specification.horizons[:-1]))
    return Observation(
        level=rng.normal(size=rows),
        scale=np.exp(rng.normal(size=rows)),
        increment=rng.normal(size=rows),
        deviation=rng.normal(size=rows),
        steady_increment=rng.normal(size=rows),
        steady_deviation=rng.normal(size=rows),
        steady_offset=rng.normal(size=rows),
        seasonal_level=rng.normal(size=(rows, n_horizons)),
        seasonal_change=rng.normal(size=(rows, n_horizons, 2)),
        features=rng.normal(size=(rows, specification.n_inputs)),
        others=rng.normal(size=(rows, specification.n_others)),
        calendar=rng.normal(size=(rows, N_CALENDAR)),
        row=rng.integers(0, specification.horizons[-1], size=rows),
        slot=offsets + rng.integers(0, specification.horizons, size=(rows, n_horizons)),
        hasty=np.full(rows, False),
    )


def due_of(event: Observation, *, valid: bool) -> Due:
    """Return labels of one for the forecasts made at an event, due or not."""
    shape = event.slot.shape
    return Due(
        valid=np.full(shape, valid),
        slot=event.slot,
        origin=np.repeat(event.row[:, None], shape[1], axis=1),
        target=np.full(shape, float(valid)),
        residual=np.full(shape, 0.5 * valid),
        bound=np.full(shape, 4.0),
        hasty=event.hasty,
    )


@for_every_expert
def test_a_forecast_is_a_number_for_each_row_and_horizon(name: str) -> None:
    specification = alone(name)
    expert = EXPERTS[name](specification)
    state = rows_of(expert.init_state(), rows=4)
    layout = {field: (value.shape, value.dtype) for field, value in state.items()}
    for seed in range(5):
        forecast = expert.forecast(state, observation(specification, rows=4, seed=seed))
        assert forecast.shape == (4, 2)
        assert forecast.dtype == np.float64
        assert np.isfinite(forecast).all()
    assert {field: (value.shape, value.dtype) for field, value in state.items()} == layout


@for_every_expert
def test_what_it_is_handed_is_not_changed(name: str) -> None:
    specification = alone(name)
    expert = EXPERTS[name](specification)
    state = rows_of(expert.init_state(), rows=2)
    event = observation(specification, rows=2, seed=0)
    due = due_of(event, valid=True)
    for value in (
        *(getattr(event, f) for f in Observation.__slots__),
        *(getattr(due, f) for f in Due.__slots__),
    ):
        value.flags.writeable = False
    expert.forecast(state, event)
    expert.learn(state, due)
    expert.forecast(state, event)


@for_every_expert
def test_where_no_label_is_due_nothing_is_learned(name: str) -> None:
    specification = alone(name)
    expert = EXPERTS[name](specification)
    state, spared = rows_of(expert.init_state(), rows=3), rows_of(expert.init_state(), rows=3)
    for seed in range(6):
        event = observation(specification, rows=3, seed=seed)
        expert.learn(state, due_of(event, valid=False))
        told, expected = expert.forecast(state, event), expert.forecast(spared, event)
        assert told.tobytes() == expected.tobytes()


@for_every_expert
@pytest.mark.parametrize("joint", [True, False])
def test_a_batchs_composition_changes_no_bit(name: str, joint: bool) -> None:
    specification = alone(name, targets=("a", "b"), joint=joint)
    stream = make_stream(specification, rows=40, series=5, seed=4)
    assert cut_at_random(specification, stream, seed=4) == together(specification, stream)


@for_every_expert
@pytest.mark.parametrize("cut", [1, 30])
def test_snapshot_restore_step_equals_step_to_the_bit(name: str, cut: int) -> None:
    specification = alone(name)
    stream = make_stream(specification, rows=60, seed=5)
    bank, other = Bank(specification), Bank(specification)
    slot, other_slot = bank.admit(), other.admit()
    run(bank, [slot], stream, range(cut))
    data = dump(bank.snapshot(slot), version=specification.version())
    other.restore(other_slot, load(data, version=specification.version()))
    told, expected = (run(b, [s], stream, range(cut, 60)) for b, s in ((other, other_slot), (bank, slot)))
    assert {field: values.tobytes() for field, values in told.items()} == {
        field: values.tobytes() for field, values in expected.items()
    }


@for_every_expert
def test_another_future_changes_nothing_that_was_said_before_it(name: str) -> None:
    specification = alone(name)
    stream = make_stream(specification, rows=45, seed=6)
    for after in (0, 29):
        changed = with_another_future(stream, after, shuffled=after == 29)
        differs_at = first_difference(specification, stream, changed)
        assert differs_at is None or differs_at > after


@for_every_expert
def test_awkward_values_leave_outputs_and_state_finite(name: str) -> None:
    series = awkward_series(200)
    stream = side_by_side(*series.values())
    stream = Stream(stream.times, stream.values, stream.values[:, ::-1])
    bank = Bank(alone(name))
    slots = [bank.admit() for _ in series]
    for row in range(200):
        assert not_finite_fields(step(bank, slots, stream, row)) == []
    odd = {case: not_finite_state(bank, slot) for case, slot in zip(series, slots, strict=True)}
    assert not any(odd.values()), odd


@for_every_expert
def test_forecasts_scale_with_the_unit_exactly(name: str) -> None:
    specification = alone(name)
    stream = make_stream(specification, rows=80, series=2, seed=7)
    told = run_new(specification, stream)["prediction"]
    for power in (-20, 3):
        scaled = run_new(specification, replace(stream, values=2.0**power * stream.values))["prediction"]
        assert scaled.tobytes() == (2.0**power * told).tobytes()


@for_every_expert
def test_a_series_that_stands_still_is_forecast_to_stand_still(name: str) -> None:
    told = run_new(replace(alone(name), features=()), side_by_side(np.full(120, -7.25), np.zeros(120)))
    assert (told["prediction"][:, 0] == -7.25).all()
    assert (told["prediction"][:, 1] == 0.0).all()


@for_every_expert
def test_beside_the_last_value_it_does_little_harm_on_a_walk_that_nobody_can_forecast(name: str) -> None:
    if name == "last_value":
        return  # an expert cannot stand beside itself
    specification = replace(SMALL, experts=("last_value", name))
    walks = np.random.default_rng(8).normal(size=(500, 8)).cumsum(axis=0)
    error = run_new(specification, side_by_side(*walks.T))["error"][100:, :, 0, 0]
    assert (error**2).mean() < 1.05 * (np.diff(walks, axis=0)[99:] ** 2).mean()
