"""Missing values in the tools: empty cells of tables, what is written, scored, shown and drawn of them."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from models.bank import Bank
from models.specification import from_profile
from service.observe.live import LiveFeed
from service.tools.score import Share
from service.tools.tables import Wanted
from service.tools.tail import TailOptions, show
from tests.service.records import event_bytes, records
from tests.service.test_page import ACTUAL, PREDICTED, points_of
from tests.service.test_produce import encoded
from tests.service.test_replay import clock, replay, wave, write
from tests.service.test_shard import bodies, make

HOLES = (0, 1, 20, 21, 33)


def with_holes(n: int) -> list[Any]:
    return ["" if at in HOLES else value for at, value in enumerate(wave(n))]


def test_an_empty_cell_is_a_null_on_the_wire(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.csv",
        ("time", [clock(i) for i in range(4)]),
        ("value", [1.5, "", " ", 2.5]),
        ("wind", ["", 1, 2, 3]),
    )
    events, sent = encoded(str(path), {"features": ["wind"]})
    assert [(one["value"], one["wind"]) for one in sent] == [(1.5, None), (None, 1), (None, 2), (2.5, 3)]
    np.testing.assert_array_equal([event.values[0] for event in events], [1.5, math.nan, math.nan, 2.5])


def test_a_replay_predicts_past_empty_cells_and_leaves_what_is_not_there_empty(tmp_path: Path) -> None:
    n = 50
    path = write(tmp_path / "a.csv", ("time", [clock(i) for i in range(n)]), ("value", with_holes(n)))
    rows, summary, said = replay(tmp_path, path, wanted=Wanted(targets=("value",)))
    assert "skipped" not in said
    assert [row["target"] == "" for row in rows] == [at + 1 in HOLES or at + 1 == n for at in range(n)]
    assert [row["prediction"] == "" for row in rows] == [at < 2 for at in range(n)]
    bank = Bank(from_profile("fast"))
    slot, errors = np.array([bank.admit()]), []
    for at, cell in enumerate(with_holes(n)):
        value = math.nan if cell == "" else cell
        time = 1704067200.0 + 3600.0 * at
        result = bank.step(slot, np.array([time]), np.array([[value]]), np.empty((1, 0)))
        if result.settled.any():
            errors.append(float(result.error[0, 0, 0]))
        if at >= 2:
            assert float(rows[at]["prediction"]) == result.prediction[0, 0, 0]
    scored = summary["series"]["a"]["horizons"]["1"]
    assert scored["n"] == len(errors) == n - len(HOLES) - 1
    assert scored["mse"] == pytest.approx(np.mean(np.square(errors)))


def test_errors_are_standardised_by_the_values_that_are_there(tmp_path: Path) -> None:
    n = 50
    path = write(tmp_path / "a.csv", ("time", [clock(i) for i in range(n)]), ("value", with_holes(n)))
    wanted = Wanted(targets=("value",))
    _, raw, _ = replay(tmp_path, path, wanted=wanted)
    _, standardised, _ = replay(tmp_path, path, wanted=wanted, standardise=Share(rows=n))
    there = [value for value in with_holes(n) if value != ""]
    ratio = [one["series"]["a"]["horizons"]["1"]["mse"] for one in (raw, standardised)]
    assert ratio[0] / ratio[1] == pytest.approx(np.var(there))


def test_a_report_takes_missing_values(tmp_path: Path) -> None:
    n = 50
    path = write(tmp_path / "a.csv", ("time", [clock(i) for i in range(n)]), ("value", with_holes(n)))
    report = tmp_path / "r.html"
    replay(tmp_path, path, wanted=Wanted(targets=("value",)), report=report)
    assert re.search(r"[\[:,]NaN", report.read_text()) is None


@dataclass
class Published:
    """As much of a record as `show` looks at."""

    value: bytes


def predictions() -> list[dict[str, Any]]:
    values = [None, 1, 2, 3, None, 4]
    return bodies(make().apply(records(event_bytes("s", 60 * t, value) for t, value in enumerate(values))))


def test_tail_says_that_there_is_no_value_or_no_prediction() -> None:
    lines = [line for body in predictions() for line in show(Published(orjson.dumps(body)), TailOptions())]
    assert "no value" in lines[0]
    assert "+1 nothing yet" in lines[0]
    assert "no value  +1" in lines[4]
    assert "no value" not in lines[5]


def test_the_page_is_given_nothing_to_draw_where_there_is_nothing() -> None:
    feed = LiveFeed()
    for body in predictions():
        feed.prediction(body)
    points = points_of(feed, "s")
    assert [point[ACTUAL] for point in points] == [None, 1.0, 2.0, 3.0, None, 4.0]
    assert [point[PREDICTED] is None for point in points] == [True, True, False, False, False, False]
    assert json.dumps(points, allow_nan=False)
