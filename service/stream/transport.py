"""Faust's consumer, made to begin where our checkpoints say, and to notice when the log is not what it was.

Rules:

- A partition goes on at its checkpoint's offset, whatever the group has committed: Faust commits past events that are
  still in flight. Committed offsets are told for whoever watches the lag, and nobody reads them here.
- aiokafka begins anew at the log's start where an offset is out of range, and says so in its own log only. So each
  fetch is compared with where it should have begun: a log that went back, or that lost its start to retention before
  it was read, is an error. An offset may be missing for a good reason (compaction, transactions); only then is the
  log's start asked for.
- What was fetched belongs to an epoch, which ends with a revocation and with a seek; of an older one nothing is learned.
  The group's generation says less: it may begin anew, and Faust reads it when a record is delivered, not when it was
  fetched.
- What was fetched is learned in its order and whole, or the worker ends: each record is checked off as it is taken.
- The flow stops at a revocation, and goes on when what was assigned after it has been sought. Faust's own does not stop it where
  the partitions are gone already, as after a session that was lost; and it goes on when the work for the assignment before is
  done. Either delivers what comes next from wherever aiokafka stands.
- A fetch that is dropped is fetched again: aiokafka has moved on by then, and the gap would look like a compaction's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict, deque
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, cast

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from faust.transport.consumer import RecordMap
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from service.checkpoints.recovery import how_to_reset
from service.stream.waiting import FetchState, Waiting, waiting_of

_LOG_END_SECONDS_MAX = 5.0
"""A broker that has just become a partition's leader may know a lower end of the log for a moment."""

_REBALANCE_SECONDS_MAX = 60.0
"""For every worker to save what it has and to join again."""
_POLL_SECONDS_MAX = 300.0
"""A worker that takes nothing for this long gives its partitions up."""

_METADATA_SECONDS_MAX = 60.0
"""Until partitions that were added, or a topic that was made anew, are noticed."""


class LogError(Exception):
    """The log is not the one that the checkpoint speaks of; going on would lose events. Says what to do."""


class LostRecordError(Exception):
    """Faust has dropped a record on its way from the fetch to the learner."""


class OnwardApp(Protocol):
    """What the consumer needs of the app that it is of."""

    client_options: Mapping[str, Any]
    group_id: str
    session_timeout_seconds: float

    def positions(self) -> dict[int, int]:
        """Return the offset at which each partition goes on."""
        ...


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that aiokafka's consumer runs in."""

    abstract = False
    logger = logging.getLogger("faust.consumer")

    def _create_worker_consumer(self, transport: driver.Transport) -> AIOKafkaConsumer:
        app = cast(OnwardApp, self.app)
        self._assignor = RoundRobinPartitionAssignor
        session_ms = int(app.session_timeout_seconds * 1000)
        return AIOKafkaConsumer(
            **app.client_options,
            group_id=app.group_id,
            partition_assignment_strategy=[RoundRobinPartitionAssignor],
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            # What a producer has taken back is no event.
            isolation_level="read_committed",
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=session_ms // 3,
            rebalance_timeout_ms=int(_REBALANCE_SECONDS_MAX * 1000),
            max_poll_interval_ms=int(_POLL_SECONDS_MAX * 1000),
            metadata_max_age_ms=int(_METADATA_SECONDS_MAX * 1000),
        )

    def fetch_state(self, tp: TP) -> FetchState | None:
        """Return what is known of a partition, or None where it is not assigned or not sought yet."""
        subscription = self._ensure_consumer()._subscription.subscription
        assignment = None if subscription is None else subscription.assignment
        if assignment is None or tp not in assignment.tps:
            return None
        state = assignment.state_value(tp)
        if not state.has_valid_position:
            return None
        return FetchState(state.highwater, state.position, state.timestamp)

    async def seek_assigned(self, targets: Mapping[TP, int]) -> None:
        """Seek, without a step between, those partitions that are still assigned."""
        await self.call_thread(self._seek_assigned, targets)

    async def _seek_assigned(self, targets: Mapping[TP, int]) -> None:
        consumer = self._ensure_consumer()
        for tp in targets.keys() & consumer.assignment():
            consumer.seek(tp, targets[tp])


