"""`onward tail`: what is in a topic, from its beginning or from now on, for people and for programs."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord

from models.bank import Bank
from service.connection import client_options
from service.ports import Event, Message, Reason, Record, Rejection
from service.settings import Settings
from service.stream.messages import PredictionEncoder, encode_dead_letter
from service.tools.embedded import embedded_broker
from service.tools.problem import CommandError
from service.tools.tail import TailOptions, run, show
from service.topics import ensure_topics


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    with embedded_broker() as broker:
        made = Settings.model_validate(
            {
                "kafka": {"bootstrap_servers": broker.bootstrap_servers},
                "topics": {"partitions": 2},
                "checkpoint": {"store": "sqlite"},
            }
        )
        asyncio.run(ensure_topics(made, client_options(made.kafka)))
        asyncio.run(fill(made))
        yield made


def predictions(settings: Settings, series: str, n: int) -> list[Message]:
    """Real ones, of a bank that learns a ramp."""
    specification = settings.specification()
    bank, encoder = Bank(specification), PredictionEncoder(settings.topics.events, specification)
    slot = np.array([bank.admit()])
    messages = []
    for i in range(n):
        event = Event(0, i, series, 60.0 * i, f"minute {i}", (float(i),), ())
        result = bank.step(slot, np.array([event.time]), np.array([event.values]), np.empty((1, 0)))
        messages += encoder.encode([event], result)
    return messages


async def publish(settings: Settings, topic: str, messages: list[Message]) -> None:
    producer = AIOKafkaProducer(**client_options(settings.kafka), linger_ms=20)
    await producer.start()
    try:
        # In one batch, whose first offset the embedded broker takes for the last one of the topic.
        sent = [await producer.send(topic, message.value, key=message.key) for message in messages]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


async def fill(settings: Settings) -> None:
    topics = settings.topics
    for series in ("a", "b"):
        await publish(settings, topics.predictions, predictions(settings, series, 3))
    record = Record(topics.events, 1, 7, b"a", b'{"value": 1}')
    letter = encode_dead_letter(Rejection(record, Reason.MISSING_FIELD, "series is missing"))
    await publish(settings, topics.dead_letters, [letter])
    odd = Message(key=None, value=b"not\x1b[31m JSON \xff" + b"x" * 500)
    await publish(settings, topics.events, [Message(key=b"a", value=b'{"series":"a"}'), odd])


def tail(settings: Settings, **options: Any) -> list[str]:
    out = io.StringIO()
    asyncio.run(asyncio.wait_for(run(TailOptions(from_beginning=True, **options), settings, out=out), 20))
    return out.getvalue().splitlines()


def test_predictions_are_a_line_for_people(settings: Settings) -> None:
    lines = tail(settings, count_max=3, series="b")
    assert [line.split("  ")[:3] for line in lines] == [
        ["minute 0", "b", "0"],
        ["minute 1", "b", "1"],
        ["minute 2", "b", "2"],
    ]
    assert "was off by" not in lines[0]
    assert "was off by +1" in lines[1]
    assert "anomaly" in lines[2]


def test_no_more_than_was_asked_for(settings: Settings) -> None:
    assert len(tail(settings, count_max=1)) == 1


def test_whose_forecast_it_is_and_a_promotion_are_told(settings: Settings) -> None:
    (message,) = predictions(settings, "c", 1)
    body = json.loads(message.value)

    def line(**challenger: Any) -> str:
        value = json.dumps(body | {"challenger": challenger} if challenger else body).encode()
        (only,) = show(ConsumerRecord("t", 0, 0, 0, 0, b"c", value, None, 0, 0, ()), TailOptions())
        return only

    told = {"promoted": None, "evidence": 2.5}
    assert "answers" not in line()
    assert line(**told, place="challenger").endswith("model answers, evidence 2.5 for the challenger")
    assert line(**told | {"promoted": "rule"}, place="model").endswith(
        "CHALLENGER PROMOTED by rule  challenger answers, evidence 2.5 for the model"
    )


def test_json_is_the_message_itself(settings: Settings) -> None:
    lines = tail(settings, count_max=6, as_json=True)
    messages = [json.loads(line) for line in lines]
    assert {message["series"] for message in messages} == {"a", "b"}
    expected = [json.loads(message.value) for message in predictions(settings, "a", 3)]
    assert [message for message in messages if message["series"] == "a"] == expected


def test_dead_letters_say_where_and_why(settings: Settings) -> None:
    (line,) = tail(settings, topic="dead-letters", count_max=1)
    assert line == 'onward.events-1-7  missing_field: series is missing  {"value": 1}'


def test_what_is_no_json_neither_stops_it_nor_reaches_the_terminal_as_it_is(settings: Settings) -> None:
    lines = tail(settings, topic="events", count_max=2)
    (odd,) = [line for line in lines if "(no key)" in line]
    assert "\x1b" not in odd
    assert "\\x1b[31m JSON" in odd
    assert odd.endswith("x...")
    assert len(odd) < 200
    as_json = [json.loads(line) for line in tail(settings, topic="events", count_max=2, as_json=True)]
    assert {"series": "a"} in as_json
    assert any(isinstance(one, str) and one.startswith("not") for one in as_json)


def test_following_shows_only_what_is_new(settings: Settings) -> None:
    # Goal: start after the last record although the embedded broker does not know where that is.
    async def follow() -> str:
        out = io.StringIO()
        task = asyncio.create_task(run(TailOptions(count_max=2), settings, out=out))
        # Until it reads, what is published may still be taken for old: publish until both have come.
        async with asyncio.timeout(20):
            number = 100
            while not task.done():
                await publish(settings, settings.topics.predictions, [_numbered(settings, number)])
                number += 1
                await asyncio.sleep(0.1)
        await task
        return out.getvalue()

    lines = asyncio.run(follow()).splitlines()
    assert len(lines) == 2
    assert all(line.startswith("number 1") for line in lines)


def _numbered(settings: Settings, number: int) -> Message:
    (message,) = predictions(settings, "c", 1)
    return Message(key=b"c", value=message.value.replace(b"minute 0", f"number {number}".encode()))


def test_no_topic_is_told(settings: Settings) -> None:
    missing = Settings.model_validate(settings.model_dump() | {"topics": {"predictions": "nobody.made.it"}})
    with pytest.raises(CommandError, match=r"no topic nobody\.made\.it"):
        tail(missing, count_max=1)
