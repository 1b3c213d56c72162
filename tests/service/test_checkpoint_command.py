"""`onward checkpoint`: shows what is saved, finds what is damaged, and forgets only what it is asked to."""

from __future__ import annotations

import asyncio
import io
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import orjson
import pytest
from rich.console import Console

from service.bootstrap import checkpoint_store
from service.connection import client_options
from service.ports import FencedError, PartitionCheckpoint, Promotion, Record
from service.settings import Settings
from service.stream.shard import Shard
from service.tools import checkpoint
from service.tools.embedded import embedded_broker
from service.tools.problem import CommandError
from service.topics import ensure_topics

pytestmark = pytest.mark.usefixtures("compiled_models")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with a checkpoint file that holds two series of partition 3."""
    settings = Settings.model_validate(
        {
            "model": {"profile": "fast"},
            "checkpoint": {"store": "sqlite", "sqlite_path": str(tmp_path / "c.sqlite")},
        }
    )
    shard = Shard(topic="t", partition=3, settings=settings)
    values = [b'{"series":"%s","time":%d,"value":%d}' % (b"ab"[i % 2 :][:1], 1e9 + i, i) for i in range(20)]
    shard.apply([Record("t", 3, offset, None, value) for offset, value in enumerate(values)])

    async def save() -> None:
        store = checkpoint_store(settings)
        await store.start()
        try:
            await store.load(3)
            await store.save(3, shard.snapshot_dirty(), shard.next_offset)
        finally:
            await store.stop()

    asyncio.run(save())
    return settings


def read(settings: Settings, partition: int) -> PartitionCheckpoint | None:
    async def reading() -> PartitionCheckpoint | None:
        store = checkpoint_store(settings)
        await store.start()
        try:
            return await store.read(partition)
        finally:
            await store.stop()

    return asyncio.run(reading())


def said_by(command: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> str:
    said = io.StringIO()
    asyncio.run(command(*arguments, out=Console(file=said, width=200)))
    return said.getvalue()


def onward(settings: Settings, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    environment = {
        "ONWARD_CHECKPOINT__STORE": "sqlite",
        "ONWARD_CHECKPOINT__SQLITE_PATH": str(settings.checkpoint.sqlite_path),
        "ONWARD_MODEL__PROFILE": "fast",
    }
    return subprocess.run(
        [sys.executable, "-m", "service", "checkpoint", *arguments],
        cwd=settings.checkpoint.sqlite_path.parent,
        env=os.environ | environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_inspect_shows_what_is_saved(settings: Settings) -> None:
    (line,) = [line for line in said_by(checkpoint.inspect, settings, 3).splitlines() if "│" in line]
    partition, next_offset, series, size, *_ = (cell.strip() for cell in line.strip("│").split("│"))
    saved = read(settings, 3)
    assert saved is not None
    assert (partition, next_offset, series) == ("3", "20", "2")
    assert int(size.replace(",", "")) == sum(len(one.state) for one in saved.series.values())
    assert "none yet" in said_by(checkpoint.inspect, settings, 0)


def test_inspect_names_the_arrays_of_a_series_whatever_the_settings_are(settings: Settings) -> None:
    other = Settings.model_validate(settings.model_dump() | {"model": {"profile": "balanced"}})
    said = said_by(checkpoint.inspect, other, 3, "b")
    assert "Series b of partition 3: last offset 19" in said
    rows = {cells[0]: cells[1:] for line in said.splitlines() if (cells := line.replace("│", " ").split())}
    assert rows["scale/level"] == ["float64", "1", "19", "19"]
    assert rows["shard/intervals"][-2:] == ["9", "9"]
    with pytest.raises(CommandError, match="has a series c"):
        said_by(checkpoint.inspect, settings, 3, "c")


def test_verify_restores_as_a_worker_would(settings: Settings) -> None:
    assert "partition 3: whole: 2 series, next offset 20" in said_by(checkpoint.verify, settings, 3)
    other = Settings.model_validate(settings.model_dump() | {"model": {"profile": "balanced"}})
    with pytest.raises(CommandError, match="partition 3: "):
        said_by(checkpoint.verify, other, 3)


def test_verify_finds_damage(settings: Settings) -> None:
    with sqlite3.connect(settings.checkpoint.sqlite_path) as connection:
        connection.execute(
            "UPDATE record SET data = substr(data, 1, 50) WHERE CAST(key AS TEXT) LIKE 'series%'"
        )
    connection.close()
    with pytest.raises(CommandError, match="partition 3 is damaged"):
        said_by(checkpoint.verify, settings, 3)


def test_reset_asks_first(settings: Settings) -> None:
    done = onward(settings, "reset", "--partition", "3", stdin="n\n")
    assert done.returncode == 1
    assert "Forget what was learned of partition 3" in done.stdout
    assert read(settings, 3) is not None
    done = onward(settings, "reset", "--partition", "3", stdin="y\n")
    assert (done.returncode, read(settings, 3)) == (0, None)


def test_reset_forgets_one_partition_and_no_other(settings: Settings) -> None:
    assert said_by(checkpoint.reset, settings, [2]) == "partition 2: forgotten\n"
    assert read(settings, 3) is not None
    assert onward(settings, "reset", "--partition", "3", "--yes").returncode == 0
    assert read(settings, 3) is None


def test_reset_forgets_one_series_and_no_other(settings: Settings) -> None:
    with pytest.raises(CommandError, match="has a series nobody"):
        said_by(checkpoint.reset, settings, [2, 3], ["nobody"])
    done = onward(settings, "reset", "--partition", "3", "--series", "b", stdin="y\n")
    assert "Forget what was learned of series b in partition 3" in done.stdout
    saved = read(settings, 3)
    assert saved is not None
    assert (list(saved.series), saved.next_offset) == (["a"], 20)


def test_without_a_partition_the_topic_says_how_many_there_are(settings: Settings) -> None:
    with embedded_broker() as broker:
        there = Settings.model_validate(
            settings.model_dump()
            | {"kafka": {"bootstrap_servers": broker.bootstrap_servers}, "topics": {"partitions": 4}}
        )
        with pytest.raises(CommandError, match="no topic"):
            said_by(checkpoint.verify, there, None)
        asyncio.run(ensure_topics(there, client_options(there.kafka)))
        lines = said_by(checkpoint.verify, there, None).splitlines()
    assert [line.split(":")[0] for line in lines] == [f"partition {number}" for number in range(4)]
    assert "whole: 2 series" in lines[3]


def test_no_file_is_told_and_none_is_made(settings: Settings) -> None:
    path = settings.checkpoint.sqlite_path
    path.unlink()
    with pytest.raises(CommandError, match="There is no checkpoint file"):
        said_by(checkpoint.inspect, settings, 0)
    assert not path.exists()


def with_challenger(settings: Settings) -> Settings:
    groups = {"challenger": {"experts": ["last_value"], "promotion": "command"}}
    return Settings.model_validate(settings.model_dump() | groups)


def test_promote_writes_what_answers_from_the_next_event_of_each_series_on(settings: Settings) -> None:
    """Goal: the command is tied to an offset and outlives crashes. Method: workers that begin at the checkpoint, twice."""
    both = with_challenger(settings)
    said = said_by(checkpoint.promote, both, [3, 4], "challenger", ["b"])
    assert "partition 3: from offset 20 on the challenger answers in 1 series" in said
    assert "partition 4: none yet" in said
    makes = [make.version() for make in both.specifications()]
    for _ in range(2):
        saved = read(settings, 3)
        assert saved is not None
        shard = Shard(topic="t", partition=3, settings=both)
        shard.restore(saved)
        values = [b'{"series":"%s","time":%d,"value":1}' % (name, 2e9) for name in (b"a", b"b", b"c")]
        applied = shard.apply([Record("t", 3, 20 + n, None, value) for n, value in enumerate(values)])
        versions = [orjson.loads(message.value)["model_version"] for message in applied.predictions]
        assert versions == [makes[0], makes[1], makes[0]]
        assert sum(shadow.promotions[Promotion.COMMAND] for shadow in applied.shadows) == 1


def test_promote_shows_in_the_arrays_and_takes_the_partition_from_its_worker(settings: Settings) -> None:
    both = with_challenger(settings)

    async def run() -> None:
        store = checkpoint_store(both)
        await store.start()
        try:
            await store.load(3)
            await checkpoint.promote(both, [3], "challenger", None, out=Console(file=io.StringIO()))
            with pytest.raises(FencedError):
                await store.save(3, [], 21)
        finally:
            await store.stop()

    asyncio.run(run())
    rows = {
        line.split()[1]: line
        for line in said_by(checkpoint.inspect, both, 3, "b").splitlines()
        if "/" in line
    }
    assert rows["challenger/duel/request"].split()[-2:] == ["2", "│"]
    assert "challenger/scale/level" in rows


def test_promote_refuses_what_cannot_be(settings: Settings) -> None:
    with pytest.raises(CommandError, match="no challenger"):
        said_by(checkpoint.promote, settings, [3], "challenger", None)
    with pytest.raises(CommandError, match="has a series nobody"):
        said_by(checkpoint.promote, with_challenger(settings), [3], "challenger", ["b", "nobody"])
    other = Settings.model_validate(settings.model_dump() | {"model": {"profile": "balanced"}})
    with pytest.raises(CommandError, match="partition 3: "):
        said_by(checkpoint.promote, with_challenger(other), [3], "challenger", None)
    done = onward(settings, "promote", "challenger", "--partition", "3")
    assert done.returncode != 0
    assert "The settings have no challenger" in done.stderr
