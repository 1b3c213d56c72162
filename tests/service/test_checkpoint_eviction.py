"""The checkpoint store where series are evicted: tombstones, what is left after them, and no mixture of two saves."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pytest

from service.ports import CheckpointError, PartitionCheckpoint, SeriesCheckpoint
from tests.service.checkpoint_backends import BACKENDS, DamagingBackend, Stores, opened
from tests.service.test_checkpoint_store import checkpoint, cut, random_damage, state


@pytest.fixture(params=BACKENDS)
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    async with opened(request, request.param) as stores:
        yield stores


def gone(series: str, offset: int) -> SeriesCheckpoint:
    return SeriesCheckpoint(series, offset, b"")


async def keys(backend: DamagingBackend) -> set[str]:
    """Return the keys that have a value."""
    found = {key: data async for key, data in backend.read(0)}
    return {key for key, data in found.items() if data is not None}


async def test_an_evicted_series_leaves_a_tombstone_and_then_nothing(stores: Stores) -> None:
    store, backend = await stores.open_damaging()
    await store.load(0)
    await store.save(0, [state("a", 3), state("b", 4)], 5)
    await store.save(0, [state("a", 6), gone("never saved", 6)], 7)
    await store.save(0, [gone("a", 8), state("c", 8)], 9)
    assert await store.load(0) == checkpoint(9, b=4, c=8)
    assert await keys(backend) >= {"series/0/a", "series/1/a"}
    await store.save(0, [], 10)
    assert await keys(backend) == {"series/0/b", "series/0/c", "watermark/0", "watermark/1"}
    assert await store.load(0) == checkpoint(10, b=4, c=8)


@pytest.mark.parametrize("later", [1, 2, 3])
async def test_an_evicted_series_that_comes_back_is_a_new_one(stores: Stores, later: int) -> None:
    store, backend = await stores.open_damaging()
    await store.load(0)
    await store.save(0, [state("a", 3), state("b", 4)], 5)
    for number in range(later):
        await store.save(0, [gone("a", 5)] if number == 0 else [], 6 + number)
        if number % 2:
            await store.load(0)
    await store.save(0, [state("a", 20)], 21)
    assert await store.load(0) == checkpoint(21, a=20, b=4)
    await store.save(0, [gone("a", 22), state("b", 22)], 23)
    assert await store.load(0) == checkpoint(23, b=22)
    await store.save(0, [], 24)
    assert not {key for key in await keys(backend) if key.endswith("/a")}


async def test_a_damaged_tombstone_brings_the_save_before_back(stores: Stores) -> None:
    store, backend = await stores.open_damaging()
    await store.load(0)
    await store.save(0, [state("a", 3), state("b", 4)], 5)
    backend.plan["series/1/a"] = cut
    await store.save(0, [gone("a", 6), state("c", 6)], 7)
    found = await store.load(0)
    assert found is not None
    assert (found.next_offset, found.series) == (5, checkpoint(5, a=3, b=4).series)
    await store.save(0, [gone("a", 6), state("c", 6)], 7)
    await store.save(0, [], 8)
    assert await store.load(0) == checkpoint(8, b=4, c=6)


async def test_whatever_is_damaged_a_save_comes_back_as_it_was_or_says_which_series_are_behind(
    stores: Stores, request: pytest.FixtureRequest
) -> None:
    """Goal: series that come and go never mix two saves. Method: random damage, against a list of all that was saved."""
    trials = 40 if "kafka" in request.node.name else 250
    rng = random.Random(3)
    store, backend = await stores.open_damaging()
    await store.load(0)
    saved: list[PartitionCheckpoint] = []
    live: dict[str, int] = {}
    outcomes = {"newest": 0, "before": 0, "behind": 0, "none": 0}
    for _ in range(trials):
        for _ in range(rng.randint(1, 3)):
            at = (saved[-1].next_offset if saved else 0) + 10
            names = rng.sample("abcdef", rng.randint(0, 4))
            dirty = [gone(n, at - 1) if n in live and rng.random() < 0.4 else state(n, at - 1) for n in names]
            live |= {one.series: one.last_offset for one in dirty}
            live = {n: o for n, o in live.items() if state(n, o) in dirty or n not in names}
            targets = [f"series/{slot}/{name}" for slot in (0, 1) for name in names]
            targets += ["watermark/0", "watermark/1"]
            backend.plan = {key: random_damage(rng) for key in targets if rng.random() < 0.06}
            await store.save(0, dirty, at)
            saved.append(checkpoint(at, **live))
        backend.plan = {}
        try:
            found = await store.load(0)
        except CheckpointError:
            outcomes["none"] += 1
            await store.reset(0)
            assert await store.load(0) is None
            saved, live = [], {}
            continue
        assert found is not None
        if found.behind:
            outcomes["behind"] += 1
            assert {one for n, one in found.series.items() if n not in found.behind} <= set(
                saved[-1].series.values()
            )
            assert all(found.series[n].last_offset < found.behind_until for n in found.behind)
            await store.reset(0)
            await store.load(0)
            saved, live = [], {}
            continue
        index = next(n for n, one in enumerate(saved) if one.next_offset == found.next_offset)
        assert found.series == saved[index].series
        assert index >= len(saved) - 2
        outcomes["newest" if index == len(saved) - 1 else "before"] += 1
        del saved[index + 1 :]
        live = {name: one.last_offset for name, one in found.series.items()}
    assert min(outcomes["newest"], outcomes["before"]) > trials / 12, outcomes
