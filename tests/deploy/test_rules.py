"""Prometheus' configuration and rules: checked and run by promtool, and each alert tried firing, silent, recovering."""

from __future__ import annotations

from typing import Any

import pytest

from tests.deploy.files import PROMETHEUS, RUNBOOK, alerts, metrics_in, read_yaml, rules, run_promtool

TEST_FILES = sorted((PROMETHEUS / "tests").glob("*.yml"))
CASES = [case for path in TEST_FILES for case in read_yaml(path)["tests"]]


@pytest.mark.prometheus
def test_promtool_accepts_the_configuration_and_every_rule() -> None:
    said = run_promtool("check", "config", "prometheus.yml")
    assert said.count("SUCCESS") == 1 + 1 + len(read_yaml(PROMETHEUS / "prometheus.yml")["rule_files"])


@pytest.mark.prometheus
def test_promtool_finds_each_alert_firing_silent_and_recovering_as_its_cases_say() -> None:
    said = run_promtool("test", "rules", *(str(path) for path in TEST_FILES))
    assert said.count("SUCCESS") == len(TEST_FILES)


def _fired(case: dict[str, Any]) -> list[bool]:
    """Return whether the alert is expected to fire at each of the times of a case, in their order."""
    return [bool(step["exp_alerts"]) for step in case["alert_rule_test"]]


@pytest.mark.parametrize("alert", [rule["alert"] for rule in alerts()])
def test_an_alert_has_a_case_in_which_it_recovers_and_one_in_which_it_is_silent(alert: str) -> None:
    cases = [case for case in CASES if {step["alertname"] for step in case["alert_rule_test"]} == {alert}]
    assert any(_fired(case) == [False, True, False] for case in cases), (
        f"none in which {alert} fires and recovers"
    )
    assert any(not any(_fired(case)) for case in cases), f"none in which {alert} stays silent"


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_has_a_severity_and_an_entry_in_the_runbook(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"deploy/runbook.md#{rule['alert'].lower()}"
    assert f"\n### {rule['alert']}\n" in RUNBOOK.read_text()


def test_the_runbook_has_no_entry_for_an_alert_that_is_gone() -> None:
    headings = {
        line.removeprefix("### ")
        for line in RUNBOOK.read_text().splitlines()
        if line.startswith("### Onward")
    }
    assert headings == {rule["alert"] for rule in alerts()}


def test_a_recorded_name_says_level_metric_and_operation() -> None:
    for rule in rules():
        if "record" in rule:
            level, _, operation = rule["record"].split(":")
            assert level in {"job", "job_outcome", "job_window", "job_stat"}
            assert operation
            assert metrics_in(rule["expr"]), rule["record"]
