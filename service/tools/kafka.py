"""Clients of the brokers for the commands: with the settings' security, and errors that say what to mend."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError

from service.connection import client_options
from service.settings import KafkaSettings
from service.tools.problem import CommandError

REQUEST_TIMEOUT_SECONDS = 10.0
"""A person waits for the answer."""
END_TIMEOUT_SECONDS = 10.0


@asynccontextmanager
async def admin_client(kafka: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    """Connect for questions about topics."""
    async with _started(AIOKafkaAdminClient(**_options(kafka)), kafka) as client:
        yield client


@asynccontextmanager
async def producer(kafka: KafkaSettings, **options: Any) -> AsyncIterator[AIOKafkaProducer]:
    """Connect for sending; what was sent is delivered when the block ends."""
    async with _started(AIOKafkaProducer(**_options(kafka), **options), kafka) as client:
        yield client


@asynccontextmanager
async def consumer(kafka: KafkaSettings, **options: Any) -> AsyncIterator[AIOKafkaConsumer]:
    """Connect for reading, without a group: nobody else's position is touched."""
    async with _started(AIOKafkaConsumer(**_options(kafka), **options), kafka) as client:
        yield client


_Client: TypeAlias = Any
"""One of aiokafka's, which has no types of its own."""


@asynccontextmanager
async def _started(client: _Client, kafka: KafkaSettings) -> AsyncIterator[_Client]:
    # Their own words for what goes wrong are many and for programmers; ours is one.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    stop = client.close if isinstance(client, AIOKafkaAdminClient) else client.stop
    try:
        await client.start()
    except (KafkaError, OSError) as error:
        await stop()
        raise unreachable(kafka, error) from error
    try:
        yield client
    finally:
        await stop()


def unreachable(kafka: KafkaSettings, error: BaseException) -> CommandError:
    """Say that no broker answers, and what to look at."""
    # Of a connection that was refused the library only repeats the address.
    why = "" if isinstance(error, KafkaConnectionError) else f" ({error})"
    return CommandError(
        f"No broker answers at {kafka.bootstrap_servers} by {kafka.security.protocol}{why}. Start one, or say where it "
        "is: kafka.bootstrap_servers in onward.toml, or ONWARD_KAFKA__BOOTSTRAP_SERVERS."
    )


async def partitions_of(client: AIOKafkaAdminClient, topics: Sequence[str]) -> dict[str, int]:
    """Return how many partitions each of these topics has; one that is not there is left out."""
    # Asked for one by one, a topic that is not there would be made by some brokers.
    there = set(await client.list_topics())
    described = await client.describe_topics([topic for topic in topics if topic in there])
    return {one["topic"]: len(one["partitions"]) for one in described}


async def require_topic(kafka: KafkaSettings, topic: str) -> int:
    """Return how many partitions the topic has.

    Raises:
        CommandError: there is no broker, or no such topic.
    """
    async with admin_client(kafka) as client:
        found = await partitions_of(client, [topic])
    if topic not in found:
        raise CommandError(
            f"There is no topic {topic} at {kafka.bootstrap_servers}. `onward doctor` says how to create the topics."
        )
    return found[topic]


async def seek_to_end(client: AIOKafkaConsumer, partitions: Sequence[TopicPartition]) -> None:
    """Go to where the next record will be."""
    # A fetch's high watermark, for the embedded broker's answer to the question for the last offset is the first
    # one of the last batch.
    await client.seek_to_end(*partitions)
    async with asyncio.timeout(END_TIMEOUT_SECONDS):
        while any(client.highwater(partition) is None for partition in partitions):
            await client.getmany(*partitions, timeout_ms=100)
    for partition in partitions:
        client.seek(partition, client.highwater(partition))


def _options(kafka: KafkaSettings) -> dict[str, Any]:
    return client_options(kafka) | {"request_timeout_ms": int(REQUEST_TIMEOUT_SECONDS * 1000)}
