"""A stream of events with everything bad in it, and what a single shard makes of it when nothing goes wrong."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from service.ports import Outcome, Reason, Record
from service.settings import Settings
from service.stream.shard import Shard

SERIES, PARTITIONS = 60, 3
RECORD_BYTES_MAX = 2048
WARM_UP = 3_000
"""Events after which every series, and every group, has been seen, so that one more is one too many."""
GROUP, POOLS = r"(\d)$", 10
"""Series whose names end alike share what a pooled expert learns."""

Bad = Callable[[str, int], tuple[bytes | None, bytes | None]]


def _event(series: object, time: object, value: object, **more: object) -> bytes:
    return json.dumps({"series": series, "time": time, "value": value, **more}).encode()


# What each reason looks like, of a series at a time: the record's key and value.
POISON: dict[Reason, Bad] = {
    Reason.EMPTY: lambda _s, _t: (None, None),
    Reason.TOO_LARGE: lambda s, t: (s.encode(), _event(s, t, 1.0, pad="x" * RECORD_BYTES_MAX)),
    Reason.TOO_DEEP: lambda s, _t: (s.encode(), b"[" * 500 + b"]" * 500),
    Reason.NOT_JSON: lambda _s, _t: (None, b"\xff\x00{"),
    Reason.NOT_AN_OBJECT: lambda _s, _t: (b"", b"[1, 2, 3]"),
    Reason.MISSING_FIELD: lambda s, t: (s.encode(), json.dumps({"series": s, "time": t}).encode()),
    Reason.UNKNOWN_FIELD: lambda s, t: (s.encode(), _event(s, t, 1.0, surprise=1)),
    Reason.WRONG_TYPE: lambda s, t: (s.encode(), _event(s, t, "1.0")),
    Reason.NOT_FINITE: lambda s, t: (s.encode(), _event(s, t, 0).replace(b": 0}", b": NaN}")),
    Reason.OUT_OF_RANGE: lambda s, t: (s.encode(), _event(s, t, 1e308)),
    Reason.BAD_TIME: lambda s, _t: (s.encode(), _event(s, "the day after tomorrow", 1.0)),
    Reason.BAD_SERIES: lambda s, t: (s.encode(), _event("", t, 1.0)),
    Reason.LATE: lambda s, t: (s.encode(), _event(s, t - 1_000_000, 1.0)),
    Reason.SERIES_LIMIT: lambda s, t: (s.encode(), _event(f"one too many {t}", t, 1.0)),
    Reason.POOL_LIMIT: lambda s, t: (s.encode(), _event("of a group of its own", t, 1.0)),
}


def stream(count: int, seed: int, *, bad: bool = True) -> Iterator[tuple[int, bytes | None, bytes | None]]:
    """Yield partition, key and value: waves with noise, one in a hundred bad in turn by every reason, some twice."""
    rng = random.Random(seed)
    reasons = [Reason(reason) for reason in Reason]
    last: dict[int, bytes] = {}
    for number in range(count):
        series = number if number < SERIES else rng.randrange(SERIES)
        partition, name, time = series % PARTITIONS, f"series-{series}", 1_700_000_000 + number
        if bad and number % 100 == 50 and number > WARM_UP - 2_000:
            reason = reasons[number // 100 % len(reasons)]
            if reason not in {Reason.SERIES_LIMIT, Reason.POOL_LIMIT} or number > WARM_UP:
                yield partition, *POISON[reason](name, time)
                continue
        if bad and number % 170 == 20 and series in last:
            yield partition, name.encode(), last[series]
            continue
        value = (series % 7) * rng.random() + number % (10 + series)
        last[series] = _event(name, time, value)
        yield partition, name.encode(), last[series]


@dataclass
class Expected:
    """What a single shard a partition makes of a log."""

    states: dict[str, bytes] = field(default_factory=dict)
    predictions: dict[str, bytes] = field(default_factory=dict)
    dead_letters: dict[str, bytes] = field(default_factory=dict)
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    reasons: Counter[Reason] = field(default_factory=Counter)


def fold(logs: dict[int, list[Record]], settings: Settings) -> Expected:
    """Learn a log in one go."""
    expected = Expected()
    for partition, records in logs.items():
        shard = Shard(topic=settings.topics.events, partition=partition, settings=settings)
        for at in range(0, len(records), 1000):
            applied = shard.apply(records[at : at + 1000])
            expected.predictions |= {message_id(one.value): one.value for one in applied.predictions}
            expected.dead_letters |= {message_id(one.value): one.value for one in applied.dead_letters}
            expected.outcomes.update(applied.outcomes)
            expected.reasons.update(applied.reasons)
        expected.states |= {f"{partition}/{one.series}": one.state for one in shard.snapshot_dirty()}
    return expected


def message_id(value: bytes) -> str:
    """Return what identifies a prediction or a dead letter: topic, partition and offset of its event."""
    body = json.loads(value)
    found: str = body["id"] if "id" in body else f"{body['topic']}-{body['partition']}-{body['offset']}"
    return found
