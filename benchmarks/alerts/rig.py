"""What the faults happen to: an embedded broker, a worker as it is deployed, and a Prometheus that watches it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.alerts.rules import FACTOR, write_configuration, write_targets
from benchmarks.alerts.stream import Stream, streaming
from service.settings import Settings, load_settings
from service.tools.embedded import dying_with_parent, embedded_broker, free_port, stop_process

ROOT: Final = Path(__file__).resolve().parents[2]
POLL_SECONDS: Final = 0.1
WAIT_SECONDS_MAX: Final = 180.0
LOOKBACK_SECONDS: Final = 300 // FACTOR
"""Prometheus' own 5 minutes, for which a sample counts."""
Worker = tuple[str, ...]
WORKER: Final[Worker] = ("-m", "service", "worker")


class NotSeenError(Exception):
    """What was waited for did not come; says what it was, and how the worker's log ends."""


class Alerts:
    """Asks Prometheus every 100 ms which alerts are pending or firing, and keeps when each began to be."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.now: dict[str, set[str]] = {}
        """The states of each alert that has one."""
        self.log: list[tuple[float, str, str]] = []
        """When which alert came into which state; "" is none."""

    def poll(self) -> None:
        """Ask once."""
        found: dict[str, set[str]] = {}
        for one in self.query("ALERTS"):
            found.setdefault(one["metric"]["alertname"], set()).add(one["metric"]["alertstate"])
        now = time.monotonic()
        for name in {*found, *self.now}:
            for state in found.get(name, {""}) - self.now.get(name, set()):
                self.log.append((now, name, state))
        self.now = found

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return what Prometheus finds for an expression."""
        address = f"{self._address}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        with urllib.request.urlopen(address, timeout=5) as answer:  # noqa: S310 - our own address
            result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return result

    def since(self, began: float, alert: str, state: str) -> float | None:
        """Return after how many seconds an alert first came into a state."""
        return next(
            (at - began for at, name, new in self.log if at >= began and (name, new) == (alert, state)), None
        )


