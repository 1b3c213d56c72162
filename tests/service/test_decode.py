"""Decoding: what is accepted, and an example that provokes each reason. tests/properties does the rest by fuzzing."""

from __future__ import annotations

import time

import pytest

from service.ports import Event, Reason, Rejection
from service.settings import Settings
from service.stream.decode import Decoder
from service.stream.times import parse_time
from tests.service.records import event_bytes, record, records

MEBIBYTE = 1_048_576


def decoder(**groups: object) -> Decoder:
    settings = Settings.model_validate(groups)
    return Decoder(settings.fields, settings.limits)


def decode_one(value: bytes | None, key: bytes | None = None, **groups: object) -> Event | Rejection:
    (decoded,) = decoder(**groups).decode([record(value, key=key, offset=7)])
    return decoded


def event(value: bytes | None, key: bytes | None = None, **groups: object) -> Event:
    decoded = decode_one(value, key, **groups)
    assert isinstance(decoded, Event), decoded
    return decoded


def rejection(value: bytes | None, key: bytes | None = None, **groups: object) -> Rejection:
    decoded = decode_one(value, key, **groups)
    assert isinstance(decoded, Rejection), decoded
    return decoded


def nested(depth: int) -> bytes:
    return b'{"series":"s","time":0,"value":' + b"[" * depth + b"]" * depth + b"}"


