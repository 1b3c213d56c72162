"""One partition's learners: order, duplicates, late events, gaps and replay. No Kafka, no asyncio, no clock.

Rules:

- Every record ends in just one way: learned, rejected, duplicate; or it is replayed, and in no count of those.
- A record is replayed, that is skipped, if its offset is before `next_offset`, or at or before the last offset that
  its own series has learned from. A checkpoint whose save was cut off leaves some series ahead of the partition's
  watermark, and this is what absorbs it. Offsets may have gaps.
- A rejected record touches no state, so a replay rejects it again with the same words.
- Within a series events are learned in the order of their offsets; the batch is cut into rounds in which each series
  stands at most once, and a round is one call of the bank. How the stream was cut into batches changes no bit.
- An exception is a bug: the shard may have taken part of the batch and must be thrown away, and the partition
  restored from its checkpoint.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from models import snapshot
from models.bank import Bank, StepResult
from service.ports import (
    Applied,
    Event,
    Message,
    Outcome,
    PartitionCheckpoint,
    Reason,
    Record,
    Rejection,
    SeriesCheckpoint,
)
from service.settings import PolicySettings, Settings
from service.stream.decode import Decoder
from service.stream.messages import PredictionEncoder, encode_dead_letter

INTERVALS_MIN: Final = 8
"""Intervals that a series must have shown before one can be called a gap; fewer are no pattern."""
INTERVALS_REMEMBERED: Final = 64
"""Over how many intervals the typical one is averaged: it follows a changed rate within about a hundred events."""

_OWN: Final = snapshot.Layout(
    {
        "shard": {
            "last_time": np.zeros(()),
            "typical_interval": np.zeros(()),
            "intervals": np.zeros((), np.int64),
        }
    }
)
"""What a checkpoint holds of a series beside the bank's records; the offset stands beside the state."""


@dataclass(slots=True)
class _Series:
    """What the shard keeps of a series beside the bank's state."""

    slot: int
    last_offset: int
    last_time: float
    typical_interval: float = 0.0
    intervals: int = 0

    def gap_before(self, time: float, factor: float) -> bool:
        """Say whether this time comes after a gap."""
        return self.intervals >= INTERVALS_MIN and time - self.last_time > factor * self.typical_interval

    def advance(self, event: Event, factor: float) -> None:
        """Take note of an event that is going to be learned from."""
        interval = event.time - self.last_time
        if interval > 0.0:
            if self.intervals:
                # A gap counts as the longest interval that is none: it hardly moves the typical one, and yet
                # a series that has become slow is caught up with.
                interval = min(interval, factor * self.typical_interval)
            self.intervals += 1
            rate = 1.0 / min(self.intervals, INTERVALS_REMEMBERED)
            self.typical_interval += rate * (interval - self.typical_interval)
        self.last_time = max(self.last_time, event.time)
        self.last_offset = event.offset

    def records(self) -> tuple[snapshot.Record, ...]:
        """Return what a checkpoint holds of it, laid out as `_OWN`."""
        records = _OWN.empty()
        records[0][:] = self.last_time, self.typical_interval
        records[1][:] = self.intervals
        return records


@dataclass(slots=True)
class _Round:
    """Events of different series, for one call of the bank."""

    events: list[Event] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    after_gap: list[int] = field(default_factory=list)


