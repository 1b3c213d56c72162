"""From the records of a partition, whole and damaged, to a checkpoint. Pure: no I/O.

Rules:

- A series and the watermark have two slots, written in turn, so that the generation before the newest is always there,
  in a store that keeps only the last record of a key too.
- A save is all or nothing (the backends see to it), and its watermark says how many series there are and the sum of
  a hash of each one's newest offset. What is whole is the newest state exactly if both fit.
- A damaged record is never used. If the sums fit without it, it was an older generation and nothing is lost. If not,
  the generation before it stands in, and events are read again from where that one needs them: too early does no
  harm, because every series skips what it has by its own offset.
- What cannot be shown to be complete is an error that says what to do, never a silent loss.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field

from service.checkpoints.frame import DamagedFrame, Frame, Kind, decode
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

    def put(self, series: str, slot: int, offset: int) -> None:
        """Take in a series' newest record."""
        before = self.newest.get(series)
        if before is not None:
            self.total -= _hash(series, before[1])
        self.newest[series] = (slot, offset)
        self.total = (self.total + _hash(series, offset)) & _MASK

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
    """Takes the records of a partition one by one, in the store's order, and says what they come to."""

    def __init__(self, partition: int) -> None:
        self._partition = partition
        self._series: dict[str, _Found] = {}
        self._watermark = _Found()

    def add(self, key: str, data: bytes | None) -> None:
        """Take a record; None erases what its key had before."""
        owner = _owner_of(key)
        if owner is None:
            return
        kind, slot, name = owner
        found = self._series.setdefault(name, _Found()) if kind is Kind.SERIES else self._watermark
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
        else:
            found.whole(slot, frame)

    def result(self) -> tuple[PartitionCheckpoint, Index] | None:
        """Return the newest whole checkpoint, or None if there never was one.

        Raises:
            CheckpointError: there is one, and it cannot be shown to be complete.
        """
        watermark = self._watermark.best
        if watermark is None:
            if not self._series and not self._watermark.damaged:
                return None
            raise self._error("no whole watermark is left")
        index = self._index(watermark)
        notes: list[str] = []
        next_offset = watermark.offset
        if index.sums() != watermark.payload:
            next_offset = self._fall_back(watermark, index, notes)
        elif any(found.damaged for found in (self._watermark, *self._series.values())):
            notes.append("a damaged record was found; it was an older generation, and is not needed")
        series = {
            name: SeriesCheckpoint(series=name, last_offset=found.best.offset, state=found.best.payload)
            for name, found in self._series.items()
            if found.best is not None
        }
        return PartitionCheckpoint(next_offset=next_offset, series=series, notes=tuple(notes)), index

    def _index(self, watermark: Frame) -> Index:
        lost = [name for name, found in self._series.items() if found.best is None]
        if lost:
            raise self._error(f"no whole generation is left of {_some(lost)}")
        index = Index(sequence=watermark.sequence, watermark_slot=self._watermark.slot)
        for name, found in self._series.items():
            if found.best is not None:
                index.put(name, found.slot, found.best.offset)
                index.sequence = max(index.sequence, found.best.sequence)
        return index

    def _fall_back(self, watermark: Frame, index: Index, notes: list[str]) -> int:
        """Return the offset from which the generations that stand in are complete."""
        damaged = {name: found for name, found in self._series.items() if found.damaged}
        # A newer watermark that is damaged leaves series behind that are newer than the one before it.
        newer_watermark_damaged = bool(self._watermark.damaged) and index.sequence > watermark.sequence
        if not damaged and not newer_watermark_damaged:
            raise self._error("records are missing that the watermark speaks of")
        expected, _ = _SUM.unpack(watermark.payload)
        if len(self._series) < expected:
            raise self._error(f"{expected - len(self._series)} of {expected} series are missing")
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
        return next_offset

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
