"""Champion and challenger in a shard: the shadow changes nothing, a promotion is exact, and states outlive a change of settings."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import orjson
import pytest

from models import snapshot
from service.ports import PartitionCheckpoint, Promotion, Record, SeriesCheckpoint
from service.settings import Settings
from service.stream.duel import Duel
from service.stream.schemas import PredictionMessage
from service.stream.shard import Shard
from tests.service.records import (
    EAGER_DUEL,
    SMALL_MODEL,
    TOPIC,
    cut,
    event_bytes,
    records,
    small_settings,
)
from tests.service.test_learner import make_log
from tests.service.test_shard_recovery import stream

WEAK: dict[str, Any] = {"experts": ["last_value"]}
STRONG: dict[str, Any] = {"experts": ["last_value", "linear"]}
EAGER = {"margin": 0.02, "window": 500}
POOR, GOOD = "the weak answers", "the strong answers"


def settings_of(model: dict[str, Any], challenger: dict[str, Any] | None = None, **groups: Any) -> Settings:
    group = {} if challenger is None else {"challenger": EAGER | challenger}
    return Settings.model_validate({"model": SMALL_MODEL | model} | group | groups)


SHADOWED = settings_of(WEAK, STRONG)


def waves(count: int = 900, *, names: str = "ab", noise_from: int = 10**9) -> list[Record]:
    """Events of waves that a linear expert learns, with gaps and nulls; from a row on rare jumps, which it does not."""
    rng, level, values = random.Random(5), 0.0, []
    for t in range(count):
        if t < noise_from:
            level = math.sin(t / 5) + 0.02 * rng.gauss(0, 1)
        else:
            level += rng.choice([-1.0, 1.0]) if rng.random() < 0.1 else 0.0
        time = 60 * t + (600 if t > count // 3 else 0)
        values.append(event_bytes(names[t % len(names)], time, None if t % 97 == 96 else level))
    return records(values)


def run(
    settings: Settings, stream: list[Record], sizes: list[int] | None = None
) -> tuple[Shard, list[dict[str, Any]]]:
    shard = Shard(topic=TOPIC, partition=0, settings=settings)
    messages = [m for batch in cut(stream, sizes or []) for m in shard.apply(batch).predictions]
    return shard, [orjson.loads(message.value) for message in messages]


def without_challenger(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "challenger"}


def states(shard: Shard) -> dict[str, SeriesCheckpoint]:
    return {one.series: one for one in shard.snapshot_dirty()}


def restored(settings: Settings, series: dict[str, SeriesCheckpoint], next_offset: int) -> Shard:
    shard = Shard(topic=TOPIC, partition=0, settings=settings)
    shard.restore(PartitionCheckpoint(next_offset, series))
    return shard


def test_a_challenger_in_the_shadow_changes_no_bit_of_the_answers_nor_of_what_is_learned() -> None:
    """Method: the same stream with and without a challenger that only a command could promote."""
    alone, plain = run(settings_of(WEAK), waves())
    shard, shadowed = run(settings_of(WEAK, STRONG | {"promotion": "command"}), waves())
    assert [without_challenger(body) for body in shadowed] == plain
    own = states(alone)
    for name, one in states(shard).items():
        assert snapshot.split(one.state)[0] == own[name].state
    assert shard.counts().promoted == 0
    assert max(body["challenger"]["evidence"] for body in shadowed) > 100


def test_what_is_promoted_answers_from_that_event_on_as_if_it_always_had() -> None:
    """Method: after the promotion each answer is what a shard says whose model the challenger is."""
    weak, strong = run(settings_of(WEAK), waves())[1], run(settings_of(STRONG), waves())[1]
    versions = weak[0]["model_version"], strong[0]["model_version"]
    shard, both = run(SHADOWED, waves())
    assert shard.counts().promoted == 2
    promoted: set[str] = set()
    for body, from_weak, from_strong in zip(both, weak, strong, strict=True):
        PredictionMessage.model_validate(body)
        challenger = body["challenger"]
        now = challenger["evidence"] >= 100 and body["series"] not in promoted
        if now:
            promoted.add(body["series"])
        assert challenger["promoted"] == ("rule" if now else None)
        assert challenger["place"] == ("model" if body["series"] in promoted else "challenger")
        answers, shadow = (from_strong, from_weak) if body["series"] in promoted else (from_weak, from_strong)
        assert without_challenger(body) == answers
        assert challenger["model_version"] == versions[body["series"] not in promoted]
        first = shadow["targets"]["value"]["horizons"][0]
        assert challenger["targets"]["value"] == {
            "prediction": first["prediction"],
            "error": None if first["settled"] is None else first["settled"]["error"],
        }
    assert promoted == {"a", "b"}


def test_a_row_without_an_event_is_judged_as_an_event_is() -> None:
    """Method: the values of a stream, row by row, as a replay has them, beside what the messages said."""
    duel = Duel(TOPIC, SHADOWED.specifications(), SHADOWED.challenger)
    slot = np.array([duel.admit()])
    stream = waves(300, names="a")[:96]  # before the first null and the gap, which are the shard's
    _, said = run(SHADOWED, stream)
    for record, body in zip(stream, said, strict=True):
        event = orjson.loads(record.value or b"")
        judged = duel.step(
            slot,
            np.array([float(event["time"])]),
            np.array([[event["value"]]]),
            np.empty((1, 0)),
            np.array([-1]),
        )
        told = body["challenger"]
        assert judged.evidence[0] == told["evidence"]
        assert judged.by_rule[0] == (told["promoted"] == "rule")
        first = body["targets"]["value"]["horizons"][0]
        assert judged.result.prediction[0, 0, 0] == first["prediction"]


def test_the_old_champion_learns_on_and_may_come_back() -> None:
    """Method: a wave, then rare jumps, of which the last value is the best forecast and a linear model is not."""
    settings = settings_of(WEAK, {"experts": ["linear"], "lags": 24, "margin": 0.0, "window": 500})
    stream = waves(3000, names="a", noise_from=1000)
    shard = Shard(topic=TOPIC, partition=0, settings=settings)
    shadows = [shadow for batch in cut(stream, [50] * 60) for shadow in shard.apply(batch).shadows]
    assert sum(shadow.promotions[Promotion.RULE] for shadow in shadows) >= 2
    assert shard.counts().promoted == 0


def test_batches_and_other_series_change_no_bit_of_a_decision() -> None:
    whole, one_by_one = (
        run(SHADOWED, waves(300, names="abc")),
        run(SHADOWED, waves(300, names="abc"), [1] * 300),
    )
    assert whole[1] == one_by_one[1]
    assert states(whole[0]) == states(one_by_one[0])
    alone = [record for record in waves(300, names="abc") if b'"b"' in (record.value or b"")]
    assert run(SHADOWED, alone)[1] == [body for body in whole[1] if body["series"] == "b"]


@pytest.mark.parametrize("at", [1, 150, 299, 450])
def test_a_restart_anywhere_promotes_at_the_same_event(at: int) -> None:
    stream = waves(500)
    whole, expected = run(SHADOWED, stream)
    first, before = run(SHADOWED, stream[:at])
    second = restored(SHADOWED, states(first), first.next_offset)
    after = [orjson.loads(message.value) for message in second.apply(stream[at:]).predictions]
    assert before + after == expected
    assert {n: one.state for n, one in states(second).items()} == {
        n: one.state for n, one in states(whole).items()
    }
    assert whole.counts().promoted == second.counts().promoted == 2


def test_a_command_takes_effect_at_the_next_event_of_each_series_and_is_counted_there() -> None:
    settings = settings_of(STRONG, WEAK | {"promotion": "command"})
    stream = waves(120)
    shard, _ = run(settings, stream[:100])
    assert shard.request(["a"], 1) == 1
    saved, at = states(shard), shard.next_offset
    again = shard
    for _ in range(2):  # a worker that crashes does it again, at the same events
        again = restored(settings, saved, at)
        assert again.counts().promoted == 0
        applied = again.apply(stream[at:])
        assert sum(shadow.promotions[Promotion.COMMAND] for shadow in applied.shadows) == 1
        weak = settings.specifications()[1].version()
        bodies = [orjson.loads(message.value) for message in applied.predictions]
        assert {body["series"] for body in bodies if body["model_version"] == weak} == {"a"}
        assert {body["model_version"] for body in bodies if body["series"] == "a"} == {weak}
        assert bodies[0]["challenger"]["evidence"] == 1.0, "the trial of the new challenger has begun"
    assert again.request(None, 0) == 2
    back = restored(settings, states(again), again.next_offset)
    back.apply(
        records([event_bytes("a", 60 * 1000, 1.0), event_bytes("b", 60 * 1001, 1.0)], first_offset=120)
    )
    assert back.counts().promoted == 0


def test_without_a_challenger_nothing_can_be_promoted() -> None:
    shard, _ = run(settings_of(WEAK), waves(10))
    with pytest.raises(ValueError, match="no challenger"):
        shard.request(None, 1)
    with pytest.raises(KeyError):
        run(SHADOWED, waves(10))[0].request(["nobody"], 1)


def test_a_challenger_can_be_added_to_what_was_learned_and_taken_away_again() -> None:
    """Goal: to try a challenger costs nothing that was learned. Method: without, with, and without once more, against without."""
    stream, plain = waves(300), settings_of(WEAK)
    expected = run(plain, stream)[1]
    shard, bodies = run(plain, stream[:100])
    shard = restored(SHADOWED, states(shard), shard.next_offset)
    bodies += [orjson.loads(m.value) for m in shard.apply(stream[100:140]).predictions]
    assert bodies[100]["challenger"]["targets"]["value"]["error"] is None, "the challenger is new"
    shard = restored(plain, states(shard), shard.next_offset)
    bodies += [orjson.loads(m.value) for m in shard.apply(stream[140:]).predictions]
    assert [without_challenger(body) for body in bodies] == expected


def test_what_was_promoted_can_be_made_the_model_with_all_that_it_has_learned() -> None:
    """Method: the groups change places, or the challenger alone stays; it goes on as if it had been the model always."""
    stream = waves(500)
    strong = run(settings_of(STRONG), stream)[1]
    for later in (settings_of(STRONG), settings_of(STRONG, WEAK | {"promotion": "command"})):
        shard, _ = run(SHADOWED, stream[:400])
        after = restored(later, states(shard), shard.next_offset).apply(stream[400:]).predictions
        assert [without_challenger(orjson.loads(message.value)) for message in after] == strong[400:]


def test_a_checkpoint_of_neither_make_and_a_damaged_trial_are_refused() -> None:
    shard, _ = run(SHADOWED, waves(20))
    saved = states(shard)
    with pytest.raises(snapshot.SnapshotError, match="this service runs"):
        restored(settings_of({"experts": ["seasonal"]}), saved, 20)
    parts = snapshot.split(saved["a"].state)
    damaged = parts[2][:-1] + bytes([parts[2][-1] ^ 1])
    broken = saved | {"a": SeriesCheckpoint("a", 18, snapshot.join([*parts[:2], damaged]))}
    with pytest.raises(snapshot.SnapshotError, match="checksum"):
        restored(SHADOWED, broken, 20)
    with pytest.raises(snapshot.SnapshotError, match="lengths"):
        snapshot.split(saved["a"].state[:-1])


def test_a_forgotten_series_begins_with_the_model_again() -> None:
    settings = settings_of(WEAK, STRONG, limits={"series_max": 1, "series_full": "evict"})
    shard, _ = run(settings, waves(300, names="a"))
    assert shard.counts().promoted == 1
    shard.apply(records([event_bytes("b", 10**6, 1.0), event_bytes("a", 10**6, 1.0)], first_offset=300))
    assert shard.counts().promoted == 0


def test_losses_are_of_the_shortest_horizon_in_scales_and_not_there_where_nothing_was_settled() -> None:
    settings = settings_of(WEAK, STRONG, fields={"targets": ["x", "y"]})
    shard = Shard(topic=TOPIC, partition=0, settings=settings)
    rng = random.Random(1)
    stream = records(
        orjson.dumps(
            {
                "series": "a",
                "time": 60 * t,
                "x": rng.gauss(0, 1),
                "y": 1e6 * rng.gauss(0, 1) if t % 5 else None,
            }
        )
        for t in range(60)
    )
    applied = shard.apply(stream)
    losses = np.concatenate([shadow.losses for shadow in applied.shadows])
    assert np.isnan(losses[0]).all()
    assert np.isfinite(losses[1:]).all()
    for loss, result in zip(losses[1:, 0], applied.results[1:], strict=True):
        settled = result.settled[0, :, 0]
        error = np.abs(result.error[0, :, 0]) / result.scale[0]
        assert loss == pytest.approx(error[settled].mean())


@pytest.mark.parametrize("log", [stream(), make_log(), make_log(96)], ids=["shard", "learner", "long"])
def test_the_streams_of_the_crash_tests_promote(log: list[Record]) -> None:
    """Goal: they would fail if a crash changed a promotion. Method: they have some, and not at the end alone."""
    shard = Shard(topic=log[0].topic, partition=0, settings=small_settings(**EAGER_DUEL))
    shadows = [shard.apply([record]).shadows for record in log]
    promoted = [place for place, one in enumerate(shadows) if one and one[0].promotions[Promotion.RULE]]
    assert promoted
    assert promoted[0] < len(log) - 5
