"""`onward demo`, as a real process: predictions move, a killed worker comes back, and nothing is left behind."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from service.observe.live import LiveFeed
from service.settings import Settings
from service.stream.times import parse_time
from service.tools import demo, demo_worker
from service.tools.demo_worker import DemoWorker
from service.tools.embedded import free_port
from service.tools.problem import CommandError
from service.tools.tables import Source

pytestmark = pytest.mark.usefixtures("compiled_models")

PATIENCE_SECONDS = 90.0
"""Far more than it takes; other tests may want the cores at the same time."""
STOPPED_SECONDS_MAX = 8.0
"""Less than clients wait for a broker that is gone: it has to be the last that ends."""


class Demo:
    """A demo that runs, and what it said so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.lines.extend(iter(self.process.stderr.readline, ""))

    def said(self, word: str) -> str:
        """Wait for a line with this word, and return the line."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            for line in list(self.lines):
                if word in line:
                    return line
            time.sleep(0.05)
        raise AssertionError(f"{word!r} was not said, but:\n{''.join(self.lines)}")

    @property
    def url(self) -> str:
        return self.said("Page").split()[-1]

    def states(self) -> Iterator[dict[str, Any]]:
        """What a browser is sent, piece by piece."""
        with urllib.request.urlopen(f"{self.url}events", timeout=PATIENCE_SECONDS) as stream:
            for line in stream:
                if line.startswith(b"data: "):
                    yield json.loads(line.removeprefix(b"data: "))

    def descendants(self) -> set[int]:
        """The processes that it has started, and those that they have."""
        found: set[int] = set()
        new = {self.process.pid}
        while new:
            children = {
                int(child)
                for pid in new
                for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            }
            new = children - found
            found |= new
        return found

    def end(self) -> int:
        code = self.process.wait(PATIENCE_SECONDS)
        self._reader.join(PATIENCE_SECONDS)
        return code


@contextmanager
def running(tmp_path: Path, *arguments: str) -> Iterator[Demo]:
    process = subprocess.Popen(
        [sys.executable, "-m", "service", "demo", "--port", "0", *arguments],
        # A setting that is meant for another worker must not reach this one.
        env=os.environ
        | {"TMPDIR": str(tmp_path), "ONWARD_TOPICS__EVENTS": "elsewhere", "ONWARD_NONSENSE__X": "1"},
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    try:
        yield Demo(process)
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def alive(pids: set[int]) -> set[int]:
    """Those that still run; a zombie that nobody has collected yet has ended."""
    found = set()
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state != "Z":
            found.add(pid)
    return found


def all_ended(pids: set[int]) -> bool:
    deadline = time.monotonic() + 10.0
    while alive(pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(pids)


def test_predictions_move_a_killed_worker_comes_back_and_nothing_is_left(tmp_path: Path) -> None:
    with running(tmp_path) as demo_process:
        page = urllib.request.urlopen(demo_process.url, timeout=PATIENCE_SECONDS).read()
        assert b"<html" in page
        states = demo_process.states()

        # Every series is shown, the burst of history has been learned, and it goes on.
        seen = next(
            state for state in states if state["events"] > 6 * demo.HISTORY_ROWS and state["series"] == 6
        )
        later = next(state for state in states if state["events"] > seen["events"] + 40)
        first = later["worker"]
        assert (first["state"], first["restarts"]) == ("running", 0)

        # A checkpoint comes every two seconds.
        time.sleep(2.5)
        os.kill(first["pid"], signal.SIGKILL)
        down = next(state for state in states if state["worker"]["state"] == "down")
        assert "SIGKILL" in down["worker"]["detail"]
        back = next(
            state["worker"]
            for state in states
            if state["worker"]["state"] == "running" and state["worker"]["pid"] != first["pid"]
        )
        assert back["restarts"] == 1
        assert back["recovered_offset"] >= later["events"]
        on = next(state for state in states if state["events"] > down["events"] + 40)
        # From its checkpoint and not from the log's start, which would repeat every prediction.
        assert on["repeated"] < down["events"] / 2
        assert f"kill -9 {back['pid']}" in demo_process.said("back after")

        children = demo_process.descendants()
        assert {back["pid"]} < children
        # As a terminal does it, to the whole group, and by somebody who is impatient.
        os.killpg(demo_process.process.pid, signal.SIGINT)
        os.killpg(demo_process.process.pid, signal.SIGINT)
        began = time.monotonic()
        assert demo_process.end() == 0
        assert time.monotonic() - began < STOPPED_SECONDS_MAX
        assert all_ended(children)
        assert list(tmp_path.iterdir()) == []
        assert not [line for line in demo_process.lines if "Traceback" in line]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_at_the_start_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    with running(tmp_path, "--series", "nyc_taxi") as demo_process:
        demo_process.said("Page")
        children = demo_process.descendants()
        assert children
        demo_process.process.send_signal(number)
        assert demo_process.end() == 0
        assert all_ended(children)
        assert list(tmp_path.iterdir()) == []


def test_children_die_with_a_demo_that_is_killed(tmp_path: Path) -> None:
    with running(tmp_path) as demo_process:
        demo_process.said("Tail")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(demo_process.descendants()) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        # The kernel is asked for it by the child itself, before it becomes the broker or the worker.
        time.sleep(0.5)
        children = demo_process.descendants()
        assert len(children) == 2
        demo_process.process.kill()
        demo_process.end()
        assert all_ended(children)


def test_it_stops_by_itself_after_so_many_seconds(tmp_path: Path) -> None:
    with running(tmp_path, "--seconds", "1", "--rate", "20") as demo_process:
        assert demo_process.end() == 0
        assert list(tmp_path.iterdir()) == []


def test_a_series_goes_on_by_whole_weeks_when_its_file_is_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text("timestamp,value\n" + "".join(f"2024-01-0{day} 06:00:00,{day}\n" for day in range(1, 9)))
    played = list(itertools.islice(demo.endless(Source(path, "s")), 24))
    times = [play.time for play in played]
    assert times[:8] == [f"2024-01-0{day} 06:00:00" for day in range(1, 9)]
    assert times[8:10] == ["2024-01-15 06:00:00", "2024-01-16 06:00:00"]
    seconds = [parse_time(text) for text in times]
    assert seconds == sorted(set(seconds))
    assert [play.elapsed for play in played] == [moment - seconds[0] for moment in seconds]
    assert [play.values for play in played[8:16]] == [play.values for play in played[:8]]


def test_shipped_series_come_with_their_licence() -> None:
    assert [source.name for source in demo.shipped()] == sorted(source.name for source in demo.shipped())
    assert len(demo.shipped()) == 6
    assert "Numenta" in (demo.DATA / "LICENSE.txt").read_text()


def test_an_unknown_series_is_told_with_those_that_there_are() -> None:
    options = demo.DemoOptions(series=("nyc_taxis",))
    with pytest.raises(CommandError, match=r"no series 'nyc_taxis'; there are .*nyc_taxi"):
        demo.run(options, notes=Console(file=io.StringIO()))


def test_a_port_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    said = io.StringIO()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        monkeypatch.setattr(demo, "PORT", taken)
        server = demo.start_page(None, LiveFeed(), Console(file=said))
        try:
            assert server.port != taken
        finally:
            server.stop()
        assert f"Port {taken} is taken" in said.getvalue()
        with pytest.raises(CommandError, match=f"Port {taken} is taken; choose another"):
            demo.start_page(taken, LiveFeed(), Console(file=said))


def test_a_worker_that_cannot_start_is_given_up_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_worker, "BACKOFF_SECONDS", 0.0)
    settings = Settings.model_validate(
        {
            "http": {"port": free_port()},
            "checkpoint": {"store": "sqlite", "sqlite_path": str(tmp_path / "c.sqlite")},
        }
    )
    states: list[str] = []
    worker = DemoWorker(
        settings,
        environment={"ONWARD_MODEL__PROFILE": "none"},
        partitions=1,
        folder=tmp_path,
        tell=lambda status: states.append(status["state"]),
        notes=Console(file=io.StringIO()),
    )
    with pytest.raises(CommandError, match=r"(?s)ended 3 times .*ONWARD_MODEL__PROFILE: profile: one of"):
        asyncio.run(worker.run())
    worker.kill()
    assert states == ["starting", "down"] * 3
