"""Predictions for the tests of the live page: the real learner over made-up series."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from service.ports import Record
from service.settings import Settings
from service.stream.shard import Shard

TOPIC = "onward.events"
START = 1_700_000_000
HOSTILE_NAME = "<img src=x onerror=alert(1)>"


def wave(row: int, phase: int) -> float:
    """A day of 24 rows with a jump at row 150 and a little that no model can know."""
    noise = math.sin(12.9898 * (row + 7 * phase)) * 43758.5453 % 1 - 0.5
    return 100 + 30 * math.sin(2 * math.pi * (row + phase) / 24) + 8 * noise + (60 if row >= 150 else 0)


def predictions(
    names: Sequence[str], rows: int, *, first_row: int = 0, horizons: Sequence[int] = (1,)
) -> Iterator[dict[str, Any]]:
    """Decoded prediction messages of these series, row by row, from a small model."""
    settings = Settings.model_validate(
        {"model": {"units": 4, "lags": 6, "season_max": 48, "horizons": tuple(horizons)}}
    )
    shard = Shard(topic=TOPIC, partition=0, settings=settings)
    for row in range(first_row + rows):
        records = [
            Record(
                TOPIC,
                0,
                row * len(names) + place,
                None,
                orjson.dumps({"series": name, "time": START + 3600 * row, "value": wave(row, place)}),
            )
            for place, name in enumerate(names)
        ]
        for message in shard.apply(records).predictions:
            if row >= first_row:
                yield orjson.loads(message.value)
