"""The worker's HTTP side: when it is alive and ready, and a server that no client can hold up."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import orjson
import pytest

from models.specification import Specification
from service.observe import server as server_module
from service.observe.http import Health, HttpServer
from service.observe.metrics import Metrics
from service.observe.server import BindError, Response, Server

STALL = 60.0


@dataclass
class Clock:
    """A clock that a test sets."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(stall_seconds=STALL, clock=clock)


def pass_time(clock: Clock, health: Health, seconds: int, *, lag: int) -> None:
    """Let time pass while the broker reports the same lag each second."""
    for _ in range(seconds):
        clock.now += 1
        health.lag(0, lag)


def test_a_worker_with_nothing_to_do_stays_alive(health: Health, clock: Clock) -> None:
    """Goal: idle is not ill. Method: no lag, a day without progress."""
    health.assigned([0])
    health.recovered()
    health.lag(0, 0)
    clock.now += 86_400
    health.lag(0, 0)
    assert health.alive().well


def test_waiting_events_without_progress_are_a_reason_to_restart(health: Health, clock: Clock) -> None:
    """Goal: a consumer that has silently stopped. Method: the broker reports lag again and again."""
    health.assigned([0])
    health.recovered()
    pass_time(clock, health, 61, lag=50)
    assert health.alive().well
    pass_time(clock, health, 1, lag=50)
    verdict = health.alive()
    assert not verdict.well
    assert verdict.reason == "50 records wait and none was taken for 61 s"


def test_progress_of_any_partition_keeps_the_worker_alive(health: Health, clock: Clock) -> None:
    """Goal: slow is not stuck. Method: lag all the time, one offset each 50 s; then the same offset only."""
    health.assigned([0, 1])
    health.recovered()
    for offset in range(5):
        pass_time(clock, health, 50, lag=1000)
        health.progress(1, offset)
        assert health.alive().well
    pass_time(clock, health, 61, lag=1000)
    health.progress(1, 4)  # Told again, but not gone on.
    assert not health.alive().well


def test_a_broker_that_is_away_is_no_reason_to_restart(health: Health, clock: Clock) -> None:
    """Goal: liveness does not depend on the broker. Method: lag, then silence; then it is back with more."""
    health.assigned([0])
    health.recovered()
    health.lag(0, 500)
    clock.now += 59
    assert health.alive().well
    clock.now += 600
    assert health.alive().well
    health.lag(0, 900)
    assert health.alive().well, "it must have its time to take what waited"
    pass_time(clock, health, 61, lag=900)
    assert not health.alive().well


def test_the_first_lag_after_a_quiet_time_gives_the_whole_stall_time(health: Health, clock: Clock) -> None:
    """Goal: no false alarm on the first event after a night. Method: idle for hours, then an event waits."""
    health.assigned([0])
    health.recovered()
    health.lag(0, 0)
    clock.now += 10_000
    health.lag(0, 1)
    assert health.alive().well


def test_an_event_loop_that_does_not_come_round_is_a_reason_to_restart(health: Health, clock: Clock) -> None:
    """Goal: a hung loop. Method: no beat for the stall time after the first; never one is no reason."""
    clock.now += 1000
    assert health.alive().well
    health.beat()
    clock.now += 59
    assert health.alive().well
    clock.now += 2
    assert health.alive().reason == "the event loop has been stuck for 61 s"
    health.beat()
    assert health.alive().well


def test_lag_of_a_partition_that_was_lost_does_not_count(health: Health, clock: Clock) -> None:
    """Goal: what another worker has is not ours. Method: lag on 0, then only 1 is assigned."""
    health.assigned([0, 1])
    health.recovered()
    health.lag(0, 100)
    health.assigned([1])
    clock.now += 59
    health.lag(1, 0)
    clock.now += 10
    assert health.alive().reason == "nothing waits"


def test_ready_means_assigned_and_recovered_and_not_stopping(health: Health) -> None:
    """Goal: readiness through a life. Method: start, assignment, recovery, revocation, again, stop."""
    assert health.ready().reason == "no partition is assigned"
    health.assigned([3])
    assert health.ready().reason == "the state is being recovered"
    health.recovered()
    assert health.ready().well
    health.assigned([])
    assert not health.ready().well
    health.recovered()  # A transport recovers before the group's callback tells the partitions.
    health.assigned([3])
    assert health.ready().well
    health.stopping()
    assert health.ready().reason == "stopping"
    assert health.alive().well, "a worker that is asked to stop must not be killed for it"


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(Specification())


@pytest.fixture
def http_server(metrics: Metrics, health: Health) -> Iterator[HttpServer]:
    server = HttpServer("127.0.0.1", 0, metrics, health)
    server.start()
    yield server
    server.stop()


def ask(port: int, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path)
    response = connection.getresponse()
    answer = response.status, dict(response.headers.items()), response.read()
    connection.close()
    return answer


