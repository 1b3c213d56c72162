"""The Faust application: group membership, delivery, lifecycle and supervision; what is learned is the learner's.

Rules:

- One agent, over unacknowledged batches in partition order. Nothing is acknowledged but by the learner's checkpoints.
- State is loaded when a rebalance is complete and before the flow resumes; records of an older epoch of the consumer's are dropped.
- Any exception ends the process with a code other than 0, before anything after the last checkpoint is acknowledged.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, Protocol, cast

import faust
import mode
from faust.app import base
from faust.types import TP, ConsumerMessage, EventT, TransportT

from service.ports import Observer, Record, Vitals
from service.settings import Settings
from service.stream.learner import Learner
from service.stream.transport import Consumer, Transport

log = logging.getLogger(__name__)

_TICK_SECONDS = 0.25
_LAG_SECONDS = 1.0
_STOP_SECONDS_MAX = 9.0
"""A container gets 10 s between SIGTERM and SIGKILL."""
_REQUEST_SECONDS = 90.0


class Connected(Protocol):
    """What is started before the first event and stopped after the last."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class BootStrategy(base.BootStrategy):
    """What Faust starts: the consumer and the agent. No producer of its own, no web server, no sensors."""

    enable_kafka_producer = False
    enable_web = False
    enable_sensors = False


