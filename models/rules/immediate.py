"""The immediate derivative: what a step's parameters did in that step, the past forgotten."""

from __future__ import annotations

from typing import final

import numpy as np

from models.protocols import Array, BoolArray, Cell, Cost, Fields, State, StepFactors
from models.rules.products import clear_step, handed_down, start_anew, upward_shape
from models.rules.rtrl_trace import credit_through_units
from models.stability import frobenius_norm


@final
class Immediate:
    """APPROXIMATE: RTRL cut after no step at all (d = 0), the baseline that memory must beat.

    Exact for a cell without recurrence.

        M_t = I_t,  g[j, i] = sum_a credit[a, i] I_t[a, j, i]               (1)

    Layers hand their credit down within the step first.

    Memory: "immediate", (k, q, n), and of a layered cell "upward". Cost: O(k q n) time and memory.

    Source: Merin (2026), arXiv 2603.28750.

    Example:
        >>> import numpy as np
        >>> from models.cells.vanilla import Vanilla
        >>> rule = Immediate(Vanilla(n_inputs=1, n_units=2))
        >>> rule.exact, rule.init_memory()["immediate"].shape
        (False, (1, 4, 2))
    """

    def __init__(self, cell: Cell) -> None:
        """Take the sizes of the cell."""
        self._shape = (cell.n_parts, cell.n_params_per_unit, cell.n_units)
        self.exact = self.unbiased = cell.recurrence == "none"
        self._upward = upward_shape(cell)
        size = int(np.prod(self._shape)) + sum(int(np.prod(shape)) for shape in self._upward.values())
        self.cost = Cost(time=float(size), memory=size)

    def init_memory(self) -> Fields:
        """Return the memory of a new model: zeros, (k, q, n)."""
        upward: Fields = {name: np.zeros(shape) for name, shape in self._upward.items()}
        return {"immediate": np.zeros(self._shape)} | upward

    def advance(self, memory: State, factors: StepFactors) -> None:
        """Keep this step's immediate Jacobian in place of the last one."""
        memory["immediate"][...] = factors.immediate
        if self._upward:
            memory["upward"][...] = factors.upward

    def gradient(self, memory: State, credit: Array) -> Array:
        """Return eq. (1) for C credits at once: (B, C, k, n) -> (B, C, q, n)."""
        return credit_through_units(memory["immediate"], handed_down(memory.get("upward"), credit))

    def reset(self, memory: State, rows: BoolArray) -> None:
        """Begin a sequence in some rows, in place."""
        start_anew(memory, self.init_memory(), rows)

    def forget_units(self, memory: State, units: BoolArray) -> None:
        """Take units that were made anew out of the step, in place."""
        clear_step(memory, units, self._shape[0])

    def memory_norm(self, memory: State) -> Array:
        """Return the Frobenius norm of the immediate Jacobian, (B,)."""
        return frobenius_norm(memory["immediate"])