def test_metrics_are_served_as_prometheus_reads_them(http_server: HttpServer, metrics: Metrics) -> None:
    """Goal: a scrape. Method: set a figure, ask, and ask again after it changed; a query changes nothing."""
    metrics.series(3, 0, 0, 0)
    status, headers, body = ask(http_server.port, "/metrics")
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert b"\nonward_series 3.0\n" in body
    metrics.series(4, 0, 0, 0)
    assert b"\nonward_series 4.0\n" in ask(http_server.port, "/metrics?name[]=x")[2]


def test_health_is_told_with_its_reason(http_server: HttpServer, health: Health, clock: Clock) -> None:
    """Goal: what a probe and a person see. Method: through not ready, ready and stuck."""
    status, headers, body = ask(http_server.port, "/readyz")
    assert (status, headers["Content-Type"]) == (503, "application/json")
    assert orjson.loads(body)["reason"] == "no partition is assigned"
    health.assigned([1, 0])
    health.recovered()
    health.progress(1, 41)
    status, _, body = ask(http_server.port, "/readyz")
    assert status == 200
    assert orjson.loads(body) == {
        "status": "ok",
        "reason": "recovered",
        "partitions": [0, 1],
        "offsets": {"1": 41},
    }
    assert ask(http_server.port, "/healthz")[0] == 200
    pass_time(clock, health, 62, lag=7)
    status, _, body = ask(http_server.port, "/healthz")
    assert status == 503
    assert orjson.loads(body)["status"] == "failing"


def test_the_root_says_what_there_is_and_other_paths_and_methods_are_refused(http_server: HttpServer) -> None:
    """Goal: 200, 404, 405 where they belong. Method: ask."""
    status, _, body = ask(http_server.port, "/")
    assert status == 200
    for path in (b"/metrics", b"/healthz", b"/readyz"):
        assert path in body
    assert ask(http_server.port, "/metrics/")[0] == 404
    assert ask(http_server.port, "/../../etc/passwd")[0] == 404
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        status, headers, _ = ask(http_server.port, "/metrics", method)
        assert (status, headers["Allow"]) == (405, "GET, HEAD")
    status, headers, body = ask(http_server.port, "/healthz", "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) > 0


def test_a_port_in_use_is_an_error_that_says_so(
    http_server: HttpServer, metrics: Metrics, health: Health
) -> None:
    """Goal: a clear message. Method: a second server on the same port, and one on a foreign address."""
    with pytest.raises(
        BindError, match=rf"cannot listen on 127.0.0.1:{http_server.port} \(Address already in use\)"
    ):
        HttpServer("127.0.0.1", http_server.port, metrics, health).start()
    with pytest.raises(BindError, match=r"cannot listen on 192\.0\.2\.1:0"):
        HttpServer("192.0.2.1", 0, metrics, health).start()


def test_a_stopped_server_frees_its_port_and_its_threads(metrics: Metrics, health: Health) -> None:
    """Goal: a clean stop. Method: stop, start on the same port, stop twice; no thread is left."""
    before = threading.active_count()
    server = HttpServer("127.0.0.1", 0, metrics, health)
    server.start()
    port = server.port
    assert ask(port, "/")[0] == 200
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        ask(port, "/")
    again = HttpServer("127.0.0.1", port, metrics, health)
    again.start()
    assert ask(port, "/")[0] == 200
    again.stop()
    again.stop()
    assert threading.active_count() == before


def test_silent_clients_hold_up_neither_others_nor_the_stop(metrics: Metrics, health: Health) -> None:
    """Goal: a slow client costs nobody else. Method: open connections that send nothing or half a line."""
    server = HttpServer("127.0.0.1", 0, metrics, health)
    server.start()
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(10)]
    silent[0].sendall(b"GET /met")
    assert ask(server.port, "/healthz")[0] == 200
    started = time.monotonic()
    server.stop()
    assert time.monotonic() - started < server_module.STOP_TIMEOUT_SECONDS
    for client in silent:
        assert client.recv(1) == b"", "the server has ended it"
        client.close()


def test_more_connections_than_are_allowed_are_closed_at_once(http_server: HttpServer) -> None:
    """Goal: bounded threads. Method: hold all the connections there may be, and open one more."""
    held = [
        socket.create_connection(("127.0.0.1", http_server.port))
        for _ in range(server_module.CONNECTIONS_MAX)
    ]
    one_more = socket.create_connection(("127.0.0.1", http_server.port))
    one_more.settimeout(5)
    assert one_more.recv(1) == b""
    for client in (*held, one_more):
        client.close()
    deadline = time.monotonic() + 10
    while True:
        try:
            assert ask(http_server.port, "/healthz")[0] == 200
            break
        except (ConnectionError, http.client.HTTPException):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_bug_in_a_route_ends_that_request_alone_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Goal: a bug is seen and does not end the server. Method: a route that raises beside one that works."""

    def broken() -> Response:
        raise KeyError("a bug")

    server = Server("127.0.0.1", 0, {"/broken": broken, "/": lambda: Response(b"ok")}, name="test")
    server.start()
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        ask(server.port, "/broken")
    assert ask(server.port, "/")[2] == b"ok"
    server.stop()
    assert "a bug" in caplog.text
