"""Goal: a snapshot comes back as it was, or is refused with a reason; equal states are equal bytes.

Method: round trips of odd arrays and of a real model; bytes flipped, cut and made up by Hypothesis.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from models.bank import Bank
from models.protocols import Fields
from models.snapshot import Layout, SnapshotError, Template, dump, load
from models.specification import Specification
from tests.models.streams import SMALL, make_stream, step


def same(one: Fields, other: Fields) -> bool:
    return set(one) == set(other) and all(
        one[name].shape == other[name].shape
        and one[name].dtype == other[name].dtype
        and one[name].tobytes() == other[name].tobytes()
        for name in one
    )


def a_bank() -> tuple[Bank, int]:
    specification = replace(SMALL, targets=("x", "y"), horizons=(1, 3))
    stream = make_stream(specification, rows=30)
    # This file makes some as it is imported, which must compile nothing in every process that collects the tests.
    bank = Bank(specification, compiled=False)
    slot = bank.admit()
    for row in range(30):
        step(bank, [slot], stream, row)
    return bank, slot


FIELDS = a_bank()[0].snapshot(0)
FORM = ((a_bank()[0].layout, (2,)),)
OWN = Layout({"own": {"pair": np.zeros(2)}})
DATA = dump(FIELDS, version="v")
ODD: Fields = {
    "nothing": np.empty((0, 3)),
    "one": np.array(1.5),
    "flags": np.array([True, False]),
    "counts": np.array([-(2**63), 2**63 - 1]),
    "special": np.array([np.nan, np.inf, -np.inf, -0.0, 5e-324, 1.7976931348623157e308]),
    "a name / with .dots and ä": np.arange(6.0).reshape(1, 2, 3),
}


@pytest.mark.parametrize("fields", [{}, ODD, FIELDS], ids=["nothing", "odd", "a series"])
def test_a_snapshot_comes_back_as_it_was(fields: Fields) -> None:
    assert same(load(dump(fields, version="v"), version="v"), fields)


def test_equal_states_are_equal_bytes_however_they_lie_in_memory() -> None:
    values = np.arange(12.0).reshape(3, 4)
    one = dump({"a": values, "b": np.array([1])}, version="v")
    assert dump({"b": np.array([1]), "a": np.asfortranarray(values)}, version="v") == one
    assert dump({"a": np.repeat(values, 2, axis=1)[:, ::2], "b": np.array([1, 2])[:1]}, version="v") == one


def test_unequal_states_are_unequal_bytes() -> None:
    one = dump({"a": np.array([0.0])}, version="v")
    for other in (
        {"a": np.array([-0.0])},
        {"a": np.array([5e-324])},
        {"b": np.array([0.0])},
        {"a": np.array([[0.0]])},
        {"a": np.array([0])},
    ):
        assert dump(other, version="v") != one


def test_what_was_loaded_can_be_written_to() -> None:
    for value in load(DATA, version="v").values():
        value[...] = 0


@pytest.mark.parametrize("version", ["", "w", "v2", "V", "1:v"])
def test_a_snapshot_of_another_make_is_refused_with_both_names(version: str) -> None:
    with pytest.raises(SnapshotError, match=rf"format and model 2:v, this service runs 2:{version}:"):
        load(DATA, version=version)


def test_a_snapshot_of_another_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.snapshot.FORMAT", 3)
    for version in ("v", None):
        with pytest.raises(SnapshotError, match="format and model 2:v, this service runs 3:"):
            load(DATA, version=version)
    with pytest.raises(SnapshotError, match="format and model 2:v, this service runs 3:v"):
        Template("v", *FORM).load(DATA)


def test_the_format_before_is_named() -> None:
    """Goal: an upgrade says what is wrong, not "damaged". Method: the frame of format 1 around anything."""
    content = b"\x02\x00\x00\x00\x00\x00\x00\x00{}"
    old = zlib.crc32(content).to_bytes(4, "big") + content
    readers: list[Callable[[bytes], object]] = [partial(load, version="v"), Template("v", *FORM).load]
    for read in readers:
        with pytest.raises(
            SnapshotError, match=r"format 1, this service reads format 2.*reset the checkpoint"
        ):
            read(old)


def test_a_template_writes_what_any_reader_reads_by_name_and_takes_it_back() -> None:
    bank, slot = a_bank()
    template = Template("v", *FORM, (OWN, ()))
    own = OWN.empty()
    own[0][:] = 1.5, 2.5
    data = template.dump((*bank.records_of(slot), *own))
    named = {"own/pair": own[0].reshape(2)}
    assert same(load(data, version="v"), bank.snapshot(slot) | named)
    assert same(load(data, version=None), bank.snapshot(slot) | named)
    back = template.load(data)
    other = bank.admit()
    bank.restore_records(other, back[:-3])
    assert template.dump((*bank.records_of(other), *back[-3:])) == data


def test_a_template_refuses_what_is_of_another_form() -> None:
    bank, slot = a_bank()
    template, records = Template("v", *FORM), bank.records_of(slot)
    data = template.dump(records)
    with pytest.raises(SnapshotError, match="format and model 2:v, this service runs 2:w"):
        Template("w", *FORM).load(data)
    with pytest.raises(SnapshotError, match="fields are not this model's"):
        Template("v", *FORM, (OWN, ())).load(data)
    for odd in (
        records[:-1],
        [record.astype(np.float32) for record in records],
        [r[:, :-1] for r in records],
    ):
        with pytest.raises(ValueError, match="not of this form"):
            template.dump(odd)
    with pytest.raises(ValueError, match="cannot be kept"):
        dump({"a": np.array([object()])}, version="v")


def framed(content: bytes) -> bytes:
    return b"ONWS" + zlib.crc32(content).to_bytes(4, "big") + content


def with_header(text: str, records: bytes = b"") -> bytes:
    return framed(len(text.encode()).to_bytes(4, "big") + text.encode() + records)


ODD_HEADERS = {
    "no JSON": "{",
    "no object": "[]",
    "nested too deep": "[" * 100_000,
    "no records": '{"make":"2:v","fields":{}}',
    "a record of objects": '{"make":"2:v","records":[["|O",[1]]],"fields":{}}',
    "a record of nothing known": '{"make":"2:v","records":[["?!",[1]]],"fields":{}}',
    "a record larger than there are bytes": '{"make":"2:v","records":[["<f8",[99999999999]]],"fields":{}}',
    "a record of negative size": '{"make":"2:v","records":[["<f8",[-1]]],"fields":{}}',
    "a field outside its record": '{"make":"2:v","records":[["<f8",[1]]],"fields":{"a":[0,0,[2]]}}',
    "a field of no record": '{"make":"2:v","records":[],"fields":{"a":[0,0,[1]]}}',
    "a field before its record": '{"make":"2:v","records":[["<f8",[1]]],"fields":{"a":[0,-1,[1]]}}',
    "a flag of three": '{"make":"2:v","records":[["|b1",[8]]],"fields":{}}',
}


@pytest.mark.parametrize("text", ODD_HEADERS.values(), ids=ODD_HEADERS)
def test_a_header_that_was_never_written_is_refused(text: str) -> None:
    with pytest.raises(SnapshotError, match="not a snapshot"):
        load(with_header(text, b"\x03" * 8), version="v")


def test_every_field_of_a_specification_changes_its_version() -> None:
    base = replace(SMALL, targets=("a", "b"))
    changes: dict[str, object] = {
        "targets": ("a", "c"),
        "features": ("f",),
        "horizons": (1, 2),
        "experts": ("linear",),
        "joint": True,
        "mixture": "exponential",
        "cell": "vanilla",
        "rule": "snap_1",
        "optimizer": "sgd",
        "precision": "float32",
        "units": 4,
        "lags": 5,
        "season_max": 25,
        "learning_rate": 0.004,
        "clip_norm": 2.0,
        "interval_levels": (0.8,),
        "drift_loss": "other",
        "drift_inputs": "other",
        "drift_calibration": "other",
        "drift_reaction": "other",
        "quarantine_span": 9,
        "seed": 1,
    }
    assert set(changes) == set(Specification.__slots__)
    versions = {replace(base, **{name: value}).version() for name, value in changes.items()}  # type: ignore[arg-type]
    assert len(versions | {base.version()}) == len(changes) + 1
    assert base.version() == replace(SMALL, targets=("a", "b")).version()


HEADER_BITS = 8 * 600
"""Bits of the checksum, the lengths and the first names and shapes; each is flipped, of the others some are."""


def refused_with_flipped(bit: int) -> bool:
    damaged = bytearray(DATA)
    damaged[bit // 8] ^= 1 << bit % 8
    try:
        load(bytes(damaged), version="v")
    except SnapshotError:
        return True
    return False


@hypothesis_settings(max_examples=200)
@given(bit=st.integers(HEADER_BITS, 8 * len(DATA) - 1))
def test_a_flipped_bit_is_found(bit: int) -> None:
    assert refused_with_flipped(bit)


def test_a_flipped_bit_in_the_header_is_found() -> None:
    assert [bit for bit in range(HEADER_BITS) if not refused_with_flipped(bit)] == []


@hypothesis_settings(max_examples=200)
@given(data=st.binary(max_size=64), at=st.integers(12, len(DATA) - 1))
def test_damage_that_the_checksum_does_not_find_is_a_reason_too(data: bytes, at: int) -> None:
    """Whatever the format makes of other bytes, what comes out is arrays or a SnapshotError, no other exception."""
    content = DATA[8:at] + data + DATA[at + len(data) :]
    try:
        load(framed(content), version="v")
    except SnapshotError:
        return


@hypothesis_settings(max_examples=200)
@given(length=st.integers(0, len(DATA) - 1))
def test_a_cut_is_found(length: int) -> None:
    with pytest.raises(SnapshotError):
        load(DATA[:length], version="v")


@hypothesis_settings(max_examples=200)
@given(
    data=st.binary(max_size=200)
    | st.binary(min_size=1, max_size=50).map(lambda tail: DATA + tail)
    | st.tuples(st.integers(0, len(DATA)), st.binary(min_size=1, max_size=20)).map(
        lambda place: DATA[: place[0]] + place[1] + DATA[place[0] :]
    )
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(SnapshotError):
        load(data, version="v")
