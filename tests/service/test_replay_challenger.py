"""`onward replay` with a challenger: it promotes where the worker does, scores both makes, and its report shows when and why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from typer.testing import CliRunner

from models.bank import GUARD_ACTIONS, Bank
from models.specification import from_profile
from service.cli import app
from service.settings import Settings
from service.stream.shard import Shard
from service.tools.report.recorder import Recorder, Round
from tests.service.records import TOPIC, event_bytes, records
from tests.service.reports import Made, make, table, wave

ROWS = 400
WEAK: dict[str, Any] = {"profile": "fast", "experts": ["last_value"], "horizons": (1, 3)}
STRONG: dict[str, Any] = {"experts": ["last_value", "linear"], "margin": 0.02}


def settings_of(**challenger: Any) -> Settings:
    group = {"challenger": challenger} if challenger else {}
    return Settings.model_validate({"model": WEAK} | group)


def replayed(folder: Path, settings: Settings, *names: str, **options: Any) -> Made:
    folder.mkdir(exist_ok=True)
    files = [table(folder / f"{name}.csv", ROWS, value=wave(ROWS)) for name in names or ("a",)]
    return make(folder, *files, settings=settings, horizons=(1, 3), **options)


def test_a_replay_promotes_at_the_row_at_which_the_worker_does_and_answers_as_it(tmp_path: Path) -> None:
    """Method: the same rows through the shard; what was published against what the replay wrote, and the promotions."""
    settings = settings_of(**STRONG)
    made = replayed(tmp_path, settings)
    shard = Shard(topic=TOPIC, partition=0, settings=settings)
    times = [row["time"] for row in made.predictions if row["horizon"] == "1"]
    events = [event_bytes("a", time, value) for time, value in zip(times, wave(ROWS), strict=True)]
    published = [orjson.loads(message.value) for message in shard.apply(records(events)).predictions]
    promoted = [row for row, body in enumerate(published) if body["challenger"]["promoted"]]
    assert promoted
    (told,) = made.summary["promotions"]
    assert (told["series"], told["row"], told["place"]) == ("a", promoted[0], "challenger")
    assert told["evidence"] == published[promoted[0]]["challenger"]["evidence"] >= 100.0
    assert f"a, row {promoted[0]:,} ({told['time']}): the challenger answers from here on" in made.said
    own = [float(row["prediction"]) for row in made.predictions if row["horizon"] == "1"]
    assert own == [body["targets"]["value"]["horizons"][0]["prediction"] for body in published]


def test_both_makes_are_scored_whichever_answers(tmp_path: Path) -> None:
    """Method: each make's error beside that of a replay of this make alone; the table has both."""
    both = replayed(tmp_path / "both", settings_of(**STRONG), "a", "b")
    alone = {
        "model": replayed(tmp_path / "weak", settings_of(), "a", "b"),
        "challenger": replayed(
            tmp_path / "strong",
            Settings.model_validate({"model": WEAK | {"experts": STRONG["experts"]}}),
            "a",
            "b",
        ),
    }
    for series in ("a", "b"):
        for horizon in ("1", "3"):
            makes = both.summary["series"][series]["horizons"][horizon]["makes"]
            for place, one in alone.items():
                expected = one.summary["series"][series]["horizons"][horizon]
                assert makes[place] == {name: pytest.approx(expected[name]) for name in ("mse", "mae")}
    assert "the model  the challenger" in both.said
    for one in alone.values():
        assert "the model" not in one.said
        assert "promotions" not in one.summary
        assert one.data["challenger"] is None


def test_one_that_is_not_better_is_told_so_and_never_answers(tmp_path: Path) -> None:
    settings = Settings.model_validate(
        {"model": WEAK | {"experts": STRONG["experts"]}, "challenger": {"experts": ["last_value"]}}
    )
    made = replayed(tmp_path, settings)
    assert made.summary["promotions"] == []
    assert "The model answers to the end" in made.said


def test_the_report_has_the_evidence_and_the_moment_of_the_promotion(tmp_path: Path) -> None:
    made = replayed(tmp_path, settings_of(**STRONG))
    (series,), (told,) = made.data["series"], made.summary["promotions"]
    assert series["points"]["promoted"] == [told["row"]]
    assert [one["row"] for one in series["promotions"]] == [told["row"]]
    evidence, answers = series["figures"]["evidence"], series["figures"]["answers"]
    assert np.argmax(evidence) == told["row"]
    assert evidence[told["row"]] >= made.data["challenger"]["threshold"] == 2.0
    assert answers == [float(row >= told["row"]) for row in range(ROWS)]
    assert made.data["challenger"]["changes"] == {"experts": STRONG["experts"]}
    figures, scores = series["figures"]["horizons"]["1"], series["scores"]["horizons"]["1"]
    for column, place in zip(figures["makes"], ("model", "challenger"), strict=True):
        assert sum(column) / scores["n"] == pytest.approx(scores["makes"][place]["mae"], rel=1e-5)


def test_what_guards_did_is_marked_in_the_report_unless_it_is_everyday() -> None:
    """Method: results of a bank of which some say that a guard acted."""
    specification = from_profile("fast")
    bank, recorder = Bank(specification), Recorder(specification)
    slot = np.array([bank.admit()])
    recorder.admit(0, ["a"])
    acts = {3: "clip", 5: "roll_back", 8: "quarantine"}
    for row in range(10):
        time = np.array([60.0 * row])
        result = bank.step(slot, time, np.array([[float(row % 3)]]), np.empty((1, 0)))
        guard = 1 << GUARD_ACTIONS.index(acts[row]) if row in acts else 0
        recorder.add(
            Round([0], [str(row)], time, np.ones((1, 1)), replace(result, guard=np.array([[guard]])))
        )
    recorder.finish()
    (history,) = recorder.histories.values()
    assert np.flatnonzero(history.points.column("guard")).tolist() == [5, 8]


def test_the_command_takes_model_and_challenger_from_a_file_and_options_stand_over_it(tmp_path: Path) -> None:
    table(tmp_path / "a.csv", ROWS, value=wave(ROWS))
    config, summary = tmp_path / "my.toml", tmp_path / "s.json"
    config.write_text(
        '[model]\nprofile = "fast"\nexperts = ["last_value"]\nhorizons = [1, 3]\n'
        '[challenger]\nexperts = ["last_value", "linear"]\n'
    )
    command = ["replay", str(tmp_path / "a.csv"), "--config", str(config), "--summary", str(summary)]
    for more, horizons in ([], ["1", "3"]), (["--horizons", "2"], ["2"]):
        done = CliRunner().invoke(app, [*command, *more])
        assert done.exit_code == 0, done.output
        found = orjson.loads(summary.read_bytes())["series"]["a"]["horizons"]
        assert list(found) == horizons
        assert set(found[horizons[0]]["makes"]) == {"model", "challenger"}
        assert set(found[horizons[0]]["experts"]) == {"last_value"}
