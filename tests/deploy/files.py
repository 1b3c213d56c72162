"""The deployment's files, and how the tests read and check them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from service.observe.catalog import METRICS
from tests.prerequisites import require

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
DASHBOARD = DEPLOY / "grafana" / "dashboards" / "onward.json"
"""The one that Grafana opens with."""
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
RUNBOOK = DEPLOY / "runbook.md"

_NOT_INSTALLED = 75
# A name that a recording rule has made holds colons, and what follows one is no metric of ours.
_METRIC_NAME = re.compile(r"(?<![\w:])onward_[a-z0-9_]+")
_HISTOGRAM_SUFFIXES = ("_bucket", "_count", "_sum")


def read_yaml(path: Path) -> Any:
    """Return what is in a YAML file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def panels() -> list[dict[str, Any]]:
    """Return every panel of every dashboard."""
    return [panel for path in DASHBOARDS for panel in json.loads(path.read_text())["panels"]]


def rules() -> list[dict[str, Any]]:
    """Return every recording and alerting rule."""
    groups = [group for path in _rule_files() for group in read_yaml(path)["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def _rule_files() -> list[Path]:
    return [PROMETHEUS / name for name in read_yaml(PROMETHEUS / "prometheus.yml")["rule_files"]]


def alerts() -> list[dict[str, Any]]:
    """Return every alerting rule."""
    return [rule for rule in rules() if "alert" in rule]


def metrics_in(text: str) -> set[str]:
    """Return the full names of Onward's metrics in a query or a document, a histogram's series under its own name."""
    histograms = {metric.full_name for metric in METRICS if metric.kind == "histogram"}
    found = set()
    for name in _METRIC_NAME.findall(text):
        bases = [name.removesuffix(suffix) for suffix in _HISTOGRAM_SUFFIXES if name.endswith(suffix)]
        found.add(next((base for base in bases if base in histograms), name))
    return found


def run_tool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program of deploy/tools.lock; the test is skipped, or fails where nothing may be, if it cannot be had."""
    done = subprocess.run(
        [sys.executable, str(DEPLOY / "tools.py"), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    require(arguments[0], done.returncode != _NOT_INSTALLED, f"it could not be installed: {done.stderr}")
    return done


def run_promtool(*arguments: str) -> str:
    """Run promtool in deploy/prometheus, expect success and return what it said."""
    done = subprocess.run(
        ["promtool", *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
