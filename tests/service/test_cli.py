"""The command line as a person meets it: a process, its exit code, and what it says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli import app
from service.settings import Settings
from service.tools.schema import render

COMMANDS = ("demo", "worker", "replay", "produce", "tail", "checkpoint", "schema", "doctor")
TABLE = "time,value\n" + "".join(f"2024-01-01 00:{i:02}:00,{i * i % 17}\n" for i in range(60))


def onward(
    *arguments: str, folder: Path, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command in an empty folder, without this machine's settings."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("ONWARD_")}
    return subprocess.run(
        [sys.executable, "-m", "service", *arguments],
        cwd=folder,
        env=own | environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=300,  # the first one compiles
        check=False,
    )


def test_help_names_every_command_and_imports_nothing_heavy(tmp_path: Path) -> None:
    done = onward("--help", folder=tmp_path)
    assert done.returncode == 0
    for command in COMMANDS:
        assert f" {command} " in done.stdout
    code = (
        "import sys; sys.argv = ['onward', '--help']\n"
        "from service.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'pydantic', 'faust', 'aiokafka', 'numba', 'prometheus_client', 'uvloop'} & set(sys.modules)\n"
        "print('heavy:', sorted(heavy))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.endswith("heavy: []\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    done = CliRunner().invoke(app, [command, "--help"], prog_name="onward")
    assert done.exit_code == 0
    assert f"Usage: onward {command}" in done.output


def test_version(tmp_path: Path) -> None:
    done = onward("--version", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "onward 0.1.0\n")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, ""),
        (("nonsense",), 2, "No such command"),
        (("replay",), 2, "Missing argument"),
        (("replay", "--nonsense", "x.csv"), 2, "No such option"),
        (("replay", "none.csv"), 2, "onward: none.csv does not exist; check the path.\n"),
        (("replay", "none.csv", "--horizons", "soon"), 2, "whole numbers such as 1,24"),
        (("replay", "none.csv", "--warmup", "some"), 2, "a number of rows or percents"),
        (("replay", "none.csv", "--standardise", "120%"), 2, "a number of rows or percents"),
        (("replay", "empty.csv"), 1, "empty.csv is empty"),
        (("produce", "none.csv", "--rate", "1", "--speed-up", "2"), 2, "two paces"),
        (
            ("tail", "--config", "none.toml"),
            2,
            "The settings cannot be used.\nnone.toml: there is no such file",
        ),
        (("schema", "labels"), 2, "labels"),
    ],
)
def test_exit_codes_and_one_paragraph(
    tmp_path: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    (tmp_path / "empty.csv").touch()
    done = onward(*arguments, folder=tmp_path)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_setting_that_is_wrong_is_named_with_its_variable(tmp_path: Path) -> None:
    done = onward("schema", "events", folder=tmp_path, ONWARD_LIMITS__DEPTH_MAX="many")
    assert done.returncode == 2
    assert "ONWARD_LIMITS__DEPTH_MAX" in done.stderr
    assert "Traceback" not in done.stderr


def test_schema_follows_the_names_of_the_fields(tmp_path: Path) -> None:
    (tmp_path / "onward.toml").write_text('[fields]\ntargets = ["load"]\ntime = "at"\n')
    schema = json.loads(onward("schema", "events", folder=tmp_path).stdout)
    assert set(schema["properties"]) == {"series", "at", "load"}
    assert set(json.loads(render("predictions", Settings()))["properties"]) >= {"id", "series", "targets"}
    assert set(json.loads(render("dead-letters", Settings()))["properties"]) >= {"reason", "offset"}


def test_replay_reads_standard_input_and_writes_its_table(tmp_path: Path) -> None:
    done = onward("replay", "-", "--profile", "fast", "--output", "p.csv", folder=tmp_path, stdin=TABLE)
    assert done.returncode == 0
    assert "stdin" in done.stdout
    assert "last value" in done.stdout
    assert "times from column 'time'" in done.stderr
    assert len((tmp_path / "p.csv").read_text().splitlines()) == 61


def test_options_reach_the_replay(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(TABLE.replace("time,value", "a b,c"))
    columns = ("--time-column", "a b", "--target-columns", "c")
    scored = ("--horizons", "3,1", "--limit", "40", "--warmup", "25%", "--standardise", "20")
    written = ("--profile", "fast", "--summary", "s.json", "--report", "r.html")
    done = onward("replay", "t.csv", *columns, *scored, *written, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "onward replay t.csv --time-column 'a b' --target-columns c" in (tmp_path / "r.html").read_text()
    series = json.loads((tmp_path / "s.json").read_text())["series"]["t"]
    assert series["events"] == 40
    assert {horizon: one["n"] for horizon, one in series["horizons"].items()} == {"1": 30, "3": 30}
    assert "standardised" in done.stdout


def test_numpy_has_one_thread(tmp_path: Path) -> None:
    code = (
        "import os, sys; [os.environ.pop(n, None) for n in list(os.environ) if n.endswith('NUM_THREADS')]\n"
        "sys.argv = ['onward', '--version']\n"
        "from service.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(os.environ['OPENBLAS_NUM_THREADS'], os.environ['OMP_NUM_THREADS'], 'numpy' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path, timeout=60
    )
    assert done.stdout.endswith("1 1 False\n")


def test_ctrl_c_ends_quietly(tmp_path: Path) -> None:
    # Goal: no traceback and the shell's own code. Method: a replay that waits for more of its standard input.
    # Where a shell started the tests in the background they ignore Ctrl-C, and what they start would do so too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, "-m", "service", "replay", "-", "--profile", "fast", "--output", "p.csv"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    signal.signal(signal.SIGINT, before)
    assert process.stdin is not None
    # More rows than are looked at to find the columns, and more than a buffer holds.
    process.stdin.write("time,value\n" + "2024-01-01 00:00:00,1.0\n" * 2000)
    process.stdin.flush()
    deadline = time.monotonic() + 30.0
    while not (tmp_path / "p.csv").exists() or (tmp_path / "p.csv").stat().st_size == 0:
        assert time.monotonic() < deadline, "nothing was written"
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in said
