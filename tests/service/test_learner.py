"""The learner: the order in which it makes things durable, its timing, and what it does when the partition goes."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

import pytest

from service.checkpoints.frame import decode
from service.checkpoints.store import Checkpoints
from service.ports import CheckpointError, FencedError, Record
from service.settings import Settings
from service.stream.learner import COUNT_SECONDS, EVICTION_LOG_SECONDS, Learner
from service.stream.shard import Shard
from tests.service.learner_ports import (
    TOPIC,
    Clock,
    Crash,
    Fuse,
    Publisher,
    TornBackend,
    Witness,
    World,
    event,
    small_settings,
)
from tests.service.records import EAGER_DUEL, POOLED

PREDICTIONS, DEAD_LETTERS = "onward.predictions", "onward.dead-letters"


@dataclass
class Process:
    """A learner with its surroundings; what dies with it."""

    world: World
    settings: Settings
    fuse: Fuse = field(default_factory=Fuse)
    clock: Clock = field(default_factory=Clock)
    witness: Witness = field(default_factory=Witness)

    def __post_init__(self) -> None:
        self.backend = TornBackend(self.world, self.fuse)
        self.learner = Learner(
            self.settings,
            store=Checkpoints(self.backend),
            publisher=Publisher(self.world, self.fuse),
            observer=self.witness,
            vitals=self.witness,
            clock=self.clock,
        )
        self.learner.acknowledge_to(self.acknowledge)

    async def acknowledge(self, partition: int, next_offset: int) -> None:
        self.fuse.step("before the acknowledgement")
        self.world.acknowledged[partition] = next_offset
        self.fuse.step("after the acknowledgement")

    async def learn(self, partition: int, records: list[Record]) -> None:
        await self.learner.learn(partition, records, assignment=self.learner.assignment)

    async def run(self, log: list[Record], batch_size: int) -> None:
        """Read the log's partition 0 from where the learner stands to its end, and stop in order."""
        await self.learner.assign([0], {0: 0})
        start = self.learner.positions()[0]
        records = [record for record in log if record.offset >= start]
        for at in range(0, len(records), batch_size):
            await self.learn(0, records[at : at + batch_size])
        await self.learner.revoke()


def make_log(length: int = 28) -> list[Record]:
    """Return events of four series with bad records, duplicates, late events and gaps in the offsets among them."""
    rng = random.Random(11)
    log: list[Record] = []
    offset = 0
    for number in range(length):
        series = rng.choice("abcd")
        match number % 12:
            case 4:
                log.append(Record(TOPIC, 0, offset, None, b"{not json"))
            case 7:
                log.append(event(offset, series, 1.0, time=3))
            case 9:
                offset += 5
                log.append(event(offset, series, rng.gauss(0, 1)))
                offset += 1
                log.append(event(offset, series, rng.gauss(0, 1), time=offset - 1))
            case _:
                log.append(event(offset, series, rng.gauss(0, 1)))
        offset += 1
    return log


def fold(log: list[Record], settings: Settings) -> dict[str, bytes]:
    """Return the states that one shard comes to, all at once and with nothing in between."""
    shard = Shard(topic=TOPIC, partition=0, settings=settings)
    shard.apply(log)
    return {one.series: one.state for one in shard.snapshot_dirty() if one.state}


EVICTING = {"series_max": 2, "series_full": "evict"}
GROUPS: dict[str, dict[str, dict[str, object]]] = {
    "none is evicted": {},
    "two of four": {"limits": EVICTING},
    "one of four": {"limits": EVICTING | {"series_max": 1}},
    "idle": {"limits": {"series_idle_events": 3}},
    "rejected until some are idle": {"limits": {"series_max": 2, "series_idle_events": 6}},
    "a challenger": EAGER_DUEL,
    "two pools": POOLED,
}


@pytest.mark.parametrize("groups", GROUPS.values(), ids=GROUPS)
@pytest.mark.parametrize("batch_size", [1, 5])
async def test_a_crash_at_every_step_changes_no_bit_and_loses_nothing(
    batch_size: int, groups: dict[str, dict[str, object]]
) -> None:
    # Goal: a crash before or after any message, state, watermark or acknowledgement costs nothing but repetition.
    # Method: count the steps of a whole run; then crash at each of them, start again, and compare with the fold.
    settings = small_settings(checkpoint={"interval_events": 5}, **groups)
    log = make_log()
    whole = Process(World(), settings)
    await whole.run(log, batch_size)
    states = fold(log, settings)
    expected = whole.world
    assert await expected.states() == states
    assert any(step.startswith("after the erasure") for step in whole.fuse.steps) == ("limits" in groups)
    assert {"after state a", "after the watermark", "before the acknowledgement"} <= set(whole.fuse.steps)
    assert len(expected.ids(PREDICTIONS)) + len(expected.ids(DEAD_LETTERS)) < len(
        log
    )  # there are duplicates too

    for left in range(whole.fuse.burnt):
        world = World()
        with pytest.raises(Crash):
            await Process(world, settings, Fuse(left)).run(log, batch_size)
        assert world.acknowledged.get(0, 0) <= (await world.watermarks()).get(0, 0)
        await Process(world, settings).run(log, batch_size + left % 3)
        assert await world.states() == states, whole.fuse.steps[left]
        assert world.ids(PREDICTIONS) == expected.ids(PREDICTIONS)
        assert world.ids(DEAD_LETTERS) == expected.ids(DEAD_LETTERS)
        assert world.acknowledged == expected.acknowledged


