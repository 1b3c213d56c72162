"""Goal: all that a series is, is its snapshot; its memory is constant; a slot carries nothing over.

Method: Hypothesis draws makes of models; a series is moved in mid-stream, as bytes, into another bank and
goes on beside the one that was never moved, and every result and the last state are compared byte by byte.
"""

from __future__ import annotations

import gc
import sys
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from models.bank import Bank
from models.protocols import Fields
from models.snapshot import dump, load
from models.specification import PROFILES, Specification, from_profile
from tests.models.streams import (
    SMALL,
    SMALL_SPECIFICATIONS,
    SPECIFICATIONS,
    make_stream,
    row_bytes,
    state_bytes,
    step,
)


def moved(bank: Bank, slot: int, specification: Specification) -> tuple[Bank, int]:
    """Return another bank with the series in a slot of another number."""
    data = dump(bank.snapshot(slot), version=specification.version())
    other = Bank(specification, capacity=2)
    other.admit()
    target = other.admit()
    other.restore(target, load(data, version=specification.version()))
    return other, target


@hypothesis_settings(max_examples=20)
@given(specification=SPECIFICATIONS, seed=st.integers(0, 99), cut=st.integers(0, 40))
def test_snapshot_restore_step_equals_step_to_the_bit(
    specification: Specification, seed: int, cut: int
) -> None:
    stream = make_stream(specification, rows=cut + 30, seed=seed)
    bank = Bank(specification, capacity=1)
    slot = bank.admit()
    for row in range(cut):
        step(bank, [slot], stream, row)
    other, other_slot = moved(bank, slot, specification)
    assert state_bytes(other, other_slot) == state_bytes(bank, slot)
    for row in range(cut, len(stream)):
        expected = row_bytes(step(bank, [slot], stream, row), 0)
        assert row_bytes(step(other, [other_slot], stream, row), 0) == expected
    assert state_bytes(other, other_slot) == state_bytes(bank, slot)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profiles_model_restored_after_two_days_goes_on_to_the_bit(profile: str) -> None:
    specification = from_profile(profile, horizons=(1, 24))
    stream = make_stream(specification, rows=130, seed=3)
    bank = Bank(specification)
    slot = bank.admit()
    for row in range(100):
        step(bank, [slot], stream, row)
    other, other_slot = moved(bank, slot, specification)
    for row in range(100, 130):
        expected = row_bytes(step(bank, [slot], stream, row), 0)
        assert row_bytes(step(other, [other_slot], stream, row), 0) == expected
    assert state_bytes(other, other_slot) == state_bytes(bank, slot)


@hypothesis_settings(max_examples=8)
@given(specification=SMALL_SPECIFICATIONS, seed=st.integers(0, 99))
def test_no_field_of_a_model_changes_its_shape_or_type_as_it_learns(
    specification: Specification, seed: int
) -> None:
    def layout(fields: Fields) -> dict[str, tuple[tuple[int, ...], np.dtype[np.generic]]]:
        return {name: (value.shape, value.dtype) for name, value in fields.items()}

    stream = make_stream(specification, rows=30, seed=seed)
    bank = Bank(specification)
    slot = bank.admit()
    before, size = layout(bank.snapshot(slot)), bank.bytes_per_series()
    for row in range(len(stream)):
        step(bank, [slot], stream, row)
    assert layout(bank.snapshot(slot)) == before
    assert bank.bytes_per_series() == size == sum(v.nbytes for v in bank.snapshot(slot).values())


def test_memory_does_not_grow_with_the_stream() -> None:
    """Among stretches of sixty events is one over which less than a number an event was kept.

    A list that grows would show in all of them; the caches of the interpreter, of numpy and of numba fill in the first thousand, and now and then.
    """
    specification = replace(SMALL, horizons=(1, 3))
    stream = make_stream(specification, rows=1800, series=2)
    bank = Bank(specification)
    slots = [bank.admit() for _ in range(2)]
    held = []
    gc.freeze()  # what is there already is not looked through thirty times
    tracemalloc.start()
    try:
        for row in range(1800):
            step(bank, slots, stream, row)
            if row % 60 == 59:
                gc.collect()
                held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
        gc.unfreeze()
    assert np.diff(held).min() < 60 * sys.getsizeof(1.0)


