"""The checksummed record: what was written comes back, and nothing else does."""

from __future__ import annotations

import hashlib
import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.checkpoints.frame import DamagedFrame, Frame, Kind, decode, encode
from service.ports import CheckpointError

frames = st.builds(
    Frame,
    kind=st.sampled_from(Kind),
    partition=st.integers(0, 2**31 - 1),
    sequence=st.integers(0, 2**63 - 1),
    offset=st.integers(0, 2**63 - 1),
    name=st.text(max_size=40).filter(lambda text: text.isprintable()),
    payload=st.binary(max_size=200),
)


@given(frames)
def test_a_record_comes_back_as_it_was_written(frame: Frame) -> None:
    assert decode(encode(frame)) == frame


@given(st.binary(max_size=300))
def test_bytes_that_nobody_wrote_are_no_record(data: bytes) -> None:
    with pytest.raises(DamagedFrame):
        decode(data)


def test_every_flipped_bit_and_every_cut_is_found() -> None:
    # Goal: no damage passes. Method: all single bits and all lengths of a small record, and random pairs of bits.
    data = encode(Frame(Kind.SERIES, 3, 7, 41, "pump", bytes(range(16))))
    for bit in range(8 * len(data)):
        with pytest.raises(DamagedFrame):
            decode(flipped(data, bit))
    for length in range(len(data)):
        with pytest.raises(DamagedFrame):
            decode(data[:length])
    with pytest.raises(DamagedFrame):
        decode(data + b"\0")
    rng = random.Random(1)
    for _ in range(1000):
        one, other = rng.sample(range(8 * len(data)), 2)
        with pytest.raises(DamagedFrame):
            decode(flipped(flipped(data, one), other))


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)


def test_a_whole_record_of_another_layout_is_an_error_that_says_what_to_do() -> None:
    body = bytearray(encode(Frame(Kind.SERIES, 3, 7, 41, "pump", b"state"))[:-32])
    struct.pack_into(">H", body, 4, 2)
    with pytest.raises(CheckpointError, match=r"layout 2.*onward checkpoint reset"):
        decode(bytes(body) + hashlib.blake2b(body, digest_size=32).digest())
