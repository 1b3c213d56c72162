"""A model's state to bytes and back: flat records with a header that names what lies in them; versioned, no pickle.

    magic  checksum  header length  header        records, one after the other
    4s     u32       u32            utf-8, JSON   bytes, of the types that the header says

The numbers of the frame are big-endian. The checksum (CRC-32) is over all that comes after it. The header has the format,
the make of the model, each record's type and shape, and of each named field its record, where in it it begins, and its
shape. All snapshots of one make have the same header, so that it is made once (`Template`) and a series costs the copy of
its records. The bytes are the same for the same state, so equal states can be compared by a digest.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from models.protocols import Fields
from models.records import Layout, Place, Record, view, write

__all__ = ["FORMAT", "Layout", "Record", "SnapshotError", "Template", "dump", "join", "load", "split"]

FORMAT = 2
"""Of the layout above and of what a field means. A change of either raises it; 1 was safetensors, one tensor a field."""

_MAGIC: Final = b"ONWS"
_SEVERAL: Final = b"ONWM"
_NUMBER_BYTES: Final = 4
_HEADER_AT: Final = len(_MAGIC) + 2 * _NUMBER_BYTES
_CHECKED_AT: Final = len(_MAGIC) + _NUMBER_BYTES
_KINDS: Final = "biuf"
"""Kinds of numbers that a record may be of: flags, whole numbers, fractions. Never objects."""


class SnapshotError(ValueError):
    """The bytes are not a snapshot of this make of model."""


class Template:
    """The form of all snapshots of one make of model.

    Args:
        version: names the make, and is checked when a snapshot is read.
        layouts: each with the leading shape of its records, such as (K,) for a bank of K targets.

    Example:
        >>> import numpy as np
        >>> layout = Layout({"cell": {"state": np.zeros(2)}})
        >>> template = Template("v", (layout, (3,)))
        >>> records = layout.empty(3)
        >>> records[0][:] = 1.5
        >>> data = template.dump(records)
        >>> load(data, version="v")["cell/state"].shape, template.load(data)[0].sum()
        ((3, 2), np.float64(9.0))
    """

    def __init__(self, version: str, *layouts: tuple[Layout, tuple[int, ...]]) -> None:
        """Make the header."""
        self._version = version
        fields: dict[str, Place] = {}
        self._records: list[tuple[np.dtype[Any], tuple[int, ...]]] = []
        for layout, shape in layouts:
            first = len(self._records)
            for part, places in layout.places.items():
                for name, place in places.items():
                    full = f"{part}/{name}" if part else name
                    fields[full] = Place(first + place.record, place.start, place.shape)
            self._records += [
                (kind, (*shape, size)) for size, kind in zip(layout.sizes, layout.types, strict=True)
            ]
        self._header = _encode(_Header(f"{FORMAT}:{version}", tuple(self._records), fields))
        self._header_checksum = zlib.crc32(self._header)
        self._sizes = [_bytes(*record) for record in self._records]

    def dump(self, records: Sequence[Record]) -> bytes:
        """Return one model's records, C-ordered and in the order of the layouts, as bytes.

        Raises:
            ValueError: they are not of this form.
        """
        found = [(record.dtype, record.shape) for record in records]
        if found != self._records:
            raise ValueError(f"records of {found} are not of this form, {self._records}")
        parts = [record.data for record in records]
        checksum = self._header_checksum
        for part in parts:
            checksum = zlib.crc32(part, checksum)
        return b"".join((_MAGIC, checksum.to_bytes(_NUMBER_BYTES, "big"), self._header, *parts))

    def fits(self, data: bytes) -> bool:
        """Whether these bytes have this header; damage of what comes after it is found by `load`."""
        return data[_CHECKED_AT : _CHECKED_AT + len(self._header)] == self._header

    def load(self, data: bytes) -> list[Record]:
        """Return the records, read-only: a header that is this one's needs no reading.

        Raises:
            SnapshotError: the bytes are damaged, or of another format or make.
        """
        _require_whole(data)
        start = _CHECKED_AT + len(self._header)
        if not self.fits(data):
            _require_version(_decode(data)[0], self._version)
            raise SnapshotError("the snapshot's fields are not this model's, though it is of the same make")
        return _cut(data, start, self._records)


def dump(fields: Fields, *, version: str) -> bytes:
    """Return named arrays as bytes; `version` names the make of the model and is checked by `load`.

    Example:
        >>> import numpy as np
        >>> load(dump({"a": np.arange(2.0)}, version="v"), version="v")["a"].tolist()
        [0.0, 1.0]
    """
    parts = {"": {name: np.asarray(fields[name]) for name in sorted(fields)}}
    layout = Layout(parts)
    records = layout.empty()
    write(layout.views(records), parts)
    return Template(version, (layout, ())).dump(records)


def load(data: bytes, *, version: str | None) -> Fields:
    """Return the named arrays of any snapshot; None takes every make.

    Raises:
        SnapshotError: the bytes are damaged, or of another format or make.
    """
    _require_whole(data)
    header, start = _decode(data)
    _require_version(header, version)
    records = [record.copy() for record in _cut(data, start, header.records)]
    return {name: view(records[place.record], place) for name, place in header.fields.items()}


def join(snapshots: Sequence[bytes]) -> bytes:
    """Return several snapshots as one: each after its length.

    >>> split(join([b"one", b"two"])), split(b"alone")
    ([b'one', b'two'], [b'alone'])
    """
    return _SEVERAL + b"".join(len(one).to_bytes(_NUMBER_BYTES, "big") + one for one in snapshots)


def split(data: bytes) -> list[bytes]:
    """Return the snapshots that were joined; what was not joined is one.

    Raises:
        SnapshotError: the bytes end before the last of them.
    """
    if data[: len(_SEVERAL)] != _SEVERAL:
        return [data]
    found, at = [], len(_SEVERAL)
    while at < len(data):
        start = at + _NUMBER_BYTES
        at = start + int.from_bytes(data[at:start], "big")
        found.append(data[start:at])
    if at != len(data) or not found:
        raise SnapshotError("not several snapshots, or damaged ones: their lengths are not that of the whole")
    return found


@dataclass(frozen=True, slots=True)
class _Header:
    make: str
    """Format and version, with a colon between."""
    records: Sequence[tuple[np.dtype[Any], tuple[int, ...]]]
    fields: dict[str, Place]


def _encode(header: _Header) -> bytes:
    """Return the header with its length before it."""
    for kind, _ in header.records:
        if kind.kind not in _KINDS:
            raise ValueError(f"an array of {kind} cannot be kept; numbers and flags can")
    text = json.dumps(
        {
            "make": header.make,
            "records": [[kind.str, shape] for kind, shape in header.records],
            "fields": {name: [one.record, one.start, one.shape] for name, one in header.fields.items()},
        },
        separators=(",", ":"),
        ensure_ascii=False,
    ).encode()
    return len(text).to_bytes(_NUMBER_BYTES, "big") + text


def _decode(data: bytes) -> tuple[_Header, int]:
    """Return the header, and where the records begin."""
    start = _HEADER_AT + int.from_bytes(data[_CHECKED_AT:_HEADER_AT], "big")
    try:
        found = json.loads(data[_HEADER_AT:start])
        header = _Header(
            str(found["make"]),
            [(np.dtype(str(kind)), _shape(shape)) for kind, shape in found["records"]],
            {
                name: Place(_size(at), _size(first), _shape(shape))
                for name, (at, first, shape) in found["fields"].items()
            },
        )
        for place in header.fields.values():
            if place.start + place.size > header.records[place.record][1][-1]:
                raise ValueError("a field does not lie in its record")
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise SnapshotError(f"not a snapshot: its header cannot be read ({error})") from error
    return header, start


def _shape(found: object) -> tuple[int, ...]:
    if not isinstance(found, list):
        raise TypeError(f"{found!r} is no shape")
    return tuple(map(_size, found))


def _size(found: object) -> int:
    if not isinstance(found, int) or found < 0:
        raise ValueError(f"{found!r} is no size")
    return found


def _bytes(kind: np.dtype[Any], shape: tuple[int, ...]) -> int:
    return kind.itemsize * math.prod(shape)


def _cut(data: bytes, start: int, records: Sequence[tuple[np.dtype[Any], tuple[int, ...]]]) -> list[Record]:
    """Return the records that lie in the bytes from `start` on, without a copy."""
    needed = sum(_bytes(kind, shape) for kind, shape in records)
    if len(data) - start != needed:
        raise SnapshotError(f"not a snapshot: its records have {len(data) - start} bytes, not {needed}")
    found = []
    for kind, shape in records:
        if kind.kind not in _KINDS:
            raise SnapshotError(f"not a snapshot: a record is of {kind}")
        record = np.frombuffer(data, kind, math.prod(shape), start).reshape(shape)
        if kind.kind == "b" and (record.view(np.uint8) > 1).any():
            raise SnapshotError("not a snapshot: a flag is neither true nor false")
        found.append(record)
        start += record.nbytes
    return found


def _require_whole(data: bytes) -> None:
    view, checksum = memoryview(data), int.from_bytes(data[len(_MAGIC) : _CHECKED_AT], "big")
    if (
        data[: len(_MAGIC)] == _MAGIC
        and len(data) >= _HEADER_AT
        and checksum == zlib.crc32(view[_CHECKED_AT:])
    ):
        return
    if len(data) > _NUMBER_BYTES and int.from_bytes(data[:_NUMBER_BYTES], "big") == zlib.crc32(
        view[_NUMBER_BYTES:]
    ):
        raise SnapshotError(
            f"the snapshot is of format 1, this service reads format {FORMAT}: "
            "go back to the version that wrote it, or reset the checkpoint"
        )
    raise SnapshotError("not a snapshot, or a damaged one: the checksum differs")


def _require_version(header: _Header, version: str | None) -> None:
    found, _, _ = header.make.partition(":")
    expected = header.make if version is None and found == str(FORMAT) else f"{FORMAT}:{version}"
    if header.make != expected:
        raise SnapshotError(
            f"the snapshot is of format and model {header.make}, this service runs {expected}: "
            "go back to the settings that wrote it, or reset the checkpoint"
        )
