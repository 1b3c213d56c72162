"""`python -m benchmarks alerts` without its live run: every alert has a fault, and what it runs with is what is shipped, only quicker."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from benchmarks.alerts import checkpoints, faulty_build
from benchmarks.alerts.faults import FAULTS
from benchmarks.alerts.rules import FACTOR, alert_names, shortened, write_configuration
from models.bank import Bank
from models.cells.gru import Gru
from models.specification import from_profile
from service.bootstrap import checkpoint_store
from service.settings import Settings
from service.stream.shard import Shard
from tests.deploy.files import PROMETHEUS, RUNBOOK, alerts, read_yaml, run_promtool
from tests.service.records import SMALL_MODEL, event_bytes, records

RANGE = re.compile(r"\[(\w+)\]")
MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}


def milliseconds(text: str) -> int:
    parts = re.fullmatch(r"(\d+)(ms|[smh])", text)
    assert parts is not None, text
    return int(parts[1]) * MS[parts[2]]


def test_every_alert_has_one_fault_and_no_fault_is_of_an_alert_that_is_gone() -> None:
    names = [rule["alert"] for rule in alerts()]
    assert list(FAULTS) == names == alert_names()


@pytest.mark.parametrize("alert", FAULTS)
def test_the_runbook_says_how_an_alert_was_provoked_and_how_long_it_took(alert: str) -> None:
    text = RUNBOOK.read_text(encoding="utf-8")
    section = text.split(f"\n### {alert}\n")[1].split("\n### ")[0]
    assert f"- Provoked: {FAULTS[alert].words}." in section
    (row,) = [line for line in text.splitlines() if line.startswith(f"| {alert} |")]
    seconds = [cell.strip() for cell in row.split("|")[2:5]]
    assert re.fullmatch(r"\d+\.\d s", seconds[1]), "it has not fired"
    assert re.fullmatch(r"\d+\.\d s", seconds[2]), "it was not resolved"


@pytest.mark.parametrize("name", ["alerts.yml", "recording.yml"])
def test_rules_are_the_shipped_ones_with_every_duration_divided_by_one_factor(name: str) -> None:
    """Method: both files side by side, expressions without their ranges, and each range and `for` by itself."""
    shipped = read_yaml(PROMETHEUS / name)
    quick = yaml.safe_load(shortened((PROMETHEUS / name).read_text()))
    count = 0

    def same(one: Any, other: Any, key: str = "") -> None:
        nonlocal count
        if isinstance(one, dict):
            assert one.keys() == other.keys()
            for inner in one:
                same(one[inner], other[inner], inner)
        elif isinstance(one, list):
            for left, right in zip(one, other, strict=True):
                same(left, right)
        elif key == "for":
            assert milliseconds(one) == FACTOR * milliseconds(other)
        else:
            assert RANGE.sub("[]", str(one)) == RANGE.sub("[]", str(other))
            for left, right in zip(RANGE.findall(str(one)), RANGE.findall(str(other)), strict=True):
                assert milliseconds(left) == FACTOR * milliseconds(right)
                count += 1

    same(shipped, quick)
    assert count > 5


@pytest.mark.prometheus
def test_prometheus_takes_the_shortened_configuration(tmp_path: Path) -> None:
    path = write_configuration(tmp_path)
    run_promtool("check", "config", str(path))
    configuration = read_yaml(path)
    assert milliseconds(configuration["global"]["scrape_interval"]) * FACTOR == 15_000
    assert len(configuration["rule_files"]) == 2


@pytest.mark.parametrize(
    "how", [checkpoints.lose_weights, checkpoints.lose_covariance, checkpoints.mislead_readout]
)
def test_damage_in_a_checkpoint_is_of_every_series_and_passes_its_checksums(
    how: checkpoints.Damage, tmp_path: Path
) -> None:
    """Method: a state that was learned, saved, damaged; a shard restores it and has another state than before."""
    settings = Settings.model_validate(
        {
            "model": SMALL_MODEL,
            "checkpoint": {"store": "sqlite", "sqlite_path": str(tmp_path / "c.sqlite")},
            "topics": {"partitions": 1},
        }
    )
    shard = Shard(topic=settings.topics.events, partition=0, settings=settings)
    shard.apply(records(event_bytes("ab"[row % 2], 60 * row, row % 7) for row in range(80)))

    async def save_and_read() -> None:
        store = checkpoint_store(settings)
        await store.start()
        try:
            await store.load(0)
            await store.save(0, shard.snapshot_dirty(), shard.next_offset)
        finally:
            await store.stop()

    async def read() -> dict[str, bytes]:
        store = checkpoint_store(settings)
        await store.start()
        try:
            found = await store.read(0)
        finally:
            await store.stop()
        assert found is not None
        Shard(topic=settings.topics.events, partition=0, settings=settings).restore(found)
        return {name: one.state for name, one in found.series.items()}

    asyncio.run(save_and_read())
    before = asyncio.run(read())
    checkpoints.damage(settings, how)
    after = asyncio.run(read())
    assert after.keys() == before.keys() == {"a", "b"}
    assert all(after[name] != before[name] for name in before)


@pytest.mark.parametrize("faulty", [False, True])
def test_an_audit_finds_the_faulty_build_and_passes_the_right_one(
    faulty: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Gru, "step", Gru.step)
    if faulty:
        faulty_build.spoil()
    bank = Bank(
        from_profile("fast", cell="gru", units=4, optimizer="adam", experts=("last_value", "recurrent"))
    )
    slot = np.array([bank.admit()])
    for row in range(120):
        if row == 100:
            bank.begin_audit(int(slot[0]))
        value = np.array([[np.sin(row / 5)]])
        bank.step(slot, np.array([60.0 * row]), value, np.empty((1, 0)))
    (audit,) = bank.audits()
    assert audit.exact
    assert audit.sound is not faulty
