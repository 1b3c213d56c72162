"""A real Apache Kafka for tests: KRaft mode, one node, on loopback, from Maven Central.

The session's broker is started by the first test that asks for it and needs Java and Maven; the jars are kept in
`$XDG_CACHE_HOME/onward` (`~/.cache/onward`). `ONWARD_TEST_KAFKA=host:port` names a running one to be used instead; the
tests make topics of their own on it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from service.tools.embedded import dying_with_parent, free_port, stop_process
from tests.prerequisites import require, require_programs_of

VERSION = "4.1.0"
BOOTSTRAP_VARIABLE = "ONWARD_TEST_KAFKA"
STARTED_SECONDS_MAX = 60.0
USER, PASSWORD = "onward", "a password of the tests"

_POM = f"""
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>onward.tests</groupId><artifactId>kafka-broker</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>
  </dependencies>
</project>
"""

# One node, so every internal topic has one replica and few partitions; groups do not wait for more members.
_PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},PASSWORD://127.0.0.1:{password_port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},PASSWORD://127.0.0.1:{password_port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PASSWORD:SASL_PLAINTEXT
listener.name.password.sasl.enabled.mechanisms=PLAIN
listener.name.password.plain.sasl.jaas.config=\
  org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}="{password}";
log.dirs={folder}/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
log.cleaner.backoff.ms=200
"""

# Starts fast rather than runs fast for days.
_JAVA = ("java", "-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")


@dataclass(frozen=True)
class RunningKafka:
    """A broker that answers; unless somebody else runs it, its process and where it asks for a password."""

    bootstrap_servers: str
    process: subprocess.Popen[bytes] | None = None
    password_servers: str | None = None


def _jars() -> Path:
    """Return the folder with Kafka's jars, fetched once."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "onward"
    jars = cache / f"kafka-{VERSION}"
    if jars.is_dir():
        return jars
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as name:
        folder = Path(name)
        (folder / "pom.xml").write_text(_POM)
        copy = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
        done = subprocess.run(
            ["mvn", "-q", "-B", copy, f"-DoutputDirectory={folder / 'jars'}", "-DincludeScope=runtime"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        found = (folder / "jars" / f"kafka_2.13-{VERSION}.jar").is_file()
        require(
            "Apache Kafka", done.returncode == 0 and found, f"Maven could not fetch it: {done.stdout[-2000:]}"
        )
        with contextlib.suppress(OSError):  # another test run was faster
            (folder / "jars").rename(jars)
    return jars


@contextlib.contextmanager
def kafka_broker() -> Iterator[RunningKafka]:
    """Run a broker; it and its data end with the block."""
    jars = _jars()
    folder = Path(tempfile.mkdtemp(prefix="onward-kafka-"))
    port, password_port, controller = free_port(), free_port(), free_port()
    properties = folder / "server.properties"
    properties.write_text(
        _PROPERTIES.format(
            port=port,
            password_port=password_port,
            controller=controller,
            folder=folder,
            user=USER,
            password=PASSWORD,
        )
    )
    java = [shutil.which("java") or "java", *_JAVA[1:], "-cp", f"{jars}/*"]
    log = folder / "broker.log"
    try:
        with log.open("wb") as output:
            subprocess.run(
                [
                    *java,
                    "kafka.tools.StorageTool",
                    "format",
                    "-t",
                    "b25saW5lLWxlYXJuaW5n",
                    "-c",
                    str(properties),
                ],
                stdout=output,
                stderr=output,
                check=True,
            )
            with subprocess.Popen(
                dying_with_parent([*java, "kafka.Kafka", str(properties)]),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=folder,
            ) as process:
                try:
                    _wait_until_it_answers(process, port, log)
                    yield RunningKafka(f"127.0.0.1:{port}", process, f"127.0.0.1:{password_port}")
                finally:
                    stop_process(process)
    finally:
        shutil.rmtree(folder)


def _wait_until_it_answers(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + STARTED_SECONDS_MAX
    while True:  # it listens when it has joined its own quorum, which is when it is ready
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"Apache Kafka did not start:\n{log.read_text()[-4000:]}")
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5.0):
                return
        except OSError:
            time.sleep(0.05)


@pytest.fixture(scope="session")
def kafka() -> Iterator[RunningKafka]:
    """A real Apache Kafka; the test is skipped, or fails where nothing may be skipped, without one."""
    given = os.environ.get(BOOTSTRAP_VARIABLE)
    if given:
        yield RunningKafka(given)
        return
    require_programs_of("kafka")
    with kafka_broker() as broker:
        yield broker


@pytest.fixture(scope="session")
def kafka_bootstrap(kafka: RunningKafka) -> str:
    """The address of a real Apache Kafka."""
    return kafka.bootstrap_servers
