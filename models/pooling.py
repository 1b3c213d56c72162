"""Weights that a group of series shares: each series has its own state, and all of a pool learn one set of weights.

    W, P <- those of the pool                            (1)
    the series takes its event, which may move W and P   (2)
    the pool's W, P <- W, P                              (3)

Events of a pool are taken one after the other, in their order, so a pool that learned from N series at a row learned from N labels, and what
a series is told depends on what the others had before it, and on nothing else. Every quantity that is learned is without a unit, so series of any
magnitude can share it. A new series begins with what the pool knows.

A pool is a model of the same make, of which nothing but what pooled experts share is used.
"""

from __future__ import annotations

from typing import Final, final

import numpy as np

from models.forecast_protocols import Expert, PooledExpert
from models.protocols import IntArray
from models.records import Layout, Place, Record

NONE: Final = -1
"""In the place of a pool: the series learns by itself."""


@final
class SharedFields:
    """Where what the pooled experts of a make share lies in a model's records.

    Args:
        layout: of the records.
        experts: by name.
    """

    def __init__(self, layout: Layout, experts: dict[str, Expert]) -> None:
        """Find the places."""
        shared: list[Place] = [
            layout.places[f"expert.{name}"][field]
            for name, expert in experts.items()
            if isinstance(expert, PooledExpert)
            for field in expert.shared
        ]
        self.parts = tuple(
            _joined([place for place in shared if place.record == record])
            for record in range(len(layout.types))
        )
        """Of each record, from where to where, (P, 2)."""

    def __bool__(self) -> bool:
        """Say whether there is a pooled expert."""
        return any(len(parts) for parts in self.parts)

    def copy(self, records: tuple[Record, ...], source: int, target: int) -> None:
        """Write what the models of one slot share over that of another, Eq. (1) and (3); records are (capacity, K, size)."""
        for record, parts in zip(records, self.parts, strict=True):
            for start, stop in parts.tolist():
                record[target, :, start:stop] = record[source, :, start:stop]


def _joined(places: list[Place]) -> IntArray:
    """Return from where to where places lie, (P, 2); those that follow one another are one."""
    parts: list[list[int]] = []
    for place in sorted(places, key=lambda place: place.start):
        if parts and parts[-1][1] == place.start:
            parts[-1][1] += place.size
        else:
            parts.append([place.start, place.start + place.size])
    return np.array(parts, dtype=np.int64).reshape(-1, 2)
