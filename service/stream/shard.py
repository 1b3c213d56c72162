"""One partition's learners: order, duplicates, late events, gaps and replay. No Kafka, no asyncio, no clock.

Rules:

- Every record ends in just one way: learned, rejected, duplicate; or it is replayed, and in no count of those.
- A record is replayed, that is skipped, if its offset is before `next_offset`, or at or before the last offset that
  its own series has learned from. A checkpoint whose save was cut off leaves some series ahead of the partition's
  watermark, and this is what absorbs it. Offsets may have gaps.
- A rejected record touches no state, so a replay rejects it again with the same words.
- Within a series events are learned in the order of their offsets; the batch is cut into rounds in which each series
  stands at most once, and a round is one call of the bank. How the stream was cut into batches changes no bit.
- A series is evicted by the offsets of what it and its partition have had, never by a clock, so that a replay evicts the
  same series at the same event. That takes a checkpoint whose series are all of one moment, as the store gives them back.
- Where experts share what they learn, events are taken in the order of their offsets across series too: see `service.stream.pools`.
- A series that comes after missing rows is first taken past each of them as a row without a value, so that forecasts that were
  made for them are not scored against a later row. Those rows publish nothing. How many there may be is bounded by a setting.
- The slot of an evicted series may still have an event of hers in the batch. So whoever has it next begins anew in the
  round of its own first event, which is a later one.
- An exception is a bug: the shard may have taken part of the batch and must be thrown away, and the partition
  restored from its checkpoint.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Sequence

import numpy as np

from models.bank import IntArray, StepResult
from service.ports import (
    Applied,
    Event,
    Eviction,
    Guarded,
    Message,
    Missing,
    Outcome,
    PartitionCheckpoint,
    Reason,
    Record,
    Rejection,
    SeriesCheckpoint,
    SeriesCounts,
    Shadow,
)
from service.settings import LimitSettings, PolicySettings, Settings
from service.stream.cadence import Cadence
from service.stream.decode import Decoder
from service.stream.duel import models_of
from service.stream.guards import guarded
from service.stream.messages import encode_dead_letter
from service.stream.pools import Pools, is_pool
from service.stream.rounds import Gap, Round, Series, naming_the_spoilt


class Shard:
    """The learners of one partition."""

    def __init__(self, *, topic: str, partition: int, settings: Settings) -> None:
        self.topic = topic
        self.partition = partition
        self.next_offset = 0
        """The offset after the last record that was applied."""
        self._policy: PolicySettings = settings.policy
        self._limits: LimitSettings = settings.limits
        self._models = models_of(topic, settings)
        self._pools = Pools(self._models, settings)
        self._decoder = Decoder(settings.fields, settings.limits, settings.policy)
        self._series: OrderedDict[str, Series] = OrderedDict()
        """By the last offset that was learned from, the least recent first."""
        self._vacant: list[int] = []
        """Slots of series that were evicted."""
        self._behind: frozenset[str] = frozenset()
        self._behind_until = 0
        self._targets = tuple(settings.fields.targets)
        self._guarded: list[Guarded] = []
        self._filled_guards: list[IntArray] = []
        self._shadows: list[Shadow] = []
        self._audit_every = settings.observe.audit_every
        self._dirty: set[str] = set()
        self._saving: set[str] = set()

    @property
    def series_count(self) -> int:
        """How many series the shard holds."""
        return len(self._series)

    def counts(self) -> SeriesCounts:
        """Count the series; a walk over all of them."""
        slots = np.array([series.slot for series in self._series.values()], dtype=np.int64)
        return SeriesCounts(
            len(slots),
            self._models.quarantined_count(slots),
            self._models.promoted_count(slots),
            len(self._pools),
        )

    @property
    def dirty_count(self) -> int:
        """How many series have learned, or were evicted, since they were last saved."""
        return len(self._dirty | self._saving)

    @property
    def catching_up(self) -> bool:
        """Whether some series have yet to have events that the others have had: nothing to save, for it is of two moments."""
        return bool(self._behind) and self.next_offset < self._behind_until

    def apply(self, records: Sequence[Record]) -> Applied:
        """Take a batch of records of this partition, in the order of their offsets.

        Raises:
            ValueError: a record is of another partition.
            SpoiltSeriesError: a bug in the core, or damaged state; no input that was accepted may lead there.
            AssertionError: a record was lost on the way.
        """
        fresh = self._fresh(records)
        replayed = len(records) - len(fresh)
        outcomes: Counter[Outcome] = Counter(dict.fromkeys(Outcome, 0))
        reasons: Counter[Reason] = Counter()
        evicted: Counter[Eviction] = Counter()
        dead_letters: list[Message] = []
        rounds: list[Round] = []
        round_of: Counter[int] = Counter()
        last: Event | None = None
        for record, decoded in zip(fresh, self._decoder.decode(fresh), strict=True):
            if self._behind and not self._is_for_those_behind(record, decoded):
                replayed += 1
                continue
            self._evict_idle(record.offset, evicted)
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
                self._plan(decoded, rounds, round_of, evicted)
        messages: dict[int, Message] = {}
        missing: Counter[Missing] = Counter()
        results = [self._learn(one, messages, missing) for one in rounds]
        outcomes[Outcome.LEARNED] = len(messages)
        acted, self._guarded = self._guarded, []
        filled_guards, self._filled_guards = self._filled_guards, []
        shadows, self._shadows = self._shadows, []
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
            evicted=evicted,
            missing=missing,
            filled_guards=filled_guards,
            guarded=acted,
            shadows=shadows,
            audits=self._models.bank.audits(),
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

    def _is_for_those_behind(self, record: Record, decoded: Event | Rejection) -> bool:
        """Whether a record is to be looked at, while some series catch up with the others, which have had it."""
        if record.offset < self._behind_until:
            return isinstance(decoded, Event) and decoded.series in self._behind
        self._behind = frozenset()
        self._sort()
        return True

    def _sort(self) -> None:
        for name, _ in sorted(self._series.items(), key=lambda item: item[1].last_offset):
            self._series.move_to_end(name)

    def _evict_idle(self, offset: int, evicted: Counter[Eviction]) -> None:
        """Forget the series whose last event is too many offsets ago."""
        idle = self._limits.series_idle_events
        if idle is None or self._behind:
            return
        while self._series and offset - next(iter(self._series.values())).last_offset > idle:
            self._evict(Eviction.IDLE, evicted)

    def _evict(self, why: Eviction, evicted: Counter[Eviction]) -> None:
        """Forget the least recent series; its slot is for the next new one."""
        name, series = self._series.popitem(last=False)
        self._vacant.append(series.slot)
        self._dirty.add(name)
        evicted[why] += 1

    def _rule(self, record: Record, event: Event) -> Outcome | Rejection | None:
        """Say what is to become of an event by the policy; None if it is replayed."""
        series = self._series.get(event.series)
        if self._pools.are_full_for(event.series):
            why = f"the partition holds {len(self._pools)} pools already (limits.pools_max), and none of group {self._pools.group_of(event.series)!r}"
            return Rejection(record, Reason.POOL_LIMIT, why)
        if series is None:
            most = self._limits.series_max
            if len(self._series) >= most and self._limits.series_full == "reject":
                why = f"the partition holds {most} series already (limits.series_max, limits.series_full)"
                return Rejection(record, Reason.SERIES_LIMIT, why)
            return Outcome.LEARNED
        if event.offset <= series.last_offset:
            return None
        if event.time == series.cadence.last_time and self._policy.duplicate == "drop":
            return Outcome.DUPLICATE
        if event.time < series.cadence.last_time and self._policy.late == "reject":
            return Rejection(record, Reason.LATE, f"{event.time_text} is before the last event of its series")
        return Outcome.LEARNED

    def _plan(
        self, event: Event, rounds: list[Round], round_of: Counter[int], evicted: Counter[Eviction]
    ) -> None:
        """Put an event into the first round after the one that has the event before in its series' slot."""
        series = self._series.get(event.series)
        begun = reset = False
        gap: Gap | None = None
        pool, saved_as = self._pools.take(event)
        if series is None:
            while len(self._series) >= self._limits.series_max:
                self._evict(Eviction.FULL, evicted)
            begun = bool(self._vacant)
            slot = self._vacant.pop() if begun else self._models.admit()
            series = self._series[event.series] = Series(slot, event.offset, Cadence(event.time))
        else:
            gap, reset = self._gap(series, pool, event)
            series.cadence.advance(event.time, self._policy.gap_factor)
            series.last_offset = event.offset
            self._series.move_to_end(event.series)
        index = round_of[series.slot]
        # No event before one that came before it, and the rows of a gap just before the event behind them.
        if self._pools and rounds:
            index = max(index, len(rounds) - (gap is None))
        round_of[series.slot] = index + 1
        if index == len(rounds):
            rounds.append(Round())
        rounds[index].events.append(event)
        rounds[index].slots.append(series.slot)
        rounds[index].pools.append(pool)
        if begun:
            rounds[index].begun.append(series.slot)
        if gap is not None:
            rounds[index].gaps.append(gap)
        if reset:
            rounds[index].after_gap.append(series.slot)
        self._dirty.add(event.series)
        if saved_as is not None:
            self._dirty.add(saved_as)

    def _gap(self, series: Series, pool: int, event: Event) -> tuple[Gap | None, bool]:
        """Say which rows are to be filled before an event of this time, and whether the memory is to be reset."""
        policy, cadence, time = self._policy, series.cadence, event.time
        if policy.gap != "fill":
            return None, policy.gap == "reset" and cadence.gap_before(time, policy.gap_factor)
        rows = cadence.rows_missing(time)
        if not 0 < rows <= policy.gap_fill_max:
            return None, rows > 0
        interval = cadence.usual_interval
        gap = Gap(series.slot, pool, cadence.last_time, interval, rows, event.series, event.offset)
        return gap, False

    def _learn(self, one: Round, messages: dict[int, Message], missing: Counter[Missing]) -> StepResult:
        """Let the bank take a round; add its predictions by offset, and count what is missing."""
        events = one.events
        if one.begun:
            self._models.renew(np.array(one.begun, dtype=np.int64))
        if one.after_gap:
            self._models.reset_memory(np.array(one.after_gap, dtype=np.int64))
        if one.gaps:
            self._fill(one.gaps)
            missing[Missing.ROW] += sum(gap.rows for gap in one.gaps)
        slots, pools = (np.array(each, dtype=np.int64) for each in (one.slots, one.pools))
        with naming_the_spoilt(self.partition, one.slots, events):
            answers = self._models.learn(slots, pools, events)
        if answers.shadow is not None:
            self._shadows.append(answers.shadow)
        self._guarded += guarded(answers.result, events, self._targets)
        if self._audit_every:
            for slot, event in zip(one.slots, events, strict=True):
                if event.offset % self._audit_every == 0:
                    self._models.bank.begin_audit(slot)
        for event, message in zip(events, answers.messages, strict=True):
            messages[event.offset] = message
            if event.missing:
                of_targets = sum(map(math.isnan, event.values))
                missing[Missing.TARGET] += of_targets
                missing[Missing.FEATURE] += event.missing - of_targets
        return answers.result

    def _fill(self, gaps: Sequence[Gap]) -> None:
        """Take series past rows that are missing, one row of each in a call of the bank."""
        for row in range(1, max(gap.rows for gap in gaps) + 1):
            longer = [gap for gap in gaps if gap.rows >= row]
            slots = [gap.slot for gap in longer]
            with naming_the_spoilt(self.partition, slots, longer):
                result = self._models.pass_row(
                    np.array(slots, dtype=np.int64),
                    np.array([gap.pool for gap in longer], dtype=np.int64),
                    np.array([gap.after + row * gap.interval for gap in longer]),
                )
            # Of a whole result nothing else is asked for, and there may be a hundred rows for each event.
            if result.guard.any():
                self._filled_guards.append(result.guard)
            self._guarded += guarded(result, longer, self._targets)

    def request(self, names: Sequence[str] | None, place: int) -> int:
        """Let what is in a place of the settings answer, 0 `model` and 1 `challenger`, from the next event of these series on.

        None is all series that there are. Return of how many it was asked.

        Raises:
            KeyError: there is no such series.
            ValueError: there is no challenger.
        """
        asked = list(self._series) if names is None else list(names)
        for series in [self._series[name] for name in asked]:
            self._models.request(series.slot, place)
        self._dirty.update(asked)
        return len(asked)

    def snapshot_dirty(self) -> list[SeriesCheckpoint]:
        """Return every series that has learned since it was last saved, as of now; without a state if it was evicted.

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
        if is_pool(name):
            slot, last_offset = self._pools.saved(name)
            return SeriesCheckpoint(name, last_offset, self._models.dump(slot, Cadence(0.0)))
        series = self._series.get(name)
        if series is None:
            return SeriesCheckpoint(name, self.next_offset - 1, b"")
        return SeriesCheckpoint(name, series.last_offset, self._models.dump(series.slot, series.cadence))

    def restore(self, checkpoint: PartitionCheckpoint) -> None:
        """Make an empty shard what the checkpoint says.

        A series beyond `limits.series_max` is restored too: a lowered limit must not lose what was learned. With
        `limits.series_full = "evict"` the next new series brings their number down to it.

        Raises:
            ValueError: the shard is not empty.
            models.snapshot.SnapshotError: a state is damaged or of another make of model.
        """
        if self._series or self.next_offset:
            raise ValueError("only an empty shard can be restored; make a new one")
        for name, saved in checkpoint.series.items():
            slot = self._models.admit()
            cadence = self._models.restore(slot, saved.state)
            if is_pool(name):
                self._pools.restore(name, slot, saved.last_offset)
            else:
                self._series[name] = Series(slot, saved.last_offset, cadence)
        self._sort()
        self.next_offset = checkpoint.next_offset
        self._behind, self._behind_until = checkpoint.behind, checkpoint.behind_until
