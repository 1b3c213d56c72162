"""Truncated backpropagation through time, at the end of each window."""

from __future__ import annotations

from typing import final

import numpy as np

from models.protocols import Array, BoolArray, Cell, Cost, Fields, State, StepFactors
from models.rules.products import start_anew
from models.rules.windows import WINDOW, Window, push, step_size


@final
class BpttDisjoint:
    """APPROXIMATE: backpropagation at the end of each window of T steps, within it (E-BPTT).

        c_s = credit_s + c_{s+1} J_{s+1},  g = sum over the window of c_s I_s       (1)

    One sweep for T credits, so a step costs no more than BPTT's; but the parameters move once in T
    steps only, and a step at a window's start is reached by no past at all.

    `gradient` is that of the present credit back to the window's start; `collect` gives eq. (1) when
    the window is full, and empties it.

    Memory: "transition", "immediate" and "credit" of T steps; "filled".
    Cost: O(S^2 + k q n) time a step, O(T (S^2 + k q n)) memory.

    Args:
        cell: dense or diagonal.
        window: T.

    Source: Williams & Peng (1990), BPTT(h; h'), h = h'; Marschall, Cho & Savin (2020) for the name.
    """

    def __init__(self, cell: Cell, *, window: int = WINDOW) -> None:
        """Take the sizes of the cell."""
        self._window = Window(cell, window)
        self._credit_shape = (window, cell.n_parts, cell.n_units)
        self.exact = self.unbiased = cell.recurrence == "none"
        size = step_size(self._window.shapes)
        kept = window * (size + cell.n_parts * cell.n_units) + 1
        self.cost = Cost(time=float(size), memory=kept)

    def init_memory(self) -> Fields:
        """Return the memory of a new model: an empty window."""
        return self._window.init_memory() | {
            "credit": np.zeros(self._credit_shape),
            "filled": np.zeros((), dtype=np.int64),
        }

    def advance(self, memory: State, factors: StepFactors) -> None:
        """Keep the step, with no credit yet, in place."""
        self._window.advance(memory, factors)
        push(memory["credit"], np.zeros_like(memory["credit"][:, 0]))
        memory["filled"] += 1

    def gradient(self, memory: State, credit: Array) -> Array:
        """Return what C credits give back to the window's start: (B, C, k, n) -> (B, C, q, n)."""
        return self._window.back(memory, credit)

    def take_credit(self, memory: State, credit: Array) -> None:
        """Keep the credit of the present step, (B, k, n), in place."""
        memory["credit"][:, 0] = credit

    def collect(self, memory: State, ending: BoolArray | None = None) -> tuple[Array, BoolArray]:
        """Return eq. (1), (B, q, n), for the rows whose window is full or ending, and empty those."""
        due: BoolArray = memory["filled"] >= self._window.window
        if ending is not None:
            due = due | (ending & (memory["filled"] > 0))
        credit = np.zeros_like(memory["credit"][:, :1])
        if not due.any():
            return np.zeros((len(due), *self._window.shapes["immediate"][1:])), due
        gradient = self._window.back(memory, credit, memory["credit"])[:, 0]
        self.reset(memory, due)
        return np.where(due[:, None, None], gradient, 0.0), due

    def reset(self, memory: State, rows: BoolArray) -> None:
        """Begin a sequence in some rows, in place; what their windows hold is lost, unless it was collected."""
        start_anew(memory, self.init_memory(), rows)

    def forget_units(self, memory: State, units: BoolArray) -> None:
        """Take units that were made anew out of the window, and what leads to them out of the last step, in place.

        Credits that were taken before reach other units through them: collect those first.
        """
        self._window.forget_units(memory, units)

    def memory_norm(self, memory: State) -> Array:
        """Return the Frobenius norm of the influence that the window stands for, (B,)."""
        return self._window.norm(memory)
