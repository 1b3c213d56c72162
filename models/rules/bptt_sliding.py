"""Truncated backpropagation through time, anew at every step."""

from __future__ import annotations

from typing import final

from models.protocols import Array, BoolArray, Cell, Cost, Fields, State, StepFactors
from models.rules.products import start_anew
from models.rules.windows import WINDOW, Window, step_size


@final
class BpttSliding:
    """APPROXIMATE: backpropagation through the last T steps, anew at every step (F-BPTT).

        c_t = credit,  c_{s-1} = c_s J_s,  g = sum over s = t - T + 1 .. t of c_s I_s       (1)

    Exact while no more than T steps have been taken. What lies further back than T is not learned from,
    however often it comes.

    Memory: "transition" and "immediate" of T steps. Cost: O(T (S^2 + k q n)) time and memory.

    Args:
        cell: dense or diagonal.
        window: T.

    Source: Williams & Peng (1990), BPTT(h).
    """

    def __init__(self, cell: Cell, *, window: int = WINDOW) -> None:
        """Take the sizes of the cell."""
        self._window = Window(cell, window)
        self.exact = self.unbiased = cell.recurrence == "none"
        size = window * step_size(self._window.shapes)
        self.cost = Cost(time=float(size), memory=size)

    def init_memory(self) -> Fields:
        """Return the memory of a new model: zeros."""
        return self._window.init_memory()

    def advance(self, memory: State, factors: StepFactors) -> None:
        """Keep the step and drop the oldest, in place."""
        self._window.advance(memory, factors)

    def gradient(self, memory: State, credit: Array) -> Array:
        """Return eq. (1) for C credits at once: (B, C, k, n) -> (B, C, q, n)."""
        return self._window.back(memory, credit)

    def reset(self, memory: State, rows: BoolArray) -> None:
        """Begin a sequence in some rows, in place."""
        start_anew(memory, self.init_memory(), rows)

    def forget_units(self, memory: State, units: BoolArray) -> None:
        """Take units that were made anew out of the window, and what leads to them out of the last step, in place."""
        self._window.forget_units(memory, units)

    def memory_norm(self, memory: State) -> Array:
        """Return the Frobenius norm of the influence that the kept steps stand for, (B,)."""
        return self._window.norm(memory)
