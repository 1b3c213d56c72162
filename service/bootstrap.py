"""The only wiring: settings to a worker that runs."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from aiokafka.errors import KafkaConnectionError, KafkaError

from models.bank import Bank
from service.checkpoints.kafka import KafkaBackend
from service.checkpoints.sqlite import SqliteBackend
from service.checkpoints.store import Checkpoints
from service.connection import client_options
from service.observe.http import Health, HttpServer
from service.observe.metrics import Metrics
from service.observe.server import BindError
from service.ports import CheckpointError, CheckpointStore, FencedError, SpoiltSeriesError
from service.settings import Settings
from service.stream.app import App
from service.stream.learner import Learner
from service.stream.publisher import KafkaPublisher
from service.stream.transport import LogError
from service.topics import TopicError, ensure_topics

log = logging.getLogger(__name__)

_SAYS_WHAT_TO_DO = (
    BindError,
    CheckpointError,
    FencedError,
    KafkaError,
    LogError,
    SpoiltSeriesError,
    TopicError,
)
"""Failures that come from outside and say what to do; any other is a bug, and its traceback is shown."""
COMPILE_TOLD_SECONDS = 5.0
"""So often a start that compiles says that it lives."""
LAST_READ_SECONDS_MAX = 20.0
"""Prometheus reads every 15 s (deploy/prometheus/prometheus.yml)."""
_READ_POLL_SECONDS = 0.25
_BLAS_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def checkpoint_store(settings: Settings) -> CheckpointStore:
    """Return the store of checkpoints that the settings name; it is not started yet."""
    if settings.checkpoint.store == "sqlite":
        return Checkpoints(SqliteBackend(settings.checkpoint.sqlite_path))
    return Checkpoints(KafkaBackend(settings.topics.checkpoints, client_options(settings.kafka)))


def run_worker(settings: Settings) -> int:
    """Work until SIGTERM or SIGINT, and return 0; or until something fails, and return 1.

    Raises:
        RuntimeError: numpy may use several threads, and its sums would depend on the machine.
    """
    loose = [name for name in _BLAS_VARIABLES if os.environ.get(name) != "1"]
    if loose:
        raise RuntimeError(f"set {', '.join(loose)} to 1 before numpy is imported; the command `onward` does")
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        try:
            failure = runner.run(_work(settings))
        except _SAYS_WHAT_TO_DO as error:
            failure = error
    if failure is None:
        log.info("worker stopped")
        return 0
    what = f"{type(failure).__name__}: {failure}"
    if isinstance(failure, KafkaConnectionError):
        what = (
            f"no broker answers at {settings.kafka.bootstrap_servers} ({failure}). `onward doctor` says more"
        )
    log.critical(
        "worker failed: %s", what, exc_info=None if isinstance(failure, _SAYS_WHAT_TO_DO) else failure
    )
    return 1


async def _work(settings: Settings) -> BaseException | None:
    options = client_options(settings.kafka)
    metrics, health = Metrics(*settings.specifications()), Health()
    store, publisher = checkpoint_store(settings), KafkaPublisher(options)
    learner = Learner(settings, store=store, publisher=publisher, observer=metrics, vitals=health)
    http = HttpServer(settings.http.host, settings.http.port, metrics, health)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    http.start()
    try:
        log.info("worker started", extra={"url": http.url, "group": settings.kafka.group_id})
        await compile_models(settings)
        await ensure_topics(settings, options)
        app = App(
            settings, learner, (store, publisher), observer=metrics, vitals=health, client_options=options
        )
        failure = await app.run(stop)
        if failure is not None and not stop.is_set():
            await until_read(http, stop)
        return failure
    finally:
        http.stop()


async def until_read(http: HttpServer, stop: asyncio.Event) -> None:
    """Wait until /metrics was read once more by whoever reads it: what ended the worker is counted there, and goes with it.

    The partitions have been given up, so it holds up nobody else. Where nobody has read it so far, nobody is waited for.
    """
    failed_at = time.monotonic()
    if http.read_at is None:
        return
    while http.read_at <= failed_at and time.monotonic() < failed_at + LAST_READ_SECONDS_MAX:
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _READ_POLL_SECONDS)
            return
    await asyncio.sleep(_READ_POLL_SECONDS)  # for the answer to be sent


async def compile_models(settings: Settings) -> None:
    """Compile what an event goes through, before the worker is ready: seconds at the first start, later from its cache."""
    banks = [Bank(make, capacity=1) for make in settings.specifications()]
    compiled = [bank for bank in banks if bank.compiled]
    if len(compiled) < len(banks):
        log.info("models run uncompiled: numba is not installed, or has no twin of this make")
    if not compiled:
        return
    start = time.monotonic()
    compiling = asyncio.create_task(asyncio.to_thread(_warm, compiled))
    while not (await asyncio.wait({compiling}, timeout=COMPILE_TOLD_SECONDS))[0]:
        log.info("still compiling the models", extra={"seconds": round(time.monotonic() - start, 1)})
    await compiling
    log.info("models compiled", extra={"seconds": round(time.monotonic() - start, 1)})


def _warm(banks: Sequence[Bank]) -> None:
    for bank in banks:
        bank.warm()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop  # noqa: PLC0415 - not there on Windows

    return uvloop.new_event_loop
