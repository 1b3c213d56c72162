"""The checkpoint store over each backend: what is saved comes back, damage is found, a worker that lost its partition
is fenced.

The states are small texts that name their series and offset, so a wrong one is seen at once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaProducer

from service.checkpoints.frame import Frame, Kind, encode
from service.checkpoints.kafka import KafkaBackend
from service.ports import CheckpointError, FencedError, PartitionCheckpoint, SeriesCheckpoint
from tests.service.checkpoint_backends import BACKENDS, Damage, Stores, opened


@pytest.fixture(params=BACKENDS)
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    async with opened(request, request.param) as stores:
        yield stores


def state(series: str, offset: int) -> SeriesCheckpoint:
    return SeriesCheckpoint(series, offset, f"{series}@{offset}".encode() * 3)


def checkpoint(next_offset: int, **offsets: int) -> PartitionCheckpoint:
    return PartitionCheckpoint(
        next_offset, {series: state(series, offset) for series, offset in offsets.items()}
    )


async def test_what_was_saved_is_loaded_by_another_worker(stores: Stores) -> None:
    one, other = await stores.open(), await stores.open()
    assert await one.load(0) is None
    assert await one.save(0, [state("a", 3), state("ü/0/x y", 4)], 5) > 0
    await one.save(0, [state("a", 7)], 9)
    await one.save(0, [], 12)
    expected = PartitionCheckpoint(12, {"a": state("a", 7), "ü/0/x y": state("ü/0/x y", 4)})
    assert await other.read(0) == expected
    assert await other.load(0) == expected
    await other.save(0, [state("a", 20)], 21)
    assert await (await stores.open()).load(0) == PartitionCheckpoint(
        21, {**expected.series, "a": state("a", 20)}
    )


async def test_partitions_are_apart(stores: Stores) -> None:
    store = await stores.open()
    for partition in range(2):
        await store.load(partition)
        await store.save(partition, [state("a", partition)], 10 + partition)
    await store.reset(0)
    assert await store.read(0) is None
    assert await store.read(1) == checkpoint(11, a=1)


async def test_a_reset_partition_begins_anew(stores: Stores) -> None:
    store = await stores.open()
    await store.load(0)
    await store.save(0, [state("a", 3), state("b", 4)], 5)
    await store.save(0, [state("a", 6)], 7)
    await store.reset(0)
    assert await store.load(0) is None
    await store.save(0, [state("a", 1)], 2)
    assert await store.load(0) == checkpoint(2, a=1)


async def test_a_worker_that_lost_the_partition_cannot_save(stores: Stores) -> None:
    one, other = await stores.open(), await stores.open()
    await one.load(0)
    await one.save(0, [state("a", 3)], 5)
    await other.load(0)
    with pytest.raises(FencedError, match="partition 0"):
        await one.save(0, [state("a", 4)], 6)
    await other.save(0, [state("a", 8)], 9)
    assert await other.read(0) == checkpoint(9, a=8)
    with pytest.raises(RuntimeError, match="load it first"):
        await one.save(0, [state("a", 4)], 6)


async def test_resetting_fences_the_worker_that_is_running(stores: Stores) -> None:
    worker, tool = await stores.open(), await stores.open()
    await worker.load(0)
    await worker.save(0, [state("a", 3)], 5)
    await tool.reset(0)
    with pytest.raises(FencedError):
        await worker.save(0, [state("a", 4)], 6)
    assert await tool.read(0) is None


async def test_reading_disturbs_nobody(stores: Stores) -> None:
    worker, tool = await stores.open(), await stores.open()
    await worker.load(0)
    await worker.save(0, [state("a", 3)], 5)
    assert await tool.read(0) == checkpoint(5, a=3)
    await worker.save(0, [state("a", 6)], 7)
    assert await tool.read(0) == checkpoint(7, a=6)


async def test_a_state_of_five_megabytes_is_saved(stores: Stores) -> None:
    store = await stores.open()
    large = SeriesCheckpoint("large", 1, random.Random(1).randbytes(5_000_000))
    await store.load(0)
    await store.save(0, [large, state("a", 2)], 3)
    found = await store.load(0)
    assert found is not None
    assert found.series["large"] == large


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


async def test_of_a_damaged_save_the_one_before_stands_in_as_a_whole(stores: Stores) -> None:
    store, backend = await stores.open_damaging()
    await store.load(0)
    await store.save(0, [state("a", 3), state("b", 4)], 5)
    backend.plan["series/1/a"] = cut
    await store.save(0, [state("a", 8), state("b", 9), state("c", 7)], 10)
    found = await store.load(0)
    assert found is not None
    assert (found.next_offset, found.series, found.behind) == (5, checkpoint(5, a=3, b=4).series, frozenset())
    assert "the one before it is used, offset 5" in found.notes[0]
    # The next save is shorter than the one that was given up, of which nothing may come back.
    await store.save(0, [state("a", 5)], 6)
    assert await store.load(0) == checkpoint(6, a=5, b=4)
    await store.save(0, [state("c", 7), state("a", 8), state("b", 9)], 10)
    assert await store.load(0) == checkpoint(10, a=8, b=9, c=7)


async def test_of_a_state_that_was_damaged_long_ago_the_one_before_stands_in_and_is_caught_up(
    stores: Stores,
) -> None:
    store, backend = await stores.open_damaging()
    await store.load(0)
    await store.save(0, [state("a", 3), state("b", 4)], 5)
    backend.plan["series/1/a"] = cut
    await store.save(0, [state("a", 8), state("b", 9)], 10)
    await store.save(0, [state("b", 11)], 12)
    found = await store.load(0)
    assert found is not None
    assert (found.next_offset, found.series) == (4, checkpoint(4, a=3, b=11).series)
    assert (found.behind, found.behind_until) == (frozenset("a"), 12)
    assert "'a'" in found.notes[0]
    await store.save(0, [state("a", 8)], 12)
    assert await store.load(0) == checkpoint(12, a=8, b=11)


async def test_of_a_damaged_watermark_the_one_before_stands_in(stores: Stores) -> None:
    store, backend = await stores.open_damaging()
    await store.load(0)
    await store.save(0, [state("a", 3)], 5)
    backend.plan["watermark/1"] = cut
    await store.save(0, [state("a", 8)], 10)
    found = await store.load(0)
    assert found is not None
    assert (found.next_offset, found.series) == (5, checkpoint(5, a=3).series)
    assert "the one before it is used" in found.notes[0]


async def test_damage_to_an_older_generation_costs_nothing(stores: Stores) -> None:
    store, backend = await stores.open_damaging()
    await store.load(0)
    backend.plan |= {"series/0/a": cut, "watermark/0": cut}
    await store.save(0, [state("a", 3), state("b", 4)], 5)
    await store.save(0, [state("a", 8)], 10)
    found = await store.load(0)
    assert found is not None
    assert (found.next_offset, found.series) == (10, checkpoint(10, a=8, b=4).series)
    assert "older" in found.notes[0]


async def test_a_whole_record_under_the_key_of_another_is_damage(stores: Stores) -> None:
    store, backend = await stores.open_damaging()
    await store.load(0)
    await store.save(0, [state("a", 3), state("b", 4)], 5)
    of_b = encode(Frame(Kind.SERIES, 0, 2, 9, "b", state("b", 9).state))
    of_another_partition = encode(Frame(Kind.SERIES, 1, 2, 9, "b", state("b", 9).state))
    backend.plan |= {"series/1/a": lambda _: of_b, "series/1/b": lambda _: of_another_partition}
    await store.save(0, [state("a", 8), state("b", 9)], 10)
    found = await store.load(0)
    assert found is not None
    assert (found.next_offset, found.series) == (5, checkpoint(5, a=3, b=4).series)


@pytest.mark.parametrize("keys", [["series/0/a", "series/1/a"], ["watermark/0", "watermark/1"]])
async def test_without_a_whole_generation_nothing_is_loaded(stores: Stores, keys: list[str]) -> None:
    store, backend = await stores.open_damaging()
    await store.load(0)
    backend.plan |= dict.fromkeys(keys, cut)
    await store.save(0, [state("a", 3), state("b", 4)], 5)
    await store.save(0, [state("a", 8)], 10)
    with pytest.raises(CheckpointError, match=r"partition 0.*onward checkpoint reset --partition 0"):
        await store.load(0)
    await store.reset(0)
    assert await store.load(0) is None


async def test_random_damage_is_found_and_never_loaded(
    stores: Stores, request: pytest.FixtureRequest
) -> None:
    # Goal: whatever is hit by whatever damage, what is loaded was once saved, and no event is skipped that its series
    # has not learned. Method: saves of random series of which the last is damaged, then a load; after it all is well.
    trials = 40 if "kafka" in request.node.name else 250
    rng = random.Random(7)
    store, backend = await stores.open_damaging()
    await store.load(0)
    offset, events = 0, {name: [-1] for name in "abcd"}

    async def save() -> None:
        nonlocal offset
        dirty = [name for name in events if rng.random() < 0.6 or len(events[name]) == 1]
        for name in dirty:
            events[name].append(offset)
            offset += 1
        await store.save(0, [state(name, events[name][-1]) for name in dirty], offset)

    await save()
    found_damage = 0
    for _ in range(trials):
        await save()
        targets = [f"series/{slot}/{name}" for slot in (0, 1) for name in events] + [
            "watermark/0",
            "watermark/1",
        ]
        backend.plan = {key: random_damage(rng) for key in rng.sample(targets, rng.randint(1, 3))}
        await save()
        backend.plan = {}
        try:
            found = await store.load(0)
        except CheckpointError:  # with three keys both watermarks may be hit
            found_damage += 1
            await store.reset(0)
            await store.load(0)
            offset, events = 0, {name: [-1] for name in "abcd"}
            await save()
            continue
        assert found is not None
        found_damage += bool(found.notes)
        assert set(found.series) == set(events)
        for name, one in found.series.items():
            assert one == state(name, one.last_offset)
            assert one.last_offset in events[name]
            assert all(event >= found.next_offset for event in events[name] if event > one.last_offset)
        await store.save(0, [state(name, events[name][-1]) for name in events], offset)
        # The other slot too, so that damage does not pile up.
        await store.save(0, [state(name, events[name][-1]) for name in events], offset)
    assert found_damage > trials / 3


def random_damage(rng: random.Random) -> Damage:
    kind, where, bit = rng.choice(["flip", "cut", "grow", "zero", "empty"]), rng.random(), rng.randrange(8)

    def damage(data: bytes) -> bytes:
        at = int(where * len(data))
        match kind:
            case "flip":
                return data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]
            case "cut":
                return data[:at]
            case "grow":
                return data + data[at:]
            case "zero":
                return data[:at] + bytes(len(data) - at)
            case _:
                return b""

    return damage


async def test_two_workers_save_their_own_partitions_at_once(stores: Stores) -> None:
    async def work(partition: int) -> None:
        store = await stores.open()
        await store.load(partition)
        for offset in range(20):
            await store.save(partition, [state("a", offset)], offset + 1)

    await asyncio.gather(work(0), work(1))
    store = await stores.open()
    assert [await store.read(p) for p in (0, 1)] == [checkpoint(20, a=19)] * 2


@pytest.mark.kafka
def test_a_claim_waits_for_a_cluster_that_is_just_coming_back(
    kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: a frozen broker ends no worker. Method: real Kafka, behind a client that twice says what it does when no broker is named."""
    topic, tries = f"claims-{random.randrange(10**9)}", []
    start = AIOKafkaProducer.start

    async def start_at_the_third(self: AIOKafkaProducer) -> None:
        tries.append(1)
        assert len(tries) > 2, "Did we not perform bootstrap?"
        await start(self)

    monkeypatch.setattr(AIOKafkaProducer, "start", start_at_the_third)
    monkeypatch.setattr("service.checkpoints.kafka.CLAIM_PAUSES_SECONDS", (0.01, 0.01))

    async def claim() -> None:
        backend = KafkaBackend(topic, {"bootstrap_servers": kafka_bootstrap})
        await backend.start()
        try:
            await backend.claim(0)
            assert len(tries) == 3
            tries.clear()
            monkeypatch.setattr("service.checkpoints.kafka.CLAIM_PAUSES_SECONDS", (0.01,))
            with pytest.raises(AssertionError, match="bootstrap"):
                await backend.claim(0)
        finally:
            await backend.stop()

    asyncio.run(claim())
