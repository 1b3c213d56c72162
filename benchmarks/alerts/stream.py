"""A stream of events that can be told to go wrong: quicker, silent, with bad records, or with values that nobody can forecast."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import orjson
from aiokafka import AIOKafkaProducer

from service.connection import client_options
from service.settings import Settings
from service.topics import ensure_topics

SERIES: Final = 4
RATE: Final = 400.0
"""Events a second: a series has its 1,000 healthy events in ten."""
TICK_SECONDS: Final = 0.05


@dataclass
class Stream:
    """What is sent, from now on; every attribute may be changed while it runs."""

    rate: float = RATE
    padding: int = 0
    bad_share: float = 0.0
    wild: bool = False
    """Steps of very different size in both directions, in the place of waves with noise: a walk with Student's t, 1.2 degrees of freedom."""
    sent: int = 0
    _rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    _levels: list[float] = field(default_factory=lambda: [0.0] * SERIES)
    _time: float = field(default_factory=time.time)

    def next(self) -> tuple[bytes, bytes]:
        """Return key and value of the next record."""
        series, row = self.sent % SERIES, self.sent // SERIES
        self.sent += 1
        key = f"s{series}"
        if self._rng.random() < self.bad_share:
            return key.encode(), b'{"series": "s0", "value": "this is no event"}'
        if self.wild:
            self._levels[series] = value = self._levels[series] + float(self._rng.standard_t(1.2))
        else:
            value = float(np.sin(row / 5 + series) + 0.3 * self._rng.normal())
        event: dict[str, Any] = {"series": key, "time": self._time + row, "value": value}
        if self.padding:
            event["note"] = "." * self.padding
        return key.encode(), orjson.dumps(event)


async def _run(stream: Stream, settings: Settings, stop: threading.Event) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka.bootstrap_servers, linger_ms=5)
    await producer.start()
    try:
        owed, last = 0.0, time.monotonic()
        while not stop.is_set():
            now = time.monotonic()
            owed, last = owed + stream.rate * (now - last), now
            for _ in range(int(owed)):
                key, value = stream.next()
                await producer.send(settings.topics.events, value, key=key)
            owed -= int(owed)
            await asyncio.sleep(TICK_SECONDS)
    finally:
        await producer.stop()


@contextmanager
def streaming(settings: Settings, rate: float, padding: int) -> Iterator[Stream]:
    """Make the topics, and send into them for as long as the block lasts."""
    asyncio.run(ensure_topics(settings, client_options(settings.kafka)))
    stream, stop = Stream(rate, padding), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_run(stream, settings, stop)))
    thread.start()
    try:
        yield stream
    finally:
        stop.set()
        thread.join()
