"""The rules and the configuration of deploy/prometheus, with every duration shortened by one factor and nothing else changed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import yaml

PROMETHEUS: Final = Path(__file__).resolve().parents[2] / "deploy" / "prometheus"
FACTOR: Final = 60
"""A minute is a second: `for: 5m` is 5 s, a scrape every 15 s is one every 250 ms, so that as many samples lie in a window as ever."""
TARGETS: Final = "targets.json"

_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000}
_DURATION: Final = re.compile(r"(?<=\[|\s)(\d+)([smh])(?=\]|$)", re.MULTILINE)
"""A range `[5m]`, or what stands behind a key, as in `for: 5m`. A recorded name such as `rate5m` and an age in seconds stay."""


def shortened(text: str) -> str:
    """Return rules with their durations divided by FACTOR.

    >>> shortened("expr: x:rate5m > 600 and deriv(x[10m]) > 0")
    'expr: x:rate5m > 600 and deriv(x[10000ms]) > 0'
    """
    return _DURATION.sub(lambda found: f"{int(found[1]) * _MS[found[2]] // FACTOR}ms", text)


def alert_names() -> list[str]:
    """Return the names of all alerts, in their order in the file."""
    return re.findall(r"(?m)^\s*- alert: (\w+)$", (PROMETHEUS / "alerts.yml").read_text())


def write_configuration(folder: Path) -> Path:
    """Write configuration and rules, shortened, into a folder; return the configuration's path.

    The workers' addresses come from a file in the place of a name: it is empty where the name would stand for nothing.
    """
    text = shortened((PROMETHEUS / "prometheus.yml").read_text())
    configuration: dict[str, Any] = yaml.safe_load(text)
    for name in configuration["rule_files"]:
        (folder / name).write_text(shortened((PROMETHEUS / name).read_text()))
    (job,) = configuration["scrape_configs"]
    refresh = job.pop("dns_sd_configs")[0]["refresh_interval"]
    job["file_sd_configs"] = [{"files": [TARGETS], "refresh_interval": refresh}]
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(configuration))
    write_targets(folder)
    return path


def write_targets(folder: Path, *ports: int) -> None:
    """Say at which ports there are workers."""
    new = folder / f".{TARGETS}"
    new.write_text(json.dumps([{"targets": [f"127.0.0.1:{port}" for port in ports]}]))
    new.replace(folder / TARGETS)
