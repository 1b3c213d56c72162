"""The brokers that the chaos tests run on: the embedded one with checkpoints in SQLite, real Kafka with them in Kafka."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.tools.embedded import embedded_broker
from tests.chaos.cluster import Cluster
from tests.kafka_broker import RunningKafka


@pytest.fixture(params=["embedded", "kafka"])
def cluster(request: pytest.FixtureRequest, tmp_path: Path, compiled_models: None) -> Iterator[Cluster]:
    if request.param == "kafka":
        kafka: RunningKafka = request.getfixturevalue("kafka")
        yield Cluster(kafka.bootstrap_servers, kafka.process, "kafka", tmp_path)
        show_logs(tmp_path)
        return
    with embedded_broker() as broker:
        yield Cluster(broker.bootstrap_servers, broker.process, "sqlite", tmp_path)
    show_logs(tmp_path)


def show_logs(folder: Path) -> None:
    """Print the workers' logs, which are shown if the test has failed."""
    for log in sorted(folder.glob("*.log")):
        print(f"---- {log.name}\n{log.read_text(errors='replace')[-20_000:]}")
