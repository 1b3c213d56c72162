"""What a shard keeps of a series, and what it makes of a batch: rounds in which each series stands at most once."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from models.bank import NonFiniteError
from service.ports import Event, SpoiltSeriesError
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


@contextmanager
def naming_the_spoilt(partition: int, slots: Sequence[int], taken: Sequence[Event | Gap]) -> Iterator[None]:
    """Give those slots a name whose results would not be finite; event or gap i is of slot i.

    Raises:
        SpoiltSeriesError: there are some.
    """
    try:
        yield
    except NonFiniteError as error:
        spoilt = [one for slot, one in zip(slots, taken, strict=True) if slot in error.slots]
        if not spoilt:
            raise
        first, more = spoilt[0], f", and {len(spoilt) - 1} more series" if spoilt[1:] else ""
        raise SpoiltSeriesError(
            f"partition {partition}, series {first.series!r}{more}: at offset {first.offset} a result would not be finite. The "
            "state is damaged, or this is a bug: keep the checkpoint and the events, and report it. To go on without what was learned "
            f"of it: stop the workers, `onward checkpoint reset --partition {partition} --series {shlex.quote(first.series)}`, "
            "and start again",
            [one.series for one in spoilt],
        ) from error