OF_THE_SHARD = {Reason.LATE, Reason.SERIES_LIMIT, Reason.POOL_LIMIT}
# Every reason that decoding gives, with what provokes it.
POISON: list[tuple[Reason, bytes | None]] = [
    (Reason.EMPTY, None),
    (Reason.EMPTY, b""),
    (Reason.EMPTY, b" \n\t"),
    (Reason.TOO_LARGE, b'{"series":"' + b"s" * 2 * MEBIBYTE + b'","time":0,"value":1}'),
    (Reason.TOO_LARGE, b" " * (MEBIBYTE + 1)),
    (Reason.TOO_DEEP, nested(8)),
    (Reason.TOO_DEEP, nested(100_000)),
    (Reason.TOO_DEEP, b"[" * (MEBIBYTE - 16)),
    (Reason.TOO_DEEP, b'{"a":' * 100_000),
    (Reason.NOT_JSON, b"{"),
    (Reason.NOT_JSON, b"hello"),
    (Reason.NOT_JSON, b"{'series': 's'}"),
    (Reason.NOT_JSON, b"\xff\xfe\x00"),
    (Reason.NOT_JSON, b'{"series":"\xff","time":0,"value":1}'),
    (Reason.NOT_JSON, b'\xef\xbb\xbf{"series":"s","time":0,"value":1}'),
    (Reason.NOT_JSON, b'{"series":"\\ud800","time":0,"value":1}'),
    (Reason.NOT_JSON, event_bytes("s", 0, 1) + event_bytes("s", 1, 1)),
    (Reason.NOT_JSON, b"1],[2"),
    (Reason.NOT_JSON, b'{"series":"s","time":0,"value":01}'),
    (Reason.NOT_JSON, b"[]" * 9 + b'"' + b'\\"' * 500_000),
    (Reason.NOT_AN_OBJECT, b"[]"),
    (Reason.NOT_AN_OBJECT, b"null"),
    (Reason.NOT_AN_OBJECT, b"1"),
    (Reason.NOT_AN_OBJECT, b'"text"'),
    (Reason.MISSING_FIELD, b"{}"),
    (Reason.MISSING_FIELD, b'{"series":"s","time":0}'),
    (Reason.MISSING_FIELD, b'{"series":null,"time":0,"value":1}'),
    (Reason.UNKNOWN_FIELD, event_bytes("s", 0, 1, colour="red")),
    (Reason.UNKNOWN_FIELD, event_bytes("s", 0, 1, Value=2)),
    (Reason.WRONG_TYPE, event_bytes("s", 0, "1.5")),
    (Reason.WRONG_TYPE, event_bytes("s", 0, True)),
    (Reason.WRONG_TYPE, event_bytes("s", 0, [1.0])),
    (Reason.WRONG_TYPE, event_bytes("s", 0, {"x": 1.0})),
    (Reason.WRONG_TYPE, event_bytes("s", False, 1)),
    (Reason.WRONG_TYPE, b'{"series":5,"time":0,"value":1}'),
    (Reason.WRONG_TYPE, b'{"series":["s"],"time":0,"value":1}'),
    (Reason.WRONG_TYPE, b'{"series":"s","time":[0],"value":1}'),
    (Reason.NOT_FINITE, b'{"series":"s","time":0,"value":NaN}'),
    (Reason.NOT_FINITE, b'{"series":"s","time":0,"value":Infinity}'),
    (Reason.NOT_FINITE, b'{"series":"s","time":0,"value":-Infinity}'),
    (Reason.NOT_FINITE, b'{"series":"s","time":NaN,"value":1}'),
    (Reason.NOT_FINITE, b'{"series":"s","time":0,"value":1e999}'),
    (Reason.NOT_FINITE, b'{"series":"s","time":0,"value":1' + b"0" * 5000 + b"}"),
    (Reason.OUT_OF_RANGE, b'{"series":"s","time":0,"value":1e308}'),
    (Reason.OUT_OF_RANGE, b'{"series":"s","time":0,"value":-1e308}'),
    (Reason.OUT_OF_RANGE, b'{"series":"s","time":0,"value":1000000000000001}'),
    (Reason.OUT_OF_RANGE, b'{"series":"s","time":0,"value":123456789012345678901234567890}'),
    (Reason.BAD_TIME, event_bytes("s", "yesterday", 1)),
    (Reason.BAD_TIME, event_bytes("s", "", 1)),
    (Reason.BAD_TIME, event_bytes("s", "2024-02-30", 1)),
    (Reason.BAD_TIME, event_bytes("s", "2024-01-01T25:00", 1)),
    (Reason.BAD_TIME, event_bytes("s", "1712050100000", 1)),
    (Reason.BAD_TIME, event_bytes("s", "2024-01-01\n00:00", 1)),
    (Reason.BAD_TIME, event_bytes("s", "9" * 100_000, 1)),
    (Reason.BAD_TIME, event_bytes("s", 1e300, 1)),
    (Reason.BAD_TIME, event_bytes("s", 1_700_000_000_000_000, 1)),
    (Reason.BAD_SERIES, event_bytes("", 0, 1)),
    (Reason.BAD_SERIES, event_bytes("s" * 257, 0, 1)),
    (Reason.BAD_SERIES, event_bytes("a\nb", 0, 1)),
    (Reason.BAD_SERIES, event_bytes("a\x00", 0, 1)),
    (Reason.BAD_SERIES, event_bytes("\x1b[31m", 0, 1)),
    (Reason.BAD_SERIES, event_bytes("\x85", 0, 1)),
    (Reason.BAD_SERIES, event_bytes("a\u2028b", 0, 1)),
]


@pytest.mark.parametrize(
    ("reason", "value"), POISON, ids=[f"{r.value}-{(v or b'')[:40]!r}" for r, v in POISON]
)
def test_each_reason_is_given_for_what_provokes_it(reason: Reason, value: bytes | None) -> None:
    started = time.perf_counter()
    rejected = rejection(value)
    assert rejected.reason is reason, rejected.detail
    assert rejected.record.value == value
    assert 0 < len(rejected.detail) < 300
    assert rejected.detail.isprintable()
    assert time.perf_counter() - started < 2.0, "a record must not cost more than its limits allow"


def test_the_table_has_every_reason_of_decoding() -> None:
    assert {reason for reason, _ in POISON} == set(Reason) - OF_THE_SHARD


