"""What the live page shows: the last points of some series, the totals and the worker's state.

Served by the demo and not by the worker, for the page has to show the worker being killed and coming
back. The feed is told of predictions as they come from the topic; browsers are given what is new a few
times a second. Everything is bounded: series that are drawn, points of each, browsers.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal, TypedDict, final

import orjson

from models.bank import GUARD_EVERYDAY
from service.observe.catalog import NAIVE
from service.observe.server import Response, Server
from service.ports import PLACES

PANELS_MAX = 12
"""Small multiples that a laptop's screen still shows side by side."""
POINTS_MAX = 400
"""Points of a panel: about one for each pixel of its width."""
ERROR_SPAN = 200
"""Rows over which the page's errors are averaged: half of what it shows."""
SERIES_COUNTED_MAX = 100_000
BROWSERS_MAX = 16
PERIOD_SECONDS = 0.2
QUIET_SECONDS = 1.0
"""Something is sent at least so often, so that a page notices when the demo is gone."""
RATE_SECONDS = 5.0
TIME_LENGTH_MAX = 40

DRIFT, RESTART, GUARD, PROMOTED = 1, 2, 4, 8
"""Marks of a point; bits, for all may be."""
WATCHED = ("lyapunov", "update_ratio", "dead_ratio", "rate_factor", "effective_rank", "log_condition")
"""Figures of stability that are shown of the chosen series."""


class WorkerStatus(TypedDict, total=False):
    """How the worker process does, as its supervisor sees it."""

    state: Literal["starting", "running", "down"]
    pid: int | None
    restarts: int
    since: float
    """When it came into this state, in seconds since the epoch."""
    recovered_offset: int | None
    """Where it went on after a restart; None at a first start."""
    detail: str


@final
class _Panel:
    """One target of one series: what is drawn of it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.points: deque[tuple[int, list[Any]]] = deque(maxlen=POINTS_MAX)
        self.restarted = False
        self._rows = 0
        self._waiting: dict[int, tuple[float | None, ...]] = {}
        self._errors: dict[str, float] = {}
        self._weight = 0.0

    def add(
        self, sequence: int, time_text: str, figures: Mapping[str, Any], shadow: Mapping[str, Any]
    ) -> None:
        """Take in one row: its value, what had been forecast for it, the forecast it leads to, and what is told of the challenger."""
        row = self._rows
        self._rows += 1
        first = figures["horizons"][0]
        if first["settled"] is not None:
            self._settle(first["settled"])
        # The forecast made at row t is drawn at row t + h, which is the row that it is about.
        quantiles = list(first["quantiles"].values())
        inner = len(quantiles) // 2 - 1
        self._waiting[row + first["horizon"]] = (
            first["prediction"],
            *(quantiles[0], quantiles[-1]),
            *quantiles[inner : inner + 2],
        )
        forecast = self._waiting.pop(row, (math.nan,) * 5)
        acted = not set(figures["guard"]).issubset(GUARD_EVERYDAY)
        marks = DRIFT * bool(figures["drift"]) | RESTART * self.restarted | GUARD * acted
        marks |= PROMOTED * (shadow.get("promoted") is not None)
        self.restarted = False
        point = [
            row,
            time_text,
            *_short(figures["observed"], *forecast, figures["anomaly_score"]),
            marks,
            *_short(figures["gradient_norm"], figures["influence_norm"]),
            _short(*self._errors.values()),
            _short(*first["weights"].values()),
            _short(*(figures["stability"][name] for name in WATCHED)),
            # Whose forecast it is, and how the other one stands; nothing without a challenger.
            [PLACES[1 - PLACES.index(shadow["place"])], *_short(shadow["evidence"])]
            if "place" in shadow
            else None,
        ]
        self.points.append((sequence, point))

    def _settle(self, settled: Mapping[str, Any]) -> None:
        """Take the absolute errors of one forecast and of its experts into their moving means."""
        keep = math.exp(-1.0 / ERROR_SPAN)
        weight = keep * self._weight + (1.0 - keep)
        for name, error in {"forecast": settled["error"], **settled["experts"]}.items():
            total = keep * self._errors.get(name, 0.0) * self._weight + (1.0 - keep) * abs(error)
            self._errors[name] = total / weight
        self._weight = weight

    def after(self, sequence: int) -> list[list[Any]]:
        """Return the points that are newer."""
        newer: list[list[Any]] = []
        for number, point in reversed(self.points):
            if number <= sequence:
                break
            newer.append(point)
        newer.reverse()
        return newer


@final
class LiveFeed:
    """Takes in predictions and the worker's state; gives out what is new. Safe to use from any thread."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self._panels: dict[tuple[str, str], _Panel] = {}
        self._last_offset: dict[str, int] = {}
        self._experts: list[str] = []
        self._horizon = 0
        self._events = self._repeated = self._sequence = 0
        self._arrivals: deque[tuple[float, int]] = deque()
        self._worker = WorkerStatus(state="starting", pid=None, restarts=0)

    def prediction(self, message: Mapping[str, Any]) -> None:
        """Take in a decoded prediction message. One that was seen before is only counted as repeated."""
        series = message["series"]
        offset = int(message["id"].rsplit("-", 1)[1])
        with self._lock:
            if offset <= self._last_offset.get(series, -1):
                self._repeated += 1
                return
            if series in self._last_offset or len(self._last_offset) < SERIES_COUNTED_MAX:
                self._last_offset[series] = offset
            self._count()
            targets, shadow = message["targets"], message.get("challenger") or {}
            for target, figures in targets.items():
                panel = self._panel(series, target, alone=len(targets) == 1)
                if panel is not None:
                    self._sequence += 1
                    self._experts = list(figures["horizons"][0]["weights"])
                    self._horizon = figures["horizons"][0]["horizon"]
                    panel.add(self._sequence, str(message["time"])[:TIME_LENGTH_MAX], figures, shadow)

    def worker(self, status: WorkerStatus) -> None:
        """Take in how the worker process does. What comes after it was down is marked in every panel."""
        with self._lock:
            if status.get("state") == "down" and self._worker.get("state") != "down":
                for panel in self._panels.values():
                    panel.restarted = True
            self._worker = status
            self._sequence += 1  # It is news even while no prediction comes.

    def _panel(self, series: str, target: str, *, alone: bool) -> _Panel | None:
        panel = self._panels.get((series, target))
        if panel is None and len(self._panels) < PANELS_MAX:
            panel = self._panels[series, target] = _Panel(series if alone else f"{series} / {target}")
        return panel

    def _count(self) -> None:
        """Count an event at its arrival, in bins, for the rate."""
        self._events += 1
        bin_start = self._clock() // PERIOD_SECONDS * PERIOD_SECONDS
        if self._arrivals and self._arrivals[-1][0] == bin_start:
            self._arrivals[-1] = (bin_start, self._arrivals[-1][1] + 1)
        else:
            self._arrivals.append((bin_start, 1))
            self._forget_arrivals()

    def _forget_arrivals(self) -> None:
        while self._arrivals and self._arrivals[0][0] <= self._clock() - RATE_SECONDS:
            self._arrivals.popleft()

    def after(self, sequence: int) -> tuple[int, dict[str, Any]]:
        """Return the newest sequence number, and all that a page needs that knows what came before."""
        with self._lock:
            self._forget_arrivals()
            panels = [
                {"index": index, "name": panel.name, "points": points}
                for index, panel in enumerate(self._panels.values())
                if (points := panel.after(sequence))
            ]
            return self._sequence, {
                "panels": panels,
                "experts": self._experts,
                "naive": [name for name in self._experts if name in NAIVE],
                "horizon": self._horizon,
                "points_max": POINTS_MAX,
                "error_span": ERROR_SPAN,
                "events": self._events,
                "repeated": self._repeated,
                "rate": sum(count for _, count in self._arrivals) / RATE_SECONDS,
                "series": len(self._last_offset),
                "worker": self._worker,
                "now": time.time(),
            }


