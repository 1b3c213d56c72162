"""Backpropagation through time, over the whole past."""

from __future__ import annotations

from typing import Final, final

import numpy as np

from models.protocols import Array, BoolArray, Cell, Cost, Fields, State, StepFactors
from models.rules.products import clear_step, clear_units
from models.rules.windows import step_back, step_factors, step_shapes, step_size
from models.stability import frobenius_norm

CAPACITY_FIRST: Final = 8
"""Steps that a new full memory has room for; it doubles when it is full."""


@final
class Bptt:
    """Exact: the gradient over the whole past, from every step's factors (backpropagation through time).

        c_t = credit,  c_{s-1} = c_s J_s,  g = sum_s c_s I_s                (1)

    in which a layered cell's credit c_s is first handed down through the layers. The same gradient as RTRL's, at a cost that does not depend on n to the fourth power; but every past step
    has to be stored, so it is for sequences that end. With a loss at every step, `sweep` takes all their
    credits in one pass.

    Memory: "transition", "immediate" and of a layered cell "upward" of every step, with room that doubles; "length".
    Cost: a gradient O(T (S^2 + k q n)) time, O(T (S^2 + k q n)) memory.

    Source: Werbos (1990); Williams & Zipser (1995), section 3.

    Example:
        >>> from models.cells import CELLS
        >>> rule = Bptt(CELLS["vanilla"](n_inputs=1, n_units=2))
        >>> rule.exact, rule.cost.grows
        (True, True)
    """

    def __init__(self, cell: Cell) -> None:
        """Take the sizes of the cell."""
        self._shapes, self._parts = step_shapes(cell), cell.n_parts
        size = step_size(self._shapes)
        self.exact = self.unbiased = True
        self.cost = Cost(time=float(size), memory=CAPACITY_FIRST * size + 1, grows=True)

    def init_memory(self) -> Fields:
        """Return the memory of a new model: no steps."""
        steps: Fields = {name: np.zeros((CAPACITY_FIRST, *shape)) for name, shape in self._shapes.items()}
        return steps | {"length": np.zeros((), dtype=np.int64)}

    def advance(self, memory: State, factors: StepFactors) -> None:
        """Store the step; the arrays are replaced by longer ones when a row is full."""
        length = memory["length"]
        if length.max() == memory["transition"].shape[1]:
            for name in self._shapes:
                memory[name] = np.concatenate((memory[name], np.zeros_like(memory[name])), axis=1)
        rows = np.arange(len(length))
        for name, value in step_factors(self._shapes, factors).items():
            memory[name][rows, length] = value
        length += 1

    def gradient(self, memory: State, credit: Array) -> Array:
        """Return eq. (1) for C credits of the last step: (B, C, k, n) -> (B, C, q, n)."""
        return self._back(memory, credit, None)

    def sweep(self, memory: State, credits_: Array) -> Array:
        """Return the gradient for a credit at each of the T steps kept, (B, T, k, n) -> (B, q, n).

        All rows must have T steps.
        """
        if not (memory["length"] == credits_.shape[1]).all():
            raise ValueError("sweep: one credit a step is needed, for as many steps as were taken")
        return self._back(memory, np.zeros_like(credits_[:, :1]), credits_)[:, 0]

    def _back(self, memory: State, credit: Array, credits_: Array | None) -> Array:
        length = memory["length"]
        rows = np.arange(len(length))
        gradient = np.zeros((*credit.shape[:2], *self._shapes["immediate"][1:]))
        for back in range(int(length.max())):
            at = length - 1 - back
            if credits_ is not None:
                credit = credit + credits_[rows, at][:, None]
            there = (at >= 0)[:, None, None, None]
            owed, credit = step_back({name: memory[name][rows, at] for name in self._shapes}, credit)
            gradient += np.where(there, owed, 0.0)
        return gradient

    def reset(self, memory: State, rows: BoolArray) -> None:
        """Begin a sequence in some rows, in place."""
        memory["length"][rows] = 0

    def forget_units(self, memory: State, units: BoolArray) -> None:
        """Take units that were made anew out of all stored steps, and what leads to them out of the last, in place."""
        clear_units(memory["immediate"], units)
        rows = np.flatnonzero(memory["length"] > 0)
        at = memory["length"][rows] - 1
        last = {name: memory[name][rows, at] for name in self._shapes}
        clear_step(last, units[rows], self._parts)
        for name, value in last.items():
            memory[name][rows, at] = value

    def memory_norm(self, memory: State) -> Array:
        """Return the Frobenius norm of the influence that the stored steps stand for, (B,)."""
        transition, immediate = memory["transition"], memory["immediate"]
        parts, n = immediate.shape[2], immediate.shape[4]
        every = np.broadcast_to(np.eye(parts * n), (len(immediate), parts * n, parts * n))
        influence = self.gradient(memory, every.reshape(len(transition), -1, parts, n))
        return frobenius_norm(influence)
