"""Stand-ins at the learner's ports: in memory, and able to crash at every step of what they do."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from service.checkpoints.store import Checkpoints
from service.ports import Applied, Message, PartitionCheckpoint, Record
from service.settings import Settings

TOPIC = "onward.events"


def small_settings(**groups: object) -> Settings:
    """Return settings of a worker whose models are cheap."""
    model = {"profile": "fast", "lags": 2, "season_max": 4}
    return Settings.model_validate({"model": model, **groups})


def event(offset: int, series: str, value: float, *, partition: int = 0, time: int | None = None) -> Record:
    body = {"series": series, "time": 1_700_000_000 + (offset if time is None else time), "value": value}
    return Record(TOPIC, partition, offset, series.encode(), json.dumps(body).encode())


class Crash(Exception):  # noqa: N818 - it is what happens, not what is wrong
    """The process is gone."""


@dataclass
class Fuse:
    """Burns a step at a time, and then crashes whoever took it; None never does."""

    left: int | None = None
    burnt: int = 0
    steps: list[str] = field(default_factory=list)

    def step(self, name: str) -> None:
        self.burnt += 1
        self.steps.append(name)
        if self.left is not None and self.burnt > self.left:
            raise Crash(name)


@dataclass
class World:
    """What outlives a crash: what was published, saved and acknowledged."""

    published: dict[str, list[Message]] = field(default_factory=dict)
    records: dict[int, dict[str, bytes]] = field(default_factory=dict)
    """Of the checkpoint store, by partition and key."""
    acknowledged: dict[int, int] = field(default_factory=dict)

    async def checkpoint(self, partition: int = 0) -> PartitionCheckpoint:
        """Return what the next worker would find."""
        return await Checkpoints(TornBackend(self, Fuse())).read(partition) or PartitionCheckpoint(0, {})

    async def states(self) -> dict[str, bytes]:
        """Return the states of partition 0 that the next worker would find."""
        return {name: one.state for name, one in (await self.checkpoint()).series.items()}

    async def watermarks(self) -> dict[int, int]:
        """Return the offset at which each partition that was saved would go on."""
        return {partition: (await self.checkpoint(partition)).next_offset for partition in self.records}

    def ids(self, topic: str) -> dict[str, bytes]:
        """Return the messages by what identifies them; a message that came twice must have come the same."""
        found: dict[str, bytes] = {}
        for message in self.published.get(topic, []):
            body = json.loads(message.value)
            key = body.get("id") or f"{body['topic']}-{body['partition']}-{body['offset']}"
            assert found.setdefault(key, message.value) == message.value
        return found


class TornBackend:
    """Keeps checkpoints in a world, and may be cut off between any two records: worse than any backend that there is.

    Only a partition's first save is all or nothing: states without any watermark are an error by intent.
    """

    def __init__(self, world: World, fuse: Fuse) -> None:
        self._world = world
        self._fuse = fuse
        self.failure: Exception | None = None

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def claim(self, partition: int) -> None: ...

    async def read(self, partition: int) -> AsyncIterator[tuple[str, bytes | None]]:
        for key, data in self._world.records.get(partition, {}).items():
            yield key, data

    async def write(self, partition: int, records: Sequence[tuple[str, bytes | None]]) -> None:
        if self.failure is not None:
            raise self.failure
        self._fuse.step("before the states")
        kept = self._world.records.get(partition, {})
        for key, data in records:
            kind, _, *name = key.split("/")
            if data is None:
                kept.pop(key, None)
                self._fuse.step(f"after the erasure of {key}")
            else:
                kept[key] = data
                if kind == "watermark":
                    self._world.records[partition] = kept
                self._fuse.step("after the watermark" if kind == "watermark" else f"after state {name[0]}")

    async def erase(self, partition: int) -> None:
        self._world.records.pop(partition, None)


class Publisher:
    def __init__(self, world: World, fuse: Fuse) -> None:
        self._world = world
        self._fuse = fuse

    async def publish(self, topic: str, messages: Sequence[Message]) -> None:
        for message in messages:
            self._fuse.step(f"before a message to {topic}")
            self._world.published.setdefault(topic, []).append(message)
        self._fuse.step(f"after the messages to {topic}")


@dataclass
class Witness:
    """Observer and vitals in one: writes down what it is told."""

    told: list[tuple[object, ...]] = field(default_factory=list)

    def applied(self, partition: int, applied: Applied, seconds: float) -> None:
        self.told.append(("applied", partition, dict(applied.outcomes)))

    def spoilt(self, series: int) -> None:
        self.told.append(("spoilt", series))

    def checkpoint_saved(self, partition: int, seconds: float, size_bytes: int) -> None:
        self.told.append(("saved", partition))

    def checkpoint_failed(self, reason: str) -> None:
        self.told.append(("failed", reason))

    def restored(self, partition: int, source: str, series: int, next_offset: int) -> None:
        self.told.append(("restored", partition, source, series, next_offset))

    def rebalanced(self, partitions: Sequence[int]) -> None:
        self.told.append(("rebalanced", tuple(partitions)))

    def lag(self, partition: int, messages: int) -> None:
        self.told.append(("lag", partition, messages))

    def series(self, count: int, quarantined: int, promoted: int, pools: int) -> None:
        self.told.append(("series", count, quarantined, promoted, pools))

    def assigned(self, partitions: Sequence[int]) -> None:
        self.told.append(("assigned", tuple(partitions)))

    def recovered(self) -> None:
        self.told.append(("recovered",))

    def progress(self, partition: int, offset: int) -> None:
        self.told.append(("progress", partition, offset))

    def beat(self) -> None:
        self.told.append(("beat",))

    def stopping(self) -> None:
        self.told.append(("stopping",))


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now
