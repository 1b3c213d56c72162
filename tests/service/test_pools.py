"""Goal: series of a group learn in one pool, in the order of offsets, however the stream is cut and restarted, and no record is lost.

Method: streams of two groups through a shard whole, one by one, restored after each event, and beside a bank that is given the pools by hand.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import orjson
import pytest

from models.bank import Bank
from service.ports import Applied, Outcome, PartitionCheckpoint, Reason, Record, SeriesCheckpoint
from service.settings import Settings
from service.stream.pools import PREFIX, is_pool
from service.stream.shard import Shard
from service.tools.tables import Wanted
from tests.service.records import POOLED, SMALL_MODEL, TOPIC, cut, event_bytes, records, small_settings
from tests.service.test_replay import replay, write

SETTINGS = small_settings(**POOLED)
NAMES = "abcca"


def make(settings: Settings = SETTINGS) -> Shard:
    return Shard(topic=TOPIC, partition=0, settings=settings)


def stream(rows: int = 60) -> list[Record]:
    """Series a and b of one group and c of another, c twice as often; holes in time, nulls, poison and duplicates among them."""
    values: list[bytes | None] = [
        event_bytes(NAMES[n % 5], 60 * (n + 40 * (n >= 35)), None if n % 11 == 10 else (7 * n) % 13 + n / 50)
        for n in range(rows)
        if n % 9 != 8
    ]
    values[7] = b"{}"
    values[12] = values[11]
    return records(values)


def saved(shard: Shard) -> dict[str, SeriesCheckpoint]:
    shard._dirty = set(shard._series) | {PREFIX + group for group in shard._pools._slots}
    return {one.series: one for one in shard.snapshot_dirty()}


def told(applied: Applied) -> list[bytes]:
    return [message.value for message in applied.predictions]


def test_how_the_stream_is_cut_and_restarted_changes_no_bit() -> None:
    whole, events = make(), stream()
    expected = told(whole.apply(events))
    assert len(expected) > 40
    rng = random.Random(1)
    for restarted in (False, True):
        shard, found = make(), []
        for batch in cut(events, [rng.randint(1, 6) for _ in range(12)]):
            found += told(shard.apply(batch))
            if restarted:
                again = make()
                again.restore(PartitionCheckpoint(shard.next_offset, saved(shard)))
                shard = again
        assert found == expected
        assert saved(shard) == saved(whole)
    assert {name for name in saved(whole) if is_pool(name)} == {PREFIX, PREFIX + "c"}


def test_each_event_is_what_a_bank_makes_of_it_with_the_pools_of_the_groups() -> None:
    shard, bank = make(), Bank(SETTINGS.specification())
    slots = {name: bank.admit() for name in ("a", "b", "c", "pool", "pool of c")}
    rng = np.random.default_rng(2)
    for offset in range(60):
        name, value, time = NAMES[offset % 5], float(rng.normal()), 60.0 * (offset // 5)
        if name == "c" and offset % 5 == 3:
            time += 30.0
        if name == "a" and offset % 5 == 4:
            time += 30.0
        event = records([event_bytes(name, time, value)], first_offset=offset)
        body = orjson.loads(told(shard.apply(event))[0])
        pool = slots["pool of c" if name == "c" else "pool"]
        expected = bank.step(
            np.array([slots[name]]), np.array([time]), np.array([[value]]), np.empty((1, 0)), np.array([pool])
        )
        of_horizons = [one["prediction"] for one in body["targets"]["value"]["horizons"]]
        assert of_horizons == expected.prediction[0, 0].tolist()


def test_a_pool_outlasts_its_series_and_a_new_one_begins_with_what_it_knows() -> None:
    few = small_settings(**(POOLED | {"limits": {"series_max": 1, "series_full": "evict"}}))
    shard = make(few)
    shard.apply(records([event_bytes("a", 60 * n, (7 * n) % 13) for n in range(40)]))
    pool = shard._pools.saved(PREFIX)[0]
    weights = shard._models.bank.snapshot(pool)["expert.linear_pooled/weights"].copy()
    assert weights.any()
    shard.apply(records([event_bytes("b", 60 * n, (7 * n) % 13) for n in range(40, 42)], first_offset=40))
    assert list(shard._series) == ["b"]
    now = shard._models.bank.snapshot(shard._series["b"].slot)["expert.linear_pooled/weights"]
    np.testing.assert_array_equal(now, weights)


def test_a_group_beyond_the_limit_goes_to_the_dead_letters_and_series_of_the_others_go_on() -> None:
    settings = small_settings(**(POOLED | {"fields": {"group": "^(.)"}, "limits": {"pools_max": 2}}))
    shard = make(settings)
    names = ["a1", "b1", "c1", "a2", "b2", "c1"]
    applied = shard.apply(records([event_bytes(name, 60 * n, n) for n, name in enumerate(names)]))
    assert applied.outcomes[Outcome.LEARNED] == 4
    assert dict(applied.reasons) == {Reason.POOL_LIMIT: 2}
    detail = orjson.loads(applied.dead_letters[0].value)["detail"]
    assert detail == "the partition holds 2 pools already (limits.pools_max), and none of group 'c'"
    assert shard.counts() == (4, 0, 0, 2)


def test_a_series_that_is_behind_learns_by_itself_what_its_pool_has_had() -> None:
    shard, events = make(), stream()
    shard.apply(events[:20])
    early = saved(shard)
    shard.apply(events[20:])
    late = saved(shard)
    again = make()
    behind = {name: early[name] if name == "b" else one for name, one in late.items()}
    again.restore(PartitionCheckpoint(20, behind, behind=frozenset("b"), behind_until=len(events)))
    applied = again.apply(events[20:])
    assert applied.outcomes[Outcome.LEARNED] > 0
    now = saved(again)
    assert {name: one for name, one in now.items() if name != "b"} == {
        name: one for name, one in late.items() if name != "b"
    }
    assert now["b"].last_offset == late["b"].last_offset


def test_without_pooled_experts_there_is_no_pool() -> None:
    shard = make(small_settings())
    shard.apply(stream())
    assert not [name for name in saved(shard) if is_pool(name)]
    assert shard.counts().pools == 0


def test_in_a_duel_both_makes_have_pools() -> None:
    groups = {
        "model": SMALL_MODEL | {"experts": ["last_value", "linear_pooled"]},
        "challenger": {"experts": ["last_value", "recurrent_pooled"]},
    }
    whole, single = make(small_settings(**groups)), make(small_settings(**groups))
    expected = told(whole.apply(stream()))
    assert [one for event in stream() for one in told(single.apply([event]))] == expected
    assert saved(single) == saved(whole)
    pool = whole._pools.saved(PREFIX)[0]
    learned = [
        model.bank.snapshot(pool)[f"expert.{name}/weights"].any()
        for model, name in zip(whole._models._both, ("linear_pooled", "recurrent_pooled"), strict=True)  # type: ignore[attr-defined]
    ]
    assert learned == [True, True]


def test_a_replay_has_the_pools_of_the_settings(tmp_path: Path) -> None:
    rows = [(name, 60 * n, (5 * n + len(name)) % 9) for n in range(30) for name in ("a-1", "a-2", "b-1")]
    columns = [list(column) for column in zip(*rows, strict=True)]
    table = write(tmp_path / "many.csv", *zip(("series", "time", "value"), columns, strict=True))
    settings = small_settings(**(POOLED | {"fields": {"group": "^(.)-"}}))
    options = {
        "settings": settings,
        "profile": settings.model.profile,
        "horizons": settings.model.horizons,
        "wanted": Wanted(series="series"),
    }
    found, _, _ = replay(tmp_path, table, **options)
    shard = make(settings)
    applied = shard.apply(records([event_bytes(name, time, value) for name, time, value in rows]))
    for name in ("a-1", "a-2", "b-1"):
        bodies = [
            orjson.loads(message.value) for message in applied.predictions if message.key == name.encode()
        ]
        assert len(bodies) == 30
        for place, horizon in enumerate(settings.model.horizons):
            own = [
                row["prediction"] for row in found if (row["series"], row["horizon"]) == (name, str(horizon))
            ]
            published = [body["targets"]["value"]["horizons"][place]["prediction"] for body in bodies]
            assert [float(one) for one in own] == published


@pytest.mark.parametrize(
    ("group", "said"),
    [
        ("(", "no regular expression"),
        ("^a-", "0 groups"),
        ("(a)(b)", "2 groups in parentheses, and needs one"),
    ],
)
def test_a_pattern_that_names_no_group_is_refused(group: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        small_settings(**(POOLED | {"fields": {"group": group}}))


def test_a_pattern_without_a_pooled_expert_is_refused() -> None:
    with pytest.raises(ValueError, match=r"fields\.group is of no use without a pooled expert"):
        small_settings(fields={"group": "^(.)"})
