"""How many records wait, from what aiokafka knows of its fetching."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class FetchState:
    """What aiokafka knows of a partition: end of the log, where its fetching stands, and when it last heard."""

    highwater: int | None
    fetched_to: int
    heard: int | None


class Waiting(NamedTuple):
    """How many records of a partition wait."""

    certain: int
    """In hand, and the rest if the broker has just said so: no old figure, by which a silent broker would look like a stuck worker."""
    known: int
    """In hand, and the rest as the broker last said: a fetch may take long to be worked through, and the log does not shrink meanwhile."""


def waiting_of(state: FetchState, in_hand: int, expected: int, *, heard: bool) -> Waiting:
    """Return what waits.

    Args:
        state: of the fetching.
        in_hand: records that were fetched and not yet taken.
        expected: where the next fetch begins.
        heard: whether the broker has said something new.
    """
    # The log's end counts transactions' markers too, so it is compared with the fetching, which passes them.
    rest = 0 if state.highwater is None else max(0, state.highwater - max(state.fetched_to, expected))
    return Waiting(in_hand + rest if heard else in_hand, in_hand + rest)
