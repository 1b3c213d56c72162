"""Null targets, missing features and missing rows through the shard, and that the policies do what their settings say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import orjson
import pytest

from models.bank import Bank, StepResult
from service.ports import Applied, Missing, PartitionCheckpoint, Reason, Rejection
from service.settings import Settings
from service.stream.cadence import INTERVALS_REMEMBERED, Cadence
from service.stream.decode import Decoder
from service.stream.schemas import PredictionMessage
from service.stream.shard import Shard
from tests.service.records import event_bytes, records, small_settings
from tests.service.test_shard import bodies, make, states, wave

MINUTE = 60.0


def fields_settings(**policy: str) -> Settings:
    return small_settings(fields={"targets": ["x", "y"], "features": ["f", "air.t"]}, policy=policy)


def event_of(**members: Any) -> bytes:
    return orjson.dumps({"series": "s", "time": 0} | members)


def decoded(value: bytes, settings: Settings) -> tuple[float, ...] | tuple[Reason, str]:
    (one,) = Decoder(settings.fields, settings.limits, settings.policy).decode(records([value]))
    return (one.reason, one.detail) if isinstance(one, Rejection) else (*one.values, *one.features)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"x": 1, "y": None, "f": 2, "air": {"t": 3}}, (1.0, math.nan, 2.0, 3.0)),
        ({"x": None, "y": None, "f": None, "air": {"t": None}}, (math.nan,) * 4),
        ({"x": 1, "y": 2, "air": None}, (1.0, 2.0, math.nan, math.nan)),
        ({"x": 1, "y": 2, "f": 3, "air": {}}, (1.0, 2.0, 3.0, math.nan)),
        ({"x": 1, "y": 2}, (1.0, 2.0, math.nan, math.nan)),
    ],
)
def test_null_targets_and_missing_features_are_events(
    members: dict[str, Any], expected: tuple[float, ...]
) -> None:
    np.testing.assert_array_equal(decoded(event_of(**members), fields_settings()), expected)


@pytest.mark.parametrize(
    ("members", "policy", "detail"),
    [
        ({"x": 1, "f": 3, "air": {"t": 1}}, {}, "y is missing"),
        ({"x": 1, "y": None, "f": 3, "air": {"t": 1}}, {"null_target": "reject"}, "y is null"),
        ({"x": 1, "y": 2, "f": None, "air": {"t": 1}}, {"missing_feature": "reject"}, "f is null"),
        ({"x": 1, "y": 2, "f": 3, "air": {}}, {"missing_feature": "reject"}, "air.t is missing"),
        ({"x": 1, "y": 2, "f": 3}, {"missing_feature": "reject"}, "air is missing"),
    ],
)
def test_what_may_not_be_missing_is_rejected(
    members: dict[str, Any], policy: dict[str, str], detail: str
) -> None:
    settings = fields_settings(**policy)
    assert decoded(event_of(**members), settings) == (Reason.MISSING_FIELD, detail)


def test_a_renamed_feature_is_noticed() -> None:
    found = decoded(event_of(x=1, y=2, F=3, air={"t": 1}), fields_settings())
    assert found[0] is Reason.UNKNOWN_FIELD


def test_a_null_target_is_predicted_past_and_says_so() -> None:
    events = [*wave(10), event_bytes("s", 600, None), *wave(3, first=11)]
    applied = make().apply(records(events))
    assert [len(applied.predictions), len(applied.dead_letters)] == [13 + 1, 0]
    assert applied.missing == {Missing.TARGET: 1, Missing.FEATURE: 0}
    told = [PredictionMessage.model_validate_json(m.value).targets["value"] for m in applied.predictions]
    at = told[10]
    assert at.observed is None
    assert at.anomaly_score == 0.0
    assert all(h.settled is None and h.prediction is not None for h in at.horizons)
    assert [h.settled is not None for h in told[11].horizons] == [True, True]


def test_until_a_first_value_predictions_are_null() -> None:
    events = [event_bytes("s", 60 * t, None) for t in range(3)] + wave(2, first=3)
    applied = make().apply(records(events))
    for message in applied.predictions[:3]:
        for h in PredictionMessage.model_validate_json(message.value).targets["value"].horizons:
            assert (h.prediction, h.settled) == (None, None)
            assert set(h.quantiles.values()) == {None}
            assert set(h.experts.values()) == {None}
    assert bodies(applied)[3]["targets"]["value"]["horizons"][0]["prediction"] is not None
    assert applied.missing[Missing.TARGET] == 3


def after_gap(rows: int, **policy: object) -> Applied:
    """Return what came of twenty rows of a minute, and one after as many missing ones."""
    return make(small_settings(policy=policy)).apply(
        records([*wave(20), event_bytes("s", 60 * (20 + rows), 1)])
    )


def test_missing_rows_are_filled_as_rows_without_values() -> None:
    """Goal: a forecast is scored against the row that it was made for. Method: the bank, given each missing row as NaN."""
    bank = Bank(small_settings().specification())
    slot = np.array([bank.admit()])
    values = [*map(math.sin, range(20)), math.nan, math.nan, math.nan, 1.0]
    result: StepResult | None = None
    for row, value in enumerate(values):
        result = bank.step(slot, np.array([MINUTE * row]), np.array([[value]]), np.empty((1, 0)))
    assert result is not None
    applied = after_gap(3)
    assert applied.missing[Missing.ROW] == 3
    assert len(applied.predictions) == 21
    horizons = bodies(applied)[-1]["targets"]["value"]["horizons"]
    assert [h["prediction"] for h in horizons] == result.prediction[0, 0].tolist()
    assert [h["settled"]["error"] for h in horizons] == result.error[0, 0].tolist()


def settled_last(applied: Applied) -> bool:
    return bodies(applied)[-1]["targets"]["value"]["horizons"][0]["settled"] is not None


def test_more_missing_rows_than_the_setting_has_reset_the_memory() -> None:
    assert settled_last(after_gap(5, gap_fill_max=5))
    too_many = after_gap(6, gap_fill_max=5)
    assert not settled_last(too_many)
    assert too_many.missing[Missing.ROW] == 0


@pytest.mark.parametrize("policy", ["reset", "ignore"])
def test_other_policies_fill_nothing(policy: str) -> None:
    assert after_gap(3, gap=policy).missing[Missing.ROW] == 0


def test_a_time_in_the_far_future_costs_no_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: a poison timestamp keeps no worker busy. Method: count the bank's calls, at the last time that is accepted."""
    shard, calls = make(), 0
    honest = Bank.step

    def counted(bank: Bank, *arguments: Any) -> Any:
        nonlocal calls
        # And not the copy of it that an audit of the gradient takes along.
        calls += bank is shard._models.bank
        return honest(bank, *arguments)

    monkeypatch.setattr(Bank, "step", counted)
    shard.apply(records([*wave(20), event_bytes("s", 253402300799, 1)]))
    assert calls == 21