class Stage:
    """A worker with its own topics, checkpoints and stream; it is started again whenever it ends, as compose does it.

    Args:
        folder: of its log and its checkpoints, and of Prometheus' targets.
        variables: its settings, as the environment.
        alerts: what Prometheus says.
        broker: the embedded one.
    """

    def __init__(
        self, folder: Path, variables: dict[str, str], alerts: Alerts, broker: subprocess.Popen[bytes]
    ) -> None:
        self.folder, self.alerts, self.broker = folder, alerts, broker
        self.port = free_port()
        self.store = folder / "checkpoints.sqlite"
        self.variables = {
            **variables,
            "ONWARD_CHECKPOINT__STORE": "sqlite",
            "ONWARD_CHECKPOINT__SQLITE_PATH": str(self.store),
            "ONWARD_CHECKPOINT__INTERVAL_SECONDS": "1",
            "ONWARD_KAFKA__SESSION_TIMEOUT_SECONDS": "6",
            "ONWARD_HTTP__PORT": str(self.port),
        }
        self.stream = Stream()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._wanted: tuple[Worker, dict[str, str]] | None = None

    @property
    def settings(self) -> Settings:
        """What the worker is set to."""
        return load_settings(environment=self.variables)

    def start(self, command: Worker = WORKER, **variables: str) -> None:
        """Run a worker, with some variables more; Prometheus is told its address."""
        with self._lock:
            self._wanted = command, self.variables | variables
        self.keep()
        write_targets(self.folder.parent, self.port)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the worker; it is not started again."""
        with self._lock:
            self._wanted = None
            self._end(number)

    def kill(self) -> None:
        """Kill the worker, as the kernel does when memory runs out."""
        with self._lock:
            self._end(signal.SIGKILL)

    def _end(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            stop_process(self._process, seconds=20.0)

    def keep(self) -> None:
        """Start the worker if it is wanted and not there."""
        with self._lock:
            if self._wanted is None or (self._process is not None and self._process.poll() is None):
                return
            command, variables = self._wanted
            inherited = {name: value for name, value in os.environ.items() if not name.startswith("ONWARD_")}
            with (self.folder / "worker.log").open("ab") as log:
                self._process = subprocess.Popen(
                    dying_with_parent([sys.executable, *command]),
                    cwd=ROOT,
                    env=inherited | variables,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )

    def restart(self, command: Worker = WORKER, **variables: str) -> None:
        """End the worker in order and run another."""
        self.stop()
        self.start(command, **variables)

    def learned(self) -> float:
        """Return how many events the process that runs has learned, as Prometheus knows it."""
        return self._sum('onward_events_total{outcome="learned"}')

    def waiting(self) -> float:
        """Return how many records wait, as Prometheus knows it."""
        return self._sum("onward_consumer_lag_messages")

    def _sum(self, selector: str) -> float:
        found = self.alerts.query(f"sum({selector})")
        return float(found[0]["value"][1]) if found else 0.0

    def until_learned(self, events: int) -> None:
        """Wait until the worker has learned so many more events, or as many since it was started again."""
        seen, before = 0.0, self.learned()

        def done() -> bool:
            nonlocal seen, before
            now = self.learned()
            seen, before = seen + max(0.0, now - before if now >= before else now), now
            return seen >= events

        self.until(done, f"{events} events more to be learned")

    def until(self, done: Callable[[], bool], what: str) -> None:
        """Wait for something.

        Raises:
            NotSeenError: it did not come.
        """
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while not done():
            if time.monotonic() > deadline:
                log = (self.folder / "worker.log").read_text(errors="replace")[-2000:]
                raise NotSeenError(
                    f"waited {WAIT_SECONDS_MAX:.0f} s for {what}; the worker's log ends so:\n{log}"
                )
            time.sleep(POLL_SECONDS)


class Rig:
    """The broker and Prometheus, and stages on them."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._broker = stack.enter_context(embedded_broker())
        port = free_port()
        log = stack.enter_context((folder / "prometheus.log").open("wb"))
        process = subprocess.Popen(
            dying_with_parent(
                [
                    shutil.which("prometheus") or "prometheus",
                    f"--config.file={write_configuration(folder)}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                    f"--query.lookback-delta={LOOKBACK_SECONDS}s",
                    "--log.level=warn",
                ]
            ),
            stdout=log,
            stderr=log,
        )
        stack.callback(stop_process, process)
        self.alerts = Alerts(f"http://127.0.0.1:{port}")
        _until_it_answers(self.alerts, process, folder / "prometheus.log")
        self._stage: Stage | None = None
        self._stop = threading.Event()
        keeper = threading.Thread(target=self._keep)
        keeper.start()
        stack.callback(keeper.join)
        stack.callback(self._stop.set)

    def _keep(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            if self._stage is not None:
                self._stage.keep()
            self.alerts.poll()

    @contextmanager
    def stage(self, name: str, variables: dict[str, str], rate: float, padding: int = 0) -> Iterator[Stage]:
        """Set up topics, a stream and a worker, and take them down behind the block."""
        folder = self._folder / name
        folder.mkdir()
        own = {
            "ONWARD_KAFKA__BOOTSTRAP_SERVERS": self._broker.bootstrap_servers,
            "ONWARD_KAFKA__GROUP_ID": name,
            "ONWARD_TOPICS__EVENTS": f"{name}-events",
            "ONWARD_TOPICS__PREDICTIONS": f"{name}-predictions",
            "ONWARD_TOPICS__DEAD_LETTERS": f"{name}-dead-letters",
            "ONWARD_TOPICS__PARTITIONS": "2",
        }
        stage = Stage(folder, own | variables, self.alerts, self._broker.process)
        with streaming(stage.settings, rate, padding) as stage.stream:
            stage.start()
            self._stage = stage
            try:
                yield stage
            finally:
                self._stage = None
                stage.stop(signal.SIGKILL)
                write_targets(self._folder)


def _until_it_answers(alerts: Alerts, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(int(WAIT_SECONDS_MAX / POLL_SECONDS)):
        if process.poll() is not None:
            break
        try:
            alerts.poll()
        except OSError:
            time.sleep(POLL_SECONDS)
        else:
            return
    raise NotSeenError(f"Prometheus does not answer; its log ends so:\n{log.read_text()[-2000:]}")
