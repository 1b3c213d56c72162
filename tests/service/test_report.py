"""`onward replay --report`: the page stands alone, and its figures are the replay's."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from models.specification import from_profile
from service.tools.problem import WRONG_USAGE, CommandError
from service.tools.replay import ReplayOptions, run
from service.tools.report import page, recorder
from service.tools.report.buckets import Buckets
from service.tools.score import Share
from service.tools.tables import Wanted
from tests.service.reports import make, table, wave

ROWS = 300
HOSTILE = [
    "</script><script>alert(1)</script>",
    "\"quoted\" & <b>'bold'</b>",
    "<!--",
    "{{ script }}",
    "é\u2028",
]


def mean(values: list[float], weights: list[float]) -> float:
    return math.fsum(v * w for v, w in zip(values, weights, strict=True) if w) / math.fsum(weights)


@pytest.mark.parametrize("limit", [4, 7, 64, 1000])
def test_buckets_hold_the_first_lowest_highest_and_sum_of_their_rows(limit: int) -> None:
    """Goal: merged buckets are those of the rows. Method: rows in pieces of odd sizes, against all rows at once."""
    rng = np.random.default_rng(3)
    names = {"first": ["f"], "low": ["l"], "high": ["h"], "total": ["t"]}
    buckets, rows = Buckets(names), np.empty(0)
    for size in (0, 1, 2, 0, 5, 97, 3, 64, 1, 130):
        block = np.where(rng.random(size) < 0.2, np.nan, rng.normal(size=size))
        counted = np.nan_to_num(block)
        buckets.add({"f": block, "l": block, "h": block, "t": counted}, limit)
        rows = np.concatenate((rows, block))
        assert buckets.rows == len(rows)
        assert len(buckets) == -(-len(rows) // buckets.width) <= limit
        pieces = [rows[i : i + buckets.width] for i in range(0, len(rows), buckets.width)]
        for name, expected in {
            "f": [piece[0] for piece in pieces],
            "l": [np.fmin.reduce(piece) for piece in pieces],
            "h": [np.fmax.reduce(piece) for piece in pieces],
            "t": [np.nansum(piece) for piece in pieces],
        }.items():
            np.testing.assert_allclose(buckets.column(name), np.array(expected), atol=1e-12)
        assert buckets.counts().tolist() == [len(piece) for piece in pieces]
    assert (buckets.width == 1) == (limit >= len(rows))


def test_figures_on_the_page_are_the_replay_s(tmp_path: Path) -> None:
    """Goal: one truth. Method: the page's data beside --summary and --output: scores, forecasts where they fall due,
    and the means of the charts' errors against the table's."""
    file = table(tmp_path / "a.csv", ROWS, value=wave(ROWS))
    made = make(tmp_path, file, horizons=(1, 5), command="onward replay 'a b.csv'")
    (series,) = made.data["series"]
    assert series["scores"] == made.summary["series"]["a"]
    assert made.data["events"] == made.summary["events"] == series["rows"] == ROWS
    assert series["points"]["low"] == pytest.approx(wave(ROWS), abs=1e-4)
    for horizon in (1, 5):
        forecast = series["points"]["horizons"][str(horizon)]
        rows = [row for row in made.predictions if row["horizon"] == str(horizon)]
        for part, column in (("predicted", "prediction"), ("lower", "q0.025"), ("upper", "q0.975")):
            assert forecast[part][:horizon] == [None] * horizon
            expected = [float(row[column]) for row in rows[: ROWS - horizon]]
            assert forecast[part][horizon:] == pytest.approx(expected, abs=1e-4)
        scores = series["scores"]["horizons"][str(horizon)]
        figures = series["figures"]["horizons"][str(horizon)]
        assert sum(figures["n"]) == scores["n"] == ROWS - horizon
        assert sum(figures["covered"]) / scores["n"] == pytest.approx(scores["coverage"]["0.95"])
        assert mean(figures["absolute"], figures["n"]) == pytest.approx(scores["mae"], rel=1e-6)
        for name, column in zip(made.data["experts"], figures["experts"], strict=True):
            assert mean(column, figures["n"]) == pytest.approx(scores["experts"][name]["mae"], rel=1e-6)
        assert [sum(shares) for shares in zip(*figures["weights"], strict=True)] == pytest.approx(
            [1.0] * ROWS, abs=1e-3
        )
    specification = from_profile("fast", horizons=(1, 5))
    assert made.data["model"]["version"] == specification.version()
    assert made.data["model"]["specification"]["lags"] == specification.lags
    assert made.data["command"] == "onward replay 'a b.csv'"
    start = 1_704_067_200_000
    assert (series["points"]["start"], series["end"]) == (start, start + (ROWS - 1) * 3_600_000)
    assert "report.html: 0." in made.said


def test_a_series_too_long_is_thinned_to_the_lowest_and_highest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: memory stays bounded and no spike is lost. Method: room for few buckets; their ends against the rows."""
    values = wave(ROWS)
    values[123] = 500.0
    file = table(tmp_path / "a.csv", ROWS, value=values)
    whole = make(tmp_path, file).data["series"][0]
    monkeypatch.setattr(recorder, "POINT_CELLS", 1)
    monkeypatch.setattr(recorder, "FIGURE_CELLS", 1)
    (series,) = make(tmp_path, file).data["series"]
    points, figures = series["points"], series["figures"]
    width = points["width"]
    assert (whole["points"]["width"], width, figures["width"], series["rows"]) == (1, 8, 8, ROWS)
    assert "high" not in whole["points"]
    for name, of in (("low", min), ("high", max)):
        expected = [of(values[i : i + width]) for i in range(0, ROWS, width)]
        assert points[name] == pytest.approx(expected, abs=1e-2)
    assert series["scores"] == whole["scores"]
    assert series["moments"] == whole["moments"]
    ours, theirs = figures["horizons"]["1"], whole["figures"]["horizons"]["1"]
    assert mean(ours["absolute"], ours["n"]) == pytest.approx(mean(theirs["absolute"], theirs["n"]), rel=1e-5)
    assert points["steps"] == width * 3_600_000


