"""The fold of a block of a small dense cell, compiled, so that a call need not be left for it: eq. (3) of `RtrlBlock`.

Of larger cells the products are most of a fold, and numpy's are as quick: there it is the rule's own matter.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from models.kernels.arrays import aligned
from models.kernels.dense_products import add_weighed_part
from models.kernels.jit import inner
from models.protocols import Array, IntArray, SingleOrDouble

STATES_MAX: Final = 32
"""Up to here a compiled fold takes less time than numpy's thirty calls and more."""

COLUMNS: Final = 128
"""Of the influence that are worked on at a time."""


class FoldRoom(NamedTuple):
    """Room for a fold, in the influence's precision: of S states, n units, p entries of z, G gates and k steps.

    Attributes:
        onward: A_s of each step, (k, S, S).
        whole: the state Jacobian of the block, (S, S).
        held: columns of the influence as they were, (S, COLUMNS).
        through: of a state, what each gate of each step does to it, (G, k, n).
        seen: z of each step, turned, (p, k).
    """

    onward: SingleOrDouble
    whole: SingleOrDouble
    held: SingleOrDouble
    through: SingleOrDouble
    seen: SingleOrDouble


def fold_room_for(
    states: int, units: int, width: int, gates: int, block: int, precision: np.dtype[Any]
) -> FoldRoom:
    """Return room for the folds of a cell of these sizes; `width` is that of z."""
    return FoldRoom(
        onward=aligned((block, states, states), precision),
        whole=aligned((states, states), precision),
        held=aligned((states, COLUMNS), precision),
        through=aligned((gates, block, units), precision),
        seen=aligned((width, block), precision),
    )


@inner
def multiplied(one: SingleOrDouble, other: SingleOrDouble, product: SingleOrDouble) -> None:
    """Write the product of two matrices, (S, S) and (S, n)."""
    for r in range(len(one)):
        row = product[r]
        for i in range(len(row)):
            row[i] = 0.0
        add_weighed_part(one[r], other, 0, row)


@inner
def carried_on(whole: SingleOrDouble, influence: SingleOrDouble, held: SingleOrDouble) -> None:
    """Put the block's state Jacobian, (S, S), times the influence, (S, q n), into its place, some columns at a time."""
    size, count = influence.shape
    for first in range(0, count, COLUMNS):
        last = min(first + COLUMNS, count)
        for s in range(size):
            kept, now = held[s], influence[s, first:last]
            for i in range(last - first):
                kept[i] = now[i]
        for s in range(size):
            now = influence[s, first:last]
            for i in range(last - first):
                now[i] = 0.0
            add_weighed_part(whole[s], held, 0, now)


@inner
def add_immediate(
    row: SingleOrDouble,
    s: int,
    onward: SingleOrDouble,
    sensitivity: Array,
    through: SingleOrDouble,
    seen: SingleOrDouble,
    gate_of: IntArray,
    input_of: IntArray,
) -> None:
    """Add what all steps of the block have done to a state at its end to the state's row of the influence, (q n,)."""
    block, parts, gates, n = sensitivity.shape
    for step in range(block):
        carried = onward[step, s]
        for gate in range(gates):
            of_step, of_gate = through[gate, step], sensitivity[step, 0, gate]
            for i in range(n):
                of_step[i] = carried[i] * of_gate[i]
            for part in range(1, parts):
                of_gate = sensitivity[step, part, gate]
                for i in range(n):
                    of_step[i] += carried[part * n + i] * of_gate[i]
    for j in range(len(gate_of)):
        add_weighed_part(seen[input_of[j]], through[gate_of[j]], 0, row[j * n : (j + 1) * n])


@inner
def fold(
    influence: SingleOrDouble,
    transition: SingleOrDouble,
    sensitivity: Array,
    presynaptic: Array,
    gate_of: IntArray,
    input_of: IntArray,
    room: FoldRoom,
) -> None:
    """Take an influence, (S, q n), to the end of a full block, in place."""
    onward, whole, held, through, seen = room
    block, size = len(transition), len(influence)
    for s in range(size):
        for u in range(size):
            onward[block - 1, s, u] = 1.0 if s == u else 0.0
    for step in range(block - 2, -1, -1):
        multiplied(onward[step + 1], transition[step + 1], onward[step])
    multiplied(onward[0], transition[0], whole)
    carried_on(whole, influence, held)
    for step in range(block):
        for j in range(len(seen)):
            seen[j, step] = presynaptic[step, j]
    for s in range(size):
        add_immediate(influence[s], s, onward, sensitivity, through, seen, gate_of, input_of)
