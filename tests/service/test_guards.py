"""Goal: what guards do and audits find is in the predictions, in the log and in what the observer is told, at the same offsets always.

Method: a shard that learns a series whose model is put into trouble between batches; the same records in other batches; a clock by hand.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import orjson
import pytest

from models.audit import STEPS
from models.bank import GUARD_ACTIONS, GUARD_EVERYDAY, Audit
from models.experts.recovery import CLIP, ROLL_BACK, SKIP, WINSORISE
from service.observe.metrics import Metrics
from service.ports import Applied, Guarded
from service.settings import Settings
from service.stream.guards import FIRST_TOLD, LINES_MAX, LINES_SECONDS, GuardLog, names_of
from service.stream.schemas import GuardAction
from service.stream.shard import Shard
from tests.service.learner_ports import event

MODEL = {"experts": "last_value,recurrent", "units": 3, "lags": 2, "season_max": 4}


def make(**observe: int) -> Shard:
    """Return a shard of small models."""
    settings = Settings.model_validate({"model": MODEL, "observe": observe})
    return Shard(topic="onward.events", partition=0, settings=settings)


def learned(shard: Shard, offsets: range, *, batch: int = 7) -> list[Applied]:
    """Let it learn two series by turns, in batches."""
    records = [event(at, "ab"[at % 2], float((at * 7919) % 101)) for at in offsets]
    return [shard.apply(records[at : at + batch]) for at in range(0, len(records), batch)]


def spoil(shard: Shard, series: str) -> None:
    """Make the weights of a series' recurrent expert no numbers."""
    bank, slot = shard._models.bank, shard._series[series].slot
    fields = bank.snapshot(slot)
    fields["expert.recurrent/params"][:] = float("nan")
    bank.restore(slot, fields)


@pytest.mark.parametrize("batch", [1, 5, 60])
def test_a_rollback_is_told_with_its_series_and_offset_however_records_are_batched(batch: int) -> None:
    shard = make()
    learned(shard, range(40), batch=batch)
    spoil(shard, "b")
    told = learned(shard, range(40, 60), batch=batch)
    acted = [one for applied in told for one in applied.guarded]
    assert acted == [Guarded("b", "value", 41, ("roll_back",))]
    predictions = [orjson.loads(message.value) for applied in told for message in applied.predictions]
    guards = {body["id"]: body["targets"]["value"]["guard"] for body in predictions}
    assert "roll_back" in guards["onward.events-0-41"]
    assert not [name for name, names in guards.items() if "roll_back" in names and not name.endswith("-41")]
    assert shard.counts().quarantined == 0


def test_what_guards_do_in_a_row_that_was_missing_is_told_with_the_event_after_it_and_counted() -> None:
    shard = make()
    for at in range(40):
        shard.apply([event(at, "a", float((at * 7919) % 101))])
    spoil(shard, "a")
    applied = shard.apply([event(40, "a", 5.0, time=42)])
    assert applied.guarded == [Guarded("a", "value", 40, ("roll_back",))]
    assert [guard.tolist() for guard in applied.filled_guards] == [[[ROLL_BACK]]], "of two rows one is kept"
    observed = Metrics(shard._models.bank.specification)
    observed.applied(0, applied, 0.0)
    assert b'onward_guard_actions_total{action="roll_back"} 1.0' in observed.exposition()


def test_three_rollbacks_put_a_series_into_quarantine() -> None:
    shard = make()
    told = learned(shard, range(40))
    for start in (40, 60, 80):
        spoil(shard, "a")
        told = learned(shard, range(start, start + 20))
    assert [one.actions for applied in told for one in applied.guarded] == [("roll_back", "quarantine")]
    assert shard.counts().quarantined == 1
    last = orjson.loads(told[-1].predictions[-1].value)
    assert last["series"] == "b"
    body = orjson.loads(told[-1].predictions[-2].value)["targets"]["value"]
    assert body["horizons"][0]["weights"] == {"last_value": 1.0, "recurrent": 0.0}
    assert body["horizons"][0]["prediction"] == body["observed"]


def test_an_audit_begins_at_its_offset_and_is_told_when_it_is_done() -> None:
    shard = make(audit_every=100)
    told = learned(shard, range(100 + 2 * STEPS + 1), batch=1)
    done = [at for at, applied in enumerate(told) if applied.audits]
    assert done == [2 * STEPS, 100 + 2 * STEPS]
    assert all(audit.sound for applied in told for audit in applied.audits)
    never = make(audit_every=0)
    assert not [applied for applied in learned(never, range(60)) if applied.audits]


def test_the_log_has_a_line_for_each_action_up_to_so_many_and_counts_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = [0.0]
    guards = GuardLog(lambda: now[0])
    one = Guarded("a", "value", 3, ("roll_back", "quarantine"))
    off = Audit(exact=True, rule_cosine=0.5, rule_error=0.9, in_use_cosine=1.0, in_use_error=0.0)
    with caplog.at_level(logging.WARNING):
        guards.tell(2, [one], [off, replace(off, rule_error=1e-7)])
        assert [record.getMessage() for record in caplog.records] == [
            "a guard acted on a model",
            "the gradient is not what finite differences say",
        ]
        first = caplog.records[0]
        found = {
            name: getattr(first, name) for name in ("partition", "series", "target", "offset", "actions")
        }
        assert found == {
            "partition": 2,
            "series": "a",
            "target": "value",
            "offset": 3,
            "actions": "roll_back,quarantine",
        }
        guards.tell(2, [one] * 100, [])
        assert len(caplog.records) == LINES_MAX
        now[0] = LINES_SECONDS
        guards.tell(2, [one], [])
    assert len(caplog.records) == LINES_MAX + 1
    assert caplog.records[-1].left_out_before == 102 - LINES_MAX  # type: ignore[attr-defined]


def test_the_everyday_has_the_lowest_bits() -> None:
    assert names_of(WINSORISE | CLIP | SKIP, GUARD_ACTIONS) == GUARD_EVERYDAY
    assert FIRST_TOLD == SKIP << 1


def test_the_schema_names_every_action() -> None:
    assert GuardAction.__args__ == GUARD_ACTIONS  # type: ignore[attr-defined]
