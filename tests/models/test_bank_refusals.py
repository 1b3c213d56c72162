"""Goal: bad input and faults leave every series as it was, to the bit.

Method: a bank in mid-stream is given each kind of bad call; its states are compared byte by byte, and it goes
on beside a twin that was spared.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from models.bank import Bank, NonFiniteError
from models.experts import EXPERTS
from models.forecast_protocols import Due, Observation
from models.protocols import Array, Fields, State
from tests.models.streams import SMALL, Stream, make_stream, row_bytes, state_bytes, step

SPECIFICATION = replace(
    SMALL, targets=("a", "b"), features=("f",), joint=True, horizons=(1, 3), experts=tuple(EXPERTS)
)
STREAM = make_stream(SPECIFICATION, rows=29, series=3)
AT = 25
"""The row at which the bad call comes: labels are due, a day has passed."""


@dataclass
class Call:
    """The arguments of a call of `Bank.step`, to be spoilt."""

    slots: Any
    times: Any
    values: Any
    features: Any


@functools.cache
def states_in_mid_stream() -> list[Fields]:
    bank = Bank(SPECIFICATION)
    slots = [bank.admit() for _ in range(3)]
    for row in range(AT):
        step(bank, slots, STREAM, row)
    return [bank.snapshot(slot) for slot in slots]


def in_mid_stream(*, compiled: bool = True) -> tuple[Bank, list[int]]:
    bank = Bank(SPECIFICATION, capacity=4, compiled=compiled)
    slots = [bank.admit() for _ in range(3)]
    for slot, fields in zip(slots, states_in_mid_stream(), strict=True):
        bank.restore(slot, fields)
    return bank, slots


def put(name: str, index: tuple[int, ...], value: float) -> Callable[[Call], None]:
    def spoil(call: Call) -> None:
        getattr(call, name)[index] = value

    return spoil


def swap(name: str, change: Callable[[Any], Any]) -> Callable[[Call], None]:
    def spoil(call: Call) -> None:
        setattr(call, name, change(getattr(call, name)))

    return spoil


NOT_FINITE = {
    f"{field} {value}": put(field, index, value)
    for field, index in {"times": (1,), "values": (2, 1), "features": (0, 0)}.items()
    for value in (np.nan, np.inf, -np.inf)
    if field == "times" or not np.isnan(value)  # elsewhere NaN is a value that is missing
}
WRONG: dict[str, tuple[Callable[[Call], None], str]] = {
    "a slot twice": (swap("slots", lambda slots: slots[[0, 1, 0]]), "stands twice"),
    "a slot never given out": (
        swap("slots", lambda slots: np.array([slots[0], slots[1], 3])),
        "not in use",
    ),
    "a slot beyond the slabs": (
        swap("slots", lambda slots: np.array([slots[0], 99, slots[1]])),
        "not in use",
    ),
    "a negative slot": (swap("slots", lambda slots: np.array([slots[0], slots[1], -1])), "not in use"),
    "slots in two dimensions": (swap("slots", lambda slots: slots[:, None]), "slots has shape"),
    "no slots": (swap("slots", lambda slots: slots[:0]), "at least one slot"),
    "too few slots": (swap("slots", lambda slots: slots[:2]), "times has shape"),
    "too few times": (swap("times", lambda times: times[:2]), "times has shape"),
    "times in two dimensions": (swap("times", lambda times: times[:, None]), "times has shape"),
    "a target too few": (swap("values", lambda values: values[:, :1]), "values has shape"),
    "a target too many": (swap("values", lambda values: np.repeat(values, 2, axis=1)), "values has shape"),
    "values in one dimension": (swap("values", lambda values: values[:, 0]), "values has shape"),
    "no features": (swap("features", lambda features: features[:, :0]), "features has shape"),
    "a feature too many": (swap("features", lambda f: np.repeat(f, 2, axis=1)), "features has shape"),
}


def expect_unchanged(spoil: Callable[[Call], None], error: type[Exception], match: str) -> None:
    """Make the bad call, compare the states, and go on beside a bank that was spared."""
    bank, slots = in_mid_stream()
    spared, _ = in_mid_stream()
    before = [state_bytes(bank, slot) for slot in slots]
    call = Call(
        np.array(slots), STREAM.times[AT].copy(), STREAM.values[AT].copy(), STREAM.features[AT].copy()
    )
    spoil(call)
    with pytest.raises(error, match=match):
        bank.step(call.slots, call.times, call.values, call.features)
    assert [state_bytes(bank, slot) for slot in slots] == before
    assert bank.series_count == 3
    for row in range(AT, len(STREAM)):
        result, expected = step(bank, slots, STREAM, row), step(spared, slots, STREAM, row)
        assert [row_bytes(result, i) for i in range(3)] == [row_bytes(expected, i) for i in range(3)]


@pytest.mark.parametrize("spoil", NOT_FINITE.values(), ids=NOT_FINITE)
def test_a_value_that_is_not_finite_is_refused(spoil: Callable[[Call], None]) -> None:
    expect_unchanged(spoil, NonFiniteError, "not finite")


@pytest.mark.parametrize(("spoil", "match"), WRONG.values(), ids=WRONG)
def test_a_call_that_does_not_fit_is_refused(spoil: Callable[[Call], None], match: str) -> None:
    expect_unchanged(spoil, ValueError, match)


@pytest.mark.parametrize("field", ["values", "features"])
@pytest.mark.parametrize("value", [1e308, -1e308, 1e160])
def test_a_finite_value_whose_square_is_not_is_refused(field: str, value: float) -> None:
    expect_unchanged(put(field, (1, 0), value), NonFiniteError, "not finite or over")


@pytest.mark.parametrize("method", ["learn", "forecast"])
@pytest.mark.parametrize("expert", EXPERTS)
def test_an_expert_that_fails_leaves_every_series_as_it_was(
    expert: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The micro-batch fails after experts before this one have learned; the bank must not show it."""
    bank, slots = in_mid_stream(compiled=False)
    before = [state_bytes(bank, slot) for slot in slots]

    def fail(state: State, argument: Due | Observation) -> Array:
        for value in state.values():
            value[...] = 0
        raise RuntimeError("a fault")

    with monkeypatch.context() as patch:
        patch.setattr(bank._forecaster.experts[expert], method, fail)
        with pytest.raises(RuntimeError, match="a fault"):
            step(bank, slots, STREAM, AT)
    assert [state_bytes(bank, slot) for slot in slots] == before
    spared, _ = in_mid_stream(compiled=False)
    result, expected = step(bank, slots, STREAM, AT), step(spared, slots, STREAM, AT)
    assert [row_bytes(result, i) for i in range(3)] == [row_bytes(expected, i) for i in range(3)]


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_forecast_that_is_not_finite_is_not_given_out(
    wrong: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The series concerned, with all of its targets, is as it was; the others have taken their event."""
    bank, slots = in_mid_stream(compiled=False)
    spared, _ = in_mid_stream(compiled=False)
    before = [state_bytes(bank, slot) for slot in slots]
    expert = bank._forecaster.experts["linear"]
    honest = expert.forecast

    def broken(state: State, observation: Observation) -> Array:
        forecast = honest(state, observation)
        forecast[1] = wrong
        return forecast

    with monkeypatch.context() as patch:
        patch.setattr(expert, "forecast", broken)
        patch.setattr(bank._forecaster.scale, "bounds", lambda _: (-np.inf, np.inf))
        patch.setattr(spared._forecaster.scale, "bounds", lambda _: (-np.inf, np.inf))
        with pytest.raises(NonFiniteError, match="would not be finite"):
            step(bank, slots, STREAM, AT)
        step(spared, slots, STREAM, AT)
    assert state_bytes(bank, slots[0]) == before[0]
    assert [state_bytes(bank, slot) for slot in slots[1:]] == [
        state_bytes(spared, slot) for slot in slots[1:]
    ]


def without(name: str) -> Callable[[Fields], Fields]:
    return lambda fields: {key: value for key, value in fields.items() if key != name}


def with_field(name: str, change: Callable[[Any], Any]) -> Callable[[Fields], Fields]:
    return lambda fields: fields | {name: change(fields.get(name))}


ODD_SNAPSHOTS: dict[str, tuple[Callable[[Fields], Fields], str]] = {
    "nothing": (lambda _: {}, "differ in"),
    "a field less": (without("scale/level"), "scale/level"),
    "a field more": (with_field("scale/other", lambda _: np.zeros(2)), "scale/other"),
    "a shape": (with_field("expert.linear/weights", lambda value: value[:, :, :-1]), "expert.linear/weights"),
    "one target of two": (with_field("scale/level", lambda value: value[:1]), "scale/level"),
    "one that would be broadcast": (with_field("scale/level", lambda _: np.zeros(())), "scale/level"),
    "a type": (with_field("clock/count", lambda value: value.astype(np.float64)), "clock/count"),
    "half precision": (with_field("scale/level", lambda value: value.astype(np.float32)), "scale/level"),
}


@pytest.mark.parametrize(("spoil", "match"), ODD_SNAPSHOTS.values(), ids=ODD_SNAPSHOTS)
def test_restore_refuses_what_is_not_this_models_and_changes_nothing(
    spoil: Callable[[Fields], Fields], match: str
) -> None:
    bank, slots = in_mid_stream()
    fields = spoil(bank.snapshot(slots[1]))
    before = [state_bytes(bank, slot) for slot in slots]
    with pytest.raises(ValueError, match=match):
        bank.restore(slots[0], fields)
    assert [state_bytes(bank, slot) for slot in slots] == before


@pytest.mark.parametrize("slot", [2, 3, 99, -1])
def test_a_slot_that_is_not_in_use_is_refused_everywhere(slot: int) -> None:
    bank, slots = in_mid_stream()
    bank.release(slots[2])
    fields = bank.snapshot(slots[0])
    before = [state_bytes(bank, used) for used in slots[:2]]
    for call in (
        lambda: bank.snapshot(slot),
        lambda: bank.restore(slot, fields),
        lambda: bank.release(slot),
        lambda: bank.reset_memory(np.array([slots[0], slot])),
    ):
        with pytest.raises(ValueError, match="not in use"):
            call()
    assert [state_bytes(bank, used) for used in slots[:2]] == before
    assert bank.series_count == 2


def test_arguments_are_not_changed() -> None:
    bank, slots = in_mid_stream()
    frozen = Stream(STREAM.times.copy(), STREAM.values.copy(), STREAM.features.copy())
    for array in (frozen.times, frozen.values, frozen.features):
        array.flags.writeable = False
    step(bank, slots, frozen, AT)
