"""What the shard knows of the times of a series: the last one, and how far apart events come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from models import snapshot

INTERVALS_MIN: Final = 8
"""Intervals that a series must have shown before one can be called a gap; fewer are no pattern."""
INTERVALS_REMEMBERED: Final = 64
"""Over how many intervals the typical one is averaged, and how many may agree on the usual one: a changed rate is followed
within about a hundred events, and no longer are rows filled in that the series does not have any more."""
ROWS_MAX: Final = 2.0**53
TOLERANCE: Final = 0.01
"""Intervals that differ by less than this part agree: clocks jitter."""
VOTES_MIN: Final = 3
"""So many more intervals must have agreed than disagreed before a row can be missing."""

FIELDS: Final = snapshot.Layout(
    {
        "shard": {
            "last_time": np.zeros(()),
            "typical_interval": np.zeros(()),
            "usual_interval": np.zeros(()),
            "intervals": np.zeros((), np.int64),
            "votes": np.zeros((), np.int64),
        }
    }
)
"""What a checkpoint holds of it."""


@dataclass(slots=True)
class Cadence:
    """The times of one series.

    `typical_interval` is a running mean, for series of any kind. `usual_interval` is what most intervals are, to a hundredth,
    by the vote of Boyer and Moore (1991), one candidate and one counter: a series without one is irregular, and no row of it can be said to be missing.
    """

    last_time: float
    typical_interval: float = 0.0
    usual_interval: float = 0.0
    intervals: int = 0
    votes: int = 0

    def gap_before(self, time: float, factor: float) -> bool:
        """Say whether this time comes after a gap."""
        return self.intervals >= INTERVALS_MIN and time - self.last_time > factor * self.typical_interval

    def rows_missing(self, time: float) -> int:
        """Return how many rows should have come between the last event and one of this time; 0 for an irregular series."""
        if self.votes < VOTES_MIN:
            return 0
        rows = (time - self.last_time) / self.usual_interval
        return max(round(min(max(rows, 0.0), ROWS_MAX)) - 1, 0)

    def advance(self, time: float, factor: float) -> None:
        """Take note of the time of an event that is going to be learned from."""
        interval = time - self.last_time
        if interval <= 0.0:
            return
        self.last_time = time
        self._vote(interval)
        if self.intervals:
            # A gap counts as the longest interval that is none: it hardly moves the typical one, and yet
            # a series that has become slow is caught up with.
            interval = min(interval, factor * self.typical_interval)
        self.intervals += 1
        rate = 1.0 / min(self.intervals, INTERVALS_REMEMBERED)
        self.typical_interval += rate * (interval - self.typical_interval)

    def _vote(self, interval: float) -> None:
        if abs(interval - self.usual_interval) <= TOLERANCE * self.usual_interval:
            self.votes = min(self.votes + 1, INTERVALS_REMEMBERED)
        elif self.votes:
            self.votes -= 1
        else:
            self.usual_interval = interval

    def records(self) -> tuple[snapshot.Record, ...]:
        """Return what a checkpoint holds of it, laid out as `FIELDS`."""
        records = FIELDS.empty()
        records[0][:] = self.last_time, self.typical_interval, self.usual_interval
        records[1][:] = self.intervals, self.votes
        return records

    @classmethod
    def restored(cls, records: Sequence[snapshot.Record]) -> Cadence:
        """Return what the records of a checkpoint say."""
        last_time, typical_interval, usual_interval = records[0].tolist()
        intervals, votes = records[1].tolist()
        return cls(last_time, typical_interval, usual_interval, intervals, votes)
