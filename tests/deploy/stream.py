"""What a worker needs to have something to do: topics, events good and bad, and processes that end with the test."""

from __future__ import annotations

import asyncio
import json
import math
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from service.settings import Settings
from service.tools.embedded import dying_with_parent, stop_process

TOPICS = Settings().topics
PARTITIONS = 2
WAIT_SECONDS_MAX = 40.0
EVENTS_A_SECOND = 400
# A fraction that stays under the alert's 5%.
POISON_EVERY = 50
POISON = (b"not json", b"", b'{"series": "s0"}', b'{"series": "s0", "time": 1, "value": NaN}', b"[1, 2]")


def until(done: Callable[[], bool], what: Callable[[], str]) -> None:
    """Wait until it is done; where it never is, fail with what is wrong."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not done():
        assert time.monotonic() < deadline, what()
        time.sleep(0.25)


async def make_topics(bootstrap: str) -> None:
    """Make what a worker with its checkpoints in a file needs."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        names = (TOPICS.events, TOPICS.predictions, TOPICS.dead_letters)
        await admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names])
    finally:
        await admin.close()


async def _produce(bootstrap: str, enough: threading.Event) -> None:
    """Send noisy waves of four series, and something bad among them, until it is enough."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=5)
    await producer.start()
    try:
        started, count = time.time(), 0
        while not enough.is_set():
            for _ in range(EVENTS_A_SECOND // 10):
                count += 1
                series, row = count % 4, count // 4
                value = math.sin(row / 5) + 0.3 * math.sin(row * row)
                event = {"series": f"s{series}", "time": started + count / EVENTS_A_SECOND, "value": value}
                good = json.dumps(event).encode()
                bad = POISON[count // POISON_EVERY % len(POISON)]
                await producer.send(
                    TOPICS.events,
                    good if count % POISON_EVERY else bad,
                    key=f"s{series}".encode(),
                    partition=series % 2,
                )
            await asyncio.sleep(0.1)
    finally:
        await producer.stop()


@contextmanager
def producing(bootstrap: str) -> Iterator[None]:
    """Produce in a thread for as long as the block lasts."""
    enough = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_produce(bootstrap, enough)))
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


@contextmanager
def running_process(command: list[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in the folder of its log, with some variables more; it ends with the block."""
    with (
        log.open("wb") as output,
        subprocess.Popen(
            dying_with_parent(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=log.parent,
            env=os.environ | environment,
        ) as process,
    ):
        try:
            yield process
        finally:
            stop_process(process, seconds=10.0)
