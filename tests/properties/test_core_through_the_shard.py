"""The core as the shard uses it, with the full models: wide batches, and long streams at the ends of what is accepted."""

from __future__ import annotations

import random
from collections.abc import Callable

import orjson
import pytest

from service.ports import Message, Record
from service.settings import Settings
from service.stream.shard import Shard
from tests.service.records import TOPIC, cut, records

FIELDS = {"targets": ["x", "y"], "features": ["f"]}
EXTREMES = [0.0, 1e15, -1e15, 5e-324, -5e-324, 1e-300, 1.0, -1.0, 1e-15, 3.3e7]


def run(settings: Settings, stream: list[Record], sizes: list[int]) -> tuple[list[Message], dict[str, bytes]]:
    shard = Shard(topic=TOPIC, partition=0, settings=settings)
    predictions = [message for batch in cut(stream, sizes) for message in shard.apply(batch).predictions]
    return predictions, {saved.series: saved.state for saved in shard.snapshot_dirty()}


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("profile", ["accurate", "balanced", "fast"])
def test_a_batch_of_many_series_changes_no_bit(profile: str, joint: bool) -> None:
    """Goal: no kernel depends on how many rows it is given. Method: one row, 100 rows and 37 at a time."""
    settings = Settings.model_validate(
        {"model": {"profile": profile, "joint": joint, "horizons": [1, 3]}, "fields": FIELDS}
    )
    rng = random.Random(1)
    stream = records(
        orjson.dumps(
            {
                "series": f"s{n % 100}",
                "time": 60 * n,
                "x": rng.gauss(0, 1),
                "y": 1e6 * rng.random(),
                "f": rng.gauss(0, 3),
            }
        )
        for n in range(600)
    )
    one_by_one = run(settings, stream, [1] * len(stream))
    assert run(settings, stream, []) == one_by_one
    assert run(settings, stream, [37] * 20) == one_by_one


@pytest.mark.parametrize("seed", range(4))
def test_no_stream_of_accepted_values_leads_to_what_is_not_finite(seed: int) -> None:
    """Goal: no producer can stop a worker. Method: levels, sizes and times that jump between the limits."""
    policy = {"late": "learn", "duplicate": "learn", "gap": "reset" if seed % 2 else "ignore"}
    settings = Settings.model_validate(
        {"model": {"horizons": [1, 3], "joint": seed > 1}, "fields": FIELDS, "policy": policy}
    )
    rng = random.Random(seed)
    kinds: dict[str, Callable[[], float]] = {
        "extreme": lambda: rng.choice(EXTREMES),
        "constant": lambda: 7.0,
        "subnormal": lambda: 1e-310 * rng.random(),
        "large": lambda: rng.uniform(-1e15, 1e15),
        "usual": lambda: rng.gauss(0, 1),
    }
    values, kind = [], kinds["usual"]
    for n in range(800):
        if n % 100 == 0:
            kind = kinds[rng.choice(list(kinds))]
        time = rng.uniform(-6e10, 2.5e11) if seed == 0 and n % 2 else 60 * n
        values.append(
            orjson.dumps(
                {"series": f"s{rng.randrange(2)}", "time": time, "x": kind(), "y": kind(), "f": kind()}
            )
        )
    predictions, _ = run(settings, records(values), [400])
    assert len(predictions) == len(values)
    for message in predictions:
        assert b"null" not in message.value.replace(b'"settled":null', b""), "not finite, as orjson writes it"
