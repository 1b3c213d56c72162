"""Goal: the label clock hands back each forecast just once, at the row that its horizon says.

Method: a plain dictionary from row to forecast stands beside the clock's rings.
"""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from models.labels import LabelClock
from tests.models.streams import rows_of

HORIZONS = st.lists(st.integers(1, 40), min_size=1, max_size=5, unique=True).map(lambda h: tuple(sorted(h)))


@hypothesis_settings(max_examples=60)
@given(horizons=HORIZONS, rows=st.integers(1, 120), resets=st.sets(st.integers(1, 119), max_size=2))
def test_each_forecast_is_due_once_and_still_there(
    horizons: tuple[int, ...], rows: int, resets: set[int]
) -> None:
    clock = LabelClock(horizons)
    state = rows_of(clock.init_state())
    rings = np.full((clock.n_slots, 2), -1)
    pending: dict[tuple[int, int], int] = {}
    for row in range(rows):
        if row in resets:
            clock.reset(state)
            pending.clear()
        slot, due = clock.due(state)
        assert slot.shape == due.shape == (1, len(horizons))
        assert len(set(slot[0].tolist())) == len(horizons)
        for place, h in enumerate(horizons):
            made_at = pending.pop((row, h), None)
            assert due[0, place] == (made_at is not None)
            if made_at is not None:
                assert rings[slot[0, place]].tolist() == [made_at, h]
            rings[slot[0, place]] = row, h
            pending[row + h, h] = row
        clock.tick(state)
    assert len(pending) <= clock.n_slots == sum(horizons)


def test_rows_of_a_batch_have_clocks_of_their_own() -> None:
    clock = LabelClock((2, 3))
    state = rows_of(clock.init_state(), rows=3)
    state["count"] = np.array([0, 2, 7])
    slot, due = clock.due(state)
    assert slot.tolist() == [[0, 2], [0, 4], [1, 3]]
    assert due.tolist() == [[False, False], [True, False], [True, True]]
