"""A real Prometheus scrapes a real worker: every panel shows something, and every rule finds what it asks for.

The worker learns from the embedded broker, bad events among the good, while Prometheus runs with deploy/prometheus' own
configuration; only the address and the intervals are the test's. What needs history (an alert's `for`) is promtool's.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import shutil
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.observe.catalog import METRICS
from service.tools.embedded import embedded_broker, free_port
from tests.deploy.files import PROMETHEUS, alerts, metrics_in, panels, read_yaml, rules
from tests.deploy.stream import make_topics, producing, running_process, until

pytestmark = [pytest.mark.prometheus, pytest.mark.usefixtures("compiled_models")]


@dataclass(frozen=True, slots=True)
class Running:
    """The two addresses to ask."""

    worker: str
    prometheus: str

    def value_of(self, expression: str) -> list[float]:
        """Return the finite values that Prometheus finds for an expression now."""
        answer = _ask(f"{self.prometheus}/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
        values = [float(one["value"][1]) for one in answer["data"]["result"]]
        return [value for value in values if math.isfinite(value)]


def _ask(address: str) -> Any:
    with urllib.request.urlopen(address, timeout=5) as answer:
        return json.load(answer)


def _configuration(folder: Path, port: int) -> Path:
    """Write deploy/prometheus' configuration with the test's address and intervals."""
    configuration = read_yaml(PROMETHEUS / "prometheus.yml")
    configuration["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
    configuration["rule_files"] = [str(PROMETHEUS / name) for name in configuration["rule_files"]]
    (job,) = configuration["scrape_configs"]
    del job["dns_sd_configs"]
    job["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(configuration))
    return path


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A worker that learns, and a Prometheus that has scraped it."""
    folder = tmp_path_factory.mktemp("scrape")
    with ExitStack() as stack:
        broker = stack.enter_context(embedded_broker())
        asyncio.run(make_topics(broker.bootstrap_servers))
        worker_port, prometheus_port = free_port(), free_port()
        worker_log, prometheus_log = folder / "worker.log", folder / "prometheus.log"
        worker = stack.enter_context(
            running_process(
                [sys.executable, "-m", "service", "worker"],
                worker_log,
                PYTHONPATH=str(PROMETHEUS.parents[1]),
                ONWARD_KAFKA__BOOTSTRAP_SERVERS=broker.bootstrap_servers,
                ONWARD_KAFKA__SESSION_TIMEOUT_SECONDS="6",
                ONWARD_CHECKPOINT__STORE="sqlite",
                ONWARD_CHECKPOINT__INTERVAL_SECONDS="1",
                ONWARD_HTTP__PORT=str(worker_port),
            )
        )
        prometheus = stack.enter_context(
            running_process(
                [
                    shutil.which("prometheus") or "prometheus",
                    f"--config.file={_configuration(folder, worker_port)}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{prometheus_port}",
                    "--log.level=warn",
                ],
                prometheus_log,
            )
        )
        stack.enter_context(producing(broker.bootstrap_servers))
        found = Running(f"http://127.0.0.1:{worker_port}", f"http://127.0.0.1:{prometheus_port}")

        def has_learned() -> bool:
            assert worker.poll() is None, worker_log.read_text()[-4000:]
            assert prometheus.poll() is None, prometheus_log.read_text()[-4000:]
            try:
                return max(found.value_of('onward_events_total{outcome="learned"}'), default=0) > 1000
            except OSError:
                return False  # It does not listen yet.

        until(has_learned, lambda: worker_log.read_text()[-4000:])
        yield found


def test_every_query_of_every_panel_finds_a_number(running: Running) -> None:
    queries = {
        f"{panel['title']}: {target['expr']}": target["expr"].replace("$__rate_interval", "30s")
        for panel in panels()
        for target in panel.get("targets", [])
    }
    assert len(queries) > 60
    empty = set(queries)

    def all_found() -> bool:
        empty.difference_update([name for name in empty if running.value_of(queries[name])])
        return not empty

    until(all_found, lambda: f"no number for {sorted(empty)}")


def test_every_recorded_rule_records_a_number(running: Running) -> None:
    names = {rule["record"] for rule in rules() if "record" in rule}
    until(
        lambda: all(running.value_of(name) for name in names),
        lambda: f"nothing recorded for {[name for name in names if not running.value_of(name)]}",
    )


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_everything_that_an_alert_asks_about_is_there(running: Running, rule: dict[str, Any]) -> None:
    """A name or a label that does not exist would keep an alert silent for ever, and no linter would know."""
    name = r"(?<![\w:])(?:up|process_\w+|onward_\w+|job\w*:\w+:\w+)"
    selectors = set(re.findall(rf"{name}(?:\{{[^}}]*\}})?", rule["expr"]))
    assert selectors
    for selector in selectors:
        assert running.value_of(f"count({selector})"), selector


def test_prometheus_evaluates_every_rule_and_a_healthy_worker_fires_no_alert(running: Running) -> None:
    groups = _ask(f"{running.prometheus}/api/v1/rules")["data"]["groups"]
    evaluated = [rule for group in groups for rule in group["rules"]]
    assert len(evaluated) == len(rules())
    assert [rule["name"] for rule in evaluated if rule["health"] != "ok"] == []
    firing = {
        alert["labels"]["alertname"]
        for rule in evaluated
        if rule["type"] == "alerting"
        for alert in rule["alerts"]
        if alert["state"] == "firing"
    }
    assert firing == set()


def test_the_worker_exports_the_metrics_of_the_catalogue_and_no_other(running: Running) -> None:
    with urllib.request.urlopen(f"{running.worker}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    exported = set().union(*(metrics_in(line) for line in lines if not line.startswith("#")))
    assert exported == {metric.full_name for metric in METRICS}


def test_no_record_is_lost_between_the_counts(running: Running) -> None:
    assert running.value_of("sum(onward_events_consumed_total) - on() sum(onward_events_total)") == [0.0]
    assert running.value_of("sum(onward_dead_letters_total)")[0] > 0