def test_a_page_is_no_larger_than_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = table(tmp_path / "a.csv", ROWS, value=wave(ROWS))
    large = make(tmp_path, file).path.stat().st_size
    monkeypatch.setattr(page, "BYTES_MAX", large - 25_000)
    made = make(tmp_path, file)
    assert made.path.stat().st_size <= large - 25_000
    assert made.data["series"][0]["points"]["width"] > 1


def test_the_page_is_one_file_that_asks_for_nothing(tmp_path: Path) -> None:
    """Goal: it opens from the disk without a network. Method: no address beside the library's own notice, nothing
    that is loaded, imported or left out, and a policy that allows what stands in it alone."""
    text = make(tmp_path, table(tmp_path / "a.csv", 30, value=wave(30))).text
    licence = (page.VENDOR / "LICENSE").read_text()
    assert licence in text
    assert set(re.findall(r"(?:https?|file|ftp):[^\s\"')]*|(?<![:/])//[\w-]+\.\w+", text)) == {
        "https://github.com/leeoniya/uPlot"
    }
    loaded = re.findall(r"<[^>]*?\b(?:src|href)\s*=\s*[\"']?([^\"'> ]+)", text)
    assert loaded
    assert all(reference.startswith("data:image/svg+xml;base64,") for reference in loaded)
    assert not re.findall(r"^\s*(?:import|export)\b|@import|url\(|fetch\(|EventSource", text, re.MULTILINE)
    assert "{{" not in text
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'")
    assert "unsafe" not in policy[1]


def test_hostile_names_stay_text_inside_the_data(tmp_path: Path) -> None:
    """Goal: no name ends the script. Method: names that would; the data come back, and the page has its own tags."""
    names = HOSTILE[:4]
    file = table(tmp_path / "a.csv", 80, id=[names[i % 4] for i in range(80)], **{"<b>value</b>": wave(80)})
    made = make(tmp_path, file, wanted=Wanted(series="id"), command="; ".join(HOSTILE))
    assert [one["name"] for one in made.data["series"]] == names
    assert made.data["command"] == "; ".join(HOSTILE)
    tags = [made.text.count(tag) for tag in ("<script", "</script", "<b>", "<!--")]
    assert tags == [3, 3, 0, 0]


def test_a_file_s_name_that_is_no_text_does_no_harm(tmp_path: Path) -> None:
    file = table(tmp_path / "a.csv", 30, value=wave(30))
    odd = file.rename(tmp_path / "odd\udcff.csv")
    console = Console(file=io.StringIO(), width=200)
    report = tmp_path / "odd.html"
    run(
        ReplayOptions(files=(str(odd),), wanted=Wanted(), profile="fast", report=report),
        out=Console(file=io.TextIOWrapper(io.BytesIO(), errors="replace"), width=200),
        notes=console,
    )
    assert b"odd?" in report.read_bytes()


@pytest.mark.parametrize(
    ("values", "options"),
    [
        ([4.0] * 50, {}),
        ([4.0] * 50, {"standardise": Share(20)}),
        ([1.0, 2.0, 3.0], {"horizons": (1, 9)}),
        ([1.0], {}),
        ([1e15 * (-1) ** i for i in range(60)], {}),
        ([1e-300 * i for i in range(60)], {}),
        (wave(60), {"warmup": Share(percent=100.0)}),
        (wave(60), {"profile": "balanced"}),
    ],
)
def test_no_figure_of_an_odd_series_is_anything_but_finite_or_null(
    tmp_path: Path, values: list[float], options: dict[str, Any]
) -> None:
    made = make(tmp_path, table(tmp_path / "a.csv", len(values), value=values), **options)
    (series,) = made.data["series"]
    assert series["rows"] == len(values)
    assert series["unit"] > 0.0
    assert None not in series["points"]["low"]


