"""What is published: predictions and dead letters agree with their schemas, and say nothing of when they were made."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np
import orjson
import pytest

from models.bank import Bank
from service.ports import Event, Message, Reason, Rejection
from service.settings import PolicySettings, Settings
from service.stream.decode import Decoder
from service.stream.messages import (
    DEAD_LETTER_KEY_BYTES_MAX,
    DEAD_LETTER_VALUE_BYTES_MAX,
    PredictionEncoder,
    encode_dead_letter,
)
from service.stream.schemas import KINDS, DeadLetterMessage, PredictionMessage, json_schema
from service.stream.shard import Shard
from tests.service.records import TOPIC, event_bytes, record, records, small_settings
from tests.service.test_decode import POISON


def published(settings: Settings, n_events: int = 30) -> list[Message]:
    """The predictions for a wave with a jump in it."""
    features = dict.fromkeys(settings.fields.features, 0.5)
    values = [
        orjson.dumps(
            {"series": "né", "time": f"2024-01-{1 + n:02d}"}
            | {target: math.sin(n) + 9 * (n > 20) + k for k, target in enumerate(settings.fields.targets)}
            | features
        )
        for n in range(n_events)
    ]
    return (
        Shard(topic=TOPIC, partition=3, settings=settings)
        .apply([record(value, offset=100 + n, partition=3) for n, value in enumerate(values)])
        .predictions
    )


def test_predictions_have_the_published_form() -> None:
    settings = small_settings(fields={"targets": ["load", "heat"], "features": ["wind"]})
    specification = settings.specification()
    messages = published(settings)
    settled = 0
    for n, message in enumerate(messages):
        prediction = PredictionMessage.model_validate_json(message.value)
        assert message.key == "né".encode()
        assert message.headers == ()
        assert prediction.id == f"{TOPIC}-3-{100 + n}"
        assert (prediction.series, prediction.time) == ("né", f"2024-01-{1 + n:02d}")
        assert prediction.model_version == specification.version()
        assert list(prediction.targets) == ["load", "heat"]
        for k, target in enumerate(prediction.targets.values()):
            assert target.observed == math.sin(n) + 9 * (n > 20) + k
            assert [forecast.horizon for forecast in target.horizons] == [1, 2]
            for forecast in target.horizons:
                assert forecast.prediction is not None
                assert tuple(forecast.weights) == tuple(forecast.experts) == specification.experts
                assert math.isclose(sum(forecast.weights.values()), 1.0)
                assert list(forecast.quantiles) == ["0.025", "0.1", "0.9", "0.975"]
                quantiles = [number(quantile) for quantile in forecast.quantiles.values()]
                assert quantiles == sorted(quantiles)
                assert (forecast.settled is not None) == (n >= forecast.horizon)
                settled += forecast.settled is not None
    assert len(messages) == 30
    assert settled == 2 * (29 + 28)


def number(value: float | None) -> float:
    """Return what must be there."""
    assert value is not None
    return value


def test_a_settled_forecast_is_the_one_made_that_many_events_before() -> None:
    """Goal: the error belongs to the horizon's own forecast. Method: recompute it from the earlier messages."""
    messages = [PredictionMessage.model_validate_json(m.value) for m in published(small_settings())]
    for n, message in enumerate(messages):
        target = message.targets["value"]
        for h, forecast in enumerate(target.horizons):
            if forecast.settled is not None:
                observed = number(target.observed)
                earlier = messages[n - forecast.horizon].targets["value"].horizons[h]
                prediction = number(earlier.prediction)
                assert forecast.settled.error == pytest.approx(observed - prediction, abs=1e-9)
                told = {share: number(quantile) for share, quantile in earlier.quantiles.items()}
                assert forecast.settled.covered == {
                    "0.8": told["0.1"] <= observed <= told["0.9"],
                    "0.95": told["0.025"] <= observed <= told["0.975"],
                }
                for name, error in forecast.settled.experts.items():
                    assert error == pytest.approx(observed - number(earlier.experts[name]), abs=1e-9)


def test_rows_of_a_result_go_to_their_events() -> None:
    """Goal: row i is event i's. Method: two series of levels far apart in one call of the bank."""
    specification = small_settings().specification()
    bank = Bank(specification)
    slots = [bank.admit(), bank.admit()]
    events = [
        Event(0, n, name, 0.0, "0", (level,), ()) for n, (name, level) in enumerate([("a", 1.0), ("b", 1e6)])
    ]
    result = bank.step(np.array(slots), np.zeros(2), np.array([[1.0], [1e6]]), np.empty((2, 0)))
    messages = PredictionEncoder(TOPIC, specification).encode(events, result)
    for message, event in zip(messages, events, strict=True):
        prediction = PredictionMessage.model_validate_json(message.value)
        assert prediction.series == event.series
        assert prediction.targets["value"].horizons[0].experts["last_value"] == event.values[0]


@pytest.mark.parametrize(
    ("reason", "value"), POISON, ids=[f"{r.value}-{(v or b'')[:40]!r}" for r, v in POISON]
)
def test_a_dead_letter_holds_the_record_and_the_reason(reason: Reason, value: bytes | None) -> None:
    settings = Settings()
    (rejected,) = Decoder(settings.fields, settings.limits).decode([record(value, key=b"\xff", offset=9)])
    assert isinstance(rejected, Rejection)
    message = encode_dead_letter(rejected)
    letter = DeadLetterMessage.model_validate_json(message.value)
    assert message.key == b"\xff"
    assert message.headers == (("reason", reason.value.encode()),)
    assert (letter.topic, letter.partition, letter.offset) == (TOPIC, 0, 9)
    assert letter.reason is reason
    assert letter.detail == rejected.detail
    assert (letter.key, letter.key_encoding) == ("/w==", "base64")
    assert letter.value_bytes == len(value or b"")
    if value is None:
        assert letter.value is None
    else:
        assert letter.value is not None
        kept = base64.b64decode(letter.value) if letter.value_encoding == "base64" else letter.value.encode()
        assert value.startswith(kept)
        assert min(len(value), DEAD_LETTER_VALUE_BYTES_MAX) - len(kept) <= 3
    assert encode_dead_letter(rejected) == message
    assert len(message.value) < 10 * DEAD_LETTER_VALUE_BYTES_MAX