@pytest.mark.parametrize("groups", GROUPS.values(), ids=GROUPS)
async def test_many_crashes_in_a_row_change_no_bit(groups: dict[str, dict[str, object]]) -> None:
    settings = small_settings(checkpoint={"interval_events": 6}, **groups)
    log = make_log(96)
    states = fold(log, settings)
    rng = random.Random(2)
    for _ in range(8):
        world = World()
        crashes = 0
        while True:
            try:
                await Process(world, settings, Fuse(rng.randrange(5, 60))).run(log, rng.randint(1, 9))
                break
            except Crash:
                crashes += 1
                assert crashes < 100, "it gets no further"
        assert crashes > 2
        assert await world.states() == states


async def test_messages_come_before_states_and_the_acknowledgement_comes_last() -> None:
    process = Process(World(), small_settings(checkpoint={"interval_events": 3}))
    await process.learner.assign([0], {0: 0})
    await process.learn(0, [event(0, "a", 1.0), Record(TOPIC, 0, 1, None, b""), event(2, "b", 2.0)])
    assert process.fuse.steps == [
        f"before a message to {PREDICTIONS}",
        f"before a message to {PREDICTIONS}",
        f"after the messages to {PREDICTIONS}",
        f"before a message to {DEAD_LETTERS}",
        f"after the messages to {DEAD_LETTERS}",
        "before the states",
        "after state a",
        "after state b",
        "after the watermark",
        "before the acknowledgement",
        "after the acknowledgement",
    ]
    assert process.world.acknowledged == await process.world.watermarks() == {0: 3}


async def test_a_checkpoint_is_due_by_events_or_by_time_and_only_if_something_came() -> None:
    settings = small_settings(checkpoint={"interval_events": 4, "interval_seconds": 10.0})
    process = Process(World(), settings)
    learner, clock, marks = process.learner, process.clock, process.world.watermarks
    await learner.assign([0], {0: 0})
    await process.learn(0, [event(0, "a", 1.0)])
    await learner.tick()
    assert await marks() == {}
    clock.now += 10.0
    await learner.tick()
    assert await marks() == {0: 1}
    for offset in range(1, 5):
        assert await marks() == {0: 1}
        await process.learn(0, [event(offset, "a", 1.0)])
    assert await marks() == {0: 5}
    clock.now += 100.0
    before = process.fuse.burnt
    await learner.tick()
    assert process.fuse.burnt == before


async def test_series_are_counted_at_an_assignment_and_then_every_few_seconds() -> None:
    process = Process(World(), small_settings())
    await process.learner.assign([0], {0: 0})

    def counted() -> list[object]:
        return [one[1] for one in process.witness.told if one[0] == "series"]

    assert counted() == [0]
    await process.learn(0, [event(0, "a", 1.0), event(1, "b", 1.0)])
    await process.learner.tick()
    assert counted() == [0]
    for expected in ([0, 2], [0, 2, 2]):
        process.clock.now += COUNT_SECONDS
        for _ in range(3):
            await process.learner.tick()
        assert counted() == expected


async def test_a_partition_without_a_checkpoint_begins_at_the_logs_start() -> None:
    process = Process(World(), small_settings())
    earlier = Checkpoints(process.backend)
    await earlier.load(2)
    await earlier.save(2, [], 9)
    assert await process.learner.assign([1, 2], {1: 40, 2: 0}) == {1}
    assert process.learner.positions() == {1: 40, 2: 9}
    assert ("restored", 1, "none", 0, 40) in process.witness.told
    assert ("restored", 2, "checkpoint", 0, 9) in process.witness.told
    assert process.witness.told.index(("assigned", (1, 2))) < process.witness.told.index(("recovered",))


async def test_a_revoked_partition_is_saved_and_takes_no_more() -> None:
    process = Process(World(), small_settings())
    await process.learner.assign([0, 1], {0: 0, 1: 0})
    await process.learn(0, [event(0, "a", 1.0)])
    await process.learn(1, [event(7, "b", 1.0, partition=1)])
    await process.learner.revoke()
    assert process.world.acknowledged == await process.world.watermarks() == {0: 1, 1: 8}
    assert process.learner.positions() == {}
    told = len(process.witness.told)
    await process.learn(0, [event(1, "a", 1.0)])
    await process.learner.revoke()
    assert await process.world.watermarks() == {0: 1, 1: 8}
    assert [what for what in process.witness.told[told:] if what[0] == "applied"] == []


