"""What is said to wait: as the broker last said it, for the metric; without anything old, for the health."""

from __future__ import annotations

import pytest

from service.stream.waiting import FetchState, Waiting, waiting_of


@pytest.mark.parametrize(
    ("state", "in_hand", "expected", "heard", "found"),
    [
        (FetchState(5_000, 1_000, 1), 300, 1_000, True, Waiting(4_300, 4_300)),
        # The same fetch, being worked through: the log has not shrunk, whatever is silent.
        (FetchState(5_000, 1_000, 1), 40, 1_000, False, Waiting(40, 4_040)),
        (FetchState(1_000, 1_000, 1), 40, 1_000, False, Waiting(40, 40)),
        (FetchState(None, 0, None), 0, 0, True, Waiting(0, 0)),
        # Fetched, and not yet handed over by aiokafka.
        (FetchState(5_000, 900, 1), 0, 1_000, True, Waiting(4_000, 4_000)),
        # A log that was cut back is another matter.
        (FetchState(500, 1_000, 1), 0, 1_000, True, Waiting(0, 0)),
    ],
)
def test_a_backlog_is_told_while_what_was_fetched_of_it_is_worked_through(
    state: FetchState, in_hand: int, expected: int, heard: bool, found: Waiting
) -> None:
    assert waiting_of(state, in_hand, expected, heard=heard) == found
