"""The live page's feed and server: what is kept, what is sent, and that no browser can hold it up."""

from __future__ import annotations

import http.client
import itertools
import math
import socket
import time
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from models.specification import Specification
from service.observe import live
from service.observe import server as server_module
from service.observe.live import (
    DRIFT,
    FILES,
    GUARD,
    PAGE,
    POINTS_MAX,
    PROMOTED,
    RESTART,
    WATCHED,
    LiveFeed,
    LiveServer,
)
from tests.service.live_events import HOSTILE_NAME, predictions

ROW, TIME, ACTUAL, PREDICTED, LOWER, UPPER, INNER_LOWER, INNER_UPPER = range(8)
ANOMALY, MARKS, GRADIENT, INFLUENCE, ERRORS, WEIGHTS, STABILITY, SHADOW = range(8, 16)


def points_of(feed: LiveFeed, name: str) -> list[list[Any]]:
    _, state = feed.after(0)
    return next(panel["points"] for panel in state["panels"] if panel["name"] == name)


@pytest.mark.parametrize("horizon", [1, 3])
def test_a_forecast_is_drawn_at_the_row_that_it_is_about(horizon: int) -> None:
    """Goal: "predicted" beside "actual". Method: row n shows what row n - h forecast; its error is `settled`."""
    feed = LiveFeed()
    messages = list(predictions(["a"], 30, horizons=(horizon, 5)))
    for message in messages:
        feed.prediction(message)
    points = points_of(feed, "a")
    assert [point[ROW] for point in points] == list(range(30))
    for n, (message, point) in enumerate(zip(messages, points, strict=True)):
        figures = message["targets"]["value"]
        assert point[ACTUAL] == pytest.approx(figures["observed"], rel=1e-6)
        if n < horizon:
            assert point[PREDICTED] is None
            continue
        made = messages[n - horizon]["targets"]["value"]["horizons"][0]
        assert point[PREDICTED] == pytest.approx(made["prediction"], rel=1e-6)
        for place, share in ((LOWER, "0.025"), (INNER_LOWER, "0.1"), (INNER_UPPER, "0.9"), (UPPER, "0.975")):
            assert point[place] == pytest.approx(made["quantiles"][share], rel=1e-6)
        error = figures["horizons"][0]["settled"]["error"]
        assert point[ACTUAL] - point[PREDICTED] == pytest.approx(error, rel=1e-4, abs=1e-4)


def test_errors_are_averaged_for_the_forecast_and_every_expert() -> None:
    """Goal: the figures behind "skill". Method: the weighted mean by hand, over all rows."""
    feed = LiveFeed()
    messages = list(predictions(["a"], 120))
    for message in messages:
        feed.prediction(message)
    settled = [message["targets"]["value"]["horizons"][0]["settled"] for message in messages[1:]]
    weights = [math.exp(-age / live.ERROR_SPAN) for age in reversed(range(len(settled)))]

    def mean(values: list[float]) -> float:
        return sum(w * abs(v) for w, v in zip(weights, values, strict=True)) / math.fsum(weights)

    errors = points_of(feed, "a")[-1][ERRORS]
    assert errors[0] == pytest.approx(mean([one["error"] for one in settled]), rel=1e-6)
    _, state = feed.after(0)
    assert state["experts"] == list(Specification().experts)
    assert state["naive"] == ["last_value", "seasonal"]
    for place, name in enumerate(state["experts"]):
        assert errors[1 + place] == pytest.approx(mean([one["experts"][name] for one in settled]), rel=1e-6)
    assert sum(points_of(feed, "a")[-1][WEIGHTS]) == pytest.approx(1, abs=1e-5)


def test_a_prediction_that_comes_again_after_a_restart_is_counted_once() -> None:
    """Goal: at-least-once publishing is not seen. Method: feed the last twenty again, then go on."""
    messages = list(predictions(["a", "b"], 40))
    once, again = LiveFeed(), LiveFeed()
    for message in messages:
        once.prediction(message)
    for message in [*messages[:60], *messages[40:]]:
        again.prediction(message)
    assert points_of(once, "a") == points_of(again, "a")
    assert points_of(once, "b") == points_of(again, "b")
    assert (again.after(0)[1]["events"], again.after(0)[1]["repeated"]) == (80, 20)


