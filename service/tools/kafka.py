"""Clients of the brokers for the commands: with the settings' security, and errors that say what to mend."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaConnectionError, KafkaError

from service.connection import client_options
from service.settings import KafkaSettings
from service.tools.problem import CommandError
from service.topics import find_topics

REQUEST_TIMEOUT_SECONDS = 10.0
"""A person waits for the answer."""
END_TIMEOUT_SECONDS = 10.0


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
    _quieten()
    try:
        await client.start()
    except (KafkaError, OSError) as error:
        await client.stop()
        raise unreachable(kafka, error) from error
    try:
        yield client
    finally:
        await client.stop()


def unreachable(kafka: KafkaSettings, error: BaseException) -> CommandError:
    """Say that no broker answers, and what to look at."""
    # Of a connection that was refused the library only repeats the address.
    why = "" if isinstance(error, KafkaConnectionError) else f" ({error})"
    return CommandError(
        f"No broker answers at {kafka.bootstrap_servers} by {kafka.security.protocol}{why}. Start one, or say where it "
        "is: kafka.bootstrap_servers in onward.toml, or ONWARD_KAFKA__BOOTSTRAP_SERVERS."
    )


async def topics_found(kafka: KafkaSettings) -> dict[str, int]:
    """Return all topics with their numbers of partitions.

    Raises:
        CommandError: there is no broker.
    """
    _quieten()
    try:
        return await find_topics(_options(kafka))
    except (KafkaError, OSError) as error:
        raise unreachable(kafka, error) from error


async def topic_config(kafka: KafkaSettings, topic: str) -> dict[str, str]:
    """Return a topic's configuration as far as the broker tells it."""
    client = AIOKafkaAdminClient(**_options(kafka))
    try:
        await client.start()
        answers = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    finally:
        await client.close()
    entries = [entry for answer in answers for resource in answer.resources for entry in resource[-1]]
    return {name: value for name, value, *_ in entries if value is not None}


async def require_topic(kafka: KafkaSettings, topic: str) -> int:
    """Return how many partitions the topic has.

    Raises:
        CommandError: there is no broker, or no such topic.
    """
    found = await topics_found(kafka)
    if topic not in found:
        raise CommandError(
            f"There is no topic {topic} at {kafka.bootstrap_servers}. A worker makes what is missing when it starts; "
            "`onward doctor` says how to make it by hand."
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


def _quieten() -> None:
    # The library's own words for what goes wrong are many and for programmers; ours are one paragraph.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


def _options(kafka: KafkaSettings) -> dict[str, Any]:
    return client_options(kafka) | {"request_timeout_ms": int(REQUEST_TIMEOUT_SECONDS * 1000)}
