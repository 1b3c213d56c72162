"""Kill -9 at every event and at every point of a checkpoint: what comes of it is as if nothing had happened."""

from __future__ import annotations

import itertools

import pytest

from service.ports import PartitionCheckpoint, Record, SeriesCheckpoint
from service.settings import Settings
from service.stream.shard import Shard
from tests.service.crashes import World
from tests.service.records import EAGER_DUEL, POOLED, TOPIC, event_bytes, record, small_settings

INTERVAL_EVENTS = 7
POLICIES = {
    "default": small_settings(),
    "everything is learned": small_settings(policy={"duplicate": "learn", "late": "learn", "gap": "reset"}),
    "few series": small_settings(limits={"series_max": 2}, policy={"gap": "reset", "gap_factor": 3.0}),
    "two of three": small_settings(limits={"series_max": 2, "series_full": "evict"}),
    "one of three": small_settings(
        limits={"series_max": 1, "series_full": "evict"}, policy={"late": "learn"}
    ),
    "idle": small_settings(limits={"series_idle_events": 3}),
    "a challenger that is promoted at once": small_settings(**EAGER_DUEL),
    "two pools": small_settings(**POOLED),
}
TORN = {"default", "everything is learned", "few series", "a challenger that is promoted at once"}
"""Where a save may be cut off: nothing there is ever evicted."""


def stream() -> list[Record]:
    """Three series and what may go wrong: poison, duplicates, late events, a gap in time and one in offsets."""
    values: list[bytes | None] = [event_bytes("abc"[t % 3], 60 * t, (7 * t) % 11) for t in range(26)]
    values[9] = event_bytes("a", 60, 5)
    values[10] = None
    values[11] = event_bytes("c", 60 * 11, None)
    values[13] = event_bytes("b", 60 * 4, 5)
    values[17] = event_bytes("c", 60 * 14, 5)
    values[20] = b'{"series":"a","time":NaN}'
    values += [event_bytes("abc"[t % 3], 60 * t + 9000, (5 * t) % 7) for t in range(26, 32)]
    return [record(value, offset=offset + 5 * (offset > 12)) for offset, value in enumerate(values)]


def uninterrupted(settings: Settings, *, torn: bool = True) -> World:
    world = World(torn=torn)
    world.outlive(settings, stream(), batch_sizes=[5], interval_events=INTERVAL_EVENTS)
    assert world.lives == 1
    return world


@pytest.mark.parametrize("name", POLICIES)
def test_killed_before_any_lasting_effect_and_resumed_equals_the_uninterrupted_run(name: str) -> None:
    """Goal: exactness over kill -9. Method: kill before each publication and each write of a save, one run each."""
    settings, torn = POLICIES[name], name in TORN
    expected = uninterrupted(settings, torn=torn)
    for point in range(expected.effects):
        world = World(crashes=[point], torn=torn)
        world.outlive(settings, stream(), batch_sizes=[5, 3], interval_events=INTERVAL_EVENTS)
        assert world.lives == 2
        world.same_as(expected)
        again = world.raw_predictions - expected.raw_predictions
        assert 0 <= again <= INTERVAL_EVENTS + 5, "at most one interval and a batch are published again"


def test_killed_again_while_it_recovers() -> None:
    settings = POLICIES["default"]
    expected = uninterrupted(settings)
    for point in range(0, expected.effects, 4):
        for later in (1, 2, 5, 9):
            crashes = [point, point + later, point + later + 3]
            world = World(crashes=crashes)
            world.outlive(settings, stream(), batch_sizes=[5, 1, 8], interval_events=INTERVAL_EVENTS)
            assert world.lives == 1 + sum(crash < world.effects for crash in crashes) >= 2
            world.same_as(expected)


def test_any_part_of_a_save_may_have_been_written() -> None:
    """Goal: a store need not write in order. Method: every subset of the series' states, without the watermark."""
    settings = POLICIES["default"]
    expected = uninterrupted(settings)
    for n_saved, n_ahead in ((8, 20), (14, 15), (0, 31)):
        world = World()
        world.outlive(settings, stream()[:n_saved], batch_sizes=[5], interval_events=INTERVAL_EVENTS)
        shard = Shard(topic=TOPIC, partition=0, settings=settings)
        shard.restore(PartitionCheckpoint(world.watermark, dict(world.series)))
        shard.apply(stream()[n_saved:n_ahead])
        newer = shard.snapshot_dirty()
        assert len(newer) == (3 if n_ahead - n_saved > 3 else 1)
        for size in range(len(newer) + 1):
            for written in itertools.combinations(newer, size):
                torn = dict(world.series) | {saved.series: saved for saved in written}
                resumed = World(series=torn, watermark=world.watermark)
                resumed.outlive(settings, stream(), batch_sizes=[4], interval_events=INTERVAL_EVENTS)
                assert resumed.series == expected.series
                for identity, messages in resumed.predictions.items():
                    assert messages == expected.predictions[identity]


@pytest.mark.parametrize("name", POLICIES)
def test_the_step_after_a_restore_is_the_step_without_one(name: str) -> None:
    """Method: save and restore after every single event; a shard that never stopped runs beside it."""
    settings = POLICIES[name]
    never_stopped = Shard(topic=TOPIC, partition=0, settings=settings)
    saved: dict[str, SeriesCheckpoint] = {}
    watermark = 0
    for item in stream():
        shard = Shard(topic=TOPIC, partition=0, settings=settings)
        shard.restore(PartitionCheckpoint(watermark, saved))
        applied, expected = shard.apply([item]), never_stopped.apply([item])
        assert applied.predictions == expected.predictions
        assert applied.dead_letters == expected.dead_letters
        assert applied.evicted == expected.evicted
        saved |= {one.series: one for one in shard.snapshot_dirty()}
        saved = {series: one for series, one in saved.items() if one.state}
        watermark = shard.next_offset
    assert saved == {one.series: one for one in never_stopped.snapshot_dirty() if one.state}
