"""The backends of the checkpoint store as a table, and a backend that damages what goes through it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from service.checkpoints.kafka import TOPIC_CONFIG, KafkaBackend
from service.checkpoints.sqlite import SqliteBackend
from service.checkpoints.store import Backend, Checkpoints

Damage = Callable[[bytes], bytes]
Opener = Callable[[], Backend]
PARTITIONS = 3


class DamagingBackend:
    """Damages the records whose key is in `plan` as they are written, once each."""

    def __init__(self, inner: Backend) -> None:
        self._inner = inner
        self.plan: dict[str, Damage] = {}

    async def start(self) -> None:
        await self._inner.start()

    async def stop(self) -> None:
        await self._inner.stop()

    async def claim(self, partition: int) -> None:
        await self._inner.claim(partition)

    def read(self, partition: int) -> AsyncIterator[tuple[str, bytes | None]]:
        return self._inner.read(partition)

    async def write(self, partition: int, records: Sequence[tuple[str, bytes | None]]) -> None:
        damaged = [(key, None if data is None else self.plan.pop(key, bytes)(data)) for key, data in records]
        await self._inner.write(partition, damaged)

    async def erase(self, partition: int) -> None:
        await self._inner.erase(partition)


class Stores:
    """Opens stores over one and the same place."""

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self._started: list[Checkpoints] = []

    async def open(self) -> Checkpoints:
        return (await self.open_damaging())[0]

    async def open_damaging(self) -> tuple[Checkpoints, DamagingBackend]:
        backend = DamagingBackend(self._opener())
        store = Checkpoints(backend)
        await store.start()
        self._started.append(store)
        return store, backend

    async def close(self) -> None:
        for store in self._started:
            await store.stop()


async def make_topic(bootstrap: str, topic: str, partitions: int, config: dict[str, str]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        answer = await admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=config)])
        assert [error for _, error, *_ in answer.topic_errors] == [0], answer
    finally:
        await admin.close()
    await asyncio.sleep(0)


def _sqlite(request: pytest.FixtureRequest) -> Awaitable[Opener]:
    folder: Path = request.getfixturevalue("tmp_path")

    async def prepare() -> Opener:
        return lambda: SqliteBackend(folder / "checkpoints.sqlite")

    return prepare()


def _kafka(request: pytest.FixtureRequest) -> Awaitable[Opener]:
    bootstrap: str = request.getfixturevalue("kafka_bootstrap")
    topic = f"checkpoints-{uuid4().hex[:8]}"

    async def prepare() -> Opener:
        await make_topic(bootstrap, topic, PARTITIONS, TOPIC_CONFIG)
        return lambda: KafkaBackend(topic, {"bootstrap_servers": bootstrap})

    return prepare()


BACKENDS: dict[str, Callable[[pytest.FixtureRequest], Awaitable[Opener]]] = {
    "sqlite": _sqlite,
    "kafka": _kafka,
}


def opened(request: pytest.FixtureRequest, name: str) -> AbstractAsyncContextManager[Stores]:
    """Return the stores of a backend of the table, closed at the end of the block."""
    prepared = BACKENDS[name](request)

    @asynccontextmanager
    async def context() -> AsyncIterator[Stores]:
        stores = Stores(await prepared)
        try:
            yield stores
        finally:
            await stores.close()

    return context()
