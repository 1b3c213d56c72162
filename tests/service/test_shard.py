"""The shard: what becomes of each record, and that the policies do what their settings say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import orjson
import pytest

from models.bank import Bank
from models.snapshot import SnapshotError, dump, load
from service.ports import (
    Applied,
    Outcome,
    PartitionCheckpoint,
    Reason,
    Record,
    SeriesCheckpoint,
)
from service.settings import Settings
from service.stream.cadence import INTERVALS_MIN
from service.stream.shard import Shard
from tests.service.records import TOPIC, event_bytes, record, records, small_settings
from tests.service.test_decode import POISON


def make(settings: Settings | None = None) -> Shard:
    return Shard(topic=TOPIC, partition=0, settings=settings or small_settings())


def states(shard: Shard) -> dict[str, SeriesCheckpoint]:
    """Everything that a shard that was never saved has learned."""
    return {saved.series: saved for saved in shard.snapshot_dirty()}


def bodies(applied: Applied) -> list[dict[str, Any]]:
    return [orjson.loads(message.value) for message in applied.predictions]


def counts(applied: Applied) -> tuple[int, int, int, int]:
    found = applied.outcomes
    return found[Outcome.LEARNED], found[Outcome.REJECTED], found[Outcome.DUPLICATE], applied.replayed


def wave(n: int, first: int = 0, series: str = "s") -> list[bytes]:
    return [event_bytes(series, 60 * t, math.sin(t)) for t in range(first, first + n)]


def test_every_record_ends_in_just_one_way() -> None:
    shard = make()
    values: list[bytes | None] = [*wave(3), None, event_bytes("s", 60, 5), event_bytes("s", 120, 5), b"[]"]
    applied = shard.apply(records(values))
    assert counts(applied) == (3, 3, 1, 0)
    assert dict(applied.reasons) == {Reason.EMPTY: 1, Reason.LATE: 1, Reason.NOT_AN_OBJECT: 1}
    assert [orjson.loads(m.value)["offset"] for m in applied.dead_letters] == [3, 4, 6]
    assert [m.headers for m in applied.dead_letters] == [
        (("reason", b"empty"),),
        (("reason", b"late"),),
        (("reason", b"not_an_object"),),
    ]
    assert (shard.next_offset, shard.series_count, shard.dirty_count) == (7, 1, 1)
    assert applied.event_time_last == 120.0


def test_an_empty_batch_changes_nothing() -> None:
    shard = make()
    applied = shard.apply([])
    assert counts(applied) == (0, 0, 0, 0)
    assert applied.event_time_last is None
    assert shard.next_offset == 0


def test_predictions_come_in_the_order_of_offsets_and_rounds_hold_a_series_once() -> None:
    shard = make()
    names = ["a", "a", "b", "a", "c", "b"]
    applied = shard.apply(records([event_bytes(name, t, t) for t, name in enumerate(names)]))
    assert [body["id"] for body in bodies(applied)] == [f"{TOPIC}-0-{offset}" for offset in range(6)]
    assert [body["series"] for body in bodies(applied)] == names
    assert [len(result.prediction) for result in applied.results] == [3, 2, 1]


def test_each_series_is_what_a_bank_of_its_own_makes_of_it() -> None:
    """Goal: the shard adds nothing to the core. Method: step a bank by hand, one series, one event at a time."""
    settings = small_settings(fields={"targets": ["x", "y"], "features": ["f"]})
    specification = settings.specification()
    events = [("a", 1.0), ("b", 50.0), ("a", 2.0), ("a", 4.0), ("b", 49.0), ("c", 0.0), ("a", 3.0)]
    values = [
        orjson.dumps({"series": name, "time": t, "x": level, "y": -level, "f": t % 3})
        for t, (name, level) in enumerate(events)
    ]
    shard = make(settings)
    published = bodies(shard.apply(records(values)))
    for series in "abc":
        bank = Bank(specification)
        slots = np.array([bank.admit()])
        for t, (name, level) in enumerate(events):
            if name != series:
                continue
            result = bank.step(
                slots, np.array([float(t)]), np.array([[level, -level]]), np.array([[float(t % 3)]])
            )
            for k, target in enumerate(("x", "y")):
                said = published[t]["targets"][target]
                assert [h["prediction"] for h in said["horizons"]] == result.prediction[0, k].tolist()
                assert said["anomaly_score"] == result.anomaly_score[0, k]
                assert said["anomaly_log_score"] == result.anomaly_log_score[0, k]
        saved = load(states(shard)[series].state, version=specification.version())
        for name_, field in bank.snapshot(int(slots[0])).items():
            assert saved[name_].tobytes() == field.tobytes()


def test_poison_leaves_every_state_as_without_it() -> None:
    """Method: the good events keep their offsets, the poison stands between them; states are compared as bytes."""
    good = wave(len(POISON) + 1)
    stream: list[bytes | None] = []
    for (_, bad), event in zip(POISON, good, strict=False):
        stream += [event, bad]
    poisoned = make()
    applied = poisoned.apply(records([*stream, good[-1]]))
    clean = make()
    expected = clean.apply([record(event, offset=2 * n) for n, event in enumerate(good)])
    assert states(poisoned) == states(clean)
    assert applied.predictions == expected.predictions
    assert counts(applied) == (len(good), len(POISON), 0, 0)


def test_a_duplicate_time_is_dropped_or_learned() -> None:
    stream = [*wave(4), event_bytes("s", 180, 99), *wave(4, first=4)]
    dropping, learning, reference = make(), make(small_settings(policy={"duplicate": "learn"})), make()
    assert counts(dropping.apply(records(stream))) == (8, 0, 1, 0)
    assert counts(learning.apply(records(stream))) == (9, 0, 0, 0)
    reference.apply([r for r in records(stream) if r.offset != 4])
    assert states(dropping) == states(reference)
    assert states(learning)["s"].state != states(reference)["s"].state


def test_a_late_event_is_rejected_or_learned() -> None:
    stream = [*wave(4), event_bytes("s", 90, 99), *wave(4, first=4)]
    rejecting, learning, reference = make(), make(small_settings(policy={"late": "learn"})), make()
    applied = rejecting.apply(records(stream))
    assert counts(applied) == (8, 1, 0, 0)
    assert dict(applied.reasons) == {Reason.LATE: 1}
    assert counts(learning.apply(records(stream))) == (9, 0, 0, 0)
    reference.apply([r for r in records(stream) if r.offset != 4])
    assert states(rejecting) == states(reference)
    assert states(learning)["s"].state != states(reference)["s"].state


def test_a_late_event_that_is_learned_does_not_turn_the_clock_back() -> None:
    shard = make(small_settings(policy={"late": "learn"}))
    stream = [*wave(4), event_bytes("s", 90, 99), event_bytes("s", 180, 1)]
    assert counts(shard.apply(records(stream))) == (5, 0, 1, 0)


def test_series_of_one_partition_do_not_share_a_clock() -> None:
    assert counts(make().apply(records([*wave(3, first=100, series="a"), *wave(3, series="b")]))) == (
        6,
        0,
        0,
        0,
    )


def test_a_gap_forgets_pending_forecasts_and_keeps_what_was_learned() -> None:
    """Goal: `reset` is the bank's reset_memory before the event after the gap, and nothing at other events."""
    before, after = wave(20), wave(5, first=400)
    reset, ignored = (make(small_settings(policy={"gap": gap})) for gap in ("reset", "ignore"))
    bank = Bank(small_settings().specification())
    slots = np.array([bank.admit()])
    expected = []
    for offset, (t, value) in enumerate([(t, math.sin(t)) for t in [*range(20), *range(400, 405)]]):
        if offset == 20:
            bank.reset_memory(slots)
        expected.append(bank.step(slots, np.array([60.0 * t]), np.array([[value]]), np.empty((1, 0))))
    published = bodies(reset.apply(records([*before, *after])))
    for body, result in zip(published, expected, strict=True):
        horizons = body["targets"]["value"]["horizons"]
        assert [h["prediction"] for h in horizons] == result.prediction[0, 0].tolist()
        assert [h["settled"] is not None for h in horizons] == result.settled[0, 0].tolist()
    assert [h["settled"] for h in published[20]["targets"]["value"]["horizons"]] == [None, None]
    first_after = bodies(ignored.apply(records([*before, *after])))[20]
    assert all(h["settled"] for h in first_after["targets"]["value"]["horizons"])


