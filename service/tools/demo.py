"""The whole of it on one machine, at once: a broker, real data, a worker, and a page that shows it live.

Nothing outlives it: the broker keeps everything in memory, the checkpoints are in a temporary folder, and the broker
and the worker end with this process, however it ends.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import signal
import tempfile
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from aiokafka import TopicPartition
from rich.console import Console

from service.connection import client_options
from service.observe.live import LiveFeed, LiveServer
from service.observe.server import BindError
from service.settings import Settings
from service.tools.demo_worker import DemoWorker, until_ended
from service.tools.embedded import EmbeddedBroker, EmbeddedBrokerError, embedded_broker, free_port
from service.tools.events import Play, side_by_side
from service.tools.kafka import consumer
from service.tools.problem import WRONG_USAGE, CommandError
from service.tools.produce import Pace, send
from service.tools.tables import Source, Wanted, open_table
from service.topics import ensure_topics

DATA = Path(__file__).parent / "data"
CANCEL_SECONDS = 2.0
"""After so long a task that goes on is cancelled again."""
PARTITIONS = 2
HOST = "127.0.0.1"
PORT = 8000
RATE = 80.0
"""Events a second, of all series: as fast as an eye follows."""
HISTORY_ROWS = 400
"""Of each series, sent at once: the page opens on full panels and on models that have seen some days."""
WEEK_SECONDS = 7 * 86400.0
POLL_MS = 100


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What `onward demo` was asked to do. Without a port the usual one is taken, or a free one."""

    port: int | None = None
    rate: float | None = None
    speed_up: float | None = None
    seconds: float | None = None
    series: tuple[str, ...] = ()
    browser: bool = False


def run(options: DemoOptions, *, notes: Console) -> None:
    """Run the demo until Ctrl-C, a signal, or its time is over.

    Raises:
        CommandError: the broker or the worker cannot run here, or the port is taken.
    """
    chosen = _chosen(options.series)
    with stop_by_signals() as stop, ExitStack() as stack:
        try:
            broker = stack.enter_context(embedded_broker())
        except EmbeddedBrokerError as error:
            raise CommandError(f"{str(error)[:1].upper()}{str(error)[1:]}.") from error
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="onward-demo-")))
        feed = LiveFeed()
        server = start_page(options.port, feed, notes)
        stack.callback(server.stop)
        tree = _settings_tree(broker, folder)
        settings = Settings.model_validate(tree)
        worker = DemoWorker(
            settings,
            environment=_as_variables(tree),
            partitions=PARTITIONS,
            folder=folder,
            tell=feed.worker,
            notes=notes,
        )
        stack.callback(worker.kill)
        _greet(server, settings, worker, len(chosen), notes)
        if options.browser:
            webbrowser.open(server.url)
        asyncio.run(_run(options, settings, broker, worker, feed, chosen, stop))
        with suppress(OSError):  # the terminal may be what has ended
            notes.print("Stopped; nothing is kept.")


