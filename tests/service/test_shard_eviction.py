"""The shard forgets series: which ones, in whose favour, and that nothing else is touched by it."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest

from service.ports import Applied, Eviction, Message, PartitionCheckpoint
from service.settings import Settings
from service.stream.shard import Shard
from tests.service.records import event_bytes, record, records, small_settings
from tests.service.test_shard import bodies, counts, make, states


def evicting(series_max: int = 2, **limits: object) -> Settings:
    return small_settings(limits={"series_max": series_max, "series_full": "evict"} | limits)


def lives(shard: Shard, names: str, first_offset: int = 0) -> Applied:
    """Apply an event a name, a minute apart, each of them a batch of its own."""
    found: list[Message] = []
    evicted: Counter[Eviction] = Counter()
    for offset, name in enumerate(names, start=first_offset):
        applied = shard.apply([record(event_bytes(name, 60 * offset, math.sin(offset)), offset=offset)])
        found += applied.predictions
        evicted.update(applied.evicted)
    return Applied(predictions=found, evicted=evicted)


def without_id(applied: Applied) -> list[dict[str, Any]]:
    return [body | {"id": None} for body in bodies(applied)]


@pytest.mark.parametrize(
    ("names", "kept"), [("abc", "bc"), ("abac", "ac"), ("abcab", "ab"), ("aabbcd", "cd"), ("abcabcc", "bc")]
)
def test_where_it_is_full_the_least_recent_series_makes_room(names: str, kept: str) -> None:
    shard = make(evicting())
    applied = lives(shard, names)
    assert len(applied.predictions) == len(names)
    saved = states(shard)
    assert {name for name, one in saved.items() if one.state} == set(kept)
    assert {name for name, one in saved.items() if not one.state} == set(names) - set(kept)
    assert shard.series_count == 2
    assert applied.evicted[Eviction.FULL] >= len(set(names)) - 2
    assert applied.evicted[Eviction.IDLE] == 0


def test_a_series_that_comes_back_begins_anew_and_its_prediction_says_so() -> None:
    shard = make(evicting())
    lives(shard, "aaaaabc")
    back, fresh = make(), make(evicting())
    again = lives(shard, "aaaa", first_offset=7)
    anew = lives(back, "aaaa", first_offset=7)
    assert without_id(again) == without_id(anew)
    assert bodies(again)[0]["targets"]["value"]["horizons"][0]["settled"] is None
    lives(fresh, "bcaaaa", first_offset=5)
    assert states(shard)["a"] == states(fresh)["a"]


def test_a_duplicate_is_no_use_and_a_rejected_event_evicts_nobody() -> None:
    shard = make(evicting())
    stream = [
        event_bytes("a", 0, 1),
        event_bytes("b", 60, 1),
        event_bytes("a", 0, 1),
        b"{",
        event_bytes("c", 1, 1),
    ]
    applied = shard.apply(records([*stream[:4], event_bytes("z" * 300, 70, 1)]))
    assert not applied.evicted
    assert shard.apply([record(stream[4], offset=5)]).evicted == {Eviction.FULL: 1}
    assert {name for name, one in states(shard).items() if one.state} == {"b", "c"}


@pytest.mark.parametrize("series_max", [1, 2, 3])
@pytest.mark.parametrize(
    "names", ["abcabc", "abca", "aabbccaabb", "abcdeabcde", "abacadabacad", "abcbadbcabda"]
)
def test_a_batch_may_evict_a_series_that_is_in_it_and_take_it_back(names: str, series_max: int) -> None:
    """Goal: however few series there is room for, a batch is its events one by one. Method: one batch against many."""
    one_by_one, at_once = make(evicting(series_max)), make(evicting(series_max))
    expected = lives(one_by_one, names)
    stream = [event_bytes(name, 60 * t, math.sin(t)) for t, name in enumerate(names)]
    applied = at_once.apply(records(stream))
    assert applied.predictions == expected.predictions
    assert applied.evicted == expected.evicted
    assert counts(applied) == (len(names), 0, 0, 0)
    assert states(at_once) == states(one_by_one)
    assert len({one.slot for one in at_once._series.values()}) == at_once.series_count
    assert at_once._models.bank.series_count <= series_max


def test_memory_stays_bounded_in_a_stream_of_ever_new_keys() -> None:
    shard = make(evicting(series_max=3))
    for batch in range(20):
        shard.apply(
            records([event_bytes(f"s{batch}-{n}", 60 * n, n) for n in range(50)], first_offset=50 * batch)
        )
        shard.snapshot_dirty()
        shard.mark_clean()
    assert (shard.series_count, shard.dirty_count, shard._models.bank.series_count) == (3, 0, 3)


def test_an_idle_series_is_forgotten_by_offsets_whatever_they_are_of() -> None:
    shard = make(small_settings(limits={"series_idle_events": 4}))
    stream: list[bytes | None] = [event_bytes("a", 0, 1), b"{", None, b"[]", event_bytes("b", 0, 1)]
    assert not shard.apply(records(stream)).evicted
    assert shard.apply([record(b"{", offset=5)]).evicted == {Eviction.IDLE: 1}
    assert set(shard._series) == {"b"}
    assert shard.apply([record(event_bytes("b", 60, 1), offset=9)]).evicted == {Eviction.IDLE: 1}
    assert {name: bool(one.state) for name, one in states(shard).items()} == {"a": False, "b": True}
    assert shard._series["b"].cadence.intervals == 0, "its own event came too late for it"


def test_idle_series_make_room_where_new_ones_are_rejected() -> None:
    shard = make(small_settings(limits={"series_max": 2, "series_idle_events": 5}))
    applied = shard.apply(records([event_bytes(name, t, 1) for t, name in enumerate("abcbbbbc")]))
    assert counts(applied) == (7, 1, 0, 0)
    assert set(shard._series) == {"b", "c"}


def test_a_lowered_limit_is_come_down_to_by_eviction() -> None:
    shard = make()
    shard.apply(records([event_bytes(name, 0, 1) for name in "abcd"]))
    smaller = make(evicting())
    smaller.restore(PartitionCheckpoint(4, states(shard)))
    assert smaller.series_count == 4
    applied = smaller.apply(records([event_bytes(name, 60, 1) for name in "be"], first_offset=4))
    assert applied.evicted == {Eviction.FULL: 3}
    assert set(smaller._series) == {"b", "e"}


def test_while_some_series_catch_up_the_others_are_left_as_they_are() -> None:
    """Goal: a state that stands in for a damaged one costs nobody else. Method: one of the series is of long before."""
    stream = records([event_bytes(name, 60 * t, t % 5) for t, name in enumerate("abacbdbabebb")])
    whole, before, resumed = make(evicting(3)), make(evicting(3)), make(evicting(3))
    whole.apply(stream[:10])
    before.apply(stream[:3])
    series = {name: one for name, one in states(whole).items() if one.state} | {"b": states(before)["b"]}
    resumed.restore(PartitionCheckpoint(2, series, behind=frozenset("b"), behind_until=10))
    whole.mark_clean()
    applied = resumed.apply([record(b"{", offset=2), *stream[3:8]])
    assert (counts(applied), dict(applied.evicted), resumed.catching_up) == ((2, 0, 0, 4), {}, True)
    rest = resumed.apply(stream[8:])
    assert rest.predictions[-2:] == whole.apply(stream[10:]).predictions
    assert (list(resumed._series), resumed.catching_up) == (list(whole._series), False)
    assert states(resumed)["b"] == states(whole)["b"]
