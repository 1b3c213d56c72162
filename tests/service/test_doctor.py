"""`onward doctor`: finds what is wrong, says what to do about it, and changes nothing."""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from rich.console import Console

from models.bank import Bank
from service.checkpoints.kafka import TOPIC_CONFIG
from service.connection import client_options
from service.settings import KafkaSettings, load_settings
from service.tools.doctor import Finding, examine, run
from service.tools.embedded import embedded_broker, free_port
from service.topics import ensure_topics

TOPICS = ("events", "predictions", "dead-letters")


@pytest.fixture(scope="module")
def servers() -> Iterator[str]:
    with embedded_broker() as broker:
        yield broker.bootstrap_servers


@pytest.fixture
def healthy(servers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An environment in which all is well, but for the topics; returns the topics' prefix."""
    monkeypatch.chdir(tmp_path)
    prefix = f"{tmp_path.name}.".replace("_", "-")
    monkeypatch.setenv("ONWARD_KAFKA__BOOTSTRAP_SERVERS", servers)
    monkeypatch.setenv("ONWARD_HTTP__PORT", str(free_port()))
    for name in (*TOPICS, "checkpoints"):
        monkeypatch.setenv(f"ONWARD_TOPICS__{name.replace('-', '_').upper()}", prefix + name)
    return prefix


def make_topics(servers: str, *topics: NewTopic) -> None:
    async def make() -> None:
        client = AIOKafkaAdminClient(**client_options(KafkaSettings(bootstrap_servers=servers)))
        await client.start()
        try:
            await client.create_topics(list(topics))
        finally:
            await client.close()

    asyncio.run(make())


def topics_of(prefix: str, partitions: int = 2) -> list[NewTopic]:
    return [NewTopic(prefix + name, partitions, 1) for name in TOPICS]


def compacted(name: str, partitions: int = 2) -> NewTopic:
    return NewTopic(name, partitions, 1, topic_configs={"cleanup.policy": "compact"})


def found(config: Path | None = None) -> list[Finding]:
    async def collect() -> list[Finding]:
        return [finding async for finding in examine(config)]

    return asyncio.run(collect())


def problems() -> list[Finding]:
    return [finding for finding in found() if finding.state == "problem"]


def test_all_is_well(servers: str, healthy: str) -> None:
    make_topics(servers, *topics_of(healthy), compacted(f"{healthy}checkpoints"))
    said = io.StringIO()
    assert asyncio.run(run(None, out=Console(file=said, width=200)))
    assert "All is well." in said.getvalue()
    assert f"topic {healthy}checkpoints: compacted" in said.getvalue()
    assert "checkpoints: 0 of 2 partitions are saved" in said.getvalue()


def test_topics_that_a_worker_makes_are_no_problem(healthy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = [finding.what for finding in found() if finding.state == "note"]
    assert len([note for note in notes if "a worker makes it" in note]) == 4
    assert not problems()
    monkeypatch.setenv("ONWARD_TOPICS__CREATE", "false")
    missing = problems()
    assert [finding.what.split(":")[0] for finding in missing] == [
        f"topic {healthy}{name}" for name in (*TOPICS, "checkpoints")
    ]
    assert all("kafka-topics.sh" in finding.mend for finding in missing)
    assert "cleanup.policy=compact" in missing[-1].mend


@pytest.mark.parametrize("policy", ["delete", "compact,delete"])
def test_checkpoints_of_other_partitions_or_that_are_deleted(servers: str, healthy: str, policy: str) -> None:
    topic = f"{healthy}checkpoints"
    make_topics(servers, *topics_of(healthy), NewTopic(topic, 3, 1, topic_configs={"cleanup.policy": policy}))
    one, other = problems()
    assert "has 2 partitions" in one.what
    assert (other.what, "kafka-configs.sh" in other.mend) == (
        f"topic {topic}: cleanup.policy is {policy}",
        True,
    )


def test_no_broker(healthy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONWARD_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    (problem,) = problems()
    assert "127.0.0.1:1" in problem.mend
    said = io.StringIO()
    assert not asyncio.run(run(None, out=Console(file=said, width=200)))
    assert "One thing to mend." in said.getvalue()


def test_settings_that_cannot_be_used(healthy: str, tmp_path: Path) -> None:
    (tmp_path / "onward.toml").write_text("[model]\nhorizon = 1\n")
    (problem,) = problems()
    assert "model.horizon in onward.toml" in problem.mend
    assert "did you mean model.horizons?" in problem.mend


def test_settings_are_told_with_their_source_and_without_secrets(
    servers: str, healthy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "onward.toml").write_text(
        '[model]\nhorizons = [1, 24]\n[kafka.security]\nusername = "me"\npassword = "hunter2"\n'
    )
    monkeypatch.setenv("ONWARD_KAFKA__SECURITY__PROTOCOL", "SASL_PLAINTEXT")
    said = io.StringIO()
    asyncio.run(run(None, out=Console(file=said, width=200)))
    assert "hunter2" not in said.getvalue()
    assert "kafka.security.password = **********  (kafka.security.password in onward.toml)" in said.getvalue()
    assert "model.horizons = (1, 24)  (model.horizons in onward.toml)" in said.getvalue()
    assert f"kafka.bootstrap_servers = {servers}  (ONWARD_KAFKA__BOOTSTRAP_SERVERS)" in said.getvalue()


def test_a_port_that_is_taken(healthy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        other.settimeout(0.0)
        monkeypatch.setenv("ONWARD_HTTP__PORT", str(other.getsockname()[1]))
        (problem,) = problems()
    assert "cannot be used" in problem.what
    assert "ONWARD_HTTP__PORT" in problem.mend


def test_a_checkpoint_file_that_cannot_be(
    servers: str, healthy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_topics(servers, *topics_of(healthy))
    monkeypatch.setenv("ONWARD_CHECKPOINT__STORE", "sqlite")
    assert not problems()
    monkeypatch.setenv("ONWARD_CHECKPOINT__SQLITE_PATH", str(tmp_path / "none" / "c.sqlite"))
    (problem,) = problems()
    assert "cannot be written" in problem.what
    damaged = tmp_path / "damaged.sqlite"
    damaged.write_bytes(b"not a database at all" * 100)
    monkeypatch.setenv("ONWARD_CHECKPOINT__SQLITE_PATH", str(damaged))
    (problem,) = problems()
    assert "they cannot be read" in problem.what
    assert str(damaged) in problem.mend


def test_a_cache_that_cannot_be_written(
    healthy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    (problem,) = problems()
    assert "numba's cache" in problem.what


def test_memory_is_that_of_the_bank(healthy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def size() -> str:
        (finding,) = [one for one in found() if one.what.startswith("model ")]
        return finding.what

    accurate = size()
    monkeypatch.setenv("ONWARD_MODEL__PROFILE", "fast")
    assert "a series" in accurate
    assert size() != accurate


def test_memory_at_the_limit_is_that_of_all_partitions(
    servers: str, healthy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: who sets the limit knows what it costs. Method: the bank's bytes, times series, times the topic's partitions."""
    monkeypatch.setenv("ONWARD_MODEL__PROFILE", "fast")
    monkeypatch.setenv("ONWARD_LIMITS__SERIES_MAX", "1000")
    size = Bank(load_settings().specification(), compiled=False).bytes_per_series()

    def said() -> str:
        (finding,) = [one for one in found() if one.what.startswith("model ")]
        return finding.what

    assert (
        f"1,000 series (limits.series_max) of each of 6 partitions are {size * 6000 / 1e6:.3g} MB" in said()
    )
    assert "further ones are rejected" in said()
    make_topics(servers, *topics_of(healthy, partitions=2))
    monkeypatch.setenv("ONWARD_LIMITS__SERIES_FULL", "evict")
    assert f"of each of 2 partitions are {size * 2000 / 1e6:.3g} MB" in said()
    assert "the least recent forgotten" in said()
    monkeypatch.setenv("ONWARD_KAFKA__BOOTSTRAP_SERVERS", f"127.0.0.1:{free_port()}")
    assert "of each of 6 partitions" in said()


@pytest.mark.kafka
def test_a_real_broker_tells_what_its_topics_let_through(
    kafka_bootstrap: str, healthy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONWARD_KAFKA__BOOTSTRAP_SERVERS", kafka_bootstrap)
    settings = load_settings()
    make_topics(kafka_bootstrap, compacted(f"{healthy}checkpoints", partitions=settings.topics.partitions))
    (problem,) = problems()
    assert "max.message.bytes is 1048588" in problem.what
    assert f"--add-config max.message.bytes={TOPIC_CONFIG['max.message.bytes']}" in problem.mend
    monkeypatch.setenv("ONWARD_TOPICS__CHECKPOINTS", f"{healthy}well")
    settings = load_settings()
    asyncio.run(ensure_topics(settings, client_options(settings.kafka)))
    assert [finding for finding in found() if finding.state != "ok"] == []
