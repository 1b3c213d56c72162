"""Goal: the season is read from the times, and the rows looked up are those of one season and one week before.

Method: clocks as they occur (even, jittering, with repeats, gaps, steps back, changes of pace) against the rows
that a day, a week or an hour has; look-ups against plain indexing into the whole series.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from models.protocols import Array
from models.season import CYCLES, Season
from tests.models.streams import rows_of

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0


def season_after(times: Sequence[float] | Array, *, season_max: int = 336) -> int:
    """Return the season in rows that is known after these times, 0 for none."""
    season = Season(season_max, (1,))
    state = rows_of(season.init_state())
    for time in times:
        season.update(state, np.array([time]), np.array([0.0]))
    return int(season.rows_per_season(state)[0])


def even(interval: float, rows: int = 50) -> Array:
    times: Array = 1.7e9 + interval * np.arange(rows, dtype=np.float64)
    return times


@pytest.mark.parametrize(
    ("interval", "rows"),
    [
        (30 * MINUTE, 48),
        (5 * MINUTE, 288),
        (15 * MINUTE, 96),
        (HOUR, 24),
        (6 * HOUR, 4),
        (12 * HOUR, 2),
        (DAY, 7),
        (MINUTE, 60),  # a day of minutes is longer than is kept, so an hour
        (10.0, 0),  # so is an hour of ten seconds: 360 rows
        (15.0, 240),
        (1.0, 0),
        (2 * DAY, 0),
        (7 * DAY, 0),
        (0.0, 0),
    ],
)
def test_the_season_of_an_even_clock(interval: float, rows: int) -> None:
    assert season_after(even(interval)) == rows


@pytest.mark.parametrize(("season_max", "rows"), [(48, 48), (47, 2), (24, 2), (2, 2)])
def test_a_season_that_does_not_fit_gives_way_to_the_hour(season_max: int, rows: int) -> None:
    assert season_after(even(30 * MINUTE), season_max=season_max) == rows


def test_a_season_is_believed_after_a_few_rows_and_not_before() -> None:
    known = [season_after(even(HOUR, rows)) for rows in range(1, 8)]
    assert known == [0, 0, 0, 0, 24, 24, 24]


@pytest.mark.parametrize("seed", range(5))
def test_jitter_repeats_gaps_and_steps_back_do_not_hide_the_season(seed: int) -> None:
    rng = np.random.default_rng(seed)
    jittering = even(5 * MINUTE, 400) + rng.uniform(0.0, 1.0, size=400)
    repeated = np.repeat(even(30 * MINUTE, 200), rng.integers(1, 3, size=200))
    with_gaps = even(HOUR, 400)[rng.random(400) < 0.85]
    with_steps_back = even(30 * MINUTE, 300)
    with_steps_back[10::29] -= 3 * HOUR
    assert season_after(jittering) == 288
    assert season_after(repeated) == 48
    assert season_after(with_gaps) == 24
    assert season_after(with_steps_back) == 48


@pytest.mark.parametrize("seed", range(5))
def test_times_without_a_beat_have_no_season(seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert season_after(1.7e9 + rng.exponential(HOUR, size=500).cumsum()) == 0


def test_another_pace_is_found_after_as_many_rows_as_spoke_for_the_first() -> None:
    first = even(HOUR, 100)
    second = first[-1] + 30 * MINUTE * np.arange(1, 150)
    assert season_after(np.concatenate((first, second[:90]))) == 24
    assert season_after(np.concatenate((first, second[:110]))) == 48


def test_the_first_time_is_no_interval() -> None:
    assert season_after([1.7e9]) == 0
    assert season_after(even(HOUR) - even(HOUR)[0]) == 24  # from zero, as in a file that counts


@pytest.mark.parametrize(("interval", "season_max"), [(HOUR, 24), (HOUR, 168), (6 * HOUR, 30), (DAY, 60)])
def test_what_is_looked_up_is_what_stood_there(interval: float, season_max: int) -> None:
    """Every row, horizon and cycle against the whole series; rows that are not held any more are not claimed."""
    horizons = (1, 3, 24, 25, 31)
    levels = np.random.default_rng(0).normal(size=500)
    season = Season(season_max, horizons)
    state = rows_of(season.init_state())
    day = {HOUR: 24, 6 * HOUR: 4, DAY: 7}[interval]
    claimed = 0
    for t, time in enumerate(even(interval, 500)):
        then, start, known = season.update(state, np.array([time]), levels[[t]])
        for place, h in enumerate(horizons):
            for column, cycle in enumerate(CYCLES):
                back = day * cycle * -(-h // (day * cycle))
                expected = t >= max(back, 4) and back <= season_max
                assert known[0, place, column] == expected
                claimed += expected
                if expected:
                    assert then[0, place, column] == levels[t + h - back]
                    assert start[0, place, column] == levels[t - back]
                else:
                    assert then[0, place, column] == start[0, place, column] == levels[t]
    assert claimed > 400


def test_rows_of_a_batch_have_seasons_of_their_own() -> None:
    season = Season(48, (1,))
    state = rows_of(season.init_state(), rows=3)
    intervals, first = np.array([HOUR, 30 * MINUTE, 9 * DAY]), np.array([0.0, 100.0, 200.0])
    for row in range(59):
        season.update(state, row * intervals, row + first)
    then, _, known = season.update(state, 59 * intervals, 59 + first)
    assert season.rows_per_season(state).tolist() == [24, 48, 0]
    assert known[:, 0, 0].tolist() == [True, True, False]
    assert then[:, 0, 0].tolist() == [36.0, 112.0, 259.0]
