"""Play tables into the events topic: at a chosen rate, at a multiple of the rows' own pace, or as fast as it goes."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from aiokafka.errors import KafkaError
from rich.console import Console

from service.settings import Settings
from service.tools.events import EventEncoder, Play, plays, side_by_side, wanted_by
from service.tools.kafka import producer, require_topic
from service.tools.problem import WRONG_USAGE, CommandError
from service.tools.tables import Wanted, open_table, sources
from service.tools.terminal import progress, say_columns, say_skipped

LINGER_MS = 5
"""Events wait so long for others of their batch: no delay that a person sees, and many more a second."""
AHEAD_SECONDS = 0.01
"""Finer than this nothing is timed: a sleep costs about a tenth of a millisecond."""
IN_FLIGHT_MAX = 2000


@dataclass(frozen=True, slots=True)
class Pace:
    """When events are due: `rate` events a second, or event time `speed_up` times as fast as it was; or at once."""

    rate: float | None = None
    speed_up: float | None = None

    def __post_init__(self) -> None:
        """Refuse two paces at once."""
        if self.rate is not None and self.speed_up is not None:
            raise CommandError("--rate and --speed-up are two paces; choose one.", exit_code=WRONG_USAGE)

    def due(self, index: int, elapsed: float) -> float:
        """Return when an event is due, in seconds since the first one was; both counts are since that one too."""
        if self.rate is not None:
            return index / self.rate
        return 0.0 if self.speed_up is None else elapsed / self.speed_up


async def send(
    settings: Settings, events: Iterator[Play], pace: Pace, *, on_sent: Callable[[], None] = lambda: None
) -> int:
    """Send events when they are due, keyed by their series, and return how many there were.

    Raises:
        CommandError: there is no topic for them, or the broker takes no more.
    """
    topic, encoder = settings.topics.events, EventEncoder(settings.fields)
    await require_topic(settings.kafka, topic)
    count = 0
    in_flight: list[asyncio.Future[object]] = []
    async with producer(settings.kafka, linger_ms=LINGER_MS) as client:
        started, first = time.monotonic(), None
        try:
            for play in events:
                first = first or play
                due = started + pace.due(count, play.elapsed - first.elapsed)
                if due - time.monotonic() > AHEAD_SECONDS or len(in_flight) >= IN_FLIGHT_MAX:
                    # Nothing is lost by waiting for the broker here, and its refusal is noticed at once.
                    await asyncio.gather(*in_flight)
                    in_flight.clear()
                    await asyncio.sleep(due - time.monotonic())
                message = encoder.encode(play)
                in_flight.append(await client.send(topic, message.value, key=message.key))
                count += 1
                on_sent()
            await asyncio.gather(*in_flight)
        except KafkaError as error:
            raise CommandError(
                f"After {count - len(in_flight):,} events the broker took no more ({error}). Does it still run? "
                "`onward doctor` tells."
            ) from error
    return count


@dataclass(frozen=True, slots=True)
class ProduceOptions:
    """What `onward produce` was asked to do."""

    files: tuple[str, ...]
    wanted: Wanted
    pace: Pace
    limit: int | None = None


def run(options: ProduceOptions, settings: Settings, *, notes: Console) -> None:
    """Send the rows of files as events; all that is said goes to `notes`.

    Raises:
        CommandError: something is wrong with a file, its columns, the broker or the topic.
    """
    wanted, pace = wanted_by(settings.fields, options.wanted), options.pace
    with ExitStack() as stack:
        tables = [stack.enter_context(open_table(source, wanted)) for source in sources(options.files)]
        for table in tables:
            say_columns(table, wanted, notes)
        streams = [plays(table, settings.fields) for table in tables]
        events = itertools.islice(side_by_side(streams, by_time=pace.speed_up is not None), options.limit)
        size = sum(table.source.path.stat().st_size for table in tables if table.source.path is not None)
        advance = stack.enter_context(progress(settings.topics.events, size or None, notes))
        started = time.monotonic()
        count = asyncio.run(
            send(
                settings,
                events,
                pace,
                on_sent=lambda: advance(lambda: sum(table.bytes_read for table in tables)),
            )
        )
        seconds = time.monotonic() - started
        for table in tables:
            say_skipped(table, notes)
    notes.print(
        f"{count:,} events sent to {settings.topics.events} in {seconds:.1f} s: {count / seconds:,.0f} a second."
    )