def settled_at(stream: list[bytes], **policy: object) -> list[bool]:
    published = bodies(make(small_settings(policy={"gap": "reset"} | policy)).apply(records(stream)))
    return [body["targets"]["value"]["horizons"][0]["settled"] is not None for body in published]


def test_a_gap_is_longer_than_so_many_typical_intervals() -> None:
    start = wave(20)
    at = 60 * 19
    assert settled_at([*start, event_bytes("s", at + 600, 1)], gap_factor=10.0)[-1]
    assert not settled_at([*start, event_bytes("s", at + 601, 1)], gap_factor=10.0)[-1]
    assert not settled_at([*start, event_bytes("s", at + 121, 1)], gap_factor=2.0)[-1]


def test_no_gap_is_called_before_the_interval_is_known() -> None:
    few, enough = wave(INTERVALS_MIN), wave(INTERVALS_MIN + 1)
    assert settled_at([*few, event_bytes("s", 1e9, 1)])[-1]
    assert not settled_at([*enough, event_bytes("s", 1e9, 1)])[-1]


def test_a_series_that_has_become_slow_is_not_reset_for_ever() -> None:
    quick = [event_bytes("s", t, t % 5) for t in range(100)]
    slow = [event_bytes("s", 100 + 1000 * t, t % 5) for t in range(1, 101)]
    settled = settled_at([*quick, *slow])
    assert not settled[100]
    assert all(settled[150:])


