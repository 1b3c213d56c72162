"""From the records of a partition, whole and damaged, to a checkpoint. Pure: no I/O.

Rules:

- A series and the watermark have two slots, written in turn, so that the generation before the newest is always there,
  in a store that keeps only the last record of a key too.
- A series that was evicted has a record without a state, its tombstone, as its newest. The save after the one that wrote
  it erases both slots, so that what is kept is bounded, and the save before it can still be gone back to.
- A save is all or nothing (the backends see to it), and its watermark says how many series there are and the sum of
  a hash of each one's newest offset. What is whole is the newest state exactly if both fit.
- A damaged record is never used. If the sums fit without it, it was an older generation and nothing is lost.
- If they do not fit, the save before stands in as a whole, where its own watermark and sums are whole (`up_to`): which
  series is evicted depends on all of them, so that all must be of one moment. Newer records are erased at the next save.
- If that is not whole either, the generation before the damaged one stands in, and events are read again for that
  series alone from where it needs them. Evictions in between are not repeated.
- What cannot be shown to be complete is an error that says what to do, never a silent loss.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from service.checkpoints.frame import DIGEST_BYTES, DamagedFrame, Frame, Kind, decode
from service.ports import CheckpointError, PartitionCheckpoint, SeriesCheckpoint

SLOTS = 2
_SUM = struct.Struct(">QQ")
_MASK = (1 << 64) - 1
_SERIES_PREFIX, _WATERMARK_PREFIX = "series/", "watermark/"
_NAMED_MAX = 3


def key_of(kind: Kind, slot: int, name: str = "") -> str:
    """Return the key of a record.

    >>> key_of(Kind.SERIES, 1, "plant/7"), key_of(Kind.WATERMARK, 0)
    ('series/1/plant/7', 'watermark/0')
    """
    return f"{_SERIES_PREFIX}{slot}/{name}" if kind is Kind.SERIES else f"{_WATERMARK_PREFIX}{slot}"


def _owner_of(key: str) -> tuple[Kind, int, str] | None:
    """Return what a key belongs to: kind, slot and series; None if it is no key of ours."""
    if key.startswith(_SERIES_PREFIX):
        slot, slash, name = key.removeprefix(_SERIES_PREFIX).partition("/")
        kind = Kind.SERIES
    else:
        slot, slash, name = key.removeprefix(_WATERMARK_PREFIX), "/", ""
        kind = Kind.WATERMARK
    known = slot in ("0", "1") and slash and key == key_of(kind, int(slot), name)
    return (kind, int(slot), name) if known else None


@dataclass(slots=True)
class Index:
    """What a partition's newest records are, without their states: what the next save needs to know."""

    sequence: int = 0
    watermark_slot: int = 1
    newest: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Slot and offset of each series' newest record."""
    total: int = 0
    """Sum of the hashes of the newest offsets, modulo 2**64."""
    tombstones: dict[str, int] = field(default_factory=dict)
    """Slot of the tombstone of each series that was evicted by the newest save."""
    discarded: set[str] = field(default_factory=set)
    """Keys of records that belong to no save that stands; to be erased."""

    def put(self, series: str, offset: int) -> int:
        """Take in that a series was saved, and return the slot for it."""
        slot = self._next_slot(series)
        self.take_in(series, slot, offset)
        self.tombstones.pop(series, None)
        return slot

    def take_in(self, series: str, slot: int, offset: int) -> None:
        """Take in a series' newest record."""
        self._forget(series)
        self.newest[series] = (slot, offset)
        self.total = (self.total + _hash(series, offset)) & _MASK

    def evict(self, series: str) -> int | None:
        """Take in that a series was evicted; return the slot for its tombstone, or None if it was never saved."""
        if series not in self.newest:
            return None
        slot = self._next_slot(series)
        self._forget(series)
        self.tombstones[series] = slot
        return slot

    def _next_slot(self, series: str) -> int:
        if series in self.newest:
            return (self.newest[series][0] + 1) % SLOTS
        return (self.tombstones.get(series, 1) + 1) % SLOTS

    def _forget(self, series: str) -> None:
        if (before := self.newest.pop(series, None)) is not None:
            self.total = (self.total - _hash(series, before[1])) & _MASK

    def erasures(self, tombstones: dict[str, int]) -> list[str]:
        """Return the keys of what no save needs any more, a state before its tombstone; they are forgotten here.

        Args:
            tombstones: those of the save before, of which some may stand for a series that has come back.
        """
        keys = sorted(self.discarded)
        self.discarded.clear()
        for series, slot in tombstones.items():
            if self.tombstones.get(series) == slot:
                del self.tombstones[series]
                keys += [key_of(Kind.SERIES, one, series) for one in ((slot + 1) % SLOTS, slot)]
        return keys

    def sums(self) -> bytes:
        """Return what the watermark says of the series."""
        return _SUM.pack(len(self.newest), self.total)


