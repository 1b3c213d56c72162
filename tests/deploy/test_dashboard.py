"""The dashboard: drawn from its table, of metrics that exist, and none of them forgotten.

Whether its queries find anything is asked of a real Prometheus in test_scrape.py.
"""

from __future__ import annotations

import json
from pathlib import Path

from service.observe.catalog import METRICS
from tests.deploy.files import DASHBOARD, DEPLOY, ROOT, metrics_in, rules, run_tool

PANELS = json.loads(DASHBOARD.read_text())["panels"]
EXPORTED = {metric.full_name for metric in METRICS}
RULES = " ".join(rule["expr"] for rule in rules())

# What is neither on the dashboard nor in a rule, each with the reason.
NOT_SHOWN: dict[str, str] = {}


def test_the_dashboard_is_what_its_table_draws(tmp_path: Path) -> None:
    drawn = tmp_path / "onward.json"
    done = run_tool("python", "deploy/grafana/dashboard.py", str(drawn))
    assert done.returncode == 0, done.stderr
    assert drawn.read_text() == DASHBOARD.read_text(), (
        "draw it anew: python3 deploy/tools.py python deploy/grafana/dashboard.py"
    )


def test_panels_have_their_own_numbers_and_do_not_overlap() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        place = panel["gridPos"]
        cells = {
            (place["x"] + right, place["y"] + down)
            for right in range(place["w"])
            for down in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells


def test_every_panel_says_what_it_tells_and_whence() -> None:
    for panel in PANELS:
        if panel["type"] != "row":
            assert panel["description"].endswith((".", "%.")), panel["title"]
            assert panel["fieldConfig"]["defaults"]["unit"]
            assert all(target["expr"] for target in panel["targets"])


def test_every_metric_that_is_asked_for_is_exported() -> None:
    documents = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *DEPLOY.rglob("*.md")]
    for path in [DASHBOARD, *(path for path in documents if path.exists())]:
        assert metrics_in(path.read_text()) <= EXPORTED, path
    assert metrics_in(RULES) <= EXPORTED


def test_every_metric_that_is_exported_is_asked_for() -> None:
    shown = metrics_in(DASHBOARD.read_text()) | metrics_in(RULES)
    assert EXPORTED - shown == set(NOT_SHOWN)
