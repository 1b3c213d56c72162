"""The shards of the partitions that are this worker's: learning, publishing, checkpoints. asyncio, and no Kafka.

Rules:

- Of a batch first the predictions and dead letters are published and acknowledged. At a checkpoint, then, the states
  and the watermark are made durable, and only then is the log told that everything before it is done with.
- So a crash anywhere costs events that are read again: those before their series' own offset are skipped, the others
  are learned again to the same bits and published again with the same id and content.
- After an exception nothing is saved any more: a shard may have taken half a batch. The process ends, and the next one
  begins at the checkpoint.
- One thing at a time: a partition is not saved while it learns, nor handed over while it is saved.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

from models.snapshot import SnapshotError
from service.ports import (
    CheckpointError,
    CheckpointStore,
    Eviction,
    FencedError,
    Observer,
    PartitionCheckpoint,
    Publisher,
    Record,
    SpoiltSeriesError,
    Vitals,
)
from service.settings import Settings
from service.stream.guards import GuardLog
from service.stream.shard import Shard

log = logging.getLogger(__name__)

EVICTION_LOG_SECONDS: Final = 60.0
"""A stream of ever new keys evicts at every event; a line a minute says so as well."""

COUNT_SECONDS: Final = 5.0
"""Prometheus asks every 15 seconds, and a walk over all series holds the loop up that learns and answers the broker."""

Acknowledge = Callable[[int, int], Awaitable[None]]
"""Tells the log that everything of a partition before an offset is done with."""


@dataclass(slots=True)
class _Owned:
    """A partition that is ours."""

    shard: Shard
    saved_offset: int
    saved_at: float
    restored: bool
    unsaved: int = 0


@final
class Learner:
    """Learns from records of the partitions that are assigned, and keeps them safe.

    Args:
        settings: of the worker.
        store: of the checkpoints.
        publisher: of predictions and dead letters.
        observer: is told what came of it.
        vitals: is told that it goes on.
        clock: seconds, monotonic; for the checkpoints' timing alone, never for what is learned.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        store: CheckpointStore,
        publisher: Publisher,
        observer: Observer,
        vitals: Vitals,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._store = store
        self._publisher = publisher
        self._observer = observer
        self._vitals = vitals
        self._clock = clock
        self._acknowledge: Acknowledge | None = None
        self._owned: dict[int, _Owned] = {}
        self._lock = asyncio.Lock()
        self._guards = GuardLog(clock)
        self._evicted: Counter[Eviction] = Counter()
        self._evictions_told_at: float | None = None
        self._counted_at = float("-inf")
        self.assignment = 0
        """Number of the assignment; records that were taken in one are not learned in another."""

    def acknowledge_to(self, acknowledge: Acknowledge) -> None:
        """Say where the log is told of what is done with; before the first partition is assigned."""
        self._acknowledge = acknowledge

    def positions(self) -> dict[int, int]:
        """Return the offset at which each partition goes on; nothing while they are being assigned."""
        return {partition: owned.shard.next_offset for partition, owned in self._owned.items()}

    async def assign(self, partitions: Sequence[int], log_starts: Mapping[int, int]) -> set[int]:
        """Bring back what had been learned of these partitions, which are all that are ours from now on.

        A partition without a checkpoint begins at its log's start. A revocation meanwhile ends it early.

        Args:
            partitions: that are assigned.
            log_starts: the first offset that is still there of each.

        Returns:
            The partitions without a checkpoint.

        Raises:
            CheckpointError: there is a checkpoint, and it cannot be used.
        """
        self.assignment += 1
        assignment = self.assignment
        async with self._lock:
            self._owned.clear()
            self._vitals.assigned(partitions)
            self._observer.rebalanced(partitions)
            owned: dict[int, _Owned] = {}
            for partition in partitions:
                if assignment != self.assignment:
                    return set()
                owned[partition] = await self._restore(partition, log_starts[partition])
            if assignment != self.assignment:
                return set()
            self._owned = owned
            self._vitals.recovered()
            self._count_series()
            for partition, one in owned.items():
                # Saved, and perhaps not acknowledged by a worker that ended in between.
                if one.restored:
                    await self._acknowledge_offset(partition, one.saved_offset)
            return {partition for partition, one in owned.items() if not one.restored}

    async def _restore(self, partition: int, log_start: int) -> _Owned:
        shard = Shard(topic=self._settings.topics.events, partition=partition, settings=self._settings)
        checkpoint = await self._store.load(partition)
        if checkpoint is None:
            shard.next_offset = log_start
            log.info(
                "no checkpoint; learning from the start of the log",
                extra={"partition": partition, "offset": log_start},
            )
        else:
            for note in checkpoint.notes:
                log.warning("checkpoint: %s", note, extra={"partition": partition})
            # In a thread: many series take seconds, and the loop has a broker to answer.
            await asyncio.to_thread(_restore_into, shard, checkpoint)
            log.info(
                "checkpoint restored",
                extra={"partition": partition, "series": shard.series_count, "offset": shard.next_offset},
            )
        source = "none" if checkpoint is None else "checkpoint"
        self._observer.restored(partition, source, shard.series_count, shard.next_offset)
        return _Owned(
            shard, saved_offset=shard.next_offset, saved_at=self._clock(), restored=checkpoint is not None
        )

    async def learn(self, partition: int, records: Sequence[Record], *, assignment: int) -> None:
        """Learn from records of a partition, in the order of their offsets; publish, and save if it is time.

        Records of a partition that is not ours any more, or is again, are dropped: they are read again.

        Args:
            partition: of the records.
            records: all that came since the last call, in order.
            assignment: the learner's as the records were taken.
        """
        async with self._lock:
            owned = self._owned.get(partition)
            if owned is None or not records or assignment != self.assignment:
                return
            try:
                await self._learn(owned, records)
            except BaseException:
                self._owned.clear()
                raise

    async def _learn(self, owned: _Owned, records: Sequence[Record]) -> None:
        partition = owned.shard.partition
        began = self._clock()
        try:
            applied = owned.shard.apply(records)
        except SpoiltSeriesError as error:
            self._observer.spoilt(len(error.series))
            raise
        self._observer.applied(partition, applied, self._clock() - began)
        self._guards.tell(partition, applied.guarded, applied.audits)
        if applied.evicted:
            self._tell_of_evictions(applied.evicted)
        if any(count for shadow in applied.shadows for count in shadow.promotions.values()):
            promotions = sum((Counter(shadow.promotions) for shadow in applied.shadows), Counter())
            counts = {f"promoted_by_{why}": count for why, count in promotions.items()}
            log.info("what was in the shadow answers", extra={"partition": partition, **counts})
        topics = self._settings.topics
        if applied.predictions:
            await self._publisher.publish(topics.predictions, applied.predictions)
        if applied.dead_letters:
            await self._publisher.publish(topics.dead_letters, applied.dead_letters)
        owned.unsaved += len(records)
        self._vitals.progress(partition, owned.shard.next_offset - 1)
        if self._is_due(owned):
            await self._save(owned)

    def _tell_of_evictions(self, evicted: Mapping[Eviction, int]) -> None:
        self._evicted.update(evicted)
        told, now = self._evictions_told_at, self._clock()
        if told is None or now - told >= EVICTION_LOG_SECONDS:
            counts = {f"evicted_{why}": count for why, count in self._evicted.items()}
            log.info("series were forgotten", extra=counts)
            self._evicted.clear()
            self._evictions_told_at = now

    async def tick(self) -> None:
        """Save the partitions whose time has come, though no event comes. To be called every now and then."""
        async with self._lock:
            try:
                for owned in self._owned.values():
                    if self._is_due(owned):
                        await self._save(owned)
            except BaseException:
                self._owned.clear()
                raise
            if self._clock() - self._counted_at >= COUNT_SECONDS:
                self._count_series()

    async def revoke(self) -> None:
        """Save all partitions and give them up. What cannot be saved because another has it already is dropped."""
        self.assignment += 1
        async with self._lock:
            owned, self._owned = self._owned, {}
            self._vitals.assigned(())
            for one in owned.values():
                try:
                    await self._save(one)
                except FencedError as error:
                    log.warning("not saved: %s", error, extra={"partition": one.shard.partition})

    def _is_due(self, owned: _Owned) -> bool:
        timing = self._settings.checkpoint
        return owned.shard.next_offset != owned.saved_offset and (
            owned.unsaved >= timing.interval_events
            or self._clock() - owned.saved_at >= timing.interval_seconds
        )

    async def _save(self, owned: _Owned) -> None:
        shard, next_offset = owned.shard, owned.shard.next_offset
        if next_offset == owned.saved_offset or shard.catching_up:
            return
        began = self._clock()
        try:
            size_bytes = await self._store.save(shard.partition, shard.snapshot_dirty(), next_offset)
        except BaseException as error:
            self._observer.checkpoint_failed("timeout" if isinstance(error, TimeoutError) else "store")
            raise
        shard.mark_clean()
        owned.saved_offset, owned.saved_at, owned.unsaved = next_offset, self._clock(), 0
        self._observer.checkpoint_saved(shard.partition, owned.saved_at - began, size_bytes)
        await self._acknowledge_offset(shard.partition, next_offset)

    async def _acknowledge_offset(self, partition: int, next_offset: int) -> None:
        if self._acknowledge is None:
            raise RuntimeError("nobody is there to acknowledge to; call acknowledge_to first")
        await self._acknowledge(partition, next_offset)

    def _count_series(self) -> None:
        self._counted_at = self._clock()
        counts = [owned.shard.counts() for owned in self._owned.values()]
        self._observer.series(
            sum(one.series for one in counts),
            sum(one.quarantined for one in counts),
            sum(one.promoted for one in counts),
            sum(one.pools for one in counts),
        )


def _restore_into(shard: Shard, checkpoint: PartitionCheckpoint) -> None:
    try:
        shard.restore(checkpoint)
    except SnapshotError as error:
        raise CheckpointError(
            f"the checkpoint of partition {shard.partition} is of another make of model: {error}. Go back to the settings "
            "that wrote it, or give the state up: stop the workers, "
            f"`onward checkpoint reset --partition {shard.partition}`, and start again; the partition is then learned "
            "anew from the start of its log"
        ) from error
