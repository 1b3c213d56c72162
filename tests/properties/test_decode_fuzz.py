"""Decoding fuzzed: nothing raises, every record has one result, and what is accepted an independent reader accepts."""

from __future__ import annotations

import json
import math
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from service.ports import Event, Reason, Record, Rejection
from service.settings import FieldSettings, LimitSettings, Settings
from service.stream.decode import Decoder
from service.stream.messages import encode_dead_letter
from service.stream.schemas import DeadLetterMessage
from tests.service.records import record, records

LIMITS: dict[str, Any] = {
    "record_bytes_max": 2_000,
    "depth_max": 4,
    "value_abs_max": 1e6,
    "series_name_length_max": 12,
}
NESTED_FIELDS = {
    "series": "meta.id",
    "time": "meta.at",
    "targets": ["data.kw", "q"],
    "features": ["wind", "air.t"],
}
ALL_FIELDS = [
    {},
    {"extra": "ignore"},
    {"series": "@key"},
    NESTED_FIELDS,
    NESTED_FIELDS | {"extra": "ignore", "time_unit": "ms"},
]
SETTINGS = [Settings.model_validate({"fields": fields, "limits": LIMITS}) for fields in ALL_FIELDS]


DOUBLE_MAX = sys.float_info.max


class NoEventError(Exception):
    """What the independent reader says of a record that is no event."""


def refuse(*_: object) -> Any:
    raise NoEventError


