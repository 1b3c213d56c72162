"""Goal: what a fault taught is put back once it is over, what changes for good stays learned, and series without faults are left alone.

Method: seeded autoregressions beside a twin without the fault, through a bank with its compiled forecaster and without; what `guard` says,
what the state holds, and the error behind the fault over the twin's.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from models import faults
from models.bank import Bank
from models.experts.recovery import RESTORE
from models.faults import AGE, CALM, COUNT_MIN, HELD_MAX, JUDGED, SQUARES, WORSE, Faults
from models.forecaster import Forecaster
from models.kernels import COMPILES
from models.protocols import Array, Fields, IntArray
from models.scaling import SPAN_EVENTS
from models.specification import Specification
from tests.models.streams import SMALL, side_by_side, state_bytes, step

COMPILED = [
    pytest.param(True, marks=pytest.mark.skipif(not COMPILES, reason="needs the extra `fast`")),
    False,
]
MODEL = replace(SMALL, experts=("last_value", "linear", "recurrent"))
BEGIN, LONG, ROWS = int(SPAN_EVENTS) + 100, 50, 1900
CLEAN = Forecaster(MODEL).faults.clean


def wave(rows: int = ROWS, seed: int = 1, slower_from: int = ROWS) -> Array:
    """Return an autoregression that swings, with noise of deviation one; of another frequency from a row on."""
    rng, values = np.random.default_rng(seed), np.zeros(rows)
    for row in range(2, rows):
        swing = 1.7 if row < slower_from else 1.0
        values[row] = swing * values[row - 1] - 0.85 * values[row - 2] + rng.normal()
    return values + 30.0


def outliers(values: Array, rng: np.random.Generator) -> Array:
    return np.where(
        rng.random(len(values)) < 0.4, values + 10.0 ** rng.uniform(1.0, 6.0, len(values)), values
    )


def another_unit(values: Array, _rng: np.random.Generator) -> Array:
    return values * 1e3


def a_smaller_unit(values: Array, _rng: np.random.Generator) -> Array:
    return values * 1e-3


def stuck(values: Array, _rng: np.random.Generator) -> Array:
    return np.full(len(values), values[0])


FAULTS = (outliers, another_unit, a_smaller_unit, stuck)


def with_fault(kind: object, values: Array, begin: int = BEGIN) -> Array:
    """Return the values with a fault of this kind."""
    seen = values.copy()
    assert callable(kind)
    seen[begin : begin + LONG] = kind(values[begin : begin + LONG], np.random.default_rng(3))
    return seen


@cache
def before(specification: Specification) -> Fields:
    """Return the state of a series that has taken `wave()` up to where faults begin, by the quickest way there is."""
    bank, stream = Bank(specification), side_by_side(wave(BEGIN))
    slot = bank.admit()
    for row in range(BEGIN):
        step(bank, [slot], stream, row)
    return bank.snapshot(slot)


def admitted(bank: Bank, count: int) -> list[int]:
    """Return slots of so many series in that state."""
    slots = [bank.admit() for _ in range(count)]
    for slot in slots:
        bank.restore(slot, before(bank.specification))
    return slots


def told(*series: Array, compiled: bool) -> tuple[Array, IntArray, list[list[int]]]:
    """Return forecasts for each row and series, guards, and for each series the rows at which something was put back."""
    bank = Bank(MODEL, compiled=compiled)
    slots, stream = [bank.admit() for _ in series], side_by_side(*series)
    made: Array = np.zeros((len(stream), len(series)))
    guards: IntArray = np.zeros(made.shape, dtype=np.int64)
    for row in range(len(stream)):
        result = step(bank, slots, stream, row)
        guards[row] = result.guard[:, 0]
        if row + 1 < len(stream):
            made[row + 1] = result.prediction[:, 0, 0]
    return made, guards, [np.flatnonzero(guards[:, at] & RESTORE).tolist() for at in range(len(series))]


@pytest.mark.parametrize("compiled", COMPILED)
def test_what_a_fault_taught_is_put_back_and_a_twin_without_it_left_alone(compiled: bool) -> None:
    clean = wave()
    made, _, restored = told(clean, *(with_fault(kind, clean) for kind in FAULTS), compiled=compiled)
    behind = slice(BEGIN + LONG + 300, None)
    errors = ((made[behind] - clean[behind, None]) ** 2).mean(axis=0)
    assert restored[0] == []
    for at, kind in enumerate(FAULTS, start=1):
        assert restored[at], kind.__name__
        assert BEGIN + LONG < restored[at][0] <= restored[at][-1] <= BEGIN + HELD_MAX, kind.__name__
        assert errors[at] <= 1.05 * errors[0], kind.__name__


def test_without_it_the_same_faults_are_felt_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: the test above can fail. Method: no burst is long enough to be a fault."""
    monkeypatch.setattr(faults, "COUNT_MIN", ROWS)
    clean = wave()
    made, _, restored = told(clean, with_fault(outliers, clean), compiled=False)
    behind = slice(BEGIN + LONG + 300, None)
    errors = ((made[behind] - clean[behind, None]) ** 2).mean(axis=0)
    assert restored == [[], []]
    assert errors[1] > 1.05 * errors[0]


