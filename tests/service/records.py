"""Records for the tests of the stream: events as a producer would write them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from service.ports import Record
from service.settings import Settings

TOPIC = "events"

# Everything of the core takes part, and a step is quick.
SMALL_MODEL: dict[str, Any] = {"units": 3, "lags": 3, "season_max": 8, "horizons": (1, 2)}

# Groups of a model that any advantage puts into the shadow, and brings back, within a few events.
EAGER_DUEL: dict[str, dict[str, Any]] = {
    "model": SMALL_MODEL | {"experts": ["last_value"]},
    "challenger": {"experts": ["recurrent"], "margin": 0.0, "alpha": 0.99, "window": 10},
}


# Two pools of the three series that tests have, a and b in one and c in the other.
POOLED: dict[str, dict[str, Any]] = {
    "model": SMALL_MODEL | {"experts": ["last_value", "linear_pooled", "recurrent_pooled"]},
    "fields": {"group": "(c)"},
}


def small_settings(**groups: dict[str, Any]) -> Settings:
    """Settings with a small model; `groups` as in the file."""
    return Settings.model_validate({"model": SMALL_MODEL} | groups)


def event_bytes(series: str, time: float | str, value: object, **more: object) -> bytes:
    """One event with the default names of the fields."""
    return orjson.dumps({"series": series, "time": time, "value": value} | more)


def record(value: bytes | None, *, offset: int = 0, key: bytes | None = None, partition: int = 0) -> Record:
    return Record(TOPIC, partition, offset, key, value)


def records(values: Iterable[bytes | None], *, first_offset: int = 0) -> list[Record]:
    """Records of one partition with consecutive offsets."""
    return [record(value, offset=offset) for offset, value in enumerate(values, start=first_offset)]


def cut(items: Sequence[Record], sizes: Iterable[int]) -> list[list[Record]]:
    """Cut a stream into batches of these sizes, the last one taking what is left."""
    batches, at = [], 0
    for size in sizes:
        batches.append(list(items[at : at + size]))
        at += size
    batches.append(list(items[at:]))
    return [batch for batch in batches if batch]
