"""The worker's HTTP side: /metrics for Prometheus, /healthz and /readyz for whoever runs the worker.

Rules:

- /healthz says whether a restart would help. It would if events wait and none is taken, or if the event
  loop does not come round. It would not if the broker is away, so that is never a reason: what waits
  counts only while the broker itself says so.
- /readyz says whether this worker has partitions and has brought back what it had learned of them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import final

import orjson

from service.observe.metrics import Metrics
from service.observe.server import Response, Server

STALL_SECONDS = 60.0
"""Longer than a rebalance (the session timeout, 10 s by default) and a save of many series together."""


@final
@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether all is well, and why or why not, in a sentence."""

    well: bool
    reason: str


@final
class Health:
    """What the stream's side tells of itself, and what follows from it. Safe to use from any thread.

    >>> health = Health()
    >>> health.ready().reason
    'no partition is assigned'
    >>> health.assigned([0])
    >>> health.recovered()
    >>> health.ready().well, health.alive().well
    (True, True)
    """

    def __init__(
        self, *, stall_seconds: float = STALL_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self._stall_seconds = stall_seconds
        self._offsets: dict[int, int] = {}
        self._waiting: dict[int, tuple[int, float]] = {}
        self._assigned: tuple[int, ...] = ()
        self._recovered = False
        self._stopping = False
        self._progress_at = clock()
        self._beat_at: float | None = None

    def progress(self, partition: int, offset: int) -> None:
        """Everything of the partition up to this offset has been dealt with."""
        with self._lock:
            if self._offsets.get(partition) != offset:
                self._offsets[partition] = offset
                self._progress_at = self._clock()

    def lag(self, partition: int, messages: int) -> None:
        """So many records wait, as the broker said just now. Do not repeat an old figure."""
        with self._lock:
            now = self._clock()
            if not self._count_waiting(now):
                self._progress_at = now  # Until now there was nothing to do, or no broker to get it from.
            self._waiting[partition] = (messages, now)

    def _count_waiting(self, now: float) -> int:
        return sum(count for count, at in self._waiting.values() if now - at <= self._stall_seconds)

    def beat(self) -> None:
        """The event loop came round. Once told, it has to be told again within the stall time."""
        with self._lock:
            self._beat_at = self._clock()

    def assigned(self, partitions: Sequence[int]) -> None:
        """The group gave these partitions; none is a revocation, after which recovery is told anew."""
        with self._lock:
            self._assigned = tuple(sorted(partitions))
            self._waiting = {p: what for p, what in self._waiting.items() if p in self._assigned}
            self._offsets = {p: offset for p, offset in self._offsets.items() if p in self._assigned}
            self._progress_at = self._clock()
            if not partitions:
                self._recovered = False

    def recovered(self) -> None:
        """The learners of the partitions stand where they stood before."""
        with self._lock:
            self._recovered = True
            self._progress_at = self._clock()

    def stopping(self) -> None:
        """The worker is asked to stop: it takes nothing new."""
        with self._lock:
            self._stopping = True

    def alive(self) -> Verdict:
        """Say whether the worker goes on, or would if there were something to do."""
        with self._lock:
            now = self._clock()
            if self._stopping:
                return Verdict(True, "stopping")
            if self._beat_at is not None and now - self._beat_at > self._stall_seconds:
                return Verdict(False, f"the event loop has been stuck for {now - self._beat_at:.0f} s")
            waiting = self._count_waiting(now)
            still = now - self._progress_at
            if waiting and still > self._stall_seconds:
                return Verdict(False, f"{waiting} records wait and none was taken for {still:.0f} s")
            return Verdict(True, f"{waiting} records wait" if waiting else "nothing waits")

    def ready(self) -> Verdict:
        """Say whether the worker has partitions and their state."""
        with self._lock:
            if self._stopping:
                return Verdict(False, "stopping")
            if not self._assigned:
                return Verdict(False, "no partition is assigned")
            if not self._recovered:
                return Verdict(False, "the state is being recovered")
            return Verdict(True, "recovered")

    def offsets(self) -> dict[str, int]:
        """Return the last offset dealt with, by partition as text."""
        with self._lock:
            return {str(partition): offset for partition, offset in sorted(self._offsets.items())}

    def partitions(self) -> list[int]:
        """Return the partitions that are this worker's."""
        with self._lock:
            return list(self._assigned)


INDEX = b"""onward worker

/metrics   figures for Prometheus
/healthz   200 while events are taken or none waits
/readyz    200 when partitions are assigned and their state is recovered
"""


@final
class HttpServer:
    """Serves a worker's metrics and health, on loopback unless told otherwise."""

    def __init__(self, host: str, port: int, metrics: Metrics, health: Health) -> None:
        self._health = health
        self._metrics = metrics
        self._read_at: float | None = None
        self._server = Server(
            host,
            port,
            {
                "/": lambda: Response(INDEX),
                "/metrics": self._read,
                "/healthz": lambda: self._answer(health.alive()),
                "/readyz": lambda: self._answer(health.ready()),
            },
            name="onward-http",
        )

    def start(self) -> None:
        """Listen, and answer in the background.

        Raises:
            BindError: the port is in use, or the address is not this machine's.
        """
        self._server.start()

    def stop(self) -> None:
        """Stop answering."""
        self._server.stop()

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._server.port

    @property
    def url(self) -> str:
        """The address of the index."""
        return self._server.url

    @property
    def read_at(self) -> float | None:
        """When /metrics was last read, by the monotonic clock; None before that."""
        return self._read_at

    def _read(self) -> Response:
        response = Response(self._metrics.exposition(), self._metrics.content_type)
        self._read_at = time.monotonic()
        return response

    def _answer(self, verdict: Verdict) -> Response:
        body = {
            "status": "ok" if verdict.well else "failing",
            "reason": verdict.reason,
            "partitions": self._health.partitions(),
            "offsets": self._health.offsets(),
        }
        status = HTTPStatus.OK if verdict.well else HTTPStatus.SERVICE_UNAVAILABLE
        return Response(orjson.dumps(body) + b"\n", "application/json", status)
