"""Checkpoints in Kafka: a compacted topic with the partitions of the events topic.

A partition's records are written in one transaction a save, by a producer whose transactional id names the partition.
So a save is all or nothing, and whoever claims the partition fences the producer of the one who had it: a worker that
was frozen while its partition moved cannot overwrite what its successor has written.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import InvalidProducerEpoch, ProducerFenced

from service.ports import CheckpointError, FencedError

RECORD_BYTES_MAX = 16 * 1024 * 1024
"""Of one series' state, with room to spare: the largest makes of models take some megabytes. The topic must let them
through (`max.message.bytes`)."""
TOPIC_CONFIG = {
    "cleanup.policy": "compact",
    "max.message.bytes": str(RECORD_BYTES_MAX),
    # What is overwritten is dropped within minutes, not days: states are large, and a restart reads all that is kept.
    "min.cleanable.dirty.ratio": "0.2",
    "segment.ms": str(10 * 60 * 1000),
    "max.compaction.lag.ms": str(60 * 60 * 1000),
}
_BATCH_BYTES_MAX = 1024 * 1024
_TRANSACTION_MS_MAX = 300_000
"""A save of many series may take long; a crash need not wait for it, because the next claim ends the transaction."""
CLAIM_PAUSES_SECONDS = (0.5, 1.0, 2.0, 4.0)
"""A broker that was frozen or restarted names itself again within some seconds."""
_READ_SILENCE_SECONDS_MAX = 60.0


@final
class KafkaBackend:
    """`service.checkpoints.store.Backend` in a compacted topic.

    Args:
        topic: of the checkpoints.
        options: arguments of aiokafka's clients, from `service.connection`.
    """

    def __init__(self, topic: str, options: Mapping[str, Any]) -> None:
        self._topic = topic
        self._options = options
        self._producers: dict[int, AIOKafkaProducer] = {}

    async def start(self) -> None:
        """Do nothing: a partition's producer starts when it is claimed."""

    async def stop(self) -> None:
        while self._producers:
            _, producer = self._producers.popitem()
            await producer.stop()

    async def claim(self, partition: int) -> None:
        before = self._producers.pop(partition, None)
        if before is not None:
            await before.stop()
        self._producers[partition] = await self._claimed(partition)

    async def _claimed(self, partition: int) -> AIOKafkaProducer:
        """Return a producer that has fenced the one before; wait for a cluster that is just coming back."""
        for pause in CLAIM_PAUSES_SECONDS:
            try:
                return await self._started(partition)
            except AssertionError:  # aiokafka's, where the cluster names no broker, as one does for a moment
                await asyncio.sleep(pause)
        return await self._started(partition)

    async def _started(self, partition: int) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            **self._options,
            transactional_id=f"{self._topic}-{partition}",
            transaction_timeout_ms=_TRANSACTION_MS_MAX,
            max_request_size=RECORD_BYTES_MAX,
            max_batch_size=_BATCH_BYTES_MAX,
        )
        try:
            await producer.start()  # fences, and ends what the one before has left open
        except BaseException:
            await producer.stop()
            raise
        return producer

    async def read(self, partition: int) -> AsyncIterator[tuple[str, bytes | None]]:
        there = TopicPartition(self._topic, partition)
        consumer = AIOKafkaConsumer(
            **self._options,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_partition_fetch_bytes=RECORD_BYTES_MAX,
            fetch_max_wait_ms=50,
        )
        await consumer.start()
        try:
            consumer.assign([there])
            async for record in _until_the_end(consumer, there):
                yield (record.key or b"").decode(errors="replace"), record.value
        finally:
            await consumer.stop()

    async def write(self, partition: int, records: Sequence[tuple[str, bytes | None]]) -> None:
        await self._send(partition, records)

    async def erase(self, partition: int) -> None:
        keys = {key async for key, _ in self.read(partition)}
        await self._send(partition, [(key, None) for key in sorted(keys)])

    async def _send(self, partition: int, records: Iterable[tuple[str, bytes | None]]) -> None:
        producer = self._producers.get(partition)
        if producer is None:
            raise RuntimeError(f"the checkpoint of partition {partition} was not claimed")
        try:
            async with producer.transaction():
                sent = [
                    await producer.send(self._topic, value, key=key.encode(), partition=partition)
                    for key, value in records
                ]
                await asyncio.gather(*sent)
        except (ProducerFenced, InvalidProducerEpoch) as error:
            await self._producers.pop(partition).stop()
            raise FencedError(
                f"another worker has taken over the checkpoint of partition {partition}"
            ) from error


async def _until_the_end(consumer: AIOKafkaConsumer, there: TopicPartition) -> AsyncIterator[Any]:
    """Yield the records up to the end as the answers to our own fetches name it.

    Raises:
        CheckpointError: nothing comes any more, and the end is not reached.
    """
    loop = asyncio.get_running_loop()
    heard = loop.time()
    while True:
        batches = await consumer.getmany(there, timeout_ms=100)
        for record in batches.get(there, ()):
            yield record
        if batches:
            heard = loop.time()
        end = consumer.last_stable_offset(there)
        if end is not None and await consumer.position(there) >= end:
            return
        if loop.time() - heard > _READ_SILENCE_SECONDS_MAX:
            raise CheckpointError(
                f"{there.topic}, partition {there.partition}: nothing came for {_READ_SILENCE_SECONDS_MAX:.0f} s, and the "
                f"end ({end}) is not reached; look at the broker, and start the worker again"
            )
