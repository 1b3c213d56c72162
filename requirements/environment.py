"""Make the checkout's environment, `.venv`, ready for a purpose; the standard library only.

Run by the Makefile with any Python that is new enough:

    python3 requirements/environment.py runtime|demo|dev

Rules:

1. Only what the locks name is installed, and every file's hash is checked.
2. A stamp in the environment holds the digest of all that the install depends on. Where it fits, nothing is done.
3. An environment that fits a larger purpose fits each smaller one.
4. A marker stands while an install runs. Found by the next run, it means that the last one was cut short, and the
   environment is made anew. A lock file keeps two runs apart, so that the marker is never that of a run still going on.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
import tomllib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "requirements"
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
MARKER = VENV / ".install-unfinished"

# Each holds all that stands before it; the locks are made so (see `make lock`).
PURPOSES = ("runtime", "demo", "dev")
OLDEST_PYTHON = (3, 11)


def main(arguments: list[str]) -> int:
    """Make the environment ready for the purpose named, and say so only if there was something to do."""
    if len(arguments) != 1 or arguments[0] not in PURPOSES:
        return _fail(f"usage: environment.py {'|'.join(PURPOSES)}")
    if sys.version_info < OLDEST_PYTHON:
        return _fail(
            f"Python {_dotted(OLDEST_PYTHON)} or newer is needed; {sys.executable} is {sys.version.split()[0]}"
        )
    purpose = arguments[0]
    if _is_ready(purpose):
        return 0
    with _alone():
        # Whoever held the lock may have made just what is wanted.
        return 0 if _is_ready(purpose) else _install(purpose)


def _is_ready(purpose: str) -> bool:
    if MARKER.exists() or not VENV_PYTHON.exists():
        return False
    fitting = PURPOSES[PURPOSES.index(purpose) :]
    return any(_stamp(name).exists() and _stamp(name).read_text() == _digest(name) for name in fitting)


def _install(purpose: str) -> int:
    if MARKER.exists() or not _has_working_pip():
        say(f"Making .venv with Python {sys.version.split()[0]}")
        made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=False)
        if made.returncode != 0:
            return _fail(
                "the environment could not be made; on Debian and Ubuntu: apt-get install python3-venv"
            )
    MARKER.touch()
    for stamp in VENV.glob(".ready-*"):
        stamp.unlink()
    locked = [LOCKS / "build.lock", _lock(purpose)]
    say(
        f"Installing what {' and '.join(str(path.relative_to(ROOT)) for path in locked)} name; a minute the first time"
    )
    requirements = [word for path in locked for word in ("--requirement", str(path))]
    steps = [
        ["install", "--require-hashes", *requirements],
        # The locks named everything and the builder is in place, so neither may be looked for again.
        ["install", "--no-deps", "--no-build-isolation", "--no-index", "--editable", str(ROOT)],
    ]
    for step in steps:
        if (status := _pip(step)) != 0:
            return _fail("the install failed (see above); the next run starts it anew", status)
    _stamp(purpose).write_text(_digest(purpose))
    MARKER.unlink()
    say("Ready")
    return 0


def _pip(arguments: list[str]) -> int:
    command = [str(VENV_PYTHON), "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    return subprocess.run(command, check=False).returncode


def _has_working_pip() -> bool:
    """Whether the environment's own Python starts, is new enough and has pip."""
    if not VENV_PYTHON.exists():
        return False
    check = f"import sys, pip; sys.exit(sys.version_info < {OLDEST_PYTHON} or sys.prefix == sys.base_prefix)"
    return subprocess.run([str(VENV_PYTHON), "-c", check], check=False, capture_output=True).returncode == 0


def _digest(purpose: str) -> str:
    """The digest of all that an install for the purpose depends on, the checkout's own place included."""
    digest = hashlib.sha256(str(ROOT).encode())
    for path in (_lock("build"), _lock(purpose)):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    # Of pyproject.toml only what an install reads: a change to a linter's settings is no reason to install again.
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    installed = [settings["build-system"], settings["project"], settings["tool"]["hatch"]]
    digest.update(json.dumps(installed, sort_keys=True).encode())
    return digest.hexdigest()


def _lock(name: str) -> Path:
    return LOCKS / f"{name}.lock"


def _stamp(purpose: str) -> Path:
    return VENV / f".ready-{purpose}"


@contextmanager
def _alone() -> Iterator[None]:
    # Beside .venv rather than in it: making the environment anew empties it.
    descriptor = os.open(ROOT / ".venv.lock", os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _fail(message: str, status: int = 1) -> int:
    sys.stderr.write(f"onward: {message}\n")
    return status


def say(message: str) -> None:
    """Tell the person at the terminal what goes on, on standard error: standard output is the target's own."""
    sys.stderr.write(f"onward: {message}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
