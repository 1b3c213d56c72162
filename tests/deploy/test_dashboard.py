"""The dashboard: drawn from its table, of metrics that exist, and none of them forgotten.

Whether its queries find anything is asked of a real Prometheus in test_scrape.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from service.observe.catalog import METRICS
from tests.deploy.files import DASHBOARDS, DEPLOY, ROOT, metrics_in, panels, rules, run_tool

SHOWN = " ".join(path.read_text() for path in DASHBOARDS)
EXPORTED = {metric.full_name for metric in METRICS}
RULES = " ".join(rule["expr"] for rule in rules())

# What is neither on the dashboard nor in a rule, each with the reason.
NOT_SHOWN: dict[str, str] = {}


def test_the_dashboards_are_what_their_tables_draw(tmp_path: Path) -> None:
    done = run_tool("python", "deploy/grafana/dashboard.py", str(tmp_path))
    assert done.returncode == 0, done.stderr
    drawn = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert drawn == {path.name: path.read_text() for path in DASHBOARDS}, (
        "draw them anew: python3 deploy/tools.py python deploy/grafana/dashboard.py"
    )


def test_dashboards_have_their_own_names_and_numbers() -> None:
    boards = [json.loads(path.read_text()) for path in DASHBOARDS]
    assert len({board["uid"] for board in boards}) == len({board["title"] for board in boards}) == len(boards)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_panels_have_their_own_numbers_and_do_not_overlap(path: Path) -> None:
    own = json.loads(path.read_text())["panels"]
    assert len({panel["id"] for panel in own}) == len(own)
    taken: set[tuple[int, int]] = set()
    for panel in own:
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
    for panel in panels():
        if panel["type"] != "row":
            assert panel["description"].endswith((".", "%.")), panel["title"]
            assert panel["fieldConfig"]["defaults"]["unit"]
            assert all(target["expr"] for target in panel["targets"])


def test_every_metric_that_is_asked_for_is_exported() -> None:
    documents = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *DEPLOY.rglob("*.md")]
    for path in [*DASHBOARDS, *(path for path in documents if path.exists())]:
        assert metrics_in(path.read_text()) <= EXPORTED, path
    assert metrics_in(RULES) <= EXPORTED


def test_every_metric_that_is_exported_is_asked_for() -> None:
    shown = metrics_in(SHOWN) | metrics_in(RULES)
    assert EXPORTED - shown == set(NOT_SHOWN)