async def test_records_that_were_taken_before_a_revocation_are_not_learned_after_it() -> None:
    process = Process(World(), small_settings())
    learner = process.learner
    await learner.assign([0], {0: 0})
    await process.learn(0, [event(0, "a", 1.0)])
    taken_in = learner.assignment
    await learner.revoke()
    await learner.assign([0], {0: 0})
    await learner.learn(0, [event(5, "a", 1.0)], assignment=taken_in)
    assert learner.positions() == {0: 1}
    await process.learn(0, [event(1, "a", 1.0)])
    assert learner.positions() == {0: 2}


async def test_a_worker_that_was_fenced_gives_up_its_partitions_quietly_but_never_goes_on_learning() -> None:
    process = Process(World(), small_settings(checkpoint={"interval_events": 2}))
    process.backend.failure = FencedError("another worker has it")
    await process.learner.assign([0], {0: 0})
    await process.learn(0, [event(0, "a", 1.0)])
    await process.learner.revoke()
    await process.learner.assign([0], {0: 0})
    with pytest.raises(FencedError):
        await process.learn(0, [event(0, "a", 1.0), event(1, "a", 1.0)])
    assert ("failed", "store") in process.witness.told
    assert process.world.acknowledged == {}


async def test_after_a_failure_nothing_is_saved() -> None:
    # Goal: a shard that may have taken half a batch is never saved. Method: fail as the messages go out, then stop.
    process = Process(World(), small_settings(), Fuse(1))
    await process.learner.assign([0], {0: 0})
    with pytest.raises(Crash):
        await process.learn(0, [event(0, "a", 1.0), event(1, "b", 1.0)])
    await process.learner.revoke()
    assert process.world == World(published=process.world.published)


async def test_a_checkpoint_of_another_make_of_model_says_what_to_do() -> None:
    world = World()
    await Process(world, small_settings()).run([event(0, "a", 1.0)], 1)
    other = Process(world, small_settings(model={"profile": "fast", "lags": 3, "season_max": 4}))
    with pytest.raises(
        CheckpointError, match=r"partition 0.*settings.*onward checkpoint reset --partition 0"
    ):
        await other.learner.assign([0], {0: 0})
    assert other.learner.positions() == {}


async def test_a_revocation_ends_an_assignment_that_is_under_way() -> None:
    class SlowBackend(TornBackend):
        def __init__(self, world: World, fuse: Fuse) -> None:
            super().__init__(world, fuse)
            self.asked: list[int] = []
            self.go = asyncio.Event()

        async def claim(self, partition: int) -> None:
            self.asked.append(partition)
            await self.go.wait()

    process = Process(World(), small_settings())
    backend = SlowBackend(process.world, process.fuse)
    learner = Learner(
        process.settings,
        store=Checkpoints(backend),
        publisher=Publisher(process.world, process.fuse),
        observer=process.witness,
        vitals=process.witness,
    )
    assigning = asyncio.create_task(learner.assign([0, 1, 2], {0: 0, 1: 0, 2: 0}))
    await asyncio.sleep(0)
    revoking = asyncio.create_task(learner.revoke())
    await asyncio.sleep(0)
    backend.go.set()
    await asyncio.gather(assigning, revoking)
    assert backend.asked == [0]
    assert learner.positions() == {}
    assert ("recovered",) not in process.witness.told


async def test_a_line_a_minute_says_how_many_series_were_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    settings = small_settings(limits=EVICTING | {"series_max": 1})
    process = Process(World(), settings)
    await process.learner.assign([0], {0: 0})
    caplog.set_level("INFO", logger="service.stream.learner")

    def told() -> list[int]:
        return [vars(one)["evicted_full"] for one in caplog.records if one.message == "series were forgotten"]

    for offset in range(10):
        await process.learn(0, [event(offset, f"s{offset}", 1.0)])
    assert told() == [1]
    process.clock.now += EVICTION_LOG_SECONDS
    await process.learn(0, [event(10, "a", 1.0), event(11, "b", 1.0)])
    await process.learn(0, [event(12, "c", 1.0)])
    assert told() == [1, 10]


async def test_nothing_is_saved_while_some_series_catch_up() -> None:
    """Goal: no checkpoint is of two moments. Method: a state that rotted long ago, and a stop before it is caught up."""
    process = Process(World(), small_settings(checkpoint={"interval_events": 1}))
    await process.learner.assign([0], {0: 0})
    log = [event(offset, series, 1.0 + offset) for offset, series in enumerate("abaabb")]
    for one in log:
        await process.learn(0, [one])
    await process.learner.revoke()
    states = await process.world.states()
    kept = process.world.records[0]
    newest = max((key for key in kept if key.endswith("/a")), key=lambda key: decode(kept[key]).offset)
    kept[newest] = b"rotten"
    await process.learner.assign([0], {0: 0})
    start = process.learner.positions()[0]
    assert start < len(log) - 1
    for one in log[start:-1]:
        await process.learn(0, [one])
        await process.learner.tick()
    await process.learner.revoke()
    assert kept[newest] == b"rotten"
    await process.learner.assign([0], {0: 0})
    more = event(6, "b", 7.0)
    for one in [*log[start:], more]:
        await process.learn(0, [one])
    assert (await process.world.states())["a"] == states["a"]
    assert await process.world.states() == fold([*log, more], process.settings)