def test_drift_and_the_worker_s_return_are_marked_in_every_panel() -> None:
    """Goal: marks on the time axis. Method: a drift in one message; the worker goes down between two rows."""
    feed = LiveFeed()
    messages = list(predictions(["a", "b"], 4))
    messages[2]["targets"]["value"]["drift"] = ["inputs"]
    for message in messages[:4]:
        feed.prediction(message)
    feed.worker({"state": "down", "pid": 7, "restarts": 0})
    feed.worker({"state": "down", "pid": 7, "restarts": 0})
    feed.worker({"state": "running", "pid": 8, "restarts": 1})
    for message in messages[4:]:
        feed.prediction(message)
    assert [point[MARKS] for point in points_of(feed, "a")] == [0, DRIFT, RESTART, 0]
    assert [point[MARKS] for point in points_of(feed, "b")] == [0, 0, RESTART, 0]


def test_what_a_guard_did_is_marked_unless_it_is_everyday_and_figures_of_stability_are_told() -> None:
    feed = LiveFeed()
    messages = list(predictions(["a"], 4))
    messages[1]["targets"]["value"]["guard"] = ["winsorise", "clip", "skip"]
    messages[2]["targets"]["value"]["guard"] = ["clip", "roll_back"]
    for message in messages:
        feed.prediction(message)
    points = points_of(feed, "a")
    assert [point[MARKS] for point in points] == [0, 0, GUARD, 0]
    expected = messages[3]["targets"]["value"]["stability"]
    assert expected["lyapunov"] < 0.0
    assert points[3][STABILITY] == pytest.approx([expected[name] for name in WATCHED], rel=1e-6)


def test_a_promotion_is_marked_and_whose_forecast_it_is_is_told() -> None:
    feed = LiveFeed()
    messages = list(predictions(["a"], 4))
    told: dict[str, Any] = {"model_version": "x", "targets": {}, "promoted": None}
    messages[1]["challenger"] = told | {"place": "challenger", "evidence": 2.5}
    messages[2]["challenger"] = told | {"place": "model", "evidence": 120.0, "promoted": "rule"}
    messages[3]["challenger"] = told | {"place": "model", "evidence": 1.0}
    for message in messages:
        feed.prediction(message)
    points = points_of(feed, "a")
    assert [point[MARKS] for point in points] == [0, 0, PROMOTED, 0]
    assert [point[SHADOW] for point in points] == [
        None,
        ["model", 2.5],
        ["challenger", 120.0],
        ["challenger", 1.0],
    ]


def test_what_becomes_of_the_worker_is_news_while_no_prediction_comes() -> None:
    """A page is sent what is new; a worker that is down for half a second must not be missed."""
    feed = LiveFeed()
    seen, _ = feed.after(0)
    feed.worker({"state": "down", "pid": None, "restarts": 0})
    newest, state = feed.after(seen)
    assert newest > seen
    assert state["worker"]["state"] == "down"


def test_only_what_is_new_is_given_out() -> None:
    """Goal: increments. Method: ask after the number that was given before."""
    feed = LiveFeed()
    messages = list(predictions(["a", "b"], 3))
    for message in messages[:4]:
        feed.prediction(message)
    number, _ = feed.after(0)
    assert feed.after(number)[1]["panels"] == []
    feed.prediction(messages[4])
    newer, state = feed.after(number)
    assert newer == number + 1
    assert [(panel["index"], len(panel["points"])) for panel in state["panels"]] == [(0, 1)]


