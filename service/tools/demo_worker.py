"""The demo's worker: a process of its own that is watched, and started again when it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from rich.console import Console

import service
from service.bootstrap import checkpoint_store
from service.observe.live import WorkerStatus
from service.settings import Settings
from service.tools.embedded import dying_with_parent
from service.tools.problem import CommandError

POLL_SECONDS = 0.1
BACKOFF_SECONDS = 0.5
FAILED_STARTS_MAX = 3
"""A worker that never gets ready has a fault that one more start does not mend."""
LOG_LINES_SHOWN = 25


async def until_ended(process: subprocess.Popen[bytes]) -> None:
    """Wait until a process has ended."""
    while process.poll() is None:  # noqa: ASYNC110 - nothing tells of it by itself, on every platform
        await asyncio.sleep(POLL_SECONDS)


class DemoWorker:
    """Runs the worker, again and again, until it is told to stop.

    Args:
        settings: of the worker.
        environment: the same, as variables.
        partitions: of the events topic.
        folder: where it runs, and where its log is.
        tell: is told how it does whenever that changes.
        notes: what a person should know is said here.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        environment: Mapping[str, str],
        partitions: int,
        folder: Path,
        tell: Callable[[WorkerStatus], None],
        notes: Console,
    ) -> None:
        self.log = folder / "worker.log"
        self._settings = settings
        self._environment = environment
        self._partitions = partitions
        self._folder = folder
        self._tell = tell
        self._notes = notes
        self._process: subprocess.Popen[bytes] | None = None
        self._restarts = 0
        self._recovered_offset: int | None = None

    async def run(self) -> None:
        """Start the worker, and start it again whenever it ends; runs until it is cancelled.

        Raises:
            CommandError: it ended several times before it was ready.
        """
        failed_starts = 0
        while True:
            process, began = self._start(), time.monotonic()
            if await self._until_ready(process):
                failed_starts = 0
                again = f"back after {time.monotonic() - began:.1f} s as" if self._restarts else "ready:"
                self._notes.print(
                    f"The worker is {again} process {process.pid}. Try it: kill -9 {process.pid}"
                )
                await until_ended(process)
            else:
                failed_starts += 1
            await self._take_note_of_end(process)
            if failed_starts == FAILED_STARTS_MAX:
                raise CommandError(
                    f"The worker ended {failed_starts} times before it was ready. Its log ends so:\n{self._log_end()}"
                )
            await asyncio.sleep(BACKOFF_SECONDS * 2**failed_starts)
            self._restarts += 1

    def kill(self) -> None:
        """End the worker at once: nothing that it could save outlives the demo."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        root = str(Path(service.__file__).parent.parent)
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        # Neither a variable nor an onward.toml that is meant for another worker may reach this one.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ONWARD_")}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                dying_with_parent([sys.executable, "-m", "service", "worker"]),
                cwd=self._folder,
                env=inherited | {**self._environment, "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,  # Ctrl-C is for the demo; it then ends the worker.
            )
        self._tell_state("starting", pid=self._process.pid)
        return self._process

    async def _until_ready(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait until the worker says that it is ready; return whether it lived to say so."""
        while process.poll() is None:
            if await self._is_ready():
                self._tell_state("running", pid=process.pid)
                return True
            await asyncio.sleep(POLL_SECONDS)
        return False

    async def _is_ready(self) -> bool:
        http = self._settings.http
        try:
            reader, writer = await asyncio.open_connection(http.host, http.port)
        except OSError:
            return False
        try:
            writer.write(b"GET /readyz HTTP/1.0\r\n\r\n")
            return b" 200 " in await reader.readline()
        except OSError:
            return False
        finally:
            writer.close()

    async def _take_note_of_end(self, process: subprocess.Popen[bytes]) -> None:
        self._recovered_offset = await self._saved_offset()
        code = process.returncode
        how = f"ended with code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
        self._tell_state("down", pid=None, detail=how)
        saved = f"{self._recovered_offset:,} events" if self._recovered_offset else "nothing yet"
        self._notes.print(f"The worker {how}; it goes on from its checkpoint ({saved}).", style="yellow")

    async def _saved_offset(self) -> int | None:
        """Return how many events, over all partitions, the checkpoints have behind them."""
        store = checkpoint_store(self._settings)
        await store.start()
        try:
            found = [await store.read(partition) for partition in range(self._partitions)]
        finally:
            await store.stop()
        offsets = [one.next_offset for one in found if one is not None]
        return sum(offsets) if offsets else None

    def _tell_state(
        self, state: Literal["starting", "running", "down"], *, pid: int | None, detail: str = ""
    ) -> None:
        status = WorkerStatus(
            state=state,
            pid=pid,
            restarts=self._restarts,
            since=time.time(),
            recovered_offset=self._recovered_offset,
            detail=detail,
        )
        self._tell(status)

    def _log_end(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:])
