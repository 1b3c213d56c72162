"""A worker as a process: how it stops, how it goes on, and what it refuses to go on with."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from service.tools.embedded import EmbeddedBroker, embedded_broker
from tests.chaos.cluster import Cluster, Worker
from tests.chaos.events import PARTITIONS, stream
from tests.kafka_broker import BOOTSTRAP_VARIABLE, PASSWORD, USER, RunningKafka
from tests.prerequisites import require

pytestmark = pytest.mark.chaos

GOOD = list(stream(2_000, seed=1, bad=False))


@pytest.fixture
def on_embedded(tmp_path: Path) -> Cluster:
    return Cluster("", None, "sqlite", tmp_path)


async def end_in_order(worker: Worker) -> float:
    """Ask a worker to stop, see that it does so well, and return how long it took."""
    began = time.monotonic()
    worker.signal(signal.SIGTERM)
    assert await worker.ended() == 0, worker.said()
    return time.monotonic() - began


async def test_a_worker_that_is_asked_to_stop_saves_all_it_has_and_the_next_goes_on_there(
    cluster: Cluster,
) -> None:
    # Goal: SIGTERM ends a busy worker within 10 s with 0, and nothing is done twice. Method: two workers one after the
    # other, stopped in the middle; then every message of theirs must be there, and none twice. In between the group's
    # offsets are moved to the end, as a consumer that commits what is in flight would: nobody may go by them.
    await cluster.make_topics()
    first = cluster.worker()
    producing = asyncio.create_task(cluster.produce(GOOD, pause_seconds=0.5))
    await cluster.wait_until_saved(200)
    assert await end_in_order(first) < 10.0
    saved = await cluster.progress()
    assert saved < len(GOOD), "it was to be stopped in the middle"
    await producing
    if cluster.store == "kafka":  # the embedded broker lets nobody commit who is not in the group
        await commit_all(cluster)
    second = cluster.worker()
    await cluster.wait_until_saved(len(GOOD))
    assert await end_in_order(second) < 10.0
    assert "restored" in second.said()
    published = await cluster.read(cluster.settings.topics.predictions)
    ids = [record.value for records in published.values() for record in records]
    assert len(ids) == len(set(ids)) == len(GOOD)
    # The group is told what is done with, for whoever watches its lag.
    assert await committed(cluster) == len(GOOD)


async def committed(cluster: Cluster) -> int:
    async with AIOKafkaConsumer(
        **cluster.options, group_id=cluster.name, enable_auto_commit=False
    ) as consumer:
        consumer.assign(there := partitions(cluster))
        return sum([await consumer.committed(tp) or 0 for tp in there])


async def commit_all(cluster: Cluster) -> None:
    """Tell the group that it is at the end of the log."""
    logs = await cluster.read(cluster.settings.topics.events)
    async with AIOKafkaConsumer(
        **cluster.options, group_id=cluster.name, enable_auto_commit=False
    ) as consumer:
        consumer.assign(partitions(cluster))
        await consumer.commit({tp: logs[tp.partition][-1].offset + 1 for tp in partitions(cluster)})


def partitions(cluster: Cluster) -> list[TopicPartition]:
    return [TopicPartition(cluster.settings.topics.events, partition) for partition in range(PARTITIONS)]


async def test_a_log_that_came_back_empty_is_refused_with_instructions(on_embedded: Cluster) -> None:
    cluster = on_embedded
    for worker_number in (1, 2):
        with embedded_broker() as broker:
            cluster.bootstrap_servers = broker.bootstrap_servers
            await cluster.make_topics()
            worker = cluster.worker(f"worker-{worker_number}")
            if worker_number == 1:
                await cluster.produce(GOOD)
                await cluster.wait_until_saved(len(GOOD))
                await end_in_order(worker)
                continue
            assert await worker.ended(seconds=40) == 1
            assert "onward checkpoint reset --partition" in worker.said()
            assert "Traceback" not in worker.said().split("CRITICAL")[-1]
            assert await cluster.progress() == len(GOOD), "and the state is left as it is"


async def test_a_log_that_is_made_anew_under_a_running_worker_is_refused(on_embedded: Cluster) -> None:
    cluster = on_embedded
    with embedded_broker() as broker:
        cluster.bootstrap_servers = broker.bootstrap_servers
        await cluster.make_topics()
        await cluster.produce(GOOD)
        worker = cluster.worker()
        await cluster.wait_until_saved(len(GOOD))
        broker.process.kill()
        broker.process.wait()
        with restarted(broker):
            await cluster.make_topics()
            await cluster.produce(GOOD[:300])
            assert await worker.ended(seconds=60) == 1
    assert "onward checkpoint reset --partition" in worker.said()
    assert await cluster.progress() == len(GOOD)


@contextmanager
def restarted(broker: EmbeddedBroker) -> Iterator[None]:
    """Run the broker again at its old address, with nothing of what it held."""
    host, port = broker.bootstrap_servers.split(":")
    with subprocess.Popen(
        broker.process.args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            while True:
                with socket.socket() as client:
                    if client.connect_ex((host, int(port))) == 0:
                        break
            yield
        finally:
            process.kill()


async def test_a_log_whose_start_was_deleted_unread_is_refused(kafka: RunningKafka, tmp_path: Path) -> None:
    cluster = Cluster(kafka.bootstrap_servers, None, "kafka", tmp_path)
    await cluster.make_topics()
    await cluster.produce(GOOD[:300])
    first = cluster.worker()
    await cluster.wait_until_saved(300)
    await end_in_order(first)
    await cluster.produce(GOOD[300:900])
    admin = AIOKafkaAdminClient(**cluster.options)
    await admin.start()
    there = TopicPartition(cluster.settings.topics.events, 0)
    await admin.delete_records({there: RecordsToDelete(before_offset=250)})
    await admin.close()
    second = cluster.worker()
    assert await second.ended(seconds=40) == 1
    assert "249 were deleted before they were learned from" in second.said()


async def test_transactions_that_were_taken_back_and_gaps_in_the_offsets_do_no_harm(
    kafka: RunningKafka, tmp_path: Path
) -> None:
    cluster = Cluster(kafka.bootstrap_servers, None, "kafka", tmp_path)
    await cluster.make_topics()
    topic = cluster.settings.topics.events
    worker = cluster.worker()
    async with AIOKafkaProducer(**cluster.options, transactional_id=cluster.name) as producer:
        for at in range(0, 900, 30):
            await producer.begin_transaction()
            for partition, key, value in GOOD[at : at + 30]:
                await producer.send(topic, value, key=key, partition=partition)
            if at % 90:
                await producer.commit_transaction()
            else:
                await producer.abort_transaction()
    logs = await cluster.read(topic)
    assert sum(map(len, logs.values())) == 600
    end = {partition: log[-1].offset + 1 for partition, log in logs.items()}
    await cluster.wait_until_saved(sum(end.values()))
    await end_in_order(worker)
    saved = {partition: one.next_offset for partition, one in (await cluster.checkpoints()).items()}
    assert saved == end
    assert sum(map(len, (await cluster.read(cluster.settings.topics.predictions)).values())) == 600


async def test_a_worker_shows_its_password_wherever_it_connects(kafka: RunningKafka, tmp_path: Path) -> None:
    # Goal: topics, group, messages and checkpoints all go by the settings' security. Method: a listener that asks for a
    # password; with a wrong one the worker ends, and with neither is the password in the log.
    require("a listener with a password", kafka.password_servers is not None, f"unset {BOOTSTRAP_VARIABLE}")
    plain = Cluster(kafka.bootstrap_servers, None, "kafka", tmp_path)
    secret = tmp_path / "password"
    plain.changes |= {
        "ONWARD_KAFKA__BOOTSTRAP_SERVERS": kafka.password_servers or "",
        "ONWARD_KAFKA__SECURITY__PROTOCOL": "SASL_PLAINTEXT",
        "ONWARD_KAFKA__SECURITY__SASL_MECHANISM": "PLAIN",
        "ONWARD_KAFKA__SECURITY__USERNAME": USER,
        "ONWARD_KAFKA__SECURITY__PASSWORD_FILE": str(secret),
    }
    secret.write_text("wrong")
    refused = plain.worker("refused")
    assert await refused.ended(seconds=30) == 1
    secret.write_text(PASSWORD + "\n")
    worker = plain.worker()
    async with asyncio.timeout(30):
        while "start of the log" not in worker.said():  # noqa: ASYNC110 - a log has no event
            await asyncio.sleep(0.1)
    plain.changes.clear()
    await plain.produce(GOOD[:300])
    await plain.wait_until_saved(300)
    await end_in_order(worker)
    assert PASSWORD not in worker.said()
    assert "Authentication" in refused.said()


BUG = """
import os, sys
import service.stream.shard as shard
apply = shard.Shard.apply
def failing(self, records):
    if any(record.offset >= 150 for record in records):
        raise ZeroDivisionError("a bug")
    return apply(self, records)
shard.Shard.apply = failing
from service.cli import main
sys.argv = ["onward", "worker"]
main()
"""


async def test_a_bug_ends_the_worker_before_its_event_is_acknowledged(on_embedded: Cluster) -> None:
    cluster = on_embedded
    with embedded_broker() as broker:
        cluster.bootstrap_servers = broker.bootstrap_servers
        await cluster.make_topics()
        await cluster.produce(GOOD)
        cluster.changes["ONWARD_STREAM__BATCH_SIZE"] = "20"
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", BUG],
            env=os.environ
            | cluster.variables()
            | {f"{name}_NUM_THREADS": "1" for name in ("OPENBLAS", "OMP", "MKL")},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1
        assert "CRITICAL worker failed: ZeroDivisionError: a bug\nTraceback" in done.stderr
        assert await committed(cluster) <= 3 * 150


async def test_without_a_broker_the_worker_says_so_and_ends(on_embedded: Cluster) -> None:
    on_embedded.bootstrap_servers = "127.0.0.1:1"
    worker = on_embedded.worker()
    assert await worker.ended(seconds=30) == 1
    assert "127.0.0.1:1" in worker.said().split("CRITICAL")[-1]
