"""A small HTTP server in threads of its own, for what a worker and the demo show of themselves.

It only answers GET and HEAD, on paths that are listed beforehand. It holds a bounded number of
connections, gives each a bounded time to be read and written, and ends all of them when it is stopped:
a slow or silent client costs one thread for some seconds and never the stream.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, final
from urllib.parse import urlsplit

_log = logging.getLogger(__name__)

CONNECTIONS_MAX = 64
"""Prometheus, probes and some browsers need few; more is somebody's mistake."""
CLIENT_TIMEOUT_SECONDS = 5.0
"""For a client to send its request, and to take each piece of the answer."""
STOP_TIMEOUT_SECONDS = 2.0


class BindError(OSError):
    """The address cannot be listened on; the message says why and what to do."""


@final
@dataclass(frozen=True, slots=True)
class Response:
    """An answer: a whole body, or pieces that are sent as they come."""

    body: bytes | Generator[bytes]
    content_type: str = "text/plain; charset=utf-8"
    status: HTTPStatus = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)


Route = Callable[[], Response]
_Request = socket.socket | tuple[bytes, socket.socket]
"""As the standard library has it; the pair is for datagrams, which this server never gets."""


@final
class Server:
    """Serves routes from a thread of its own until it is stopped.

    >>> server = Server("127.0.0.1", 0, {"/": lambda: Response(b"hello")}, name="doctest")
    >>> server.start()
    >>> server.url.startswith("http://127.0.0.1:")
    True
    >>> server.stop()
    """

    def __init__(self, host: str, port: int, routes: Mapping[str, Route], *, name: str) -> None:
        self._host = host
        self._port = port
        self._routes = dict(routes)
        self._name = name
        self._listener: _Listener | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen, and serve in the background. Port 0 takes a free one, which `port` then tells.

        Raises:
            BindError: the port is in use, or the address is not this machine's.
        """
        try:
            self._listener = _Listener(self._host, self._port, self._routes)
        except OSError as error:
            why = error.strerror or str(error)
            raise BindError(
                f"cannot listen on {self._host}:{self._port} ({why}); choose another port, or 0 for a free one",
            ) from error
        self._port = self._listener.server_address[1]
        self._thread = threading.Thread(
            target=self._listener.serve_forever, args=(0.1,), name=self._name, daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop listening and end what is still being answered."""
        if self._listener is None or self._thread is None:
            return
        self._listener.shutdown()
        self._thread.join()
        self._listener.server_close()
        self._listener.disconnect()
        self._listener = self._thread = None

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._port

    @property
    def url(self) -> str:
        """The address of the root, for people on this machine."""
        host = "127.0.0.1" if self._host in {"", "0.0.0.0"} else self._host  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{self._port}/"


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # `disconnect` ends them; a client that is slow must not hold up the stop.
    request_queue_size = CONNECTIONS_MAX

    def __init__(self, host: str, port: int, routes: Mapping[str, Route]) -> None:
        self.routes = routes
        self._open: set[_Request] = set()
        self._changed = threading.Condition()
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        # HTTPServer's own asks the resolver for this host's name, which can take seconds.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def verify_request(self, request: _Request, client_address: object) -> bool:
        with self._changed:
            if len(self._open) >= CONNECTIONS_MAX:
                return False
            self._open.add(request)
        return True

    def close_request(self, request: _Request) -> None:
        super().close_request(request)
        with self._changed:
            self._open.discard(request)
            self._changed.notify_all()

    def disconnect(self) -> None:
        """End every connection, and wait until their threads are done with them."""
        deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
        with self._changed:
            for request in self._open:
                if isinstance(request, socket.socket):
                    with contextlib.suppress(OSError):  # It has gone by itself.
                        request.shutdown(socket.SHUT_RDWR)
            self._changed.wait_for(lambda: not self._open, deadline - time.monotonic())

    def handle_error(self, request: _Request, client_address: object) -> None:
        _log.exception("a request from %s failed", client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Listener
    server_version = "onward"
    sys_version = ""
    timeout = CLIENT_TIMEOUT_SECONDS

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, TimeoutError) as gone:
            _log.debug("%s is gone or too slow: %s", self.client_address, gone)

    def do_GET(self) -> None:
        route = self.server.routes.get(urlsplit(self.path).path)
        if route is None:
            known = " ".join(self.server.routes)
            self._send(Response(f"not found; there is {known}\n".encode(), status=HTTPStatus.NOT_FOUND))
        else:
            self._send(route())

    do_HEAD = do_GET  # noqa: N815

    def _refuse(self) -> None:
        self._send(
            Response(
                b"only GET and HEAD\n", status=HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "GET, HEAD"}
            )
        )

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _refuse  # noqa: N815

    def _send(self, response: Response) -> None:
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        for name, value in response.headers.items():
            self.send_header(name, value)
        if isinstance(response.body, bytes):
            self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if isinstance(response.body, bytes):
            self.wfile.write(response.body)
            return
        with contextlib.closing(response.body) as pieces:
            for piece in pieces:
                self.wfile.write(piece)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        _log.debug("%s %s", self.client_address[0], format % args)