class LearnerService(mode.Service):
    """The learner as a service: up before the group is joined, and saving on time while nothing comes.

    Args:
        learner: is given the time.
        resources: the store and the publisher, in the order in which they start.
        observer: is told the lag.
        vitals: is told the lag, and that the event loop comes round.
        consumer: returns Faust's consumer, once there is one.
    """

    abstract = False
    logger = logging.getLogger("mode.learner")

    def __init__(
        self,
        learner: Learner,
        resources: Iterable[Connected],
        *,
        observer: Observer,
        vitals: Vitals,
        consumer: Callable[[], Consumer],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._learner = learner
        self._resources = list(resources)
        self._observer = observer
        self._vitals = vitals
        self._consumer = consumer

    async def on_start(self) -> None:
        for resource in self._resources:
            await resource.start()

    async def on_stop(self) -> None:
        for resource in reversed(self._resources):
            await resource.stop()

    @mode.Service.task
    async def _ticks(self) -> None:
        while not self.should_stop:
            self._vitals.beat()
            await self._learner.tick()
            await self.sleep(_TICK_SECONDS)

    @mode.Service.task
    async def _lags(self) -> None:
        while not self.should_stop:
            await self.sleep(_LAG_SECONDS)
            for tp, waiting in self._consumer().lags().items():
                self._observer.lag(tp.partition, waiting.known)
                self._vitals.lag(tp.partition, waiting.certain)


class App(faust.App):
    """The application of one worker.

    Args:
        settings: of the worker.
        learner: learns from what comes.
        resources: what is started before the first event: the store and the publisher.
        observer: is told the lag.
        vitals: is told how it stands.
        client_options: arguments of aiokafka's clients, from `service.connection`.
    """

    BootStrategy = BootStrategy
    # Faust's own lines go where Faust's lines go, not among ours.
    logger = logging.getLogger("faust.app")

    def __init__(
        self,
        settings: Settings,
        learner: Learner,
        resources: Iterable[Connected],
        *,
        observer: Observer,
        vitals: Vitals,
        client_options: Mapping[str, Any],
    ) -> None:
        self.client_options = client_options
        self.group_id = settings.kafka.group_id
        self.session_timeout_seconds = settings.kafka.session_timeout_seconds
        self._learner = learner
        self._events_topic = settings.topics.events
        self._vitals = vitals
        self._failed = False
        super().__init__(
            self.group_id,
            # The consumer is made with client_options; these addresses are for Faust's own log lines.
            broker=[f"kafka://{address}" for address in settings.kafka.bootstrap_servers.split(",")],
            broker_session_timeout=self.session_timeout_seconds,
            broker_request_timeout=max(_REQUEST_SECONDS, self.session_timeout_seconds),
            store="memory://",
            topic_allow_declare=False,
            topic_disable_leader=True,
            stream_wait_empty=False,
            stream_buffer_maxsize=4 * settings.stream.batch_size,
            agent_supervisor="mode.CrashingSupervisor",
            web_enabled=False,
        )
        self._service = LearnerService(
            learner,
            resources,
            observer=observer,
            vitals=vitals,
            consumer=self._our_consumer,
            beacon=self.beacon,
        )
        learner.acknowledge_to(self._acknowledge)
        self.on_rebalance_complete.connect(self._restore)
        self.on_partitions_revoked.connect(self._flush)
        self.on_before_shutdown.connect(self._flush)
        events = self.topic(
            self._events_topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
        )
        batch_size, within = settings.stream.batch_size, settings.stream.within_seconds

        async def learn(stream: faust.Stream[bytes]) -> None:
            async for batch in cast(
                AsyncIterator[list[EventT[bytes]]], stream.noack_take(batch_size, within=within)
            ):
                await self._learn(batch)

        # Faust types an agent by the stream's protocol, which lacks noack_take.
        self.agent(events, name="learn")(cast(Any, learn))

    def positions(self) -> dict[int, int]:
        """Return the offset at which each partition goes on."""
        return self._learner.positions()

    def on_init_dependencies(self) -> Iterable[Any]:
        # Without the monitor, which costs as much for an event as reading it.
        return cast(Iterable[Any], self.boot_strategy.server())

    def on_rebalance_return(self) -> None:
        """Do nothing: it tells sensors, of which there are none, and warns that they say nothing."""

    def on_rebalance_end(self) -> None:
        self.rebalancing = False

    async def on_first_start(self) -> None:
        await self.add_runtime_dependency(self._service)

    def _our_consumer(self) -> Consumer:
        return cast(Consumer, self.consumer)

    def _new_transport(self) -> TransportT:
        return cast(TransportT, Transport(self.conf.broker_consumer, self))

    async def _learn(self, batch: Iterable[EventT[bytes]]) -> None:
        consumer, assignment = self._our_consumer(), self._learner.assignment
        by_partition: dict[int, list[Record]] = defaultdict(list)
        for event in batch:
            message = event.message
            if consumer.take(cast(ConsumerMessage, message)):
                by_partition[message.partition].append(
                    Record(
                        topic=message.topic,
                        partition=message.partition,
                        offset=message.offset,
                        key=message.key,
                        value=message.value,
                        timestamp_ms=int(message.timestamp * 1000) if message.timestamp else 0,
                    )
                )
        for partition, records in by_partition.items():
            await self._learner.learn(partition, records, assignment=assignment)
            # The batch may be as long as the buffers are full; everybody else has a turn between partitions.
            await asyncio.sleep(0)

    async def _restore(self, *_: Any, **__: Any) -> None:
        consumer = self._our_consumer()
        revocations = consumer.revocations
        starts = await consumer.log_starts(
            {tp for tp in consumer.assignment() if tp.topic == self._events_topic}
        )
        if consumer.revocations != revocations:
            return  # They may be another's by now, who would be fenced; Faust calls again for what is ours then.
        partitions = {tp.partition: start for tp, start in starts.items()}
        anew = await self._learner.assign(sorted(partitions), partitions)
        for tp, offset in (await consumer.committed({tp for tp in starts if tp.partition in anew})).items():
            if offset > starts[tp]:
                log.warning(
                    "the group has been here, but there is no checkpoint; was it reset, or are its files gone?",
                    extra={"partition": tp.partition, "committed_offset": offset, "offset": starts[tp]},
                )
        await consumer.require_log_of_checkpoints(starts)

    async def _flush(self, *_: Any, **__: Any) -> None:
        if not self._failed:
            await self._learner.revoke()

    async def _acknowledge(self, partition: int, next_offset: int) -> None:
        await self._our_consumer().commit_watermark(TP(self._events_topic, partition), next_offset)

    async def run(self, stop: asyncio.Event) -> BaseException | None:
        """Work until asked to stop, or until something fails; return what failed."""
        starting = asyncio.ensure_future(self.start())
        asked = asyncio.ensure_future(stop.wait())
        crashed = asyncio.ensure_future(self._crashed.wait())
        try:
            await asyncio.wait({starting, asked, crashed}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done() and starting.exception() is None:
                await asyncio.wait({asked, crashed}, return_when=asyncio.FIRST_COMPLETED)
            self._vitals.stopping()
            failure = starting.exception() if starting.done() else None
            failure = failure or self.crash_reason
            self._failed = failure is not None
            await asyncio.wait_for(self.stop(), _STOP_SECONDS_MAX)
            return failure or self.crash_reason
        finally:
            for waiting in (starting, asked, crashed):
                waiting.cancel()
