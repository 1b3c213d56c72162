"""The image is built and run as compose.yaml says, without a Docker engine: by buildah and podman on a base of Debian's.

    ONWARD_TEST_IMAGE=1 make test ARGS=tests/deploy/test_image.py

Takes minutes the first time; as root, on a machine that may make namespaces. ONWARD_TEST_IMAGE_BUILD has more arguments
for the build, such as a volume with a certificate that the package index needs here.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from service.tools.embedded import embedded_broker, free_port
from tests.deploy.files import DEPLOY, ROOT, read_yaml
from tests.deploy.stream import make_topics, producing, until
from tests.prerequisites import require

pytestmark = [pytest.mark.image, pytest.mark.timeout(1800)]

IMAGE = "localhost/onward:test"
WORKER = read_yaml(DEPLOY / "compose.yaml")["services"]["worker"]
# A place of its own, so that the base is kept from run to run and the machine's own images are left alone. Not in the
# checkout: the storage is mounted on itself, and what is mounted cannot be deleted.
STORAGE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "onward" / "containers"


def _run(*command: str, expect: int = 0) -> str:
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"CONTAINERS_STORAGE_CONF": str(STORAGE / "storage.conf"), "BASE": "debootstrap"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == expect, f"{shlex.join(command)}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def podman() -> tuple[str, ...]:
    """The command; with runc where it is, which also works beside the first version of control groups."""
    require("podman", shutil.which("podman") is not None, "apt-get install podman runc")
    runtime = shutil.which("runc")
    return ("podman", "--runtime", runtime) if runtime else ("podman",)


@pytest.fixture(scope="module")
def image() -> str:
    """The image, built of the checkout as it is."""
    STORAGE.mkdir(parents=True, exist_ok=True)
    (STORAGE / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{STORAGE}/graph"\nrunroot = "{STORAGE}/run"\n'
    )
    more = shlex.split(os.environ.get("ONWARD_TEST_IMAGE_BUILD", ""))
    # Anew, without what earlier builds have left, which is then only in the way.
    _run("deploy/build-image.sh", IMAGE, "--layers=false", *more)
    _run("buildah", "rmi", "--prune")
    return IMAGE


def _as_compose_says() -> list[str]:
    """Return podman's arguments for what compose.yaml asks of the worker."""
    assert WORKER["read_only"]
    return [
        "--read-only",
        # What podman mounts there by itself would hide that something is missing.
        "--read-only-tmpfs=false",
        f"--user={WORKER['user']}",
        f"--pids-limit={WORKER['pids_limit']}",
        "--memory=2g",
        *(f"--cap-drop={name}" for name in WORKER["cap_drop"]),
        *(f"--security-opt={option.removesuffix(':true')}" for option in WORKER["security_opt"]),
        *(f"--tmpfs={mount}" for mount in WORKER["tmpfs"]),
    ]


@contextmanager
def _worker(podman: tuple[str, ...], image: str, environment: Mapping[str, str]) -> Iterator[str]:
    name = f"onward-test-{os.getpid()}"
    started = [
        *(*podman, "run", "--detach", "--name", name, "--network=host", "--no-healthcheck"),
        # Lower than the machine's: to keep those is a right that not every root has.
        *("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"),
        *_as_compose_says(),
        *(f"--env={key}={value}" for key, value in environment.items()),
    ]
    try:
        _run(*started, image)
        yield name
    finally:
        _run(*podman, "rm", "--force", "--time=5", "--ignore", name)


def test_the_image_says_how_it_is_to_be_run(image: str) -> None:
    inspected = json.loads(_run("buildah", "inspect", "--type", "image", image))
    configuration: dict[str, Any] = inspected["Docker"]["config"]
    assert configuration["User"] == "10001:10001"
    assert configuration["Entrypoint"] == ["onward"]
    assert configuration["Cmd"] == ["worker"]
    assert configuration["StopSignal"] == "SIGTERM"
    assert configuration["Healthcheck"]["Test"][:2] == ["CMD", "/opt/onward/bin/python"]
    assert configuration["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_the_image_holds_no_compiler_no_pip_and_no_checkout(podman: tuple[str, ...], image: str) -> None:
    looked = "command -v gcc pip pip3; ls /build /opt/onward/bin/pip 2>/dev/null; exit 0"
    limits = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=4096:4096", "--no-healthcheck")
    said = _run(*podman, "run", "--rm", "--network=none", *limits, "--entrypoint=sh", image, "-c", looked)
    assert said.split() == []


def test_the_worker_in_the_image_learns_answers_and_ends_when_asked(
    podman: tuple[str, ...], image: str
) -> None:
    port = free_port()
    with embedded_broker() as broker:
        asyncio.run(make_topics(broker.bootstrap_servers))
        environment = {
            "ONWARD_KAFKA__BOOTSTRAP_SERVERS": broker.bootstrap_servers,
            "ONWARD_KAFKA__SESSION_TIMEOUT_SECONDS": "6",
            "ONWARD_CHECKPOINT__STORE": "sqlite",
            "ONWARD_CHECKPOINT__SQLITE_PATH": "/tmp/checkpoints.sqlite",
            "ONWARD_CHECKPOINT__INTERVAL_SECONDS": "1",
            "ONWARD_HTTP__HOST": "127.0.0.1",
            "ONWARD_HTTP__PORT": str(port),
            "ONWARD_LOG__FORMAT": "json",
        }
        with _worker(podman, image, environment) as name, producing(broker.bootstrap_servers):
            inside = (*podman, "exec", name)

            def log() -> str:
                done = subprocess.run(
                    [*podman, "logs", name],
                    env=os.environ | {"CONTAINERS_STORAGE_CONF": str(STORAGE / "storage.conf")},
                    capture_output=True,
                    text=True,
                    check=False,
                )
                return done.stdout + done.stderr

            def learned() -> float:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                        lines = answer.read().decode().splitlines()
                except OSError:
                    return 0.0
                start = 'onward_events_total{outcome="learned"} '
                return next(float(line.removeprefix(start)) for line in lines if line.startswith(start))

            until(lambda: learned() > 1000, log)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
                assert answer.status == 200

            health = json.loads(_run("buildah", "inspect", "--type", "image", image))["Docker"]["config"][
                "Healthcheck"
            ]
            _run(*inside, *health["Test"][1:])
            status = dict(
                line.split(":\t", 1)
                for line in _run(*inside, "cat", "/proc/1/status").splitlines()
                if ":\t" in line
            )
            assert status["Uid"].split() == ["10001"] * 4
            assert int(status["CapEff"], 16) == 0
            assert status["NoNewPrivs"] == "1"
            assert "Read-only file system" in _refused(podman, name, "touch", "/var/lib/onward/x")

            _run(*inside, "onward", "doctor")

            started = time.monotonic()
            _run(*podman, "stop", f"--time={WORKER['stop_grace_period'].removesuffix('s')}", name)
            assert time.monotonic() - started < 10
            state = json.loads(_run(*podman, "inspect", name))[0]["State"]
            assert (state["ExitCode"], state["OOMKilled"]) == (0, False), log()
            assert all(json.loads(line) for line in log().splitlines())


def _refused(podman: tuple[str, ...], name: str, *command: str) -> str:
    done = subprocess.run(
        [*podman, "exec", name, *command],
        env=os.environ | {"CONTAINERS_STORAGE_CONF": str(STORAGE / "storage.conf")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    return done.stderr


def test_nothing_of_the_tests_is_left(podman: tuple[str, ...], image: str) -> None:
    assert f"onward-test-{os.getpid()}" not in _run(*podman, "ps", "--all", "--format={{.Names}}")
