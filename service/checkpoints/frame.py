"""The checksummed record in which checkpoints are kept, the same in every store.

    magic  version  kind  partition  sequence  offset  name length  payload length   name   payload   digest
    4s     u16      u8    i32        u64       i64     u16          u32              utf-8  bytes     32 bytes

All numbers are big-endian. The digest is BLAKE2b over everything before it, so a flipped bit, a cut and an appended
byte are all found, whichever field they hit. A record names what it is of (kind, partition, series): one that turns
up under another's key is found too.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from enum import IntEnum

from service.ports import CheckpointError

MAGIC = b"ONWC"
VERSION = 1
_HEADER = struct.Struct(">4sHBiQqHI")
DIGEST_BYTES = 32


class DamagedFrame(Exception):  # noqa: N818 - it names what was found, and what to do depends on its neighbours
    """The bytes are not what was written."""


class Kind(IntEnum):
    """What a record is of."""

    SERIES = 1
    WATERMARK = 2


@dataclass(frozen=True, slots=True)
class Frame:
    """A record.

    Attributes:
        kind: a series' state, or its partition's watermark.
        partition: of the events topic.
        sequence: number of the save that wrote it; the larger is the newer.
        offset: a series' last applied offset; a watermark's next offset.
        name: the series; empty in a watermark.
        payload: the state.
    """

    kind: Kind
    partition: int
    sequence: int
    offset: int
    name: str
    payload: bytes


def encode(frame: Frame) -> bytes:
    """Return the record as bytes.

    >>> decode(encode(Frame(Kind.SERIES, 3, 1, 41, "pump-1", b"state"))).offset
    41
    """
    name = frame.name.encode()
    header = _HEADER.pack(
        MAGIC,
        VERSION,
        frame.kind,
        frame.partition,
        frame.sequence,
        frame.offset,
        len(name),
        len(frame.payload),
    )
    body = b"".join((header, name, frame.payload))
    return body + _digest(body)


def decode(data: bytes) -> Frame:
    """Return the record that the bytes are.

    Raises:
        DamagedFrame: they are not what was written.
        CheckpointError: they are whole, and of a layout that this version of the service does not know.
    """
    if len(data) < _HEADER.size + DIGEST_BYTES:
        raise DamagedFrame(f"{len(data)} bytes are less than a record has")
    body, digest = data[:-DIGEST_BYTES], data[-DIGEST_BYTES:]
    if _digest(body) != digest:
        raise DamagedFrame("the checksum does not fit")
    magic, version, kind, partition, sequence, offset, name_length, payload_length = _HEADER.unpack_from(body)
    if magic != MAGIC:
        raise DamagedFrame(f"it begins with {magic!r}")
    if version != VERSION:
        raise CheckpointError(
            f"a checkpoint record has layout {version}, this service writes {VERSION}: "
            "run the version that wrote it, or forget the state with `onward checkpoint reset`"
        )
    start = _HEADER.size + name_length
    if len(body) != start + payload_length:
        raise DamagedFrame(f"{len(body)} bytes are not the {start + payload_length} that it names")
    name = body[_HEADER.size : start].decode()
    return Frame(Kind(kind), partition, sequence, offset, name, body[start:])


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=DIGEST_BYTES).digest()
