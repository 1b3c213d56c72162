"""A broker, its topics and worker processes, for tests that are rough with them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

import service
from service.bootstrap import checkpoint_store
from service.ports import PartitionCheckpoint, Record
from service.settings import Settings
from service.tools.embedded import dying_with_parent
from service.topics import ensure_topics
from tests.chaos.events import GROUP, PARTITIONS, POOLS, RECORD_BYTES_MAX, SERIES

ROOT = Path(service.__file__).parent.parent


@dataclass
class Cluster:
    """A broker and what a group of workers needs on it.

    Attributes:
        bootstrap_servers: where the broker is.
        broker: its process, unless somebody else runs it.
        store: where the checkpoints are kept.
        folder: of the logs and of the checkpoint file.
    """

    bootstrap_servers: str
    broker: subprocess.Popen[bytes] | None
    store: str
    folder: Path
    name: str = field(default_factory=lambda: f"chaos-{uuid4().hex[:8]}")
    changes: dict[str, str] = field(default_factory=dict)

    def variables(self) -> dict[str, str]:
        """Return the workers' settings as environment variables."""
        return {
            "ONWARD_KAFKA__BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "ONWARD_KAFKA__GROUP_ID": self.name,
            "ONWARD_KAFKA__SESSION_TIMEOUT_SECONDS": "6",
            **{
                f"ONWARD_TOPICS__{topic.upper()}": f"{self.name}.{topic}"
                for topic in ("events", "labels", "predictions", "dead_letters", "checkpoints")
            },
            "ONWARD_TOPICS__PARTITIONS": str(PARTITIONS),
            "ONWARD_LIMITS__RECORD_BYTES_MAX": str(RECORD_BYTES_MAX),
            "ONWARD_LIMITS__SERIES_MAX": str(SERIES // PARTITIONS),
            "ONWARD_LIMITS__POOLS_MAX": str(POOLS),
            "ONWARD_FIELDS__GROUP": GROUP,
            "ONWARD_MODEL__PROFILE": "fast",
            "ONWARD_MODEL__EXPERTS": "last_value,seasonal,linear,linear_pooled",
            "ONWARD_MODEL__LAGS": "4",
            "ONWARD_MODEL__SEASON_MAX": "16",
            "ONWARD_CHECKPOINT__STORE": self.store,
            "ONWARD_CHECKPOINT__SQLITE_PATH": str(self.folder / "checkpoints.sqlite"),
            "ONWARD_CHECKPOINT__INTERVAL_EVENTS": "500",
            "ONWARD_CHECKPOINT__INTERVAL_SECONDS": "1",
            "ONWARD_HTTP__PORT": "0",
        } | self.changes

    @property
    def settings(self) -> Settings:
        """The workers' settings, looked at anew: `changes` may be other ones by now."""
        tree: dict[str, dict[str, str]] = {}
        for name, value in self.variables().items():
            group, member = name.removeprefix("ONWARD_").lower().split("__")
            tree.setdefault(group, {})[member] = value
        return Settings.model_validate(tree)

    @property
    def options(self) -> dict[str, str]:
        return {"bootstrap_servers": self.bootstrap_servers}

    async def make_topics(self) -> None:
        await ensure_topics(self.settings, self.options)

    async def produce(
        self, events: Iterable[tuple[int, bytes | None, bytes | None]], pause_seconds: float = 0.0
    ) -> None:
        """Write events, a hundred at a time."""
        topic = self.settings.topics.events
        async with AIOKafkaProducer(**self.options, acks="all") as producer:
            waiting = []
            for partition, key, value in events:
                if value is None and key is None:  # aiokafka's own send would not have it
                    batch = producer.create_batch()
                    batch.append(timestamp=None, key=None, value=None)
                    waiting.append(await producer.send_batch(batch, topic, partition=partition))
                else:
                    waiting.append(await producer.send(topic, value, key=key, partition=partition))
                if len(waiting) == 100:
                    await asyncio.gather(*waiting)
                    waiting.clear()
                    await asyncio.sleep(pause_seconds)
            await asyncio.gather(*waiting)

    async def read(self, topic: str) -> dict[int, list[Record]]:
        """Return all records of a topic, by partition."""
        consumer = AIOKafkaConsumer(
            **self.options,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            isolation_level="read_committed",
        )
        found: dict[int, list[Record]] = {}
        async with consumer:
            there = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
            consumer.assign(there)
            behind = set(there)
            while behind:
                for tp, records in (await consumer.getmany(timeout_ms=200)).items():
                    found.setdefault(tp.partition, []).extend(
                        Record(topic, tp.partition, one.offset, one.key, one.value) for one in records
                    )
                for tp in list(behind):
                    end = consumer.highwater(tp)
                    if end is not None and await consumer.position(tp) >= end:
                        behind.discard(tp)
        return found

    async def checkpoints(self) -> dict[int, PartitionCheckpoint]:
        """Return what is saved of each partition."""
        store = checkpoint_store(self.settings)
        await store.start()
        try:
            found = {partition: await store.read(partition) for partition in range(PARTITIONS)}
        finally:
            await store.stop()
        return {partition: one for partition, one in found.items() if one is not None}

    async def progress(self) -> int:
        """Return how many events, over all partitions, the checkpoints have behind them."""
        return sum(one.next_offset for one in (await self.checkpoints()).values())

    async def wait_until_saved(self, count: int, *, seconds: float = 60.0) -> None:
        """Wait until the checkpoints have so many events behind them."""
        async with asyncio.timeout(seconds):
            while await self.progress() < count:  # noqa: ASYNC110 - another process has to come so far
                await asyncio.sleep(0.2)

    def worker(self, name: str = "worker") -> Worker:
        """Start a worker process."""
        return Worker(self, name)


class Worker:
    """A worker process; its log is kept beside the others'."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.log = cluster.folder / f"{name}.log"
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("ONWARD_")}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                dying_with_parent([sys.executable, "-m", "service", "worker"]),
                cwd=cluster.folder,
                env=inherited | cluster.variables() | {"PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self, *, seconds: float = 15.0) -> int:
        """Wait until it has ended, and return its code."""
        async with asyncio.timeout(seconds):
            while (code := self.process.poll()) is None:  # noqa: ASYNC110 - a process has no event
                await asyncio.sleep(0.02)
        return code

    def end(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.wait()

    def said(self) -> str:
        return self.log.read_text(errors="replace")