def test_a_batch_gives_one_result_per_record_in_order() -> None:
    good = event_bytes("s", 0, 1)
    values = [good] + [value for _, value in POISON] + [good]
    decoded = decoder().decode(records(values, first_offset=10))
    assert [isinstance(one, Event) for one in decoded] == [True, *[False] * len(POISON), True]
    offsets = [one.offset if isinstance(one, Event) else one.record.offset for one in decoded]
    assert offsets == list(range(10, 12 + len(POISON)))


def test_bad_records_that_would_be_good_joined_are_each_bad() -> None:
    """Joined by commas these are an array of three events, or of two."""
    halves = [b'{"series":"s"', b'"time":0', b'"value":1}', event_bytes("s", 1, 1)]
    reasons = [one.reason for one in decoder().decode(records(halves)) if isinstance(one, Rejection)]
    assert reasons == [Reason.NOT_JSON] * 3
    pair = event_bytes("s", 0, 1) + b"," + event_bytes("s", 1, 1)
    assert rejection(pair).reason is Reason.NOT_JSON


def test_an_event_is_read_as_it_was_written() -> None:
    decoded = event(
        b' {"value": -2.5, "time": "2024-01-01 00:00:00", "series": "\\u00e9 \xf0\x9f\x8c\x8d"}\n'
    )
    assert decoded == Event(0, 7, "é 🌍", 1704067200.0, "2024-01-01 00:00:00", (-2.5,), ())


@pytest.mark.parametrize("value", [0, -0.0, 5e-324, 1e15, -1e15, 2**49, 1e-400])
def test_every_finite_number_within_the_limit_is_a_value(value: float) -> None:
    assert event(event_bytes("s", 0, value)).values == (float(value),)


def test_the_last_of_two_equal_names_counts() -> None:
    assert event(b'{"series":"a","series":"b","time":0,"value":1,"value":2}').values == (2.0,)


def test_the_users_names_are_mapped_in_their_order() -> None:
    fields = {"series": "id", "time": "ts", "targets": {"load": "kw", "heat": "q"}, "features": ["t", "h"]}
    decoded = event(b'{"h":5,"t":4,"q":3,"kw":2,"ts":1,"id":"x"}', fields=fields)
    assert (decoded.series, decoded.time, decoded.values, decoded.features) == (
        "x",
        1.0,
        (2.0, 3.0),
        (4.0, 5.0),
    )


def test_nested_fields_are_found_by_their_path() -> None:
    fields = {"series": "meta.id", "time": "meta.at", "targets": {"load": "data.power.kw"}}
    good = b'{"meta":{"id":"x","at":1},"data":{"power":{"kw":2}}}'
    assert event(good, fields=fields).values == (2.0,)
    for bad, reason, part in (
        (
            b'{"meta":{"id":"x","at":1},"data":{"power":2}}',
            Reason.WRONG_TYPE,
            "data.power should be an object",
        ),
        (b'{"meta":{"id":"x","at":1},"data":{"power":{}}}', Reason.MISSING_FIELD, "data.power.kw is missing"),
        (b'{"meta":{"id":"x","at":1},"data":null}', Reason.MISSING_FIELD, "data is null"),
        (b'{"meta":{"id":"x","at":1,"z":0},"data":{"power":{"kw":2}}}', Reason.UNKNOWN_FIELD, "meta.'z'"),
    ):
        rejected = rejection(bad, fields=fields)
        assert rejected.reason is reason
        assert part in rejected.detail


def test_other_fields_are_ignored_if_the_settings_say_so() -> None:
    value = event_bytes("s", 0, 1, colour="red", more={"a": [1, None, {}]})
    assert event(value, fields={"extra": "ignore"}).values == (1.0,)
    poisoned = value[:-1] + b',"x":NaN}'
    assert rejection(poisoned, fields={"extra": "ignore"}).reason is Reason.NOT_FINITE


