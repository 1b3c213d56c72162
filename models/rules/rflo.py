"""RFLO: e-prop's traces where the internal path is a leak."""

from __future__ import annotations

from typing import final

from models.protocols import Array, BoolArray, Cell, Fields, State, StepFactors
from models.rules.eprop import Eprop
from models.rules.products import probe


@final
class Rflo:
    """APPROXIMATE: random-feedback local online learning: the leak carries the past, nothing else.

        e_t[j, i] = (1 - a) e_{t-1}[j, i] + a f'_i z_t[j]                   (1)

    For units of one part that leak. On these the trace is e-prop's; what is its own is the feedback
    by fixed random weights, a matter of the credit that is handed in. Without a leak it is the immediate
    derivative.

    Memory: "trace", (1, q, n). Cost: O(q n) time and memory.

    Source: Murray (2019), eq. 3-5.
    """

    def __init__(self, cell: Cell) -> None:
        """Take the sizes of the cell.

        Raises:
            ValueError: the cell has no unit of one part with a constant leak.
        """
        internal = probe(cell).internal if cell.recurrence == "dense" and cell.n_parts == 1 else None
        if internal is None or not (internal == internal.flat[0]).all() or internal.flat[0] == 0.0:
            raise ValueError("rflo needs a leaky cell, such as vanilla_leaky: use eprop")
        self._traces = Eprop(cell)
        self.exact = self.unbiased = False
        self.cost = self._traces.cost

    def init_memory(self) -> Fields:
        """Return the memory of a new model: a trace of zeros, (1, q, n)."""
        return self._traces.init_memory()

    def advance(self, memory: State, factors: StepFactors) -> None:
        """Take one step of the cell into the trace by eq. (1), in place."""
        self._traces.advance(memory, factors)

    def gradient(self, memory: State, credit: Array) -> Array:
        """Return credit times the trace, unit by unit: (B, C, 1, n) -> (B, C, q, n)."""
        return self._traces.gradient(memory, credit)

    def reset(self, memory: State, rows: BoolArray) -> None:
        """Begin a sequence in some rows, in place."""
        self._traces.reset(memory, rows)

    def forget_units(self, memory: State, units: BoolArray) -> None:
        """Take units that were made anew out of the trace, in place."""
        self._traces.forget_units(memory, units)

    def memory_norm(self, memory: State) -> Array:
        """Return the Frobenius norm of the trace, (B,)."""
        return self._traces.memory_norm(memory)
