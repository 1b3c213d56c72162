"""The embedded broker: on loopback alone, gone with its block, and gone with whoever started it, however that ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from service.settings import Settings
from service.tools.embedded import EmbeddedBrokerError, embedded_broker
from service.topics import TopicError, ensure_topics


def listeners(port: int) -> set[str]:
    """Return the addresses that are listened on at a port, as Linux writes them."""
    rows = [
        row.split()
        for table in ("tcp", "tcp6")
        for row in Path(f"/proc/net/{table}").read_text().splitlines()
    ]
    return {row[1].split(":")[0] for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "0A"}


def is_answering(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_it_listens_on_loopback_alone_and_ends_with_its_block() -> None:
    with embedded_broker() as broker:
        host, port = broker.bootstrap_servers.split(":")
        assert host == "127.0.0.1"
        assert listeners(int(port)) == {"0100007F"}
    assert broker.process.returncode is not None
    assert not is_answering(int(port))


STARTER = """
import signal
from service.tools.embedded import embedded_broker
with embedded_broker() as broker:
    print(broker.bootstrap_servers, broker.process.pid, flush=True)
    signal.pause()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_with_whoever_started_it(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", STARTER], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        address, pid = starter.stdout.readline().split()
        assert is_answering(int(address.split(":")[1]))
        starter.send_signal(number)
        starter.wait()
    deadline = time.monotonic() + 5.0
    while is_answering(int(address.split(":")[1])):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    state = Path(f"/proc/{pid}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_a_broker_that_does_not_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALF_TANSU_BIN", "/bin/false")
    with pytest.raises(EmbeddedBrokerError, match="ended with code 1"), embedded_broker():
        pass
    monkeypatch.setenv("CALF_TANSU_BIN", os.devnull)
    with pytest.raises(EmbeddedBrokerError, match=r"deploy/compose\.yaml"), embedded_broker():
        pass


async def test_topics_that_are_missing_are_made_and_the_others_left() -> None:
    with embedded_broker() as broker:
        options = {"bootstrap_servers": broker.bootstrap_servers}
        kafka = {"bootstrap_servers": broker.bootstrap_servers}
        few = Settings.model_validate(
            {"kafka": kafka, "topics": {"partitions": 2}, "checkpoint": {"store": "sqlite"}}
        )
        with pytest.raises(TopicError, match=r"no topic onward\.events.*onward doctor"):
            await ensure_topics(
                few.model_copy(update={"topics": few.topics.model_copy(update={"create": False})}), options
            )
        made = dict.fromkeys(("onward.events", "onward.predictions", "onward.dead-letters"), 2)
        assert await ensure_topics(few, options) == made
        more = Settings.model_validate({"kafka": kafka, "topics": {"partitions": 5}})
        assert await ensure_topics(more, options) == made | {"onward.checkpoints": 2}
        other = {"events": "more.events", "checkpoints": "more.checkpoints", "partitions": 3}
        found = await ensure_topics(Settings.model_validate({"kafka": kafka, "topics": other}), options)
        assert (found["more.events"], found["more.checkpoints"]) == (3, 3)
        mixed = {"events": "more.events", "partitions": 3}
        with pytest.raises(TopicError, match=r"more\.events has 3 partitions and onward\.checkpoints 2"):
            await ensure_topics(Settings.model_validate({"kafka": kafka, "topics": mixed}), options)