class Shard:
    """The learners of one partition."""

    def __init__(self, *, topic: str, partition: int, settings: Settings) -> None:
        specification = settings.specification()
        self.topic = topic
        self.partition = partition
        self.next_offset = 0
        """The offset after the last record that was applied."""
        self._policy: PolicySettings = settings.policy
        self._series_max = settings.limits.series_max
        self._bank = Bank(specification)
        self._template = snapshot.Template(
            specification.version(), (self._bank.layout, (len(specification.targets),)), (_OWN, ())
        )
        self._decoder = Decoder(settings.fields, settings.limits)
        self._encoder = PredictionEncoder(topic, specification)
        self._series: dict[str, _Series] = {}
        self._dirty: set[str] = set()
        self._saving: set[str] = set()

    @property
    def series_count(self) -> int:
        """How many series the shard holds."""
        return len(self._series)

    @property
    def dirty_count(self) -> int:
        """How many series have learned since they were last saved."""
        return len(self._dirty | self._saving)

    def apply(self, records: Sequence[Record]) -> Applied:
        """Take a batch of records of this partition, in the order of their offsets.

        Raises:
            ValueError: a record is of another partition.
            models.bank.NonFiniteError: a bug in the core; no input that was accepted may lead there.
            AssertionError: a record was lost on the way.
        """
        fresh = self._fresh(records)
        replayed = len(records) - len(fresh)
        outcomes: Counter[Outcome] = Counter(dict.fromkeys(Outcome, 0))
        reasons: Counter[Reason] = Counter()
        dead_letters: list[Message] = []
        rounds: list[_Round] = []
        round_of: Counter[int] = Counter()
        last: Event | None = None
        for record, decoded in zip(fresh, self._decoder.decode(fresh), strict=True):
            ruling = decoded if isinstance(decoded, Rejection) else self._rule(record, decoded)
            if isinstance(ruling, Rejection):
                outcomes[Outcome.REJECTED] += 1
                reasons[ruling.reason] += 1
                dead_letters.append(encode_dead_letter(ruling))
            elif ruling is None:
                replayed += 1
            elif ruling is Outcome.DUPLICATE:
                outcomes[Outcome.DUPLICATE] += 1
            elif isinstance(decoded, Event):
                last = decoded
                self._plan(decoded, rounds, round_of)
        messages: dict[int, Message] = {}
        results = [self._learn(one, messages) for one in rounds]
        outcomes[Outcome.LEARNED] = len(messages)
        if outcomes.total() + replayed != len(records):
            raise AssertionError(
                f"{len(records)} records came, and {dict(outcomes)} with {replayed} replayed went"
            )
        return Applied(
            predictions=[messages[offset] for offset in sorted(messages)],
            dead_letters=dead_letters,
            results=results,
            outcomes=outcomes,
            reasons=reasons,
            replayed=replayed,
            consumed=len(records),
            event_time_last=None if last is None else last.time,
        )

    def _fresh(self, records: Sequence[Record]) -> list[Record]:
        """Return the records that were not applied before, and move `next_offset` past them."""
        fresh = []
        for record in records:
            if record.partition != self.partition:
                raise ValueError(f"a record of partition {record.partition} came to shard {self.partition}")
            if record.offset >= self.next_offset:
                self.next_offset = record.offset + 1
                fresh.append(record)
        return fresh

    def _rule(self, record: Record, event: Event) -> Outcome | Rejection | None:
        """Say what is to become of an event by the policy; None if it is replayed."""
        series = self._series.get(event.series)
        if series is None:
            if len(self._series) >= self._series_max:
                return Rejection(
                    record,
                    Reason.SERIES_LIMIT,
                    f"the partition holds {self._series_max} series already (limits.series_max)",
                )
            return Outcome.LEARNED
        if event.offset <= series.last_offset:
            return None
        if event.time == series.last_time and self._policy.duplicate == "drop":
            return Outcome.DUPLICATE
        if event.time < series.last_time and self._policy.late == "reject":
            return Rejection(record, Reason.LATE, f"{event.time_text} is before the last event of its series")
        return Outcome.LEARNED

    def _plan(self, event: Event, rounds: list[_Round], round_of: Counter[int]) -> None:
        """Put an event into the first round after the one that has its series' event before."""
        series = self._series.get(event.series)
        factor = self._policy.gap_factor
        after_gap = False
        if series is None:
            series = _Series(slot=self._bank.admit(), last_offset=event.offset, last_time=event.time)
            self._series[event.series] = series
        else:
            after_gap = self._policy.gap == "reset" and series.gap_before(event.time, factor)
            series.advance(event, factor)
        index = round_of[series.slot]
        round_of[series.slot] += 1
        if index == len(rounds):
            rounds.append(_Round())
        rounds[index].events.append(event)
        rounds[index].slots.append(series.slot)
        if after_gap:
            rounds[index].after_gap.append(series.slot)
        self._dirty.add(event.series)

    def _learn(self, one: _Round, messages: dict[int, Message]) -> StepResult:
        """Let the bank take a round; add its predictions by offset."""
        events = one.events
        if one.after_gap:
            self._bank.reset_memory(np.array(one.after_gap, dtype=np.int64))
        result = self._bank.step(
            np.array(one.slots, dtype=np.int64),
            np.array([event.time for event in events]),
            np.array([event.values for event in events], dtype=np.float64),
            np.array([event.features for event in events], dtype=np.float64),
        )
        for event, message in zip(events, self._encoder.encode(events, result), strict=True):
            messages[event.offset] = message
        return result

    def snapshot_dirty(self) -> list[SeriesCheckpoint]:
        """Return every series that has learned since it was last saved, as of now.

        Save them together with `next_offset` as it is now, and call `mark_clean` when that is durable.
        Without that call the next snapshot has them again.
        """
        self._saving |= self._dirty
        self._dirty = set()
        return [self._checkpoint(name) for name in sorted(self._saving)]

    def mark_clean(self) -> None:
        """Take note that the last snapshot is durable. What has learned since stays dirty."""
        self._saving = set()

    def _checkpoint(self, name: str) -> SeriesCheckpoint:
        series = self._series[name]
        state = self._template.dump((*self._bank.records_of(series.slot), *series.records()))
        return SeriesCheckpoint(name, series.last_offset, state)

    def restore(self, checkpoint: PartitionCheckpoint) -> None:
        """Make an empty shard what the checkpoint says.

        A series beyond `limits.series_max` is restored too: a lowered limit must not lose what was learned.

        Raises:
            ValueError: the shard is not empty.
            models.snapshot.SnapshotError: a state is damaged or of another make of model.
        """
        if self._series or self.next_offset:
            raise ValueError("only an empty shard can be restored; make a new one")
        for name, saved in checkpoint.series.items():
            records = self._template.load(saved.state)
            of_bank, (times, counts, _) = records[: -len(_OWN.types)], records[-len(_OWN.types) :]
            last_time, typical_interval = times.tolist()
            slot = self._bank.admit()
            self._bank.restore_records(slot, of_bank)
            self._series[name] = _Series(
                slot, saved.last_offset, last_time, typical_interval, intervals=int(counts[0])
            )
        self.next_offset = checkpoint.next_offset