def read_slowly(item: Record, fields: FieldSettings, limits: LimitSettings) -> tuple[str, Any, list[float]]:
    """Read an event with Python's own parser, one rule after the other; raise NoEventError if it is none."""
    raw = item.value or b""
    if len(raw) + len(item.key or b"") > limits.record_bytes_max:
        raise NoEventError
    check_depth(raw, limits.depth_max)
    try:
        found = json.loads(raw.decode("utf-8"), parse_constant=refuse)
        series = item.key.decode("utf-8") if fields.series == "@key" and item.key is not None else None
    except ValueError as error:
        raise NoEventError from error
    check_texts(found)
    wanted = {fields.time, *fields.targets.values(), *fields.features.values()} | (
        {fields.series} if fields.series != "@key" else set()
    )
    features = set(fields.features.values())
    flat = flatten(found, objects_of(wanted), objects_of(features) - objects_of(wanted - features))
    if not wanted - features <= set(flat) or (fields.extra == "forbid" and not set(flat) <= wanted):
        raise NoEventError
    if fields.series != "@key":
        series = flat[fields.series]
    if not isinstance(series, str) or not 1 <= len(series) <= limits.series_name_length_max:
        raise NoEventError
    if any(ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u2028\u2029" for c in series):
        raise NoEventError
    numbers = [flat.get(path) for path in [*fields.targets.values(), *fields.features.values()]]
    for number in numbers:
        if number is not None and (
            type(number) not in {int, float} or not abs(number) <= limits.value_abs_max
        ):
            raise NoEventError
    if type(flat[fields.time]) not in {int, float, str}:
        raise NoEventError
    return (
        series,
        flat[fields.time],
        [math.nan if number is None else float(number) for number in numbers],
    )


def check_depth(raw: bytes, depth_max: int) -> None:
    depth, inside, escaped = 0, False, False
    for byte in raw:
        if inside:
            inside = escaped or byte != ord('"')
            escaped = not escaped and byte == ord("\\")
        elif byte == ord('"'):
            inside = True
        elif byte in b"[{":
            depth += 1
            if depth > depth_max:
                raise NoEventError
        elif byte in b"]}":
            depth -= 1


def check_texts(value: Any) -> None:
    """Refuse what Python's parser lets through: half of a surrogate pair, and numbers beyond a double."""
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise NoEventError from error
    elif isinstance(value, float | int):
        if not abs(value) <= DOUBLE_MAX:
            raise NoEventError
    elif isinstance(value, list | dict):
        for part in value if isinstance(value, list) else [*value, *value.values()]:
            check_texts(part)


def objects_of(paths: set[str]) -> set[str]:
    """Return the objects that are on the way of some fields."""
    return {path.rsplit(".", n)[0] for path in paths for n in range(1, path.count(".") + 1)}


def flatten(value: Any, objects: set[str], optional: set[str], above: str = "") -> dict[str, Any]:
    """Return the members by their path, going into the objects that are on the way of a field; optional ones may be null."""
    if not isinstance(value, dict):
        raise NoEventError
    flat: dict[str, Any] = {}
    for name, member in value.items():
        path = above + name
        if "." in name:
            flat[f"{path} (a name with a dot is no path)"] = member
        elif path in optional and member is None:
            continue
        elif path in objects:
            flat |= flatten(member, objects, optional, path + ".")
        else:
            flat[path] = member
    return flat


def seconds_of(value: Any, unit: str) -> float:
    """Read a time by another way than the decoder's."""
    if not isinstance(value, str):
        return value / 1000 if unit == "ms" or (unit == "auto" and abs(value) >= 1e11) else float(value)
    text = value.replace(",", ".").replace("t", "T").replace(" ", "T").replace("Z", "+0000")
    date, _, clock = text.partition("T")
    day = datetime.strptime(date.replace("-", ""), "%Y%m%d").replace(tzinfo=UTC)
    sign = "+" if "+" in clock else "-"
    clock, _, zone = clock.partition(sign)
    clock, _, fraction = clock.partition(".")
    digits = (clock.replace(":", "") + "000000")[:6]
    shift = (zone.replace(":", "") + "0000")[:4]
    offset = timedelta(hours=int(shift[:2]), minutes=int(shift[2:])) * (-1 if sign == "-" else 1)
    moment = (day - datetime(1970, 1, 1, tzinfo=UTC)) + timedelta(
        hours=int(digits[:2]),
        minutes=int(digits[2:4]),
        seconds=int(digits[4:]),
        microseconds=int((fraction + "000000")[:6]),
    )
    return (moment - offset).total_seconds()


def check(item: Record, settings: Settings) -> Event | Rejection:
    (decoded,) = Decoder(settings.fields, settings.limits).decode([item])
    try:
        expected = read_slowly(item, settings.fields, settings.limits)
    except NoEventError:
        expected = None
    if isinstance(decoded, Event):
        assert expected is not None, f"{decoded} was accepted and is no event"
        series, time, numbers = expected
        assert (decoded.partition, decoded.offset, decoded.series) == (item.partition, item.offset, series)
        assert [*decoded.values, *decoded.features] == numbers
        assert decoded.time == seconds_of(time, settings.fields.time_unit)
        assert math.isfinite(decoded.time)
        assert decoded.time_text == str(time)
    else:
        assert expected is None or decoded.reason is Reason.BAD_TIME, (
            f"{decoded} was rejected and is an event"
        )
        assert decoded.record is item
        assert decoded.detail.isprintable()
        assert len(decoded.detail) < 300
        letter = DeadLetterMessage.model_validate_json(encode_dead_letter(decoded).value)
        assert letter.reason is decoded.reason
    return decoded


thoroughly = examples(max_examples=max(500, examples().max_examples))
any_settings = st.sampled_from(SETTINGS)
keys = st.none() | st.binary(max_size=20) | st.text(max_size=14).map(str.encode)
names = st.sampled_from(
    ["series", "time", "value", "meta", "id", "at", "data", "kw", "q", "wind", "data.kw", "x"]
)
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=14)
    | st.sampled_from(
        [1e308, -1e308, 5e-324, 10**400, 2**64, math.nan, math.inf, "2024-01-01", "\ud800", "a\x00"]
    )
)
structures = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(names | st.text(max_size=3), inner, max_size=6)
    ),
    max_leaves=12,
)
times_as_text = st.builds(
    lambda moment, form: moment.strftime(form),
    st.datetimes(min_value=datetime.fromisoformat("1000-01-01")),
    st.sampled_from(
        ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S.%fZ", "%Y%m%dT%H%M%S+0130"]
    ),
)
good_times = times_as_text | st.integers(-(10**10), 10**12) | st.floats(-1e10, 1e10)
good_numbers = st.floats(-1e6, 1e6) | st.integers(-(10**6), 10**6)
good_series = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")),
    min_size=1,
    max_size=LIMITS["series_name_length_max"],
)


