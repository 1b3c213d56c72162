"""A producer that left a transaction open: records wait, and no worker may take them. It is what OnwardStalled is for."""

from __future__ import annotations

import asyncio
import re
import urllib.request
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from tests.chaos.cluster import Cluster, Worker
from tests.chaos.events import PARTITIONS, stream
from tests.kafka_broker import RunningKafka

pytestmark = [pytest.mark.chaos, pytest.mark.kafka, pytest.mark.usefixtures("compiled_models")]

GOOD = list(stream(2_000, seed=1, bad=False))
STUCK_SECONDS = 42.0
"""Longer than any of the clients' own limits, of which the longest is 40 s."""


async def figure(worker: Worker, name: str) -> float:
    """Return the sum of a metric of the worker's."""
    found = re.search(r"worker started url=(\S+)", worker.said())
    assert found is not None, worker.said()
    text = await asyncio.to_thread(lambda: urllib.request.urlopen(f"{found[1]}metrics", timeout=5).read())
    return sum(float(value) for value in re.findall(rf"(?m)^{name}(?:\{{.*\}})? (\S+)$", text.decode()))


async def test_records_behind_an_open_transaction_wait_and_are_told_and_the_worker_lives(
    kafka: RunningKafka, tmp_path: Path
) -> None:
    # Goal: lag above 0 with nothing taken in, for as long as it lasts, so that the alert fires; afterwards all is learned.
    cluster = Cluster(kafka.bootstrap_servers, kafka.process, "kafka", tmp_path)
    await cluster.make_topics()
    worker = cluster.worker()
    try:
        await cluster.produce(GOOD[:1_000])
        await cluster.wait_until_saved(1_000)
        producer = AIOKafkaProducer(
            **cluster.options, transactional_id="left open", transaction_timeout_ms=600_000
        )
        async with producer:
            await producer.begin_transaction()
            for partition in range(PARTITIONS):
                await producer.send_and_wait(cluster.settings.topics.events, b"{}", partition=partition)
            await cluster.produce(GOOD[1_000:])
            await asyncio.sleep(3.0)
            consumed = await figure(worker, "onward_events_consumed_total")
            for _ in range(int(STUCK_SECONDS)):
                await asyncio.sleep(1.0)
                assert await figure(worker, "onward_consumer_lag_messages") >= 1_000
                assert await figure(worker, "onward_events_consumed_total") == consumed
            assert worker.is_running, worker.said()
            await producer.abort_transaction()
        async with asyncio.timeout(30):
            while await figure(worker, "onward_events_consumed_total") < consumed + 1_000:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
    finally:
        worker.end()