def test_what_is_kept_is_bounded_and_totals_count_everything() -> None:
    """Goal: memory. Method: more series than panels, more rows than points, several targets."""
    feed = LiveFeed()
    names = [f"s{number}" for number in range(15)]
    for message in predictions(names, 2):
        feed.prediction(message)
    _, state = feed.after(0)
    assert len(state["panels"]) == live.PANELS_MAX
    assert (state["series"], state["events"]) == (15, 30)

    feed = LiveFeed()
    (message,) = predictions(["a"], 1)
    message["targets"]["other"] = message["targets"]["value"]
    for offset in range(POINTS_MAX + 50):
        feed.prediction(message | {"id": f"onward.events-0-{offset}", "time": "x" * 999})
    _, state = feed.after(0)
    assert [panel["name"] for panel in state["panels"]] == ["a / value", "a / other"]
    for panel in state["panels"]:
        assert len(panel["points"]) == POINTS_MAX
        assert panel["points"][-1][ROW] == POINTS_MAX + 49
        assert len(panel["points"][-1][TIME]) == live.TIME_LENGTH_MAX


def test_the_rate_is_of_the_last_seconds_and_falls_to_zero() -> None:
    """Goal: events a second. Method: 100 events in 2 s of a set clock, then silence."""
    now = [1000.0]
    feed = LiveFeed(clock=lambda: now[0])
    for message in predictions(["a"], 100):
        feed.prediction(message)
        now[0] += 0.02
    assert feed.after(0)[1]["rate"] == pytest.approx(100 / live.RATE_SECONDS)
    now[0] += live.RATE_SECONDS
    assert feed.after(0)[1]["rate"] == 0


@pytest.fixture
def feed() -> LiveFeed:
    return LiveFeed()


@pytest.fixture
def page(feed: LiveFeed) -> Iterator[LiveServer]:
    server = LiveServer("127.0.0.1", 0, feed)
    server.start()
    yield server
    server.stop()


