"""State that is no number, where nothing in the model keeps it out: the worker ends with what to do, and that is enough."""

from __future__ import annotations

import asyncio
import io
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from service.bootstrap import checkpoint_store
from service.observe.metrics import Metrics
from service.ports import CheckpointStore, Record, SpoiltSeriesError
from service.settings import Settings
from service.stream.learner import Learner
from service.stream.shard import Shard
from service.tools import checkpoint
from service.tools.problem import CommandError
from tests.service.learner_ports import TOPIC, Fuse, Publisher, Witness, World, event, small_settings

pytestmark = pytest.mark.usefixtures("compiled_models")

SERIES = ("a", "the one; it's spoilt", "c")
EVENTS = 20


def records(start: int, count: int) -> list[Record]:
    """Events in turn, each with the time of its offset."""
    return [event(offset, SERIES[offset % 3], offset % 7) for offset in range(start, start + count)]


def spoil(shard: Shard, name: str, start: str = "expert.linear/weights") -> list[str]:
    """Make arrays no numbers, by default the weights of a readout, as a fault of the memory would; return their names."""
    bank, slot = shard._models.bank, shard._series[name].slot
    fields = {key: value.copy() for key, value in bank.snapshot(slot).items()}
    spoilt = [key for key, value in fields.items() if key.startswith(start) and value.dtype.kind == "f"]
    for key in spoilt:
        fields[key][...] = np.nan
    bank.restore(slot, fields)
    return spoilt


def spoilt_shard(settings: Settings, *, partition: int = 0) -> Shard:
    shard = Shard(topic=TOPIC, partition=partition, settings=settings)
    shard.apply(records(0, EVENTS))
    spoil(shard, SERIES[1])
    return shard


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return small_settings(checkpoint={"store": "sqlite", "sqlite_path": str(tmp_path / "c.sqlite")})


def test_the_error_names_series_offset_and_command(settings: Settings) -> None:
    with pytest.raises(SpoiltSeriesError) as raised:
        spoilt_shard(settings).apply(records(EVENTS, 3))
    assert raised.value.series == (SERIES[1],)
    assert f"partition 0, series {SERIES[1]!r}: at offset 22 " in str(raised.value)
    assert shlex.join(("--series", SERIES[1])) in str(raised.value)


def test_a_row_that_is_filled_names_it_too(settings: Settings) -> None:
    shard = Shard(topic=TOPIC, partition=0, settings=settings)
    shard.apply([event(offset, SERIES[1], offset % 7, time=60 * offset) for offset in range(EVENTS)])
    spoil(shard, SERIES[1])
    with pytest.raises(SpoiltSeriesError, match=f"at offset {EVENTS} a result"):
        shard.apply([event(EVENTS, SERIES[1], 1.0, time=60 * (EVENTS + 3))])


async def taken(settings: Settings, store: CheckpointStore, events: Sequence[Record]) -> Witness:
    """Let a worker that begins at the checkpoint take events, and save."""
    world, witness = World(), Witness()
    publisher = Publisher(world, Fuse())
    learner = Learner(settings, store=store, publisher=publisher, observer=witness, vitals=witness)
    learner.acknowledge_to(lambda *_: asyncio.sleep(0))
    await learner.assign([0], {0: 0})
    try:
        await learner.learn(0, events, assignment=learner.assignment)
    except SpoiltSeriesError:
        witness.told.append(("ended",))
    await learner.revoke()
    return witness


async def test_what_the_error_says_lets_the_partition_go_on(settings: Settings) -> None:
    # Goal: one spoilt series costs what was learned of it, and no other a bit. Method: a checkpoint that is spoilt, the
    # worker that ends by it, the command, and the next worker, against a shard that never had the series before.
    shard = spoilt_shard(settings)
    store = checkpoint_store(settings)
    await store.start()
    try:
        await store.load(0)
        await store.save(0, shard.snapshot_dirty(), shard.next_offset)
        ended = await taken(settings, store, records(EVENTS, 6))
        assert [told for told in ended.told if told[0] in ("spoilt", "ended")] == [("spoilt", 1), ("ended",)]
        said = io.StringIO()
        await checkpoint.reset(settings, [0], [SERIES[1]], out=Console(file=said, width=200))
        assert said.getvalue() == f"partition 0: {SERIES[1]} forgotten, from offset {EVENTS} on as new\n"
        assert not [
            told for told in (await taken(settings, store, records(EVENTS, 6))).told if told[0] == "spoilt"
        ]
        found = await store.read(0)
    finally:
        await store.stop()
    assert found is not None
    expected = Shard(topic=TOPIC, partition=0, settings=settings)
    whole = records(0, EVENTS + 6)
    expected.apply([one for one in whole if one.offset >= EVENTS or SERIES[one.offset % 3] != SERIES[1]])
    assert {name: one.state for name, one in found.series.items()} == {
        one.series: one.state for one in expected.snapshot_dirty()
    }


@pytest.mark.parametrize("field", ["expert.linear/weights", "anomaly/"])
async def test_verify_finds_it_wherever_it_is(settings: Settings, field: str) -> None:
    # An anomaly score of no number is told as none and ends no worker, so that nothing else would find it.
    shard = Shard(topic=TOPIC, partition=0, settings=settings)
    shard.apply(records(0, EVENTS))
    spoilt = spoil(shard, SERIES[1], field)
    store = checkpoint_store(settings)
    await store.start()
    try:
        await store.load(0)
        await store.save(0, shard.snapshot_dirty(), shard.next_offset)
    finally:
        await store.stop()
    with pytest.raises(CommandError) as raised:
        await checkpoint.verify(settings, 0, out=Console(file=io.StringIO()))
    assert f"{SERIES[1]}: {', '.join(spoilt)}. " in str(raised.value)
    await checkpoint.reset(settings, [0], [SERIES[1]], out=Console(file=io.StringIO()))
    await checkpoint.verify(settings, 0, out=Console(file=io.StringIO()))


def test_it_is_counted_where_the_alert_looks(settings: Settings) -> None:
    metrics = Metrics(*settings.specifications())
    metrics.spoilt(2)
    assert 'onward_nonfinite_total{where="prediction"} 2.0' in metrics.exposition().decode()
