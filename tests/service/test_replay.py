"""`onward replay`: what it writes is what the bank said, when it said it, and the errors are those of what it wrote."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from models.bank import Bank
from models.specification import from_profile
from service.tools.predictions_file import HEADER
from service.tools.problem import PROBLEM_FOUND, WRONG_USAGE, CommandError
from service.tools.replay import ReplayOptions, run
from service.tools.score import Share, table_lines
from service.tools.tables import Wanted

ROWS = 60
QUANTILES = ("q0.025", "q0.1", "q0.9", "q0.975")
Predictions = list[dict[str, str]]


def replay(tmp_path: Path, *files: str | Path, **options: Any) -> tuple[Predictions, dict[str, Any], str]:
    """Replay files with the fast profile; return the predictions, the summary and what was said."""
    output, summary = tmp_path / "predictions.csv", tmp_path / "summary.json"
    said = io.StringIO()
    console = Console(file=said, width=200)
    names = tuple(str(file) for file in files)
    defaults: dict[str, Any] = {"profile": "fast", "wanted": Wanted(), "output": output, "summary": summary}
    run(ReplayOptions(files=names, **(defaults | options)), out=console, notes=console)
    with output.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream)), json.loads(summary.read_text()), said.getvalue()


def wave(n: int, *, period: float = 12.0, level: float = 10.0) -> list[float]:
    """A season with a little of something else in it."""
    return [level + 3.0 * math.sin(2.0 * math.pi * i / period) + 0.1 * ((i * 7919) % 13) for i in range(n)]


def clock(i: int) -> str:
    return f"2024-01-{1 + i // 24:02} {i % 24:02}:00:00"


def write(path: Path, *columns: tuple[str, list[Any]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([name for name, _ in columns])
        writer.writerows(zip(*(cells for _, cells in columns), strict=True))
    return path


def one_series(tmp_path: Path, name: str = "wave", n: int = ROWS, **options: Any) -> Path:
    return write(
        tmp_path / f"{name}.csv", ("time", [clock(i) for i in range(n)]), ("value", wave(n, **options))
    )


def offline(values: list[float], horizons: tuple[int, ...]) -> Iterator[list[tuple[float, ...]]]:
    """The reference: the bank by itself, one row at a time."""
    bank = Bank(from_profile("fast", horizons=horizons))
    slot = np.array([bank.admit()])
    for i, value in enumerate(values):
        result = bank.step(slot, np.array([1704067200.0 + 3600.0 * i]), np.array([[value]]), np.empty((1, 0)))
        yield [
            (
                float(result.prediction[0, 0, h]),
                *result.quantiles[0, 0, h].tolist(),
                float(result.anomaly_score[0, 0]),
                float(result.anomaly_log_score[0, 0]),
            )
            for h in range(len(horizons))
        ]


def numbers(row: dict[str, str]) -> tuple[float, ...]:
    return tuple(
        float(row[name]) for name in ("prediction", *QUANTILES, "anomaly_score", "anomaly_log_score")
    )


def test_predictions_are_those_of_the_bank_to_the_bit(tmp_path: Path) -> None:
    # Goal: the file round-trips what the bank said, in the order in which it was said. Method: the bank alone.
    rows, _, _ = replay(tmp_path, one_series(tmp_path), horizons=(1, 3))
    expected = [one for made in offline(wave(ROWS), (1, 3)) for one in made]
    assert [numbers(row) for row in rows] == expected
    assert [int(row["horizon"]) for row in rows] == [1, 3] * ROWS
    assert tuple(rows[0]) == (*HEADER, *QUANTILES, "anomaly_score", "anomaly_log_score")


def test_a_target_is_the_value_that_many_rows_later_and_empty_where_none_came(tmp_path: Path) -> None:
    rows, _, _ = replay(tmp_path, one_series(tmp_path), horizons=(1, 3))
    values = wave(ROWS)
    for at, row in enumerate(rows):
        made, horizon = at // 2, int(row["horizon"])
        assert row["time"] == clock(made)
        if made + horizon < ROWS:
            assert (row["target_time"], float(row["target"])) == (
                clock(made + horizon),
                values[made + horizon],
            )
        else:
            assert (row["target_time"], row["target"]) == ("", "")


def test_a_prediction_does_not_depend_on_what_comes_after_it(tmp_path: Path) -> None:
    # Goal: written as it was made, before its target was seen. Method: another future, the same past.
    values, cut = wave(ROWS), 40
    other = values[:cut] + [1000.0 - value for value in values[cut:]]
    times = [clock(i) for i in range(ROWS)]
    before, _, _ = replay(tmp_path, write(tmp_path / "a.csv", ("time", times), ("value", values)))
    after, _, _ = replay(tmp_path, write(tmp_path / "a.csv", ("time", times), ("value", other)))
    assert [numbers(row) for row in before[:cut]] == [numbers(row) for row in after[:cut]]
    assert numbers(before[cut]) != numbers(after[cut])


@pytest.mark.parametrize(
    ("warmup", "first"), [(Share(), 0), (Share(20), 20), (Share(percent=50.0), ROWS // 2)]
)
def test_summary_is_the_arithmetic_of_the_output(tmp_path: Path, warmup: Share, first: int) -> None:
    rows, summary, _ = replay(tmp_path, one_series(tmp_path), horizons=(1, 3), warmup=warmup)
    place = {clock(i): i for i in range(ROWS)}
    for horizon, one in summary["series"]["wave"]["horizons"].items():
        scored = [
            row
            for row in rows
            if row["horizon"] == horizon and row["target"] and place[row["target_time"]] >= first
        ]
        errors = [float(row["target"]) - float(row["prediction"]) for row in scored]
        told = [
            [float(row[name]) for name in ("q0.025", "q0.1", "target", "q0.9", "q0.975")] for row in scored
        ]
        assert one["n"] == len(scored) == ROWS - max(first, int(horizon))
        assert one["mse"] == pytest.approx(sum(error * error for error in errors) / len(errors))
        assert one["mae"] == pytest.approx(sum(map(abs, errors)) / len(errors))
        inner = sum(low <= target <= high for _, low, target, high, _ in told) / len(told)
        outer = sum(low <= target <= high for low, _, target, _, high in told) / len(told)
        assert one["coverage"] == pytest.approx({"0.8": inner, "0.95": outer})
        values = wave(ROWS)
        steps = [values[i] - values[i - int(horizon)] for i in range(max(first, int(horizon)), ROWS)]
        naive = one["experts"]["last_value"]
        assert naive["mse"] == pytest.approx(sum(step * step for step in steps) / len(steps))
        assert naive["mae"] == pytest.approx(sum(map(abs, steps)) / len(steps))
        assert list(one["experts"]) == ["last_value", "seasonal", "linear"]
    assert summary["events"] == summary["series"]["wave"]["events"] == ROWS
    assert list(summary) == ["events", "seconds", "series"]


@pytest.mark.parametrize(("share", "n"), [(Share(24), 24), (Share(percent=50.0), 30), (Share(1000), ROWS)])
def test_standardised_errors_are_divided_by_the_deviation_of_the_first_rows(
    tmp_path: Path, share: Share, n: int
) -> None:
    path = one_series(tmp_path, level=1e6)
    _, raw, _ = replay(tmp_path, path)
    _, standardised, said = replay(tmp_path, path, standardise=share)
    deviation = float(np.std(wave(n, level=1e6)))
    before, after = (summary["series"]["wave"]["horizons"]["1"] for summary in (raw, standardised))
    assert after["mse"] == pytest.approx(before["mse"] / deviation**2)
    assert after["mae"] == pytest.approx(before["mae"] / deviation)
    assert after["experts"]["linear"]["mse"] == pytest.approx(
        before["experts"]["linear"]["mse"] / deviation**2
    )
    assert "standardised" in said


def test_columns_of_a_file_are_series_of_their_own(tmp_path: Path) -> None:
    times = [clock(i) for i in range(ROWS)]
    path = write(
        tmp_path / "plant.csv",
        ("date", times),
        ("name", ["x"] * ROWS),
        ("b", wave(ROWS)),
        ("a", wave(ROWS, period=7.0)),
    )
    rows, summary, said = replay(tmp_path, path)
    assert list(summary["series"]) == ["plant/b", "plant/a"]
    assert [row["series"] for row in rows[:2]] == ["plant/b", "plant/a"]
    assert "times from column 'date'; values from b, a; not using name." in said
    expected = [made[0] for made in offline(wave(ROWS, period=7.0), (1,))]
    assert [numbers(row) for row in rows if row["series"] == "plant/a"] == expected


def test_joint_targets_see_each_other_and_keep_their_names(tmp_path: Path) -> None:
    times = [clock(i) for i in range(ROWS)]
    path = write(tmp_path / "p.csv", ("date", times), ("a", wave(ROWS)), ("b", wave(ROWS, period=7.0)))
    apart, alone, _ = replay(tmp_path, path)
    joint, summary, _ = replay(tmp_path, path, joint=True)
    assert [row["series"] for row in joint] == [row["series"] for row in apart]
    assert [numbers(row) for row in joint] != [numbers(row) for row in apart]
    assert (alone["events"], summary["events"]) == (2 * ROWS, ROWS)
    other = write(tmp_path / "q.csv", ("date", times), ("a", wave(ROWS)), ("c", wave(ROWS)))
    with pytest.raises(CommandError, match="all files need the same targets"):
        replay(tmp_path, path, other, joint=True)


def test_rows_of_a_series_column_are_learned_as_if_each_had_its_own_file(tmp_path: Path) -> None:
    # Goal: batching rows of different series changes no bit. Method: interleaved with repeats, against one by one.
    mixed, alone = [], {}
    for name, period in (("x", 12.0), ("y", 7.0), ("z", 5.0)):
        values = wave(ROWS, period=period)
        alone[name] = [made[0] for made in offline(values, (1,))]
        mixed += [(i, name, value) for i, value in enumerate(values)]
    mixed.sort(key=lambda row: (row[0] // 3, row[1], row[0]))
    path = write(
        tmp_path / "m.csv",
        ("time", [clock(i) for i, _, _ in mixed]),
        ("id", [name for _, name, _ in mixed]),
        ("value", [value for _, _, value in mixed]),
    )
    half = Share(percent=50.0)
    rows, summary, _ = replay(tmp_path, path, wanted=Wanted(series="id"), warmup=half)
    assert {name: one["horizons"]["1"]["n"] for name, one in summary["series"].items()} == dict.fromkeys(
        "xyz", 30
    )
    for name, expected in alone.items():
        assert [numbers(row) for row in rows if row["series"] == name] == expected


def test_a_series_goes_on_from_file_to_file(tmp_path: Path) -> None:
    values = wave(ROWS)
    halves = [
        write(
            tmp_path / f"{part}.csv",
            ("time", [clock(i) for i in span]),
            ("id", ["x"] * len(span)),
            ("value", [values[i] for i in span]),
        )
        for part, span in enumerate((range(30), range(30, ROWS)))
    ]
    rows, _, _ = replay(tmp_path, *halves, wanted=Wanted(series="id"))
    assert [numbers(row) for row in rows] == [made[0] for made in offline(values, (1,))]
    assert rows[29]["target_time"] == clock(30)


def test_features_are_given_to_the_model(tmp_path: Path) -> None:
    times, values = [clock(i) for i in range(ROWS)], wave(ROWS)
    hints = [*values[1:], 0.0]
    path = write(tmp_path / "f.csv", ("time", times), ("value", values), ("hint", hints))
    without, _, _ = replay(tmp_path, path, wanted=Wanted(targets=("value",)))
    using, _, said = replay(tmp_path, path, wanted=Wanted(features=("hint",)))
    assert {row["series"] for row in using} == {"f"}
    assert [numbers(row) for row in using] != [numbers(row) for row in without]
    assert "not using" not in said


def test_limit_stops_each_file(tmp_path: Path) -> None:
    files = [one_series(tmp_path, "a"), one_series(tmp_path, "b")]
    rows, summary, _ = replay(tmp_path, *files, limit=7, warmup=Share(percent=50.0), horizons=(1, 4))
    # A file's last predictions wait for nothing that the next file could bring.
    assert [row["series"] for row in rows] == ["a"] * 14 + ["b"] * 14
    assert {name: one["events"] for name, one in summary["series"].items()} == {"a": 7, "b": 7}
    assert summary["series"]["a"]["horizons"]["1"]["n"] == 4


def test_unusable_rows_are_skipped_counted_and_told(tmp_path: Path) -> None:
    # Goal: nothing is silently lost, and what is skipped leaves no trace. Method: the same file without them.
    good = [f"{clock(i)},{value!r},ok" for i, value in enumerate(wave(8))]
    bad = {
        f"{clock(2)},n/a,x": "column 'value' is no finite number",
        f"{clock(2)},nan,x": "column 'value' is no finite number",
        f"{clock(2)},1e300,x": "column 'value' is beyond 1e+15",
        "yesterday,1.0,x": "column 'time' is no time",
        "2024-02-30,1.0,x": "column 'time' is no time",
        f"{clock(2)},1.0": "it has more or fewer cells than the header",
    }
    clean, dirty = tmp_path / "a.csv", tmp_path / "b" / "a.csv"
    dirty.parent.mkdir()
    clean.write_text("\n".join(["time,value,note", *good]))
    dirty.write_text("\n".join(["time,value,note", *good[:3], *bad, "", *good[3:]]))
    expected, _, _ = replay(tmp_path, clean)
    rows, summary, said = replay(tmp_path, dirty)
    assert rows == expected
    assert summary["events"] == len(good)
    assert "2 rows skipped, first at line 5: column 'value' is no finite number." in said
    for reason in bad.values():
        assert reason in said


def test_quotes_bom_windows_line_ends_and_epoch_times_are_read(tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    path.write_bytes(
        b'\xef\xbb\xbfTimestamp,"the, value",note\r\n'
        b'1704067200,"1.5",\xff\xfe\r\n'
        b'1704070800000,"2.5","two\r\nlines"\r\n'
        b'"2024-01-01T02:00:00Z",3.5,x\r\n'
    )
    rows, _, said = replay(tmp_path, path)
    assert [row["time"] for row in rows] == ["1704067200", "1704070800000", "2024-01-01T02:00:00Z"]
    assert [row["target"] for row in rows] == ["2.5", "3.5", ""]
    assert "times from column 'Timestamp'" in said


def test_two_files_of_one_stem_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    _, summary, _ = replay(tmp_path, one_series(tmp_path / "a"), one_series(tmp_path / "b"))
    assert set(summary["series"]) == {"a/wave", "b/wave"}


@pytest.mark.parametrize(
    ("text", "wanted", "exit_code", "message"),
    [
        ("", Wanted(), PROBLEM_FOUND, "is empty: a header line"),
        ("\n\n", Wanted(), PROBLEM_FOUND, "is empty: a header line"),
        ("time,value\n", Wanted(), PROBLEM_FOUND, "no row below its header"),
        ("time,value\nx,1\n", Wanted(), PROBLEM_FOUND, "Nothing to learn from"),
        ("when,value\n2024-01-01,1\n", Wanted(), WRONG_USAGE, "Name it with --time-column: when, value"),
        ("time,value\n2024-01-01,1\n", Wanted(time="t"), WRONG_USAGE, "no column 't'; it has time, value"),
        ("time,value\n2024-01-01,1\n", Wanted(series="s"), WRONG_USAGE, "no column 's'"),
        ("time,value\n2024-01-01,1\n", Wanted(targets=("v",)), WRONG_USAGE, "no column 'v'"),
        ("time,value\n2024-01-01,1\n", Wanted(features=("f",)), WRONG_USAGE, "no column 'f'"),
        ("time,v,v\n2024-01-01,1,2\n", Wanted(targets=("v",)), WRONG_USAGE, "several columns 'v'"),
        ("time,v,v\n2024-01-01,1,2\n", Wanted(), WRONG_USAGE, "two columns of one name"),
        ("time,v\n2024-01-01,1\n", Wanted(targets=("v",), features=("v",)), WRONG_USAGE, "for two things"),
        ("time,name\n2024-01-01,x\n", Wanted(), WRONG_USAGE, "no column of numbers"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_what_to_do(
    tmp_path: Path, text: str, wanted: Wanted, exit_code: int, message: str
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(CommandError) as caught:
        replay(tmp_path, path, wanted=wanted)
    assert message in str(caught.value)
    assert caught.value.exit_code == exit_code


def test_files_and_folders_are_checked_before_the_first_row(tmp_path: Path) -> None:
    path = one_series(tmp_path)
    for files, options, message in (
        ((tmp_path / "none.csv",), {}, "does not exist"),
        ((tmp_path,), {}, "is a folder"),
        ((path, path), {}, "stands twice"),
        ((path,), {"output": path}, "is one of the files that are read"),
        ((path,), {"summary": tmp_path / "no" / "s.json"}, "cannot be written"),
        ((path,), {"summary": tmp_path / "predictions.csv"}, "the same file"),
        ((path,), {"horizons": (0,)}, "horizons"),
        ((path,), {"profile": "none"}, "profile"),
        (("-",), {"warmup": Share(percent=20.0)}, "Standard input has no end"),
    ):
        with pytest.raises(CommandError, match=message) as caught:
            replay(tmp_path, *files, **options)
        assert caught.value.exit_code == WRONG_USAGE
    assert path.read_text().startswith("time,value")


def test_what_cannot_be_scored_is_null(tmp_path: Path) -> None:
    times = [clock(i) for i in range(5)]
    flat = write(tmp_path / "flat.csv", ("time", times), ("value", [4.0] * 5))
    _, summary, said = replay(tmp_path, flat, standardise=Share(5), horizons=(1, 9))
    one = summary["series"]["flat"]["horizons"]
    assert (one["1"]["n"], one["1"]["mse"], one["1"]["coverage"]) == (4, None, {"0.8": 1.0, "0.95": 1.0})
    assert (one["9"]["n"], one["9"]["mse"], one["9"]["coverage"]) == (0, None, {"0.8": None, "0.95": None})
    assert "Mean squared error, standardised" in said


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_figure_of_the_table_is_cut_at_any_width(tmp_path: Path, width: int) -> None:
    names = ("a" * 60, "b")
    files = [one_series(tmp_path, name, level=level) for name, level in zip(names, (1e7, 1.0), strict=True)]
    _, summary, _ = replay(tmp_path, *files, horizons=(1, 3))
    text = "\n".join(table_lines(summary, standardised=False, width=width))
    first = [summary["series"][name]["horizons"]["3"]["experts"]["linear"]["mse"] for name in names]
    for figure in (*names, f"{first[0]:.4g}", f"{first[1]:.4g}", f"{sum(first) / 2:.4g}"):
        assert figure in text
    assert max(map(len, text.splitlines())) <= max(width, 80)
    assert text.count(names[0]) == (2 if width == 200 else 1)
