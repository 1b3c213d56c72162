"""Run one of the programs that check what is in deploy/ and draw its dashboard; the standard library only.

    python3 deploy/tools.py hadolint Dockerfile
    python3 deploy/tools.py check-jsonschema --builtin-schema vendor.compose-spec deploy/compose.yaml
    python3 deploy/tools.py python deploy/grafana/dashboard.py

They are installed from deploy/tools.lock, hashes checked, into build/deploy-tools at the first use and again when
the lock has changed. Exit code 75: they could not be installed, for instance because there is no network.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "deploy" / "tools.lock"
ENVIRONMENT = ROOT / "build" / "deploy-tools"
STAMP = ENVIRONMENT / ".ready"
NOT_INSTALLED = 75
"""EX_TEMPFAIL of sysexits.h: a later try may succeed."""


def main(arguments: list[str]) -> int:
    """Run a program of the environment with its arguments, in this process' place."""
    if not arguments:
        sys.stderr.write(f"usage: {sys.argv[0]} PROGRAM [ARGUMENT ...]\n")
        return 2
    if not _is_ready() and not _install():
        sys.stderr.write("onward: what checks deploy/ could not be installed (see above)\n")
        return NOT_INSTALLED
    program = str(ENVIRONMENT / "bin" / arguments[0])
    return os.execv(program, [program, *arguments[1:]])  # noqa: S606 - a program of the environment, without a shell


def _is_ready() -> bool:
    return STAMP.exists() and STAMP.read_text() == _digest()


def _install() -> bool:
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    pip = [str(ENVIRONMENT / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    steps = (
        [sys.executable, "-m", "venv", str(ENVIRONMENT)],
        [*pip, "install", "--require-hashes", "--requirement", str(LOCK)],
    )
    for step in steps:
        # Standard output is the program's own.
        if subprocess.run(step, check=False, stdout=sys.stderr).returncode != 0:  # noqa: S603 - the steps above
            return False
    STAMP.write_text(_digest())
    return True


def _digest() -> str:
    return hashlib.sha256(LOCK.read_bytes()).hexdigest()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