def test_a_slot_that_was_given_back_is_a_new_series_when_it_is_given_out_again() -> None:
    specification = SMALL
    stream = make_stream(specification, rows=40)
    bank = Bank(specification, capacity=1)
    slot = bank.admit()
    new = state_bytes(bank, slot)
    for row in range(40):
        step(bank, [slot], stream, row)
    assert state_bytes(bank, slot) != new
    bank.release(slot)
    assert bank.series_count == 0
    assert bank.admit() == slot
    assert state_bytes(bank, slot) == new


def test_growth_gives_out_each_slot_once_and_keeps_every_series() -> None:
    specification = SMALL
    stream = make_stream(specification, rows=3)
    bank = Bank(specification, capacity=1)
    first = bank.admit()
    for row in range(3):
        step(bank, [first], stream, row)
    kept = state_bytes(bank, first)
    slots = [first, *(bank.admit() for _ in range(20))]
    assert len(set(slots)) == bank.series_count == 21
    assert state_bytes(bank, first) == kept
    assert len({state_bytes(bank, slot) for slot in slots[1:]}) == 1


def test_a_snapshot_is_a_copy() -> None:
    specification = SMALL
    stream = make_stream(specification, rows=10)
    bank = Bank(specification)
    slot = bank.admit()
    fields = bank.snapshot(slot)
    before = dump(fields, version="test")
    for row in range(10):
        step(bank, [slot], stream, row)
    assert dump(fields, version="test") == before
    bank.restore(slot, fields)
    for value in fields.values():
        value[...] = 1
    assert state_bytes(bank, slot) == before


def test_what_is_renewed_is_a_new_series_and_nothing_else_is_touched() -> None:
    stream = make_stream(SMALL, rows=20)
    bank = Bank(SMALL)
    slots = [bank.admit() for _ in range(3)]
    new = state_bytes(bank, slots[0])
    for row in range(20):
        step(bank, slots, stream, row, [0, 0, 0])
    kept = state_bytes(bank, slots[1])
    bank.renew(np.array([slots[0], slots[2]]))
    assert [state_bytes(bank, slot) for slot in slots] == [new, kept, new]
    bank.release(slots[2])
    with pytest.raises(ValueError, match="not in use"):
        bank.renew(np.array([slots[1], slots[2]]))
    assert state_bytes(bank, slots[1]) == kept


def test_after_a_gap_nothing_is_pending_and_what_was_learned_is_kept() -> None:
    """Goal: labels of before a gap settle nothing after it. Method: reset in mid-stream, look at state and results."""
    specification = replace(SMALL, horizons=(1, 3))
    stream = make_stream(specification, rows=60)
    bank = Bank(specification)
    slot, other = bank.admit(), bank.admit()
    for row in range(40):
        step(bank, [slot, other], stream, row, [0, 0])
    before, untouched = bank.snapshot(slot), state_bytes(bank, other)
    bank.reset_memory(np.array([slot]))
    after = bank.snapshot(slot)
    changed = {name for name in before if before[name].tobytes() != after[name].tobytes()}
    assert changed == {
        "clock/count",
        "season/rows",
        "expert.recurrent/state",
        "expert.recurrent/memory.trace",
    }
    assert not after["expert.recurrent/state"].any()
    assert not after["expert.recurrent/memory.trace"].any()
    assert state_bytes(bank, other) == untouched
    settled = [step(bank, [slot], stream, row).settled[0, 0].tolist() for row in range(40, 45)]
    assert settled == [[False, False], [True, False], [True, False], [True, True], [True, True]]
