"""Rebalances that come while something is under way: whatever was fetched or sought meanwhile, each record is learned from once.

Real are the app, its learner, and Faust's consumer, fetcher and recovery; aiokafka's thread is a stand-in, whose calls can be held.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import ConsumerRecord
from faust.types import TP

from service.checkpoints.store import Checkpoints
from service.ports import Outcome
from service.stream.app import App
from service.stream.learner import Learner
from service.stream.transport import Consumer
from service.stream.waiting import FetchState, Waiting
from tests.service.learner_ports import (
    TOPIC,
    Fuse,
    Publisher,
    TornBackend,
    Witness,
    World,
    event,
    small_settings,
)

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("compiled_models")]

TPS = (TP(TOPIC, 0), TP(TOPIC, 1))
WAIT_SECONDS = 10.0
SETTLED_SECONDS = 0.05
"""Nothing that is under way takes so long unless it is held."""


class Thread:
    """What aiokafka's thread is to the consumer, on a log a partition. A call whose name is in `held` waits until it is let go."""

    def __init__(self) -> None:
        self.logs: dict[TP, list[ConsumerRecord[bytes, bytes]]] = {tp: [] for tp in TPS}
        self.positions: dict[TP, int] = {}
        self.commits: dict[TP, int] = {}
        self.held: set[str] = set()
        self.reached: Counter[str] = Counter()
        self._changed = asyncio.Condition()

    def append(self, count: int) -> None:
        """Add events to every log, each of a series of its own."""
        for tp, log in self.logs.items():
            for offset in range(len(log), len(log) + count):
                one = event(offset, f"series-{tp.partition}", offset % 7, partition=tp.partition)
                log.append(ConsumerRecord(*tp, offset, 0, 0, one.key, one.value, None, 1, 1, ()))

    async def call(self, name: str) -> None:
        async with self._changed:
            self.reached[name] += 1
            self._changed.notify_all()
            await self._changed.wait_for(lambda: name not in self.held)

    async def let_go(self, name: str) -> None:
        async with self._changed:
            self.held.discard(name)
            self._changed.notify_all()

    async def until_called(self, name: str) -> None:
        count = self.reached[name]
        async with self._changed:
            await self._changed.wait_for(lambda: self.reached[name] > count)

    def assign(self, tps: Iterable[TP]) -> None:
        """Begin at what was committed, as aiokafka does of itself."""
        self.positions = {tp: self.commits.get(tp, 0) for tp in tps}

    def assignment(self) -> set[TP]:
        return set(self.positions)

    async def getmany(
        self,
        active: set[TP],
        timeout: float,  # noqa: ASYNC109 - Faust's signature
    ) -> Mapping[TP, list[ConsumerRecord[bytes, bytes]]]:
        await asyncio.sleep(0.001)
        await self.call("fetch")
        # As aiokafka has it: of all partitions where none is active by now.
        fetched = {
            tp: self.logs[tp][at:]
            for tp, at in self.positions.items()
            if at < len(self.logs[tp]) and (not active or tp in active)
        }
        self.positions |= {tp: len(self.logs[tp]) for tp in fetched}
        return fetched

    async def seek_wait(self, targets: Mapping[TP, int]) -> None:
        await self.seek_assigned(targets)
        await self.call("seek")

    async def seek_assigned(self, targets: Mapping[TP, int]) -> None:
        self.positions |= {tp: offset for tp, offset in targets.items() if tp in self.positions}

    async def earliest_offsets(self, *tps: TP) -> Mapping[TP, int]:
        await self.call("log starts")
        return dict.fromkeys(tps, 0)

    async def commit(self, offsets: Mapping[TP, int]) -> bool:
        self.commits |= offsets
        return True

    async def committed(self, tp: TP) -> int | None:
        await self.call("committed")
        return self.commits.get(tp)

    async def call_thread(self, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        return await function(*args)

    def _ensure_consumer(self) -> Thread:
        return self

    def highwater(self, tp: TP) -> int:
        return len(self.logs[tp])

    def fetch_state(self, tp: TP) -> FetchState | None:
        return FetchState(len(self.logs[tp]), self.positions[tp], 1) if tp in self.positions else None


class Worker:
    """An app whose thread is a stand-in, and what its learner is told."""

    def __init__(self) -> None:
        settings = small_settings(checkpoint={"interval_events": 3})
        self.world, self.witness, self.thread = World(), Witness(), Thread()
        store = Checkpoints(TornBackend(self.world, Fuse()))
        publisher = Publisher(self.world, Fuse())
        self.learner = Learner(
            settings, store=store, publisher=publisher, observer=self.witness, vitals=self.witness
        )
        self.app = App(
            settings, self.learner, (), observer=self.witness, vitals=self.witness, client_options={}
        )
        self.consumer = cast(Consumer, self.app.consumer)
        self.consumer._thread = cast(Any, self.thread)
        self.consumer.callback = self._deliver

    async def _deliver(self, message: Any) -> None:
        await self.app._learn([cast(Any, SimpleNamespace(message=message))])

    async def revoke(self) -> None:
        """As aiokafka's coordinator before it joins the group."""
        self.app.on_rebalance_start()
        await self.consumer.on_partitions_revoked(self.thread.assignment())

    async def assign(self, tps: Iterable[TP] = TPS) -> None:
        """As aiokafka's coordinator after it has joined the group."""
        self.thread.assign(tps)
        self.app.consumer_generation_id += 1
        await self.consumer.on_partitions_assigned(set(tps), self.app.consumer_generation_id)

    async def until_learned(self) -> None:
        """Wait until everything that was appended has been learned from."""
        ends = {tp.partition: len(self.thread.logs[tp]) for tp in self.thread.positions}
        async with asyncio.timeout(WAIT_SECONDS):
            while self.learner.positions() != ends:
                assert not self.app._fetcher.crashed
                await asyncio.sleep(0.002)

    def learned(self) -> Counter[int]:
        counts: Counter[int] = Counter()
        for told in self.witness.told:
            if told[0] == "applied":
                outcomes = cast(Mapping[Outcome, int], told[2])
                counts[cast(int, told[1])] += outcomes.get(Outcome.LEARNED, 0)
        return counts


@asynccontextmanager
async def running() -> AsyncIterator[Worker]:
    worker = Worker()
    recovery = cast(Any, worker.app.tables).recovery
    await recovery.start()
    try:
        yield worker
    finally:
        worker.thread.held.clear()
        await worker.app._fetcher.stop()
        await recovery.stop()


EVENTS = 5


def each_was_learned_once(worker: Worker) -> bool:
    return worker.learned() == {tp.partition: len(worker.thread.logs[tp]) for tp in worker.thread.positions}


async def revoked_at(worker: Worker, step: str) -> None:
    """Bring events, assign, and revoke again while Faust is at a step of the assignment, which is held."""
    worker.thread.append(EVENTS)
    worker.thread.held = {step}
    await worker.revoke()
    await worker.assign()
    await worker.thread.until_called(step)
    await worker.revoke()


@pytest.mark.parametrize("step", ["log starts", "committed", "seek"])
async def test_after_a_revocation_nothing_flows_until_what_is_assigned_next_was_sought(step: str) -> None:
    async with running() as worker:
        thread = worker.thread
        await revoked_at(worker, step)
        # Faust goes on with what it was at for the first assignment.
        thread.held = {"fetch"}
        await thread.let_go(step)
        await asyncio.sleep(SETTLED_SECONDS)
        assert not worker.consumer.flow_active
        assert worker.learner.positions() == {}
        # aiokafka begins by itself where the group has committed, and hands over what came before anything was sought.
        thread.held = {"log starts"}
        await worker.assign()
        await thread.until_called("log starts")
        await asyncio.sleep(SETTLED_SECONDS)
        assert worker.learned().total() == 0
        await thread.let_go("log starts")
        await worker.until_learned()
        assert each_was_learned_once(worker)


@pytest.mark.parametrize("step", ["log starts", "committed", "seek"])
async def test_two_rebalances_may_pass_while_faust_is_at_what_came_with_the_first(step: str) -> None:
    async with running() as worker:
        thread = worker.thread
        await revoked_at(worker, step)
        worker.witness.told.clear()
        await worker.assign(TPS[:1])
        await asyncio.sleep(SETTLED_SECONDS)
        await thread.let_go(step)
        await worker.until_learned()
        assert each_was_learned_once(worker)
        # To bring back the other, which may be another worker's by now, would end that one.
        assert {told[1] for told in worker.witness.told if told[0] == "restored"} == {0}


async def test_what_a_fetch_brought_that_waited_through_a_rebalance_is_fetched_again() -> None:
    async with running() as worker:
        thread = worker.thread
        thread.append(EVENTS)
        await worker.revoke()
        await worker.assign()
        await worker.until_learned()
        thread.held = {"fetch"}
        await thread.until_called("fetch")
        await worker.revoke()
        await worker.assign()
        async with asyncio.timeout(WAIT_SECONDS):
            while not worker.consumer.flow_active:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.002)
        thread.append(EVENTS)
        await thread.let_go("fetch")
        await thread.until_called("fetch")
        thread.append(EVENTS)
        await worker.until_learned()
        assert each_was_learned_once(worker)


async def test_a_partition_that_nobody_has_sought_is_seen_to_wait() -> None:
    async with running() as worker:
        worker.thread.append(EVENTS)
        worker.thread.held = {"committed"}
        await worker.revoke()
        await worker.assign()
        await worker.thread.until_called("committed")
        assert worker.consumer.lags() == dict.fromkeys(TPS, Waiting(EVENTS, EVENTS))
