"""What the shell's parts are to each other: the values that pass between them and the ports they meet at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from models.bank import Array, Audit, IntArray, StepResult


@dataclass(frozen=True, slots=True)
class Record:
    """A raw record of the events topic, as it came from the broker."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int = 0


class Reason(StrEnum):
    """Why a record was rejected. A closed set: it is a metric label and part of the dead letter."""

    EMPTY = "empty"
    TOO_LARGE = "too_large"
    TOO_DEEP = "too_deep"
    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    MISSING_FIELD = "missing_field"
    UNKNOWN_FIELD = "unknown_field"
    WRONG_TYPE = "wrong_type"
    NOT_FINITE = "not_finite"
    OUT_OF_RANGE = "out_of_range"
    BAD_TIME = "bad_time"
    BAD_SERIES = "bad_series"
    LATE = "late"
    SERIES_LIMIT = "series_limit"
    POOL_LIMIT = "pool_limit"


class Outcome(StrEnum):
    """What became of a consumed record; each record has just one."""

    LEARNED = "learned"
    REJECTED = "rejected"
    DUPLICATE = "duplicate"


class Missing(StrEnum):
    """What an event was lacking: the value of a target, a feature, or the whole row where one should have come."""

    TARGET = "target"
    FEATURE = "feature"
    ROW = "row"


class Eviction(StrEnum):
    """Why a series was forgotten: the least recent one made room for a new one, or it was not heard of for long."""

    FULL = "full"
    IDLE = "idle"


PLACES: Final = ("model", "challenger")
"""The groups of settings that a make of model may be of."""


class Promotion(StrEnum):
    """Why what was in the shadow answers from now on: the sequential test said so, or a person did."""

    RULE = "rule"
    COMMAND = "command"


@dataclass(frozen=True, slots=True)
class Shadow:
    """What was seen of the challenger at a round of events, B of them."""

    losses: Array
    """Mean over the targets of the absolute error in units of scale: the model's and the challenger's, (B, 2). NaN where no
    forecast of the shortest horizon was settled."""
    evidence: Array
    """That what is in the shadow is better than what answers, (B,): `models.sequential`, Eq. (5)."""
    promotions: Mapping[Promotion, int]


@dataclass(frozen=True, slots=True)
class Event:
    """A valid event. `time` is in seconds since the epoch, `time_text` as the producer wrote it.

    Of values and features NaN are those that are missing, as many as `missing`.
    """

    partition: int
    offset: int
    series: str
    time: float
    time_text: str
    values: tuple[float, ...]
    features: tuple[float, ...]
    missing: int = 0


@dataclass(frozen=True, slots=True)
class Rejection:
    """A record that cannot be learned from, with the reason and a sentence for people."""

    record: Record
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Guarded:
    """What guards did about a model of a series at an event, beyond the everyday: names of `models.bank.GUARD_ACTIONS`."""

    series: str
    target: str
    offset: int
    actions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Message:
    """A message to be published: a prediction or a dead letter."""

    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of a batch of records of one partition, in the order in which it happened."""

    predictions: list[Message] = field(default_factory=list)
    dead_letters: list[Message] = field(default_factory=list)
    results: list[StepResult] = field(default_factory=list)
    outcomes: Mapping[Outcome, int] = field(default_factory=dict)
    reasons: Mapping[Reason, int] = field(default_factory=dict)
    replayed: int = 0
    """Records at or before their series' last applied offset: learned before a restart, skipped now.
    They are in no other count but `consumed`."""
    consumed: int = 0
    """Records handed in; learned + rejected + duplicate + replayed, or one was lost on the way."""
    event_time_last: float | None = None
    evicted: Mapping[Eviction, int] = field(default_factory=dict)
    """Series that were forgotten on the way."""
    missing: Mapping[Missing, int] = field(default_factory=dict)
    """Values, features and rows that were predicted past."""
    filled_guards: Sequence[IntArray] = ()
    """What guards did in rows that were missing, as `StepResult.guard`, where they did something. Nothing is published of such
    a row, or learned."""
    guarded: Sequence[Guarded] = ()
    shadows: Sequence[Shadow] = ()
    audits: Sequence[Audit] = ()
    """What audits of the gradient found that ended in this batch."""


@dataclass(frozen=True, slots=True)
class SeriesCheckpoint:
    """A series as of its last applied event. `state` is what `models.snapshot` wrote; empty if it was evicted."""

    series: str
    last_offset: int
    state: bytes


@dataclass(frozen=True, slots=True)
class PartitionCheckpoint:
    """A partition as it was saved.

    Every event before `next_offset` is in the series' states; a series whose save was cut off may be
    ahead of it, and skips what it has by its own `last_offset`.
    """

    next_offset: int
    series: Mapping[str, SeriesCheckpoint]
    notes: tuple[str, ...] = ()
    """What recovery found on the way, such as a damaged record and what was used in its place."""
    behind: frozenset[str] = frozenset()
    """Series for which a state of before the others' stands in: the events from `next_offset` to `behind_until` are
    theirs alone, for all other series have had them."""
    behind_until: int = 0


class SeriesCounts(NamedTuple):
    """How many series there are, and how many of them in what state."""

    series: int
    quarantined: int
    """A target's baseline is published instead of what was learned."""
    promoted: int
    """The challenger answers."""
    pools: int
    """Not of series: groups of them that share what pooled experts learn."""