def _short(*values: float | None) -> list[float | None]:
    """Return values with seven digits, which no screen can tell from all of them; None if missing or not finite."""
    return [None if value is None or not math.isfinite(value) else float(f"{value:.7g}") for value in values]


PAGE = Path(__file__).parent / "page"
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/charts.js": ("charts.js", "text/javascript; charset=utf-8"),
    "/words.js": ("words.js", "text/javascript; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/favicon.svg": ("favicon.svg", "image/svg+xml"),
    "/vendor/uplot/uPlot.iife.min.js": ("vendor/uplot/uPlot.iife.min.js", "text/javascript; charset=utf-8"),
    "/vendor/uplot/uPlot.min.css": ("vendor/uplot/uPlot.min.css", "text/css; charset=utf-8"),
    "/vendor/uplot/LICENSE": ("vendor/uplot/LICENSE", "text/plain; charset=utf-8"),
}
"""All that is served; nothing is looked up on the disk by what a client asks for."""
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}


@final
class LiveServer:
    """Serves the live page and its events, on loopback unless told otherwise."""

    def __init__(self, host: str, port: int, feed: LiveFeed) -> None:
        self._feed = feed
        self._stopped = threading.Event()
        self._browsers = 0
        self._lock = threading.Lock()
        routes: dict[str, Callable[[], Response]] = {
            path: _file(PAGE / name, content_type) for path, (name, content_type) in FILES.items()
        }
        routes["/events"] = self._events
        routes["/healthz"] = lambda: Response(b'{"status":"ok"}\n', "application/json")
        self._server = Server(host, port, routes, name="onward-page")

    def start(self) -> None:
        """Listen, and serve in the background.

        Raises:
            BindError: the port is in use, or the address is not this machine's.
        """
        self._stopped.clear()
        self._server.start()

    def stop(self) -> None:
        """Stop serving; open pages wait for the next start by themselves."""
        self._stopped.set()
        self._server.stop()

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._server.port

    @property
    def url(self) -> str:
        """The page's address."""
        return self._server.url

    @property
    def browsers(self) -> int:
        """How many pages are being kept up to date."""
        return self._browsers

    def _events(self) -> Response:
        if self._browsers >= BROWSERS_MAX:
            return Response(b"too many pages are open\n", status=HTTPStatus.SERVICE_UNAVAILABLE)
        return Response(self._stream(), "text/event-stream", headers=SECURITY_HEADERS)

    def _stream(self) -> Generator[bytes]:
        """Yield a snapshot, then what is new. A browser that does not read in time ends it."""
        with self._lock:
            self._browsers += 1
        try:
            sequence, state = self._feed.after(0)
            yield b"retry: 1000\n" + _frame("snapshot", state)
            sent_at = time.monotonic()
            while not self._stopped.wait(PERIOD_SECONDS):
                newest, state = self._feed.after(sequence)
                if newest == sequence and time.monotonic() - sent_at < QUIET_SECONDS:
                    continue
                sequence, sent_at = newest, time.monotonic()
                yield _frame("update", state)
        finally:
            with self._lock:
                self._browsers -= 1


def _frame(event: str, state: dict[str, Any]) -> bytes:
    """Return a server-sent event. JSON has no raw line break, so one `data` line holds it."""
    return b"event: %s\ndata: %s\n\n" % (event.encode(), orjson.dumps(state))


def _file(path: Path, content_type: str) -> Callable[[], Response]:
    body = path.read_bytes()
    return lambda: Response(body, content_type, headers=SECURITY_HEADERS)
