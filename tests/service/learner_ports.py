"""Stand-ins at the learner's ports: in memory, and able to crash at every step of what they do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from service.ports import Applied, Message, PartitionCheckpoint, Record, SeriesCheckpoint
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
    states: dict[int, dict[str, SeriesCheckpoint]] = field(default_factory=dict)
    watermarks: dict[int, int] = field(default_factory=dict)
    acknowledged: dict[int, int] = field(default_factory=dict)

    def ids(self, topic: str) -> dict[str, bytes]:
        """Return the messages by what identifies them; a message that came twice must have come the same."""
        found: dict[str, bytes] = {}
        for message in self.published.get(topic, []):
            body = json.loads(message.value)
            key = body.get("id") or f"{body['topic']}-{body['partition']}-{body['offset']}"
            assert found.setdefault(key, message.value) == message.value
        return found


class TornStore:
    """A checkpoint store that may be cut off between any two records: worse than those that there are."""

    def __init__(self, world: World, fuse: Fuse) -> None:
        self._world = world
        self._fuse = fuse
        self.failure: Exception | None = None

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def read(self, partition: int) -> PartitionCheckpoint | None:
        if partition not in self._world.watermarks:
            return None
        return PartitionCheckpoint(
            self._world.watermarks[partition], dict(self._world.states.get(partition, {}))
        )

    async def load(self, partition: int) -> PartitionCheckpoint | None:
        return await self.read(partition)

    async def save(self, partition: int, series: Sequence[SeriesCheckpoint], next_offset: int) -> int:
        if self.failure is not None:
            raise self.failure
        self._fuse.step("before the states")
        for one in series:
            self._world.states.setdefault(partition, {})[one.series] = one
            self._fuse.step(f"after state {one.series}")
        self._world.watermarks[partition] = next_offset
        self._fuse.step("after the watermark")
        return sum(len(one.state) for one in series)

    async def reset(self, partition: int) -> None:
        self._world.states.pop(partition, None)
        self._world.watermarks.pop(partition, None)


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

    def series(self, count: int) -> None:
        self.told.append(("series", count))

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