@pytest.mark.parametrize("before", range(5))
def test_a_cut_through_a_character_leaves_text(before: int) -> None:
    value = b"x" * before + "🌍".encode() * DEAD_LETTER_VALUE_BYTES_MAX
    letter = DeadLetterMessage.model_validate_json(
        encode_dead_letter(Rejection(record(value), Reason.NOT_JSON, "d")).value
    )
    assert letter.value_encoding == "utf-8"
    assert letter.value == "x" * before + "🌍" * ((DEAD_LETTER_VALUE_BYTES_MAX - before) // 4)


def test_a_dead_letters_key_is_bounded() -> None:
    """A producer may send a key as large as a message; the dead letter must fit into one all the same."""
    message = encode_dead_letter(Rejection(record(b"1", key=b"k" * 2_000_000), Reason.TOO_LARGE, "d"))
    assert message.key == b"k" * DEAD_LETTER_KEY_BYTES_MAX
    assert len(message.value) < 2 * DEAD_LETTER_KEY_BYTES_MAX
    keyless = encode_dead_letter(Rejection(record(b"1"), Reason.NOT_AN_OBJECT, "d"))
    assert keyless.key is None
    assert json.loads(keyless.value)["key"] is None


@pytest.mark.parametrize("kind", KINDS)
def test_schemas_are_json_of_the_stated_dialect(kind: Any) -> None:
    schema = json_schema(kind, Settings())
    assert json.loads(json.dumps(schema)) == schema
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False


def test_the_schema_of_events_follows_the_users_names() -> None:
    settings = Settings.model_validate(
        {
            "fields": {
                "series": "meta.id",
                "time": "at",
                "targets": {"load": "data.kw"},
                "features": ["wind"],
                "extra": "ignore",
            },
            "limits": {"value_abs_max": 10, "series_name_length_max": 5},
        }
    )
    schema = json_schema("event", settings)
    assert schema["required"] == ["meta", "at", "data"]
    assert schema["properties"]["wind"]["type"] == ["number", "null"]
    assert schema["additionalProperties"] is True
    assert schema["properties"]["meta"]["required"] == ["id"]
    assert schema["properties"]["meta"]["properties"]["id"]["maxLength"] == 5
    number = schema["properties"]["data"]["properties"]["kw"]
    assert (number["type"], number["minimum"], number["maximum"]) == (["number", "null"], -10, 10)
    strict = settings.model_copy(
        update={"policy": PolicySettings(null_target="reject", missing_feature="reject")}
    )
    schema = json_schema("event", strict)
    assert schema["required"] == ["meta", "at", "data", "wind"]
    assert schema["properties"]["data"]["properties"]["kw"]["type"] == "number"
    assert schema["properties"]["wind"]["type"] == "number"
    keyed = json_schema("event", Settings.model_validate({"fields": {"series": "@key"}}))
    assert keyed["required"] == ["time", "value"]
    assert "key names the series" in keyed["description"]


def conforms(value: Any, schema: dict[str, Any]) -> bool:
    """Check a value against the keywords that the schema of events uses."""
    types: dict[str, tuple[type, ...]] = {"object": (dict,), "string": (str,), "number": (int, float)}
    names = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    if value is None:
        return "null" in names
    if isinstance(value, bool) or not any(isinstance(value, types[name]) for name in names if name != "null"):
        return False
    if isinstance(value, dict):
        known = schema["properties"]
        return bool(
            all(name in value for name in schema["required"])
            and (schema["additionalProperties"] or all(name in known for name in value))
            and all(conforms(value[name], known[name]) for name in value if name in known)
        )
    if isinstance(value, str):
        return bool(schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", math.inf))
    return bool(schema.get("minimum", -math.inf) <= value <= schema.get("maximum", math.inf))


def test_decoding_accepts_what_the_schema_accepts() -> None:
    """Goal: the published schema is the truth. Method: both judge the table of bad records and good ones."""
    settings = Settings()
    schema = json_schema("event", settings)
    decoder = Decoder(settings.fields, settings.limits)
    # What a schema cannot say: size, nesting, the calendar, and what characters a name may have (a pattern).
    beyond = {Reason.EMPTY, Reason.NOT_JSON, Reason.NOT_FINITE, Reason.BAD_TIME, Reason.BAD_SERIES}
    judged = 0
    for reason, value in POISON:
        if reason not in beyond | {Reason.TOO_LARGE, Reason.TOO_DEEP}:
            assert not conforms(json.loads(value or b""), schema), value
            judged += 1
    good = [
        event_bytes("s", 0, 1),
        event_bytes("s", 0, None),
        event_bytes("s", "2024-01-01", -1.5),
        event_bytes("x" * 256, 0.5, 1e15),
    ]
    for value, decoded in zip(good, decoder.decode(records(good)), strict=True):
        assert isinstance(decoded, Event)
        assert conforms(json.loads(value), schema)
    assert judged >= 15