def get(port: int, path: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    response = connection.getresponse()
    answer = response.status, dict(response.headers.items()), response.read()
    connection.close()
    return answer


class Browser:
    """A plain reader of server-sent events."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self._connection.request("GET", "/events")
        self.response = self._connection.getresponse()

    def next(self) -> tuple[str, dict[str, Any]]:
        """The next event: its name and its data."""
        name, data = "", b""
        while line := self.response.readline().rstrip(b"\n"):
            if line.startswith(b"event: "):
                name = line.removeprefix(b"event: ").decode()
            elif line.startswith(b"data: "):
                data = line.removeprefix(b"data: ")
        return name, orjson.loads(data)

    def close(self) -> None:
        self.response.close()
        self._connection.close()


def test_every_file_of_the_page_is_served_and_nothing_else(page: LiveServer) -> None:
    """Goal: an explicit list. Method: each file with its kind and headers; others, also those that exist."""
    on_disk = {path.relative_to(PAGE).as_posix() for path in PAGE.rglob("*") if path.is_file()}
    assert on_disk == {name for name, _ in FILES.values()}
    for path, (name, kind) in FILES.items():
        status, headers, body = get(page.port, path)
        assert (status, headers["Content-Type"]) == (200, kind)
        assert body == (PAGE / name).read_bytes()
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
    for path in ("/index.html", "/../live.py", "/vendor/", "/%2e%2e/live.py", "/metrics"):
        assert get(page.port, path)[0] == 404
    assert get(page.port, "/healthz")[0] == 200


def test_the_page_refers_to_nothing_outside_itself() -> None:
    """Goal: no external request. Method: no address in any file of ours."""
    for name in ("index.html", "app.js", "charts.js", "words.js", "style.css"):
        text = (PAGE / name).read_text(encoding="utf-8")
        assert "//cdn" not in text
        assert "http://" not in text
        assert "https://" not in text
        assert "innerHTML" not in text


def test_a_browser_gets_a_snapshot_then_what_is_new(page: LiveServer, feed: LiveFeed) -> None:
    """Goal: server-sent events. Method: a plain client; two browsers, one late, see the same points."""
    messages = list(predictions([HOSTILE_NAME], 30))
    for message in messages[:10]:
        feed.prediction(message)
    feed.worker({"state": "running", "pid": 4711, "restarts": 0, "since": 1.0})
    first = Browser(page.port)
    assert first.response.headers["Content-Type"] == "text/event-stream"
    name, state = first.next()
    assert name == "snapshot"
    assert (state["events"], state["series"], state["worker"]["pid"]) == (10, 1, 4711)
    points = state["panels"][0]["points"]
    assert state["panels"][0]["name"] == HOSTILE_NAME
    for message in messages[10:]:
        feed.prediction(message)
    second = Browser(page.port)
    while len(points) < 30:
        name, state = first.next()
        assert name == "update"
        for panel in state["panels"]:
            points += panel["points"]
    assert points == second.next()[1]["panels"][0]["points"] == points_of(feed, HOSTILE_NAME)
    first.close()
    second.close()


def test_updates_come_at_most_five_times_a_second_and_at_least_once(page: LiveServer, feed: LiveFeed) -> None:
    """Goal: neither a flood nor silence. Method: a busy second, then a quiet one; count the events."""
    messages = predictions(["a"], 2000)
    browser = Browser(page.port)
    assert browser.next()[0] == "snapshot"
    started, count = time.monotonic(), 0
    while time.monotonic() - started < 1.0:
        for _ in range(5):
            feed.prediction(next(messages))
        browser.next()
        count += 1
    assert 2 <= count <= 6
    quiet_from = time.monotonic()
    browser.next()
    browser.next()
    assert time.monotonic() - quiet_from < 2 * live.QUIET_SECONDS + 1
    browser.close()


def test_a_browser_that_does_not_read_is_dropped_and_delays_nobody(
    page: LiveServer, feed: LiveFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: a slow browser never blocks. Method: one that asks and never reads, while the others go on."""
    monkeypatch.setattr(server_module._Handler, "timeout", 0.3)
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.connect(("127.0.0.1", page.port))
    slow.sendall(b"GET /events HTTP/1.0\r\n\r\n")
    (message,) = predictions(["a"], 1)
    message["targets"] = {f"t{number}": message["targets"]["value"] for number in range(live.PANELS_MAX)}
    deadline = time.monotonic() + 30
    seen, offsets = False, itertools.count()
    while time.monotonic() < deadline and not (seen and page.browsers == 0):
        seen = seen or page.browsers == 1
        for offset in itertools.islice(offsets, 20):
            feed.prediction(message | {"id": f"onward.events-0-{offset}"})
        time.sleep(0.01)
    assert seen
    assert page.browsers == 0, "the slow one was dropped"
    quick = Browser(page.port)
    assert quick.next()[1]["events"] == next(offsets)
    quick.close()
    slow.close()


def test_more_browsers_than_are_allowed_are_told_so(page: LiveServer) -> None:
    """Goal: bounded threads. Method: open all there may be and one more; one leaves, another comes."""
    browsers = [Browser(page.port) for _ in range(live.BROWSERS_MAX)]
    for browser in browsers:
        assert browser.next()[0] == "snapshot"
    assert get(page.port, "/events")[0] == 503
    assert get(page.port, "/")[0] == 200
    browsers.pop().close()
    deadline = time.monotonic() + 10
    while page.browsers == live.BROWSERS_MAX and time.monotonic() < deadline:
        time.sleep(0.05)
    late = Browser(page.port)
    assert late.next()[0] == "snapshot"
    for browser in (*browsers, late):
        browser.close()


def test_stopping_ends_the_browsers_streams(feed: LiveFeed) -> None:
    """Goal: a clean stop, and the page finds the next start. Method: stop under an open stream, start again."""
    server = LiveServer("127.0.0.1", 0, feed)
    server.start()
    port = server.port
    browser = Browser(port)
    browser.next()
    started = time.monotonic()
    server.stop()
    assert time.monotonic() - started < server_module.STOP_TIMEOUT_SECONDS
    assert (browser.response.read(), server.browsers) == (b"", 0)
    browser.close()
    again = LiveServer("127.0.0.1", port, feed)
    again.start()
    browser = Browser(port)
    assert browser.next()[0] == "snapshot"
    browser.close()
    again.stop()
