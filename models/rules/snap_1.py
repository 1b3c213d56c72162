"""SnAp-1: the influence of each parameter on its own unit."""

from __future__ import annotations

from typing import final

import numpy as np

from models.protocols import Array, BoolArray, Cell, Cost, Fields, State, StepFactors
from models.rules.products import advance_traces, clear_units, own_blocks, start_anew
from models.rules.rtrl_trace import credit_through_units, refuse_layered
from models.stability import frobenius_norm


@final
class Snap1:
    """APPROXIMATE: each parameter's influence on its own unit, and no further (SnAp-1).

        E_t[a, j, i] = sum_c J_t[(a, i), (c, i)] E_{t-1}[c, j, i] + I_t[a, j, i]      (1)

    Exact where J is diagonal: no parameter reaches another unit. On a dense cell it leaves out every path
    that goes through another unit, however strong.

    Memory: "trace", (k, q, n). Cost: O(k^2 q n) time, O(k q n) memory.

    Source: Menick et al. (2021), section 3.

    Example:
        >>> from models.cells import CELLS
        >>> Snap1(CELLS["rtu"](n_inputs=1, n_units=2)).exact
        True
        >>> Snap1(CELLS["vanilla"](n_inputs=1, n_units=2)).exact
        False
    """

    def __init__(self, cell: Cell) -> None:
        """Take the sizes of the cell."""
        refuse_layered(cell, "snap_1")
        self._shape = (cell.n_parts, cell.n_params_per_unit, cell.n_units)
        self.exact = self.unbiased = cell.recurrence != "dense"
        size = int(np.prod(self._shape))
        self.cost = Cost(time=float((cell.n_parts + 1) * size), memory=size)

    def init_memory(self) -> Fields:
        """Return the memory of a new model: a trace of zeros, (k, q, n)."""
        return {"trace": np.zeros(self._shape)}

    def advance(self, memory: State, factors: StepFactors) -> None:
        """Take one step of the cell into the trace by eq. (1), in place."""
        blocks = own_blocks(factors.transition, self._shape[0])
        memory["trace"][...] = advance_traces(memory["trace"], blocks, factors.immediate)

    def gradient(self, memory: State, credit: Array) -> Array:
        """Return credit times the trace, unit by unit: (B, C, k, n) -> (B, C, q, n)."""
        return credit_through_units(memory["trace"], credit)

    def reset(self, memory: State, rows: BoolArray) -> None:
        """Begin a sequence in some rows, in place."""
        start_anew(memory, self.init_memory(), rows)

    def forget_units(self, memory: State, units: BoolArray) -> None:
        """Take units that were made anew out of the trace, in place."""
        clear_units(memory["trace"], units)

    def memory_norm(self, memory: State) -> Array:
        """Return the Frobenius norm of the trace, (B,)."""
        return frobenius_norm(memory["trace"])
