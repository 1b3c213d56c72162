"""`onward produce`: what is sent is what the worker can decode, in order, keyed by series, and when it is due."""

from __future__ import annotations

import asyncio
import io
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from rich.console import Console

from service.connection import client_options
from service.ports import Event, Record
from service.settings import Settings
from service.stream.decode import Decoder
from service.tools.embedded import embedded_broker
from service.tools.events import EventEncoder, Play, plays, side_by_side, wanted_by
from service.tools.problem import WRONG_USAGE, CommandError
from service.tools.produce import Pace, ProduceOptions, run
from service.tools.tables import Wanted, open_table, sources
from service.topics import ensure_topics

PARTITIONS = 2


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    with embedded_broker() as broker:
        yield Settings.model_validate(
            {
                "kafka": {"bootstrap_servers": broker.bootstrap_servers},
                "topics": {"partitions": PARTITIONS},
                "checkpoint": {"store": "sqlite"},
            }
        )


def with_topics(settings: Settings, name: str) -> Settings:
    """Settings with topics of their own."""
    topics = {"events": f"{name}.events", "partitions": PARTITIONS}
    own = Settings.model_validate(settings.model_dump() | {"topics": topics})
    asyncio.run(ensure_topics(own, client_options(own.kafka)))
    return own


def write(path: Path, *lines: str) -> str:
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def encoded(
    path: str, fields: dict[str, Any], wanted: Wanted | None = None
) -> tuple[list[Event], list[dict[str, Any]]]:
    """What a file becomes on the wire, and what the worker makes of that."""
    settings = Settings.model_validate({"fields": fields})
    encoder, decoder = EventEncoder(settings.fields), Decoder(settings.fields, settings.limits)
    (source,) = sources([path])
    with open_table(source, wanted_by(settings.fields, wanted or Wanted())) as table:
        messages = [encoder.encode(play) for play in plays(table, settings.fields)]
    records = [Record("t", 0, offset, message.key, message.value) for offset, message in enumerate(messages)]
    events = decoder.decode(records)
    assert all(isinstance(event, Event) for event in events), events
    return [event for event in events if isinstance(event, Event)], [
        orjson.loads(one.value) for one in messages
    ]


async def read_all(settings: Settings, count: int) -> list[Any]:
    """Read records of the events topic, of all partitions, in the order of partition and offset."""
    topic = settings.topics.events
    consumer = AIOKafkaConsumer(**client_options(settings.kafka), auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        records: list[Any] = []
        async with asyncio.timeout(20):
            while len(records) < count:
                for batch in (await consumer.getmany(timeout_ms=100)).values():
                    records += batch
        return sorted(records, key=lambda record: (record.partition, record.offset))
    finally:
        await consumer.stop()


def produce(settings: Settings, *files: str, pace: Pace | None = None, limit: int | None = None) -> str:
    said = io.StringIO()
    options = ProduceOptions(files=files, wanted=Wanted(), pace=pace or Pace(), limit=limit)
    run(options, settings, notes=Console(file=said, width=200))
    return said.getvalue()


def test_rows_become_events_that_the_worker_reads_back(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.csv", "time,value,note", "2024-01-01 00:00:00,1.5,x", "2024-01-01T01:00:00Z,-2,y"
    )
    events, bodies = encoded(path, {})
    assert [(event.series, event.time_text, event.values) for event in events] == [
        ("a", "2024-01-01 00:00:00", (1.5,)),
        ("a", "2024-01-01T01:00:00Z", (-2.0,)),
    ]
    assert bodies[0] == {"series": "a", "time": "2024-01-01 00:00:00", "value": 1.5}


def test_fields_have_the_names_of_the_settings(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.csv",
        "ts,id,load,flow,temperature",
        "1704067200,x,1,2,3",
        "1704067201.5,y,4,5,6",
    )
    fields = {
        "series": "@key",
        "time": "at",
        "targets": {"load": "m.load", "flow": "m.flow"},
        "features": {"temperature": "weather.temperature"},
    }
    events, bodies = encoded(path, fields, Wanted(series="id"))
    assert bodies[0] == {
        "at": 1704067200,
        "m": {"load": 1.0, "flow": 2.0},
        "weather": {"temperature": 3.0},
    }
    assert [(event.series, event.time, event.values, event.features) for event in events] == [
        ("x", 1704067200.0, (1.0, 2.0), (3.0,)),
        ("y", 1704067201.5, (4.0, 5.0), (6.0,)),
    ]


def test_columns_for_one_target_are_series_of_their_own(tmp_path: Path) -> None:
    path = write(tmp_path / "plant.csv", "date,a,b", "2024-01-01,1,2", "2024-01-02,3,4")
    events, _ = encoded(path, {})
    assert [(event.series, event.values[0]) for event in events] == [
        ("plant/a", 1.0),
        ("plant/b", 2.0),
        ("plant/a", 3.0),
        ("plant/b", 4.0),
    ]


def test_columns_that_do_not_fit_the_fields_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "time,x,y", "2024-01-01,1,2")
    with pytest.raises(CommandError, match="has no column 'load'") as caught:
        encoded(path, {"targets": ["load", "flow"]})
    assert caught.value.exit_code == WRONG_USAGE
    with pytest.raises(CommandError, match="name 2 targets"):
        encoded(path, {"targets": ["load", "flow"]}, Wanted(targets=("x",)))
    events, _ = encoded(path, {"targets": ["load", "flow"]}, Wanted(targets=("y", "x")))
    assert events[0].values == (2.0, 1.0)