def test_an_irregular_series_has_no_missing_rows() -> None:
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.exponential(60.0, size=200)).tolist()
    applied = make().apply(records(event_bytes("s", time, n % 5) for n, time in enumerate(times)))
    assert applied.missing.get(Missing.ROW, 0) == 0
    assert len(applied.predictions) == 200


def test_a_series_that_has_become_slow_is_not_filled_for_ever() -> None:
    cadence = Cadence(0.0)
    for n in range(1, 1000):
        cadence.advance(MINUTE * n, 10.0)
    filled = []
    for n in range(1, 2 * INTERVALS_REMEMBERED):
        time = 999 * MINUTE + 5 * MINUTE * n
        filled.append(cadence.rows_missing(time))
        cadence.advance(time, 10.0)
    assert filled[0] == 4
    assert not any(filled[INTERVALS_REMEMBERED:])
    assert cadence.usual_interval == 5 * MINUTE


@pytest.mark.parametrize("interval", [5e-324, 1e-6, 1e12])
def test_no_interval_makes_the_missing_rows_overflow(interval: float) -> None:
    cadence = Cadence(0.0)
    for n in range(1, 6):
        cadence.advance(interval * n, 10.0)
    assert cadence.rows_missing(2.5e11) >= 0
    assert cadence.rows_missing(-1.0) == 0


def test_gaps_are_filled_alike_however_the_stream_is_cut_and_restarted() -> None:
    """Goal: to the bit. Method: holes in three series, all at once, one by one, and restored after each event."""
    events = [
        event_bytes("abc"[n % 3], 60 * (n + 21 * (n >= 60)), None if n % 7 == 0 else n % 11)
        for n in range(90)
        if n % 13
    ]
    stream = records(events)
    whole, single = make(), make()
    expected = [m.value for m in whole.apply(stream).predictions]
    assert [m.value for one in stream for m in single.apply([one]).predictions] == expected
    assert states(whole) == states(single)
    again, told = make(), []
    for one in stream:
        told += [m.value for m in again.apply([one]).predictions]
        restored = make()
        restored.restore(checkpoint_of(again))
        again = restored
    assert told == expected


def checkpoint_of(shard: Shard) -> PartitionCheckpoint:
    shard._dirty = set(shard._series)
    return PartitionCheckpoint(shard.next_offset, states(shard))