def _hash(series: str, offset: int) -> int:
    digest = hashlib.blake2b(f"{offset}/{series}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


@dataclass(slots=True)
class _Found:
    """What was found of a series or of the watermark."""

    best: Frame | None = None
    slot: int = 0
    damaged: dict[int, str] = field(default_factory=dict)
    """Slots whose last record is damaged, and how."""

    def whole(self, slot: int, frame: Frame) -> None:
        self.damaged.pop(slot, None)
        if self.best is None or frame.sequence > self.best.sequence:
            self.best, self.slot = frame, slot

    def erased(self, slot: int) -> None:
        self.damaged.pop(slot, None)
        if self.slot == slot:
            self.best = None


class Recovery:
    """Takes the records of a partition one by one, in the store's order, and says what they come to.

    Args:
        partition: of the records.
        up_to: number of a save; what was written by later ones is left out.
        last: of an earlier reading, the records that are the last of their keys; others are left out.

    Without `last`, in a log that was not compacted yet, a record that was erased may hide the one in the other slot. So
    where the first reading is not whole, another tells.
    """

    def __init__(
        self, partition: int, *, up_to: int | None = None, last: Mapping[str, bytes | None] | None = None
    ) -> None:
        self._partition = partition
        self._up_to = up_to
        self._only = last
        self.last: dict[str, bytes | None] = {}
        """What tells the last record of each key from others; None where it was erased."""
        self._sequence = 0
        self._series: dict[str, _Found] = {}
        self._watermark = _Found()
        self._watermarks: dict[int, int] = {}
        self._discarded: set[str] = set()

    def add(self, key: str, data: bytes | None) -> None:
        """Take a record; None erases what its key had before."""
        owner = _owner_of(key)
        if owner is None:
            return
        mark = None if data is None else data[-DIGEST_BYTES:]
        self.last[key] = mark
        if self._only is not None and self._only.get(key) != mark:
            return
        kind, slot, name = owner
        found = self._series.setdefault(name, _Found()) if kind is Kind.SERIES else self._watermark
        self._discarded.discard(key)
        if data is None:
            found.erased(slot)
            if kind is Kind.SERIES and found.best is None and not found.damaged:
                del self._series[name]
            return
        try:
            frame = decode(data)
            if (frame.kind, frame.partition, frame.name) != (kind, self._partition, name):
                raise DamagedFrame(f"it is of partition {frame.partition}, series {frame.name!r}")
        except DamagedFrame as damage:
            found.damaged[slot] = str(damage)
            return
        self._sequence = max(self._sequence, frame.sequence)
        if kind is Kind.WATERMARK:
            self._watermarks[slot] = frame.sequence
        if self._up_to is None or frame.sequence <= self._up_to:
            found.whole(slot, frame)
        else:
            found.damaged.pop(slot, None)
            self._discarded.add(key)

    def saves(self) -> list[int]:
        """Return the numbers of the saves whose watermarks are whole, the newest first."""
        return sorted(self._watermarks.values(), reverse=True)

    def is_whole(self) -> bool:
        """Whether all that the watermark speaks of is there, or there never was anything."""
        watermark = self._watermark.best
        if watermark is None:
            return not self._series and not self._watermark.damaged
        return self._index(watermark).sums() == watermark.payload

    def result(self) -> tuple[PartitionCheckpoint, Index] | None:
        """Return the newest whole checkpoint, or None if there never was one.

        Raises:
            CheckpointError: there is one, and it cannot be shown to be complete.
        """
        watermark = self._watermark.best
        if watermark is None:
            if self.is_whole():
                return None
            raise self._error("no whole watermark is left")
        index = self._index(watermark)
        notes: list[str] = []
        next_offset, behind = watermark.offset, frozenset[str]()
        if index.sums() != watermark.payload:
            next_offset, behind = self._fall_back(watermark, index, notes)
        elif self._up_to is not None:
            notes.append(
                f"the newest save is damaged or was cut off; the one before it is used, offset {next_offset}"
            )
        elif any(found.damaged for found in (self._watermark, *self._series.values())):
            notes.append("a damaged record was found; it was an older generation, and is not needed")
        series = {
            name: SeriesCheckpoint(series=name, last_offset=found.best.offset, state=found.best.payload)
            for name, found in self._series.items()
            if found.best is not None and name in index.newest
        }
        until = watermark.offset if behind else 0
        return PartitionCheckpoint(next_offset, series, tuple(notes), behind, until), index

    def _index(self, watermark: Frame) -> Index:
        index = Index(
            sequence=self._sequence, watermark_slot=self._watermark.slot, discarded=set(self._discarded)
        )
        for name, found in self._series.items():
            if found.best is None:
                index.discarded |= {key_of(Kind.SERIES, slot, name) for slot in found.damaged}
            elif found.best.payload:
                index.take_in(name, found.slot, found.best.offset)
            else:
                index.tombstones[name] = found.slot
        return index

    def _fall_back(self, watermark: Frame, index: Index, notes: list[str]) -> tuple[int, frozenset[str]]:
        """Return the offset from which events are read again, and the series for which they are."""
        damaged = {name: found for name, found in self._series.items() if found.damaged}
        if lost := [name for name in damaged if name not in index.newest]:
            raise self._error(f"no whole generation is left of {_some(lost)}")
        # A newer watermark that is damaged leaves series behind that are newer than the one before it.
        newer_watermark_damaged = bool(self._watermark.damaged) and index.sequence > watermark.sequence
        if not damaged and not newer_watermark_damaged:
            raise self._error("records are missing that the watermark speaks of")
        expected, _ = _SUM.unpack(watermark.payload)
        if len(index.newest) < expected:
            raise self._error(f"{expected - len(index.newest)} of {expected} series are missing")
        next_offset = watermark.offset
        if newer_watermark_damaged:
            notes.append(f"the newest watermark is damaged; the one before it is used, offset {next_offset}")
        for name, found in damaged.items():
            _, offset = index.newest[name]
            next_offset = min(next_offset, offset + 1)
            notes.append(
                f"a state of series {name!r} is damaged ({', '.join(found.damaged.values())}); "
                f"the one of offset {offset} is used"
            )
        return next_offset, frozenset(damaged)

    def _error(self, what: str) -> CheckpointError:
        return CheckpointError(
            f"the checkpoint of partition {self._partition} is damaged: {what}. {how_to_reset(self._partition)}"
        )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED_MAX} more" if len(names) > _NAMED_MAX else ""
    return "series " + ", ".join(map(repr, sorted(names)[:_NAMED_MAX])) + more


def how_to_reset(partition: int) -> str:
    """Say how to give a checkpoint up, and what that costs."""
    return (
        f"To learn the partition anew from the start of its log, forget the state with "
        f"`onward checkpoint reset --partition {partition}` and start the worker again; events that the log no longer "
        "holds are then not learned from"
    )
