"""The image's recipe: checked by hadolint, and for what a linter does not know."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

from tests.deploy.files import ROOT, run_tool

# Continued lines joined, comments left out.
INSTRUCTIONS = [
    line.strip()
    for line in re.sub(
        r"\\\n", " ", re.sub(r"(?m)^#.*\n", "", (ROOT / "Dockerfile").read_text())
    ).splitlines()
    if line.strip()
]


def _instructions(name: str) -> list[str]:
    return [line.removeprefix(f"{name} ") for line in INSTRUCTIONS if line.startswith(f"{name} ")]


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    done = run_tool("hadolint", "--failure-threshold", "style", "Dockerfile")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_runs_the_worker_as_an_unprivileged_number_without_a_shell() -> None:
    assert _instructions("USER") == ["10001:10001"]
    assert json.loads(_instructions("ENTRYPOINT")[0]) == ["onward"]
    assert json.loads(_instructions("CMD")[0]) == ["worker"]
    assert _instructions("STOPSIGNAL") == ["SIGTERM"]


def test_the_locked_dependencies_are_installed_by_hash_before_the_source_is_copied() -> None:
    """A changed source must leave the layer of the dependencies as it is."""
    locks = next(i for i, line in enumerate(INSTRUCTIONS) if line.startswith("COPY requirements/"))
    install = next(
        i for i, line in enumerate(INSTRUCTIONS) if "requirements/runtime.lock" in line and "RUN" in line
    )
    source = next(i for i, line in enumerate(INSTRUCTIONS) if line.startswith("COPY service"))
    assert locks < install < source
    assert "--require-hashes --requirement requirements/runtime.lock" in INSTRUCTIONS[install]


def test_the_builder_is_sent_what_is_copied_and_nothing_else() -> None:
    allowed = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    sources = {
        word.split("/")[0]
        for line in _instructions("COPY")
        if not line.startswith("--from")
        for word in line.split()[:-1]
    }
    assert allowed == sources
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"


@contextmanager
def _answering(status: int) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else 404)
            self.end_headers()

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Keep the test's output clean."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def _check_health(port: int) -> int:
    program, *arguments = json.loads(_instructions("HEALTHCHECK")[0].split(" CMD ")[1])
    assert program == "/opt/onward/bin/python"
    # A proxy of the environment is for the world outside, not for the worker in the same container.
    environment = {"ONWARD_HTTP__PORT": str(port), "http_proxy": "http://127.0.0.1:9"}
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, check=False)
    return done.returncode


def test_the_health_check_asks_the_worker_on_its_port() -> None:
    with _answering(200) as port:
        assert _check_health(port) == 0
    with _answering(503) as port:
        assert _check_health(port) == 1
    assert _check_health(port) == 1, "nobody listens there any more"
