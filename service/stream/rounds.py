"""What a shard keeps of a series, and what it makes of a batch: rounds in which each series stands at most once."""

from __future__ import annotations

from dataclasses import dataclass, field

from service.ports import Event
from service.stream.cadence import Cadence


@dataclass(slots=True)
class Series:
    """What the shard keeps of a series beside the bank's state."""

    slot: int
    last_offset: int
    cadence: Cadence


@dataclass(frozen=True, slots=True)
class Gap:
    """Rows that a series should have had and has not: as many, an interval apart, after a time."""

    slot: int
    pool: int
    after: float
    interval: float
    rows: int
    series: str
    offset: int
    """Of the event that is after them."""


@dataclass(slots=True)
class Round:
    """Events in different slots, for one call of the bank."""

    events: list[Event] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    pools: list[int] = field(default_factory=list)
    """Of each event, the slot of the pool in which it is learned."""
    begun: list[int] = field(default_factory=list)
    """Slots whose event is the first of a series that came after another."""
    gaps: list[Gap] = field(default_factory=list)
    """Before the events of these series rows are missing, which are filled."""
    after_gap: list[int] = field(default_factory=list)
    """Slots whose memory is reset before their event."""
