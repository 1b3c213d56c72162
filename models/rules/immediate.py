"""The immediate derivative: what a step's parameters did in that step, the past forgotten."""

from __future__ import annotations

from typing import final

import numpy as np

from models.protocols import Array, Cell, Cost, Fields, State, StepFactors
from models.rules.rtrl_trace import credit_through_units, refuse_layered
from models.stability import frobenius_norm


@final
class Immediate:
    """APPROXIMATE: RTRL cut after no step at all (d = 0), the baseline that memory must beat.

    Exact for a cell without recurrence.

        M_t = I_t,  g[j, i] = sum_a credit[a, i] I_t[a, j, i]               (1)

    Memory: "immediate", (k, q, n). Cost: O(k q n) time and memory.

    Source: Merin (2026), arXiv 2603.28750.

    Example:
        >>> import numpy as np
        >>> from models.cells.vanilla import Vanilla
        >>> rule = Immediate(Vanilla(n_inputs=1, n_units=2))
        >>> rule.exact, rule.init_memory()["immediate"].shape
        (False, (1, 4, 2))
    """

    def __init__(self, cell: Cell) -> None:
        """Take the sizes of the cell.

        Raises:
            ValueError: the cell is layered.
        """
        refuse_layered(cell, "immediate")
        self._shape = (cell.n_parts, cell.n_params_per_unit, cell.n_units)
        self.exact = self.unbiased = cell.recurrence == "none"
        self.cost = Cost(time=float(np.prod(self._shape)), memory=int(np.prod(self._shape)))

    def init_memory(self) -> Fields:
        """Return the memory of a new model: zeros, (k, q, n)."""
        return {"immediate": np.zeros(self._shape)}

    def advance(self, memory: State, factors: StepFactors) -> None:
        """Keep this step's immediate Jacobian in place of the last one."""
        memory["immediate"][...] = factors.immediate

    def gradient(self, memory: State, credit: Array) -> Array:
        """Return eq. (1) for C credits at once: (B, C, k, n) -> (B, C, q, n)."""
        return credit_through_units(memory["immediate"], credit)

    def memory_norm(self, memory: State) -> Array:
        """Return the Frobenius norm of the immediate Jacobian, (B,)."""
        return frobenius_norm(memory["immediate"])