@pytest.mark.parametrize("compiled", COMPILED)
def test_what_changes_for_good_is_kept(compiled: bool) -> None:
    clean = wave()
    wild, other = clean.copy(), clean.copy()
    wild[BEGIN:] += 40.0 * (clean[BEGIN:] - 30.0)  # forty times as far from the mean
    other[BEGIN:] = 3e3 + clean[BEGIN:]  # far out of the range that was known
    _, _, restored = told(wild, other, compiled=compiled)
    assert restored == [[], []]


def test_what_changed_for_good_beneath_a_fault_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: the weights stay, while the scale is put back. The test can fail: where no proof is enough, the weights are put back too."""
    values = with_fault(stuck, wave(BEGIN + LONG + 2 * CLEAN + JUDGED, slower_from=BEGIN))
    _, _, restored = told(values, compiled=False)
    assert len(restored[0]) == 1
    monkeypatch.setattr(faults, "DOUBT", np.inf)
    _, _, restored = told(values, compiled=False)
    assert np.diff(restored[0]).tolist() == [JUDGED]


@pytest.mark.parametrize("compiled", COMPILED)
def test_weights_from_before_are_put_back_unless_they_are_worse_beyond_doubt(compiled: bool) -> None:
    """Method: a series is set to the row before the judgement, with sums that say how much worse they are, in standard errors."""
    bank = Bank(MODEL, compiled=compiled)
    slot, stream = bank.admit(), side_by_side(with_fault(outliers, wave(BEGIN + 3)))
    calm = np.nan
    for row in range(BEGIN + 2):
        calm = step(bank, [slot], stream, row).prediction[0, 0, 0]
    fields, done = bank.snapshot(slot), []
    assert fields["fault/counts"][0, AGE] > 0
    for errors in (-3.0, 0.5, 1.9, 2.1):
        fields["fault/counts"][0, CALM] = CLEAN + JUDGED - 1
        fields["fault/figures"][0, [WORSE, SQUARES]] = errors * 1e6, 1e12
        bank.restore(slot, fields)
        stream.values[BEGIN + 2] = calm
        done.append(bool(step(bank, [slot], stream, BEGIN + 2).guard[0, 0] & RESTORE))
    assert done == [True, True, True, False]


@pytest.mark.parametrize("compiled", COMPILED)
def test_what_comes_again_and_again_is_no_fault(compiled: bool) -> None:
    values = wave()
    for begin in range(100, ROWS, 150):
        values[begin : begin + 2 * COUNT_MIN] *= np.random.default_rng(begin).choice(
            [-10.0, 10.0], 2 * COUNT_MIN
        )
    _, _, restored = told(values, compiled=compiled)
    assert restored == [[]]


@pytest.mark.parametrize("compiled", COMPILED)
def test_of_a_young_series_and_of_single_outliers_nothing_is_put_back(compiled: bool) -> None:
    young, single = with_fault(outliers, wave(), begin=int(SPAN_EVENTS) - 2 * LONG), wave()
    single[BEGIN + CLEAN + JUDGED :: 300] += 40.0
    _, guards, restored = told(young[: int(SPAN_EVENTS)], single[: int(SPAN_EVENTS)], compiled=compiled)
    assert restored == [[], []]
    _, guards, restored = told(single, compiled=compiled)
    assert guards[BEGIN:].any()  # they are seen
    assert restored == [[]]


def test_the_compiled_forecaster_does_as_numpy_at_each_row_of_a_fault() -> None:
    if not COMPILES:
        pytest.skip("needs the extra `fast`")
    clean = wave(BEGIN + LONG + CLEAN + JUDGED + 120)
    specification = replace(MODEL, horizons=(1, 3))
    twin, plain = Bank(specification), Bank(specification, compiled=False)
    series = [clean, *(with_fault(kind, clean) for kind in FAULTS)]
    slots, stream = admitted(plain, len(series)), side_by_side(*series)
    assert slots == [twin.admit() for _ in series]
    held = restored = 0
    for row in range(BEGIN, len(clean)):
        for slot in slots:
            twin.restore(slot, plain.snapshot(slot))
        expected = step(plain, slots, stream, row)
        found = step(twin, slots, stream, row)
        np.testing.assert_array_equal(found.guard, expected.guard)
        restored += int((expected.guard & RESTORE > 0).sum())
        for slot in slots:
            after, wanted = twin.snapshot(slot), plain.snapshot(slot)
            held += int(wanted["fault/counts"][0, AGE] > 0)
            for field, value in wanted.items():
                bound = 1e-12 * (1.0 + float(np.abs(value).max(initial=0.0)))
                np.testing.assert_allclose(after[field], value, rtol=0, atol=bound, err_msg=f"{field}, {row}")
    assert held > len(FAULTS) * LONG
    assert restored >= len(FAULTS)


@pytest.mark.parametrize("compiled", COMPILED)
def test_a_series_is_the_same_to_the_bit_beside_another_that_has_a_fault(compiled: bool) -> None:
    clean = wave(BEGIN + 200)
    series = [with_fault(outliers, clean), clean, with_fault(stuck, clean, begin=BEGIN + 20)]
    together = Bank(MODEL, compiled=compiled)
    slots, stream = admitted(together, len(series)), side_by_side(*series)
    for row in range(BEGIN, len(clean)):
        step(together, slots, stream, row)
    for at, values in enumerate(series):
        alone = Bank(MODEL, compiled=compiled)
        (slot,), own = admitted(alone, 1), side_by_side(values)
        for row in range(BEGIN, len(clean)):
            step(alone, [slot], own, row)
        assert state_bytes(alone, slot) == state_bytes(together, slots[at])


def test_a_gap_gives_the_copy_up() -> None:
    bank = Bank(MODEL, compiled=False)
    slot, stream = bank.admit(), side_by_side(with_fault(outliers, wave(BEGIN + LONG)))
    for row in range(len(stream)):
        step(bank, [slot], stream, row)
    assert bank.snapshot(slot)["fault/counts"][0, AGE] > 0
    bank.reset_memory(np.array([slot]))
    assert bank.snapshot(slot)["fault/counts"][0, AGE] == 0


def test_the_copy_is_of_weights_alone_and_small() -> None:
    """Goal: what a series costs in memory by it is what the documents say: weights of readouts and mixture, no covariance; and
    nothing that other series learn too."""
    pooled = (*MODEL.experts, "linear_pooled")
    forecaster = Forecaster(replace(MODEL, horizons=(1, 3), experts=pooled))
    states = forecaster.init_state()
    kept = {name for name in states["fault"] if name.startswith("readout.")}
    assert kept == {"readout.linear", "readout.recurrent"}
    assert isinstance(forecaster.faults, Faults)
    for name in ("linear", "recurrent"):
        assert states["fault"][f"readout.{name}"].shape == states[f"expert.{name}"]["weights"].shape