class Message(ConsumerMessage):
    """A message that knows in which epoch it was fetched."""

    def __init__(self, *args: Any, epoch: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.epoch = epoch


class Consumer(driver.Consumer):
    """A consumer that seeks to our own offsets."""

    logger = logging.getLogger("faust.consumer")  # Its lines are Faust's, and go where those go.

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.epoch = 0
        self.revocations = 0
        """How many there were; what was begun before the last is for partitions that may be another's."""
        self._is_revoked = False
        self._fetch_epoch = 0
        self._expected: dict[TP, int] = {}
        self._fetched: defaultdict[TP, deque[int]] = defaultdict(deque)
        self._short_since: dict[TP, float] = {}
        self._heard: dict[TP, tuple[int | None, int]] = {}

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        self.revocations += 1
        self._is_revoked = True
        self.stop_flow()
        self._begin_epoch({})
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self._is_revoked = False
        await super().on_partitions_assigned(assigned, generation_id)

    def resume_flow(self) -> None:
        """Let records come, unless Faust is at an assignment that was revoked meanwhile; it calls again for the next."""
        if not self._is_revoked and self.assignment() <= self._expected.keys():
            super().resume_flow()

    def _begin_epoch(self, expected: dict[TP, int]) -> None:
        """Make worthless what was fetched, and say from where on the next fetches have to be."""
        self.epoch += 1
        self._expected = expected
        self._fetched.clear()
        self._short_since.clear()
        self._heard.clear()

    async def perform_seek(self) -> None:
        """Go on where the learner stands. Called with the flow stopped: when partitions came, or a fetch was dropped."""
        # In a revocation the learner still has its positions while it saves, and aiokafka its old assignment.
        positions = {} if self._is_revoked else cast(OnwardApp, self.app).positions()
        targets = {tp: positions[tp.partition] for tp in self.assignment() if tp.partition in positions}
        self._begin_epoch(dict(targets))
        if targets:
            await self._thread.seek_wait(targets)
        # Only now: the call above sets them too, and takes 0 for none.
        self._read_offset.update(targets)
        self._committed_offset.update(targets)

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> RecordMap:  # noqa: ASYNC109 - Faust's signature
        epoch = self.epoch
        fetched = await super()._getmany(active_partitions, timeout)
        if not self.flow_active:
            return {}  # Faust seeks.
        if epoch != self.epoch:
            # A rebalance came and was over while this fetch waited.
            again = {tp: self._expected[tp] for tp in fetched if tp in self._expected}
            if again:
                await cast(ConsumerThread, self._thread).seek_assigned(again)
            return {}
        # One fetch is delivered before the next is made, so until then this is the epoch of all that is delivered.
        self._fetch_epoch = epoch
        gaps: dict[TP, int] = {}
        for tp, records in fetched.items():
            expected = self._expected.get(tp)
            if expected is None:
                raise RuntimeError(f"records of {tp} came, which was not sought")
            if records[0].offset < expected:
                raise _went_back(tp, expected, records[0].offset)
            if records[0].offset > expected:
                gaps[tp] = expected
            self._expected[tp] = records[-1].offset + 1
            self._fetched[tp].extend(record.offset for record in records)
        if gaps:
            await self._require_log_starts(gaps)
        return fetched

    def _to_message(self, tp: TP, record: ConsumerRecord) -> Message:
        return Message(
            record.topic,
            record.partition,
            record.offset,
            record.timestamp / 1000.0,
            record.timestamp_type,
            record.headers,
            record.key,
            record.value,
            None,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
            epoch=self._fetch_epoch,
        )

    def take(self, message: ConsumerMessage) -> bool:
        """Say whether the learner may have this message, which it gets next; False if it is of an older epoch.

        Raises:
            LostRecordError: a record that was fetched before it did not come.
        """
        if cast(Message, message).epoch != self.epoch:
            return False
        due = self._fetched[message.tp].popleft()
        if due != message.offset:
            raise LostRecordError(
                f"{message.tp}: offset {due} was fetched and {message.offset} came in its place"
            )
        return True

    async def _require_log_starts(self, needed: Mapping[TP, int]) -> None:
        for tp, start in (await self.log_starts(set(needed))).items():
            if start > needed[tp]:
                raise _lost_start(tp, needed[tp], start)

    async def log_starts(self, tps: set[TP]) -> dict[TP, int]:
        """Return the first offset that is still there of each partition."""
        starts = await self.earliest_offsets(*tps) if tps else {}
        return {tp: starts[tp] for tp in tps}

    async def require_log_of_checkpoints(self, starts: Mapping[TP, int]) -> None:
        """See that the log still has what comes after the learner's offsets.

        Raises:
            LogError: its start is past them, or it ends before them.
        """
        positions = cast(OnwardApp, self.app).positions()
        for tp, start in starts.items():
            if tp.partition in positions and start > positions[tp.partition]:
                raise _lost_start(tp, positions[tp.partition], start)
        await self._wait_for_ends({tp: positions[tp.partition] for tp in starts if tp.partition in positions})

    async def _wait_for_ends(self, needed: Mapping[TP, int]) -> None:
        """Wait until the logs' ends are known and not before the offsets. A broker that is silent is waited for later."""
        deadline = time.monotonic() + _LOG_END_SECONDS_MAX
        while True:
            # As fetches name it: not every broker answers the question for the last offset rightly.
            states = {tp: cast(ConsumerThread, self._thread).fetch_state(tp) for tp in needed}
            ends = {
                tp: -1 if state is None or state.highwater is None else state.highwater
                for tp, state in states.items()
            }
            short = {tp: end for tp, end in ends.items() if end < needed[tp]}
            if not short:
                return
            if time.monotonic() > deadline:
                for tp, end in short.items():
                    if end >= 0:
                        raise _went_back(tp, needed[tp], end)
                return
            await asyncio.sleep(0.05)

    def lags(self) -> dict[TP, Waiting]:
        """Return how many records wait, of the partitions that have some in hand or of which the broker has just said something.

        Raises:
            LogError: a log has ended before our offset for some time.
        """
        positions = cast(OnwardApp, self.app).positions()
        lags: dict[TP, Waiting] = {}
        # All that are assigned, so that one is seen to wait which nobody has sought.
        for tp in self.assignment() if positions else ():
            state = cast(ConsumerThread, self._thread).fetch_state(tp)
            if state is None or tp.partition not in positions:
                continue
            expected = self._expected.get(tp, positions[tp.partition])
            in_hand = len(self._fetched[tp])
            heard = state.highwater is not None and self._heard.get(tp) != (state.heard, state.highwater)
            if heard and state.highwater is not None:
                self._heard[tp] = (state.heard, state.highwater)
                self._require_end(tp, positions[tp.partition], state.highwater)
            if heard or in_hand:
                lags[tp] = waiting_of(state, in_hand, expected, heard=heard)
        return lags

    def _require_end(self, tp: TP, position: int, end: int) -> None:
        if end >= position:
            self._short_since.pop(tp, None)
        elif time.monotonic() - self._short_since.setdefault(tp, time.monotonic()) > _LOG_END_SECONDS_MAX:
            raise _went_back(tp, position, end)

    async def committed(self, tps: set[TP]) -> dict[TP, int]:
        """Return how far the group has told that it is, of the partitions of which it has."""
        consumer = self._thread._ensure_consumer()
        found = {tp: await self._thread.call_thread(consumer.committed, tp) for tp in tps}
        return {tp: offset for tp, offset in found.items() if offset is not None}

    async def commit_watermark(self, tp: TP, offset: int) -> None:
        """Tell the group that everything before the offset is done with."""
        if tp in self.assignment():
            await self._thread.commit({tp: offset})
            self._committed_offset[tp] = offset

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Do nothing: gaps are kept for the commits of single events, which are not used, and would pile up."""

    async def verify_all_partitions_active(self) -> None:
        """Do nothing: it reads figures of a monitor that is off; /healthz watches the progress."""


class Transport(driver.Transport):
    """A transport with our consumer."""

    Consumer: ClassVar[type[Consumer]] = Consumer


def _went_back(tp: TP, expected: int, found: int) -> LogError:
    return LogError(
        f"{tp.topic}, partition {tp.partition}: learned up to offset {expected}, but the log now stands at {found}. It was "
        f"made anew or cut back (the embedded broker keeps nothing over a restart). If that is right: stop the workers. "
        f"{how_to_reset(tp.partition)}. If it is not, point the worker at the brokers that have the log"
    )


def _lost_start(tp: TP, expected: int, start: int) -> LogError:
    return LogError(
        f"{tp.topic}, partition {tp.partition}: the events from offset {expected} to {start - 1} were deleted before they "
        f"were learned from; the log now begins at {start}. Give the topic a longer retention. To go on without those "
        f"events: stop the workers. {how_to_reset(tp.partition)}"
    )
