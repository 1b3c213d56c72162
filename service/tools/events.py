"""Rows of tables as events of the wire: by the user's own names of the fields, several tables side by side."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from service.ports import Message
from service.settings import SERIES_FROM_KEY, FieldSettings
from service.stream.times import parse_time
from service.tools.problem import WRONG_USAGE, CommandError
from service.tools.tables import Table, Wanted


@dataclass(frozen=True, slots=True)
class Play:
    """An event that is to be sent, and when: in seconds of event time since the first one of its table."""

    elapsed: float
    series: str
    time: str
    values: tuple[float, ...]
    features: tuple[float, ...]


def wanted_by(fields: FieldSettings, wanted: Wanted) -> Wanted:
    """Return which columns to look for: where nothing was named, those that are called as the fields are."""
    # Of one target any column may be the source, and each column of numbers is a series.
    targets = tuple(fields.targets) if len(fields.targets) > 1 else ()
    return replace(
        wanted, targets=wanted.targets or targets, features=wanted.features or tuple(fields.features)
    )


def plays(table: Table, fields: FieldSettings) -> Iterator[Play]:
    """Yield a table's events. Of several columns for one target each is a series of its own.

    Raises:
        CommandError: the table has not as many columns as the events have fields.
    """
    columns, n_targets = table.columns, len(fields.targets)
    if n_targets > 1 and len(columns.targets) != n_targets:
        raise _unfitting(table, "targets", columns.targets, fields.targets)
    if len(columns.features) != len(fields.features):
        raise _unfitting(table, "features", columns.features, fields.features)
    apart = n_targets == 1 and len(columns.targets) > 1
    first: float | None = None
    elapsed = 0.0
    for row in table.rows():
        first = row.time if first is None else first
        # A time that goes backwards is sent at once: the order in the file is the order of the events.
        elapsed = max(elapsed, row.time - first)
        base = row.series or table.source.name
        if apart:
            for name, value in zip(columns.targets, row.values, strict=True):
                yield Play(elapsed, f"{base}/{name}", row.time_text, (value,), row.features)
        else:
            yield Play(elapsed, base, row.time_text, row.values, row.features)


def side_by_side(streams: Sequence[Iterator[Play]], *, by_time: bool) -> Iterator[Play]:
    """Merge the events of several tables: by the time since the first one of each, or in turns."""
    if by_time:
        yield from heapq.merge(*streams, key=lambda play: play.elapsed)
        return
    for turn in itertools.zip_longest(*streams):
        yield from (play for play in turn if play is not None)


class EventEncoder:
    """Turns an event into a message as the worker expects it, keyed by its series."""

    def __init__(self, fields: FieldSettings) -> None:
        self._fields = fields

    def encode(self, play: Play) -> Message:
        """Return the message; a value that is NaN goes as null."""
        fields = self._fields
        body: dict[str, Any] = {}
        if fields.series != SERIES_FROM_KEY:
            _put(body, fields.series, play.series)
        _put(body, fields.time, _time(play.time))
        for path, value in zip(fields.targets.values(), play.values, strict=True):
            _put(body, path, value)
        for path, value in zip(fields.features.values(), play.features, strict=True):
            _put(body, path, value)
        return Message(key=play.series.encode(), value=orjson.dumps(body))


def _time(text: str) -> str | int | float:
    """Return a time as the wire has it: ISO-8601 text as it is, digits as a number."""
    try:
        parse_time(text)
    except ValueError:
        return int(text) if text.strip().lstrip("-").isdigit() else float(text)
    return text


def _put(body: dict[str, Any], path: str, value: object) -> None:
    *outer, last = path.split(".")
    for name in outer:
        body = body.setdefault(name, {})
    body[last] = value


def _unfitting(table: Table, what: str, columns: Sequence[str], fields: Mapping[str, str]) -> CommandError:
    return CommandError(
        f"The settings name {len(fields)} {what} ({', '.join(fields)}), but {table.source.label} has "
        f"{len(columns)} columns for them ({', '.join(columns) or 'none'}). Name the columns in the same order with "
        f"--{what[:-1]}-columns, or correct fields.{what}.",
        exit_code=WRONG_USAGE,
    )