def test_rows_that_were_skipped_are_told_with_their_reasons(tmp_path: Path) -> None:
    good, bad = table(tmp_path / "a.csv", 30, value=wave(30)), tmp_path / "b.csv"
    lines = good.read_text().splitlines()
    bad.write_text("\n".join([*lines[:5], "2024-01-01 00:00:00,n/a", *lines[5:], "then,1.0", "x"]))
    files = make(tmp_path, good, bad, limit=20).data["files"]
    assert [(file["used"], len(file["skipped"])) for file in files] == [(20, 0), (20, 1)]
    files = make(tmp_path, good, bad).data["files"]
    assert [file["used"] for file in files] == [30, 30]
    assert files[1]["skipped"][0] == {
        "reason": "column 'value' is no finite number",
        "count": 1,
        "first_line": 6,
    }
    assert sum(one["count"] for one in files[1]["skipped"]) == 3


def test_of_many_series_and_horizons_some_are_drawn_and_all_are_counted(tmp_path: Path) -> None:
    n, rows = 230, 4
    file = table(
        tmp_path / "a.csv", n * rows, id=[f"s{i % n}" for i in range(n * rows)], value=wave(n * rows)
    )
    made = make(tmp_path, file, wanted=Wanted(series="id"), horizons=tuple(range(1, 31)), profile="fast")
    data = made.data
    assert [one["name"] for one in data["series"]] == [f"s{i}" for i in range(recorder.SERIES_MAX)]
    assert data["series_all"] == n
    assert len(data["overview"]) == 200
    skills = [line["skill"] for line in data["overview"] if line["skill"] is not None]
    assert skills == sorted(skills)
    assert len(data["horizons"]) == recorder.HORIZONS_MAX
    assert (data["horizons"][0], data["horizons"][-1]) == (1, 30)
    assert len(data["series"][0]["scores"]["horizons"]) == 30
    assert made.path.stat().st_size < page.BYTES_MAX


def test_targets_of_a_joint_model_are_drawn_apart(tmp_path: Path) -> None:
    columns = {"a": wave(60), "b": wave(60, period=7.0)}
    made = make(tmp_path, table(tmp_path / "p.csv", 60, **columns), joint=True, warmup=Share(10))
    assert [one["name"] for one in made.data["series"]] == ["p/a", "p/b"]
    for one, values in zip(made.data["series"], columns.values(), strict=True):
        assert one["points"]["low"] == pytest.approx(values, abs=1e-4)
        assert one["scores"] == made.summary["series"][one["name"]]
        assert one["warmup"] == 10


def test_irregular_times_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    seconds = [0.0, 1.5, 1.5, 90_000.25]
    path.write_text("\n".join(["time,value", *(f"{1.7e9 + s},{i}" for i, s in enumerate(seconds))]))
    points = make(tmp_path, path).data["series"][0]["points"]
    assert points["start"] == 1_700_000_000_000
    assert points["steps"] == [1500, 0, 89_998_750]


def test_a_jump_is_among_the_oddest_rows(tmp_path: Path) -> None:
    values = wave(ROWS)
    values[200] += 100.0
    (series,) = make(tmp_path, table(tmp_path / "a.csv", ROWS, value=values)).data["series"]
    top = series["moments"][:2]
    assert 200 in {one["row"] for one in top}
    found = next(one for one in top if one["row"] == 200)
    assert found["time"] == "2024-01-09 08:00:00"
    assert found["value"] == values[200]
    scores = [one["anomaly_score"] for one in series["moments"]]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) <= recorder.MOMENTS_MAX


def test_a_report_that_cannot_be_written_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    """Goal: whole or not at all. Method: places that cannot be, before the first row; a folder that goes away."""
    file = table(tmp_path / "a.csv", 30, value=wave(30))
    for report, message in (
        (tmp_path / "none" / "r.html", "cannot be written"),
        (tmp_path, "cannot be written"),
        (Path("/dev/null"), "cannot be written"),
        (file, "is one of the files that are read"),
        (tmp_path / "summary.json", "--summary and --report name the same file"),
    ):
        with pytest.raises(CommandError, match=message) as caught:
            make(tmp_path, file, report=report)
        assert caught.value.exit_code == WRONG_USAGE
    with pytest.raises(CommandError, match="cannot be written: No such file"):
        page.write(tmp_path / "gone" / "r.html", b"x")
    old = tmp_path / "old.html"
    old.write_text("old")
    link = tmp_path / "link.html"
    link.symlink_to(old)
    page.write(link, b"new")
    assert (old.read_text(), link.is_symlink()) == ("new", True)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