def test_a_long_gap_does_not_hide_the_next_one() -> None:
    """A gap of years averaged in as it is would make every later gap look usual."""
    far = 1e9
    after = [event_bytes("s", far + 60 * t, t % 5) for t in range(20)]
    settled = settled_at([*wave(20), *after, event_bytes("s", far + 60 * 19 + 1800, 1)])
    assert [n for n, one in enumerate(settled) if not one] == [0, 20, 40]


def test_events_of_one_time_do_not_shorten_the_typical_interval() -> None:
    pairs = [event_bytes("s", 60 * (n // 2), n % 5) for n in range(60)]
    assert settled_at([*pairs, event_bytes("s", 60 * 29 + 590, 1)], duplicate="learn")[-1]
    assert not settled_at([*pairs, event_bytes("s", 60 * 29 + 610, 1)], duplicate="learn")[-1]


def test_a_series_beyond_the_limit_goes_to_the_dead_letters() -> None:
    shard = make(small_settings(limits={"series_max": 2}))
    stream = [event_bytes(name, t, 1) for t, name in enumerate(["a", "b", "c", "a", "c", "b"])]
    applied = shard.apply(records(stream))
    assert counts(applied) == (4, 2, 0, 0)
    assert dict(applied.reasons) == {Reason.SERIES_LIMIT: 2}
    assert shard.series_count == 2


def test_a_record_that_comes_again_is_replayed_and_in_no_other_count() -> None:
    shard = make()
    stream = records([*wave(5), b"poison"])
    shard.apply(stream)
    before = states(shard)
    assert counts(shard.apply(stream)) == (0, 0, 0, 6)
    assert counts(shard.apply([*stream, record(wave(1, first=5)[0], offset=6)])) == (1, 0, 0, 6)
    assert before["s"].last_offset == 4
    assert states(shard)["s"].last_offset == 6


def test_offsets_may_have_gaps_and_a_record_may_stand_twice_in_a_batch() -> None:
    shard = make()
    batch = [record(value, offset=10 * n) for n, value in enumerate(wave(4))]
    assert counts(shard.apply([*batch[:2], batch[1], *batch[2:]])) == (4, 0, 0, 1)
    assert shard.next_offset == 31


def test_a_series_ahead_of_the_watermark_skips_what_it_has() -> None:
    """Goal: a save that was cut off after the series and before the watermark. Method: one of two series is ahead."""
    stream = records([event_bytes("ab"[t % 2], t, t) for t in range(10)])
    whole = make()
    published = whole.apply(stream).predictions
    ahead = make()
    ahead.apply(stream[:6])
    saved = {one.series: one for one in ahead.snapshot_dirty() if one.series == "b"}
    resumed = make()
    resumed.restore(PartitionCheckpoint(next_offset=0, series=saved))
    assert (resumed.series_count, resumed.dirty_count) == (1, 0)
    applied = resumed.apply(stream)
    assert counts(applied) == (7, 0, 0, 3)
    assert applied.predictions == [m for n, m in enumerate(published) if n not in {1, 3, 5}]
    assert states(resumed) == states(whole)


def test_records_before_a_restored_watermark_are_replayed() -> None:
    """Whoever seeks too early, or not at all, learns nothing twice: not even a series that the checkpoint lacks."""
    shard = make()
    shard.restore(PartitionCheckpoint(next_offset=4, series={}))
    assert counts(shard.apply(records([*wave(2), b"poison", *wave(3, first=2)]))) == (2, 0, 0, 4)


def test_a_replayed_dead_letter_is_the_same() -> None:
    stream = records(
        [*wave(3), b"poison", event_bytes("s", 0, 1), event_bytes("s", 120, 1), *wave(2, first=3)]
    )
    first = make()
    letters = first.apply(stream).dead_letters
    before = make()
    before.apply(stream[:2])
    resumed = make()
    resumed.restore(PartitionCheckpoint(2, states(before)))
    assert resumed.apply(stream[2:]).dead_letters == letters
    assert len(letters) == 2


def test_mark_clean_is_for_what_was_in_the_snapshot() -> None:
    shard = make()
    shard.apply(records(wave(2, series="a") + wave(2, series="b")))
    assert [saved.series for saved in shard.snapshot_dirty()] == ["a", "b"]
    shard.apply(records(wave(1, first=2, series="b") + wave(1, series="c"), first_offset=4))
    shard.mark_clean()
    assert [(saved.series, saved.last_offset) for saved in shard.snapshot_dirty()] == [("b", 4), ("c", 5)]
    shard.mark_clean()
    assert (shard.snapshot_dirty(), shard.dirty_count) == ([], 0)


def test_a_snapshot_whose_save_failed_comes_again() -> None:
    shard = make()
    shard.apply(records(wave(2, series="a")))
    shard.snapshot_dirty()
    shard.apply(records(wave(2, series="b"), first_offset=2))
    assert [saved.series for saved in shard.snapshot_dirty()] == ["a", "b"]
    assert shard.dirty_count == 2


def test_what_changes_no_state_makes_nothing_dirty() -> None:
    shard = make()
    shard.apply(records(wave(3)))
    shard.snapshot_dirty()
    shard.mark_clean()
    applied = shard.apply(records([wave(3)[2], wave(1)[0], b"poison", *wave(3)], first_offset=3))
    assert counts(applied)[0] == 0
    assert shard.dirty_count == 0
    assert shard.next_offset == 9


def test_a_checkpoint_of_another_model_is_refused() -> None:
    shard = make()
    shard.apply(records(wave(3)))
    saved = states(shard)
    other = make(Settings.model_validate({"model": {"units": 5, "lags": 3}}))
    with pytest.raises(SnapshotError, match="reset the checkpoint"):
        other.restore(PartitionCheckpoint(3, saved))
    damaged = {"s": SeriesCheckpoint("s", 2, saved["s"].state[:-8])}
    with pytest.raises(SnapshotError, match="not a snapshot"):
        make().restore(PartitionCheckpoint(3, damaged))


def test_a_state_that_no_shard_wrote_is_refused() -> None:
    specification = small_settings().specification()
    bank = Bank(specification)
    bare = dump(bank.snapshot(bank.admit()), version=specification.version())
    with pytest.raises(SnapshotError, match="fields are not this model's"):
        make().restore(PartitionCheckpoint(3, {"s": SeriesCheckpoint("s", 2, bare)}))


def test_only_an_empty_shard_can_be_restored() -> None:
    shard = make()
    shard.apply(records(wave(3)))
    with pytest.raises(ValueError, match="empty shard"):
        shard.restore(PartitionCheckpoint(3, {}))


def test_a_lowered_limit_loses_no_series() -> None:
    shard = make()
    shard.apply(records([event_bytes(name, 0, 1) for name in "abc"]))
    smaller = make(small_settings(limits={"series_max": 2}))
    smaller.restore(PartitionCheckpoint(3, states(shard)))
    assert smaller.series_count == 3
    applied = smaller.apply(records([event_bytes(name, 1, 1) for name in "abcd"], first_offset=3))
    assert counts(applied) == (3, 1, 0, 0)


def test_a_record_of_another_partition_is_a_bug() -> None:
    with pytest.raises(ValueError, match="a record of partition 1 came to shard 0"):
        make().apply([Record(TOPIC, 1, 0, None, wave(1)[0])])