async def _run(
    options: DemoOptions,
    settings: Settings,
    broker: EmbeddedBroker,
    worker: DemoWorker,
    feed: LiveFeed,
    series: Sequence[Source],
    stop: StopSignals,
) -> None:
    pace = (
        Pace(rate=RATE) if options.rate is options.speed_up is None else Pace(options.rate, options.speed_up)
    )
    await ensure_topics(settings, client_options(settings.kafka))
    parts = (
        stop.wait(),
        _watch(broker),
        worker.run(),
        _play(settings, series, pace),
        _follow(settings, feed),
    )
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        # None of them ends by itself but the wait for the signal; an error ends all.
        done, _ = await asyncio.wait(tasks, timeout=options.seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _end(tasks)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    if tasks[0] not in done:
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel tasks until all have ended: a client that is just connecting may swallow a cancellation."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_SECONDS)


async def _play(settings: Settings, series: Sequence[Source], pace: Pace) -> None:
    """Send the history at once, then the rest at its pace."""
    events = side_by_side([endless(source) for source in series], by_time=pace.speed_up is not None)
    await send(settings, itertools.islice(events, len(series) * HISTORY_ROWS), Pace())
    await send(settings, events, pace)


async def _follow(settings: Settings, feed: LiveFeed) -> None:
    """Show every prediction on the page."""
    topic = settings.topics.predictions
    async with consumer(settings.kafka, auto_offset_reset="earliest", enable_auto_commit=False) as client:
        client.assign([TopicPartition(topic, partition) for partition in range(PARTITIONS)])
        while True:
            for records in (await client.getmany(timeout_ms=POLL_MS)).values():
                for record in records:
                    feed.prediction(orjson.loads(record.value))


async def _watch(broker: EmbeddedBroker) -> None:
    await until_ended(broker.process)
    raise CommandError("The embedded broker has ended, and all events with it. Start the demo again.")


def _settings_tree(broker: EmbeddedBroker, folder: Path) -> dict[str, dict[str, Any]]:
    return {
        # The shortest: after kill -9 the partitions are given to the next process when the session is over.
        "kafka": {"bootstrap_servers": broker.bootstrap_servers, "session_timeout_seconds": 6.0},
        # The broker keeps nothing, so the checkpoints are beside it; often enough that little is learned twice.
        "checkpoint": {
            "store": "sqlite",
            "sqlite_path": str(folder / "checkpoints.sqlite"),
            "interval_seconds": 2.0,
        },
        "topics": {"partitions": PARTITIONS},
        "http": {"host": HOST, "port": free_port()},
    }


def _as_variables(tree: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {
        f"ONWARD_{group}__{name}".upper(): str(value)
        for group, members in tree.items()
        for name, value in members.items()
    }


def start_page(port: int | None, feed: LiveFeed, notes: Console) -> LiveServer:
    """Serve the page on a port, or without one on the usual port or else a free one.

    Raises:
        CommandError: the port that was asked for is taken.
    """
    server = LiveServer(HOST, PORT if port is None else port, feed)
    try:
        server.start()
    except BindError as error:
        if port is not None:
            raise CommandError(
                f"Port {port} is taken; choose another with --port, or 0 for a free one."
            ) from error
        notes.print(f"Port {PORT} is taken, so the page is on another.", style="yellow")
        server = LiveServer(HOST, 0, feed)
        server.start()
    return server


def _greet(server: LiveServer, settings: Settings, worker: DemoWorker, count: int, notes: Console) -> None:
    servers = settings.kafka.bootstrap_servers
    notes.print(f"{count} real series are forecast and learned, event by event. Ctrl-C stops everything.\n")
    notes.print(f"  Page     [bold]{server.url}[/bold]")
    notes.print(f"  Metrics  http://{HOST}:{settings.http.port}/metrics")
    notes.print(f"  Log      {worker.log}")
    notes.print(f"  Tail     ONWARD_KAFKA__BOOTSTRAP_SERVERS={servers} onward tail\n")


# ---- the series ----


def shipped() -> list[Source]:
    """Return the series that come with the package."""
    return [Source(path, path.stem) for path in sorted(DATA.glob("*.csv"))]


def _chosen(names: Sequence[str]) -> list[Source]:
    found = {source.name: source for source in shipped()}
    for name in names:
        if name not in found:
            raise CommandError(
                f"There is no series {name!r}; there are {', '.join(found)}.", exit_code=WRONG_USAGE
            )
    return [found[name] for name in names] if names else list(found.values())


def endless(source: Source) -> Iterator[Play]:
    """Yield a file's rows over and over; each time round is moved by whole weeks, so that time only goes on."""
    moved = 0.0
    while True:
        first: float | None = None
        last = elapsed = 0.0
        with open_table(source, Wanted()) as table:
            for row in table.rows():
                first = row.time if first is None else first
                last = max(last, row.time)
                elapsed = max(elapsed, row.time - first)
                text = _text(row.time + moved) if moved else row.time_text
                yield Play(elapsed + moved, source.name, text, row.values, row.features)
        moved += math.floor((last - (first or 0.0)) / WEEK_SECONDS + 1.0) * WEEK_SECONDS


def _text(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"


# ---- the end ----


class StopSignals:
    """Notes that the process was asked to stop, and tells whoever waits for that."""

    def __init__(self) -> None:
        self._asked = False
        self._tell: Callable[[], object] = lambda: None

    def handle(self, number: int, _: object) -> None:
        """Handle a signal; the second does no more than the first, so that the end is never cut short."""
        self._asked = True
        self._tell()

    async def wait(self) -> None:
        """Wait until the process was asked to stop."""
        asked, loop = asyncio.Event(), asyncio.get_running_loop()
        self._tell = lambda: loop.call_soon_threadsafe(asked.set)
        try:
            if not self._asked:
                await asked.wait()
        finally:
            self._tell = lambda: None


@contextmanager
def stop_by_signals() -> Iterator[StopSignals]:
    """Take Ctrl-C, SIGTERM and the end of the terminal as a wish to stop in order, while the block runs."""
    signals = StopSignals()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signals.handle) for number in numbers}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
