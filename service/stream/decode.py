"""Records to events: each record becomes an Event or a Rejection with a reason, and nothing raises on data.

Rules:

- Size and depth are checked before parsing, so no message can cost more than its limits allow.
- A record is parsed on its own. Validating a whole batch as one array is no faster here (0.5 us a record against
  0.3 us of orjson alone, where a step of the model costs tens), and two bad records such as `1],[` and `2` could
  make a valid whole.
- Types are strict: a number in quotes, a boolean as a number or a number as a name are refused.
- A null target and a missing feature are no fault, unless the policy says so: they become NaN, which JSON itself cannot be.
- What is missing is named before what is unknown, and that before what is wrong.
- Of a name that stands twice in one object the last counts, as JSON parsers have it.
- Details are deterministic: a record that is read again after a crash gives the same dead letter.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Sequence
from typing import Any, Union, cast

import orjson

from service.ports import Event, Reason, Record, Rejection
from service.settings import SERIES_FROM_KEY, FieldSettings, LimitSettings, PolicySettings
from service.stream.times import parse_time

Fault = tuple[Reason, str]
Tree = dict[str, Union[int, "Tree"]]
"""The fields that are wanted of an object: their place in the list of collected values, or what is inside them."""

_ABSENT = object()
_TIME_PLACE = 0
_SERIES_PLACE = 1
_FIRST_NUMBER_PLACE = 2

# A string with its escapes (closed or not), or a bracket. Possessive: linear in the text whatever it is.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]|[\]}]', re.DOTALL)


class Decoder:
    """Turns records into events, by the user's names of the fields and within the limits."""

    def __init__(
        self, fields: FieldSettings, limits: LimitSettings, policy: PolicySettings | None = None
    ) -> None:
        self._fields = fields
        self._limits = limits
        self._series_from_key = fields.series == SERIES_FROM_KEY
        self._numbers = [*fields.targets.values(), *fields.features.values()]
        self._n_targets = len(fields.targets)
        policy = policy or PolicySettings()
        self._null_targets = policy.null_target == "predict"
        self._no_features = policy.missing_feature == "impute"
        self._forbid_extra = fields.extra == "forbid"
        self._tree: Tree = {}
        self._plant(fields.time, _TIME_PLACE)
        if not self._series_from_key:
            self._plant(fields.series, _SERIES_PLACE)
        for place, path in enumerate(self._numbers, start=_FIRST_NUMBER_PLACE):
            self._plant(path, place)

    def _plant(self, path: str, place: int) -> None:
        *outer, last = path.split(".")
        node = self._tree
        for name in outer:
            node = cast("Tree", node.setdefault(name, {}))  # the settings refuse a path inside a value
        node[last] = place

    def decode(self, records: Sequence[Record]) -> list[Event | Rejection]:
        """Return what each record is, in order."""
        decoded: list[Event | Rejection] = []
        for record in records:
            outcome = self._decode(record)
            decoded.append(outcome if isinstance(outcome, Event) else Rejection(record, *outcome))
        return decoded

    def _decode(self, record: Record) -> Event | Fault:
        found = self._parse(record)
        if isinstance(found, tuple):
            return found
        values: list[Any] = [None] * (_FIRST_NUMBER_PLACE + len(self._numbers))
        if (fault := self._collect(found, self._tree, values, "")) is not None:
            return fault
        series = self._series(record, values[_SERIES_PLACE])
        if not isinstance(series, str):
            return series
        numbers = values[_FIRST_NUMBER_PLACE:]
        if (fault := self._check_numbers(numbers)) is not None:
            return fault
        time = values[_TIME_PLACE]
        if type(time) is not str and type(time) is not int and type(time) is not float:
            return Reason.WRONG_TYPE, f"{self._fields.time} should be text or a number, not {_kind(time)}"
        try:
            seconds = parse_time(time, self._fields.time_unit)
        except ValueError as error:
            return Reason.BAD_TIME, f"{self._fields.time}: {error}"
        missing = numbers.count(None)
        if missing:
            numbers = [math.nan if number is None else number for number in numbers]
        floats = tuple(map(float, numbers))
        n = self._n_targets
        return Event(
            record.partition, record.offset, series, seconds, str(time), floats[:n], floats[n:], missing
        )

    def _parse(self, record: Record) -> dict[str, Any] | Fault:
        raw, limits = record.value, self._limits
        if not raw:
            return Reason.EMPTY, "the record has no value"
        size = len(raw) + len(record.key or b"")
        if size > limits.record_bytes_max:
            return Reason.TOO_LARGE, f"{size} bytes of key and value; the limit is {limits.record_bytes_max}"
        # Counting brackets bounds the depth from above and is ten times cheaper than telling it.
        brackets = raw.count(b"{") + raw.count(b"[")
        if brackets > limits.depth_max and _deeper_than(raw, limits.depth_max):
            return Reason.TOO_DEEP, f"objects and arrays are nested deeper than {limits.depth_max} levels"
        try:
            found = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            return _unparsed(raw, error)
        if type(found) is not dict:
            return Reason.NOT_AN_OBJECT, f"an event is a JSON object, not {_kind(found)}"
        return found

    def _collect(self, node: dict[str, Any], tree: Tree, values: list[Any], above: str) -> Fault | None:
        """Take the wanted members of an object into their places; of those that may be missing the place stays None."""
        absent = 0
        for name, place in tree.items():
            value = node.get(name, _ABSENT)
            if value is _ABSENT or value is None:
                if not self._may_be_missing(place, null=value is None):
                    return (
                        Reason.MISSING_FIELD,
                        f"{above}{name} is {'missing' if value is _ABSENT else 'null'}",
                    )
                absent += value is _ABSENT
            elif isinstance(place, int):
                values[place] = value
            elif type(value) is not dict:
                return Reason.WRONG_TYPE, f"{above}{name} should be an object, not {_kind(value)}"
            elif (fault := self._collect(value, place, values, f"{above}{name}.")) is not None:
                return fault
        if self._forbid_extra and len(node) != len(tree) - absent:
            unknown = next(name for name in node if name not in tree)
            return Reason.UNKNOWN_FIELD, (
                f"{above}{_show(unknown)} is not among the fields of the settings; "
                "name it there, or set fields.extra to ignore"
            )
        return None

    def _may_be_missing(self, place: int | Tree, *, null: bool) -> bool:
        """Say whether a field may be null, or not be there, or whether all fields inside an object may."""
        if not isinstance(place, int):
            return all(self._may_be_missing(inside, null=False) for inside in place.values())
        if place >= _FIRST_NUMBER_PLACE + self._n_targets:
            return self._no_features
        return place >= _FIRST_NUMBER_PLACE and null and self._null_targets

    def _check_numbers(self, numbers: list[Any]) -> Fault | None:
        limit = self._limits.value_abs_max
        for path, value in zip(self._numbers, numbers, strict=True):
            if type(value) is not float and type(value) is not int:
                if value is None:
                    continue
                return Reason.WRONG_TYPE, f"{path} should be a number, not {_kind(value)}"
            if not -limit <= value <= limit:
                return Reason.OUT_OF_RANGE, f"{path} is {value!r}; the limit is {limit:g} either way"
        return None

    def _series(self, record: Record, value: object) -> str | Fault:
        """Return the series' name, from the record's key or from this value of the field."""
        if self._series_from_key:
            if record.key is None:
                return Reason.MISSING_FIELD, "the record has no key, and the key names the series"
            try:
                value = record.key.decode("utf-8")
            except UnicodeDecodeError:
                return Reason.BAD_SERIES, "the record's key is not UTF-8 text"
        if not isinstance(value, str):
            return Reason.WRONG_TYPE, f"{self._fields.series} should be text, not {_kind(value)}"
        length, length_max = len(value), self._limits.series_name_length_max
        if not value:
            return Reason.BAD_SERIES, "the series' name is empty"
        if length > length_max:
            return Reason.BAD_SERIES, f"the series' name has {length} characters; the limit is {length_max}"
        # isprintable is quick and stricter than needed: joiners and unassigned characters may stand in a name.
        if not value.isprintable() and any(unicodedata.category(c) in {"Cc", "Zl", "Zp"} for c in value):
            return Reason.BAD_SERIES, f"the series' name {_show(value)} has control characters"
        return value