class CheckpointError(Exception):
    """No usable checkpoint, and going on would lose learned state. Says what to do."""


class SpoiltSeriesError(Exception):
    """What a model says of these series would not be finite, which no event may lead to: a bug, or damaged state. Says what to do."""

    def __init__(self, message: str, series: Sequence[str]) -> None:
        super().__init__(message)
        self.series = tuple(series)


class FencedError(Exception):
    """The partition was loaded by another worker since: nothing was saved, and nothing may be."""


class CheckpointStore(Protocol):
    """Keeps checkpoints of partitions. Keeps at least two generations of each series."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def read(self, partition: int) -> PartitionCheckpoint | None:
        """Return the newest whole checkpoint, or None if there never was one. For tools: it disturbs nobody.

        A damaged record is detected by its checksum, and the save before it is used; where that is not whole either, the
        generation before of that series alone, with `next_offset` as early as it needs.

        Raises:
            CheckpointError: there is a checkpoint and none of its generations is whole.
        """
        ...

    async def load(self, partition: int) -> PartitionCheckpoint | None:
        """Take the partition over, and read it: whoever loaded it before cannot save it any more.

        Raises:
            CheckpointError: as `read`.
        """
        ...

    async def save(self, partition: int, series: Sequence[SeriesCheckpoint], next_offset: int) -> int:
        """Save the series and the watermark, all or nothing; durable on return. Returns the bytes written.

        A series without a state was evicted: it gets a tombstone, and the next save erases all that there is of it.

        Raises:
            FencedError: another worker has loaded the partition since this one did.
        """
        ...

    async def reset(self, partition: int) -> None:
        """Take the partition over, and forget its checkpoint."""
        ...


class Publisher(Protocol):
    """Publishes a batch of messages to a topic and returns when all are acknowledged by the broker."""

    async def publish(self, topic: str, messages: Sequence[Message]) -> None: ...


class Observer(Protocol):
    """Is told what happens; turns it into metrics. Must be cheap and must not raise."""

    def applied(self, partition: int, applied: Applied, seconds: float) -> None: ...

    def spoilt(self, series: int) -> None: ...

    def checkpoint_saved(self, partition: int, seconds: float, size_bytes: int) -> None: ...

    def checkpoint_failed(self, reason: str) -> None: ...

    def restored(self, partition: int, source: str, series: int, next_offset: int) -> None: ...

    def rebalanced(self, partitions: Sequence[int]) -> None: ...

    def lag(self, partition: int, messages: int) -> None: ...

    def series(self, count: int, quarantined: int, promoted: int, pools: int) -> None: ...


class Vitals(Protocol):
    """Is told that the worker goes on; answers whoever asks after its health. Must be cheap and must not raise."""

    def assigned(self, partitions: Sequence[int]) -> None: ...

    def recovered(self) -> None: ...

    def progress(self, partition: int, offset: int) -> None: ...

    def lag(self, partition: int, messages: int) -> None: ...

    def beat(self) -> None: ...

    def stopping(self) -> None: ...