def play(name: str, *elapsed: float) -> Iterator[Play]:
    return iter([Play(seconds, name, "", (), ()) for seconds in elapsed])


def test_tables_are_played_side_by_side() -> None:
    turns = side_by_side([play("a", 0, 1, 2), play("b", 0)], by_time=False)
    assert [one.series for one in turns] == ["a", "b", "a", "a"]
    by_time = side_by_side([play("a", 0, 10, 20), play("b", 0, 5, 6, 12)], by_time=True)
    assert [one.series for one in by_time] == ["a", "b", "b", "b", "a", "b", "a"]


def test_a_time_that_goes_back_is_due_at_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "time,v", *(f"2024-01-01 00:0{minute}:00,1" for minute in (0, 3, 1, 4)))
    (source,) = sources([path])
    with open_table(source, Wanted()) as table:
        assert [one.elapsed for one in plays(table, Settings().fields)] == [0.0, 180.0, 180.0, 240.0]


def test_events_are_due_by_rate_or_by_their_own_time() -> None:
    assert [Pace().due(index, 60.0 * index) for index in range(3)] == [0.0, 0.0, 0.0]
    assert [Pace(rate=4.0).due(index, 60.0 * index) for index in range(3)] == [0.0, 0.25, 0.5]
    assert [Pace(speed_up=120.0).due(index, 60.0 * index) for index in range(3)] == [0.0, 0.5, 1.0]
    with pytest.raises(CommandError, match="two paces"):
        Pace(rate=1.0, speed_up=1.0)


def test_files_arrive_in_order_keyed_by_series(tmp_path: Path, settings: Settings) -> None:
    names, n = ("a", "b", "c", "d"), 300
    files = [
        write(tmp_path / f"{name}.csv", "time,value", *(f"{1700000000 + i},{i}" for i in range(n)))
        for name in names
    ]
    own = with_topics(settings, "order")
    said = produce(own, *files)
    assert f"{n * len(names):,} events sent to order.events" in said
    records = asyncio.run(read_all(own, n * len(names)))
    by_series = {
        key: list(group)
        for key, group in itertools.groupby(sorted(records, key=lambda r: r.key), lambda r: r.key)
    }
    assert set(by_series) == {name.encode() for name in names}
    for key, group in by_series.items():
        assert len({record.partition for record in group}) == 1
        bodies = [orjson.loads(record.value) for record in group]
        assert bodies == [
            {"series": key.decode(), "time": 1700000000 + i, "value": float(i)} for i in range(n)
        ]
    assert {record.partition for record in records} == set(range(PARTITIONS))


def test_rate_limit_and_skipped_rows(tmp_path: Path, settings: Settings) -> None:
    path = write(
        tmp_path / "a.csv", "time,value", *(f"{1700000000 + i},{i}" for i in range(50)), "1800000000,n/a"
    )
    own = with_topics(settings, "rate")
    began = time.monotonic()
    assert "20 events sent" in produce(own, path, pace=Pace(rate=40.0), limit=20)
    assert time.monotonic() - began >= 19 / 40
    assert "1 row skipped, first at line 52" in produce(own, path)
    assert len(asyncio.run(read_all(own, 70))) == 70


def test_no_topic_and_no_broker_are_told_with_what_to_do(tmp_path: Path, settings: Settings) -> None:
    path = write(tmp_path / "a.csv", "time,value", "2024-01-01,1")
    missing = Settings.model_validate(settings.model_dump() | {"topics": {"events": "nobody.made.it"}})
    with pytest.raises(CommandError, match=r"no topic nobody\.made\.it .* `onward doctor`"):
        produce(missing, path)
    alone = Settings.model_validate({"kafka": {"bootstrap_servers": "127.0.0.1:1"}})
    with pytest.raises(
        CommandError, match=r"No broker answers at 127\.0\.0\.1:1 .*ONWARD_KAFKA__BOOTSTRAP_SERVERS"
    ):
        produce(alone, path)