@st.composite
def good_events(draw: st.DrawFn, fields: FieldSettings) -> tuple[dict[str, Any], bytes | None]:
    """A valid event for these fields, and its record's key."""
    event: dict[str, Any] = {}
    places = {fields.time: draw(good_times)}
    places |= {path: draw(good_numbers) for path in [*fields.targets.values(), *fields.features.values()]}
    key = None
    if fields.series == "@key":
        key = draw(good_series).encode()
    else:
        places[fields.series] = draw(good_series)
    for path in draw(st.permutations(list(places))):
        *outer, last = path.split(".")
        node = event
        for name in outer:
            node = node.setdefault(name, {})
        node[last] = places[path]
    return event, key


@thoroughly
@given(st.binary(max_size=300), keys, any_settings)
def test_any_bytes_have_a_result(raw: bytes, key: bytes | None, settings: Settings) -> None:
    check(record(raw, key=key), settings)


@thoroughly
@given(structures, keys, any_settings)
def test_any_json_has_a_result(value: Any, key: bytes | None, settings: Settings) -> None:
    check(record(json.dumps(value).encode("utf-8", "surrogatepass"), key=key), settings)
    check(record(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"), key=key), settings)


@thoroughly
@given(st.data())
def test_a_good_event_is_an_event(data: st.DataObject) -> None:
    settings = data.draw(any_settings)
    event, key = data.draw(good_events(settings.fields))
    assert isinstance(check(record(orjson.dumps(event), key=key), settings), Event)


@thoroughly
@given(st.data())
def test_a_good_event_with_a_member_replaced_is_judged_as_by_the_independent_reader(
    data: st.DataObject,
) -> None:
    settings = data.draw(any_settings)
    event, key = data.draw(good_events(settings.fields))
    node = event
    name = data.draw(st.sampled_from(list(node)))
    while isinstance(node[name], dict) and data.draw(st.booleans()):
        node = node[name]
        name = data.draw(st.sampled_from(list(node)))
    match data.draw(st.sampled_from(["replace", "remove", "add"])):
        case "replace":
            node[name] = data.draw(structures)
        case "remove":
            del node[name]
        case _:
            node[data.draw(names | st.text(max_size=3))] = data.draw(structures)
    check(record(json.dumps(event).encode(), key=key), settings)


@thoroughly
@given(st.data())
def test_a_good_event_with_bytes_changed_is_judged_as_by_the_independent_reader(data: st.DataObject) -> None:
    settings = data.draw(any_settings)
    event, key = data.draw(good_events(settings.fields))
    raw = bytearray(orjson.dumps(event))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1)) if raw else 0
        piece = data.draw(
            st.binary(max_size=2) | st.sampled_from([b'"', b"\\", b"{", b"]", b",", b"NaN", b"1e999"])
        )
        raw[at : at + data.draw(st.integers(0, 2))] = piece
    check(record(bytes(raw), key=key), settings)


@thoroughly
@given(st.data())
def test_a_record_is_judged_alone_whatever_stands_beside_it(data: st.DataObject) -> None:
    """Goal: no record makes another good or bad. Method: a batch gives what its records give one by one."""
    settings = data.draw(any_settings)
    texts = st.sampled_from([b"1],[2", b"[", b"]", b"{", b"}", b'"', b",", b""]) | st.binary(max_size=8)
    good = good_events(settings.fields).map(lambda pair: orjson.dumps(pair[0]))
    batch = records(data.draw(st.lists(texts | good, max_size=8)))
    decoder = Decoder(settings.fields, settings.limits)
    together = decoder.decode(batch)
    assert together == [one for item in batch for one in decoder.decode([item])]
    assert len(together) == len(batch)
