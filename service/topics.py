"""The topics that a worker needs: which are there, which are missing, and making those.

Rules:

- The checkpoints topic has the partitions of the events topic: state moves with its partition.
- What is missing is made, with the events topic's partitions, unless `topics.create` is off. A topic that is there is
  left as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from service.checkpoints.kafka import TOPIC_CONFIG
from service.settings import Settings

REPLICAS_MAX = 3
"""Replicas of a topic that is made: so many, or as many as there are brokers."""
_SEEN_SECONDS_MAX = 15.0
_ASK_AGAIN_SECONDS = 0.1


class TopicError(Exception):
    """A topic is missing, or is not as it has to be; the message says what to do."""


def needed_topics(settings: Settings) -> tuple[str, ...]:
    """Return the names of the topics that a worker uses, the events topic first.

    >>> needed_topics(Settings())
    ('onward.events', 'onward.predictions', 'onward.dead-letters', 'onward.checkpoints')
    """
    topics = settings.topics
    names = (topics.events, topics.predictions, topics.dead_letters)
    return (*names, topics.checkpoints) if settings.checkpoint.store == "kafka" else names


def problems(settings: Settings, partitions: Mapping[str, int]) -> list[str]:
    """Say what is wrong with the topics that are there, by their numbers of partitions; nothing if all is well.

    >>> problems(Settings(), dict.fromkeys(needed_topics(Settings()), 4))
    []
    """
    found = [f"there is no topic {name}" for name in needed_topics(settings) if name not in partitions]
    events, checkpoints = settings.topics.events, settings.topics.checkpoints
    both = settings.checkpoint.store == "kafka" and events in partitions and checkpoints in partitions
    if both and partitions[events] != partitions[checkpoints]:
        found.append(
            f"{events} has {partitions[events]} partitions and {checkpoints} {partitions[checkpoints]}, but they must "
            f"have the same number: add the missing ones with kafka-topics.sh --alter --partitions"
        )
    return found


async def find_topics(options: Mapping[str, Any]) -> dict[str, int]:
    """Return all topics that there are, with their numbers of partitions."""
    async with _admin(options) as admin:
        return await _find(admin, await admin.list_topics())


async def ensure_topics(settings: Settings, options: Mapping[str, Any]) -> dict[str, int]:
    """Make the topics that are missing, if that is permitted; return those that are needed, with their numbers of partitions.

    Args:
        settings: of the worker.
        options: arguments of aiokafka's clients, from `service.connection`.

    Raises:
        TopicError: a topic is missing still, or is not as it has to be.
    """
    needed = needed_topics(settings)
    async with _admin(options) as admin:
        found = await _find(admin, needed)
        missing = [name for name in needed if name not in found]
        if missing and settings.topics.create:
            await _create(
                admin, settings, missing, found.get(settings.topics.events, settings.topics.partitions)
            )
            found = await _find_all(admin, needed)
    wrong = problems(settings, found)
    if wrong:
        raise TopicError("; ".join(wrong) + ". `onward doctor` says how to mend it")
    return found


@asynccontextmanager
async def _admin(options: Mapping[str, Any]) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**options)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def _find(admin: AIOKafkaAdminClient, names: Collection[str]) -> dict[str, int]:
    # Listed first: to ask some brokers for a topic by its name is to make it.
    there = set(names).intersection(await admin.list_topics())
    described = await admin.describe_topics(sorted(there)) if there else []
    return {topic["topic"]: len(topic["partitions"]) for topic in described}


async def _find_all(admin: AIOKafkaAdminClient, names: Collection[str]) -> dict[str, int]:
    """Return the topics once all are there: brokers tell each other in their own time."""
    found: dict[str, int] = {}
    for _ in range(int(_SEEN_SECONDS_MAX / _ASK_AGAIN_SECONDS)):
        found = await _find(admin, names)
        if all(found.get(name) for name in names):
            break
        await asyncio.sleep(_ASK_AGAIN_SECONDS)
    return found


async def _create(admin: AIOKafkaAdminClient, settings: Settings, names: list[str], partitions: int) -> None:
    brokers = len((await admin.describe_cluster())["brokers"])
    replicas = settings.topics.replication_factor or min(REPLICAS_MAX, brokers)
    new = [
        NewTopic(
            name,
            partitions,
            replicas,
            topic_configs=TOPIC_CONFIG if name == settings.topics.checkpoints else {},
        )
        for name in names
    ]
    answer = await admin.create_topics(new)
    for name, code, message in answer.topic_errors:
        error: type[KafkaError] = for_code(code)
        if code and error is not TopicAlreadyExistsError:
            raise TopicError(
                f"the topic {name} is missing and could not be made ({error.__name__}: {message or 'no details'}); make it "
                f"with {partitions} partitions, or let this user create it. `onward doctor` says how"
            )
