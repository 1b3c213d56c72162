"""The season, read from event times, and what stood one season before.

The interval between rows is the majority of the intervals seen (the vote of Boyer and Moore, 1991:
one candidate and one counter). The season is a day if a day's rows fit, a week for daily rows, an hour
for rows so close that a day does not fit. A cycle of seven seasons (the week) is looked at as well.
"""

from __future__ import annotations

import numpy as np

from models.protocols import Array, BoolArray, Fields, IntArray, State

DAY_SECONDS = 86_400.0
HOUR_SECONDS = 3_600.0
WEEK_DAYS = 7
CYCLES = (1, WEEK_DAYS)
"""Seasons back at which the series is looked up: yesterday and the same day of last week."""

TOLERANCE = 0.01
"""Intervals that differ by less than this part count as equal: clocks jitter."""

VOTES_MIN = 3
"""So many more intervals must have agreed than disagreed before a season is believed."""

VOTES_MAX = 1000
"""A count of agreement stops there, so that a new interval is believed after so many rows at the latest."""


class Season:
    """Keeps the last `season_max` + 1 levels and finds the season's length in rows."""

    def __init__(self, season_max: int, horizons: tuple[int, ...]) -> None:
        """Make one for seasons of at most `season_max` rows."""
        self.season_max = season_max
        self.length = season_max + 1
        self.horizons = np.array(horizons, dtype=np.int64)

    def init_state(self) -> Fields:
        """Return the state of a new series."""
        zero, none = np.zeros(()), np.zeros((), dtype=np.int64)
        return {
            "time": zero,
            "interval": zero,
            "votes": none,
            "rows": none,
            "levels": np.zeros(self.length),
        }

    def update(self, state: State, time: Array, level: Array) -> tuple[Array, Array, BoolArray]:
        """Take one row, in place; return the levels one season, and one week of seasons, before.

        Args:
            state: as `init_state`, batched.
            time: event times in seconds, (B,).
            level: values, (B,).

        Returns:
            then (B, H, C): y_{t+h-S}, with S the least multiple of the cycle that is at least h, for
            each of `CYCLES`. start (B, H, C): y_{t-S}. known (B, H, C): whether the row of y_{t-S} was
            seen and a season is found; elsewhere both levels are y_t. Cost O(B H C).
        """
        rows, index = state["rows"], np.arange(len(level))
        self._vote(state, time)
        state["levels"][index, rows % self.length] = level
        cycle = self.rows_per_season(state)[:, None, None] * np.array(CYCLES)
        step = np.maximum(cycle, 1)
        horizons, now = self.horizons[:, None], rows[:, None, None]
        whole = step * -(-horizons // step)
        known = (cycle > 0) & (whole <= self.season_max) & (now >= whole)
        at = now - np.where(known, whole, 0)
        ahead = np.where(known, at + horizons, now)
        back = index[:, None, None]
        then, begin = state["levels"][back, ahead % self.length], state["levels"][back, at % self.length]
        state["rows"] = rows + 1
        return then, begin, known

    def reset(self, state: State) -> None:
        """After rows that nobody has, in place: what stood so many rows ago is not known; the interval is."""
        state["rows"] = np.zeros_like(state["rows"])

    def rows_per_season(self, state: State) -> IntArray:
        """Return the season in rows, 0 where none is known, (B,)."""
        interval = state["interval"]
        safe = np.where(interval > 0.0, interval, 1.0)
        day = np.rint(DAY_SECONDS / safe)
        hour = np.rint(HOUR_SECONDS / safe)
        season = np.where(day >= 2.0, day, float(WEEK_DAYS))
        season = np.where(season > self.season_max, hour, season)
        usable = (
            (interval > 0.0)
            & (state["votes"] >= VOTES_MIN)
            & (season >= 2.0)
            & (season <= self.season_max)
            & (interval < 1.5 * DAY_SECONDS)
        )
        return np.where(usable, season, 0.0).astype(np.int64)

    def _vote(self, state: State, time: Array) -> None:
        gap = np.where(state["rows"] > 0, time - state["time"], 0.0)
        counts = gap > 0.0
        same = counts & (np.abs(gap - state["interval"]) <= TOLERANCE * state["interval"])
        votes = state["votes"] + np.where(same, 1, np.where(counts, -1, 0))
        lost = votes < 0
        state["interval"] = np.where(lost, gap, state["interval"])
        state["votes"] = np.minimum(np.where(lost, 0, votes), VOTES_MAX)
        state["time"] = time.copy()
