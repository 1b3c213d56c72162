"""Publishes messages to Kafka, in batches of a partition at a time.

One `send` a message would cost a future and several turns of the loop each; built as a batch it is some ten times
cheaper. Messages of one key stay in order: the partition is that of Kafka's own partitioner, and its batches go one
after the other.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, final

from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.producer.message_accumulator import BatchBuilder

from service.ports import Message

_BATCH_BYTES_MAX = 256 * 1024
"""Some hundred predictions; well below what brokers take for one batch (1 MB by default)."""
_MESSAGE_BYTES_MAX = 16 * 1024 * 1024
"""A prediction of many targets, horizons and experts may be large; the topic's own limit decides."""


@final
class KafkaPublisher:
    """`service.ports.Publisher` for Kafka.

    Args:
        options: arguments of aiokafka's clients, from `service.connection`.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._partition_of = DefaultPartitioner()
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Connect."""
        producer = AIOKafkaProducer(
            **self._options, acks="all", max_batch_size=_BATCH_BYTES_MAX, max_request_size=_MESSAGE_BYTES_MAX
        )
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        self._producer = producer

    async def stop(self) -> None:
        """Disconnect."""
        if self._producer is not None:
            producer, self._producer = self._producer, None
            await producer.stop()

    async def publish(self, topic: str, messages: Sequence[Message]) -> None:
        if self._producer is None:
            raise RuntimeError("the publisher is not started")
        partitions = sorted(await self._producer.partitions_for(topic))
        by_partition: dict[int, list[Message]] = defaultdict(list)
        for message in messages:
            by_partition[self._partition_of(message.key, partitions, partitions)].append(message)
        sent = []
        for partition, part in by_partition.items():
            batch = self._producer.create_batch()
            for message in part:
                if not _append(batch, message):
                    sent.append(await self._producer.send_batch(batch, topic, partition=partition))
                    batch = self._producer.create_batch()
                    if not _append(batch, message):
                        raise ValueError(
                            f"a message of {len(message.value)} bytes does not fit into an empty batch"
                        )
            sent.append(await self._producer.send_batch(batch, topic, partition=partition))
        await asyncio.gather(*sent)


def _append(batch: BatchBuilder, message: Message) -> bool:
    """Put a message into a batch; say whether it was taken."""
    taken = batch.append(timestamp=None, key=message.key, value=message.value, headers=list(message.headers))
    return taken is not None