def test_the_key_names_the_series_if_the_settings_say_so() -> None:
    fields = {"series": "@key"}
    value = b'{"time":0,"value":1}'
    assert event(value, "né".encode(), fields=fields).series == "né"
    assert event(event_bytes("field", 0, 1), b"key").series == "field"
    for key, reason in (
        (None, Reason.MISSING_FIELD),
        (b"", Reason.BAD_SERIES),
        (b"\xff", Reason.BAD_SERIES),
        (b"a\x00", Reason.BAD_SERIES),
        (b"k" * 257, Reason.BAD_SERIES),
        (b"k" * MEBIBYTE, Reason.TOO_LARGE),
    ):
        assert rejection(value, key, fields=fields).reason is reason
    assert rejection(event_bytes("s", 0, 1), b"key", fields=fields).reason is Reason.UNKNOWN_FIELD


def test_limits_hold_to_the_unit() -> None:
    value = event_bytes("s", 0, 1)
    assert event(value, limits={"record_bytes_max": 64}).values == (1.0,)
    padded = value + b" " * (64 - len(value))
    assert event(padded, limits={"record_bytes_max": 64}).values == (1.0,)
    assert rejection(padded + b" ", limits={"record_bytes_max": 64}).reason is Reason.TOO_LARGE
    assert rejection(padded, b"k", limits={"record_bytes_max": 64}).reason is Reason.TOO_LARGE
    assert rejection(nested(7)).reason is Reason.WRONG_TYPE
    assert rejection(nested(8)).reason is Reason.TOO_DEEP
    assert event(event_bytes("[" * 100, 0, 1)).series == "[" * 100, "brackets in text are no depth"
    assert event(event_bytes("é" * 256, 0, 1)).series == "é" * 256
    assert event(event_bytes("s", 0, 9), limits={"value_abs_max": 9}).values == (9.0,)
    assert rejection(event_bytes("s", 0, 9.1), limits={"value_abs_max": 9}).reason is Reason.OUT_OF_RANGE


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2024-03-01", 1709251200.0),
        ("20240301", 1709251200.0),
        ("2024-03-01T12:30", 1709296200.0),
        ("2024-03-01T12:30:15", 1709296215.0),
        ("2024-03-01 12:30:15", 1709296215.0),
        ("2024-03-01T12:30:15Z", 1709296215.0),
        ("2024-03-01T12:30:15.25Z", 1709296215.25),
        ("2024-03-01T12:30:15,250Z", 1709296215.25),
        ("2024-03-01T12:30:15.123456789Z", 1709296215.123456),
        ("2024-03-01T14:30:15+02:00", 1709296215.0),
        ("2024-03-01T07:30:15-0500", 1709296215.0),
        ("20240301T123015Z", 1709296215.0),
        ("1969-12-31T23:59:59Z", -1.0),
        ("0001-01-01T00:00:00+14:00", -62135596800.0 - 14 * 3600),
        ("9999-12-31T23:59:59Z", 253402300799.0),
    ],
)
def test_times_as_text(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds
    assert event(event_bytes("s", text, 1)).time_text == text


@pytest.mark.parametrize(
    ("number", "unit", "seconds", "text"),
    [
        (1709296215, "auto", 1709296215.0, "1709296215"),
        (1709296215.5, "auto", 1709296215.5, "1709296215.5"),
        (1709296215500, "auto", 1709296215.5, "1709296215500"),
        (-1, "auto", -1.0, "-1"),
        (99999999999, "auto", 99999999999.0, "99999999999"),
        (100000000000, "auto", 100000000.0, "100000000000"),
        (1709296215500, "ms", 1709296215.5, "1709296215500"),
        (500, "ms", 0.5, "500"),
        (100000000000, "s", 100000000000.0, "100000000000"),
    ],
)
def test_times_as_numbers(number: float, unit: str, seconds: float, text: str) -> None:
    decoded = event(event_bytes("s", number, 1), fields={"time_unit": unit})
    assert (decoded.time, decoded.time_text) == (seconds, text)