def _deeper_than(raw: bytes, depth_max: int) -> bool:
    """Say whether brackets outside of strings nest deeper than that, in a text that may not be JSON at all."""
    depth = 0
    for token in _TOKEN.finditer(raw):
        first = raw[token.start()]
        if first in b"[{":
            depth += 1
            if depth > depth_max:
                return True
        elif first in b"]}":
            depth -= 1
    return False


def _unparsed(raw: bytes, error: orjson.JSONDecodeError) -> Fault:
    """Say why a text is not JSON: NaN and infinities deserve a reason of their own, for they are a producer's bug."""
    if not raw.strip():
        return Reason.EMPTY, "the record's value is blank"
    found_not_finite = False

    def note(text: str) -> float:
        nonlocal found_not_finite
        value = float(text)
        found_not_finite |= not math.isfinite(value)
        return value

    try:
        # Python's own parser reads them; the depth is within the limit, and no digits become a huge integer.
        json.loads(raw.decode("utf-8"), parse_constant=note, parse_float=note, parse_int=note)
    except ValueError:
        return Reason.NOT_JSON, f"the value is not JSON: {error.msg} at byte {error.pos}"
    if found_not_finite:
        return Reason.NOT_FINITE, "a number is NaN or infinite"
    return Reason.NOT_JSON, f"the value is not JSON: {error.msg} at byte {error.pos}"


def _kind(value: object) -> str:
    """Name a JSON value for people."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text {_show(value)}"
    if isinstance(value, int | float):
        return f"the number {value!r}"
    return "an object" if isinstance(value, dict) else "an array"


def _show(text: str, length_max: int = 60) -> str:
    return repr(text) if len(text) <= length_max else f"{text[:length_max]!r}..."
