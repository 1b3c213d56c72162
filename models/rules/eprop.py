"""e-prop: eligibility traces along a unit's internal path."""

from __future__ import annotations

from typing import final

import numpy as np

from models.protocols import Array, BoolArray, Cell, Cost, Fields, State, StepFactors
from models.rules.products import advance_traces, clear_units, probe, start_anew
from models.rules.rtrl_trace import credit_through_units, refuse_layered
from models.stability import frobenius_norm


@final
class Eprop:
    """APPROXIMATE: e-prop: what reaches the present inside the unit, by no recurrent weight.

        E_t[a] = sum_c D_t[a, c] E_{t-1}[c] + I_t[a]                        (1)

    with D the internal path: an LSTM's forget gate, a GRU's kept share, a leaky unit's leak; on a diagonal cell
    all of the transition, so that e-prop is exact there. SnAp-1 keeps more of a dense cell: a unit's
    weight on itself too. The gradient is credit times E with whatever credit is handed in; credit
    by fixed random weights gives the variant without weight transport.

    Memory: "trace", (k, q, n). Cost: O(k^2 q n) time, O(k q n) memory.

    Source: Bellec et al. (2020), eq. 13-14.

    Example:
        >>> from models.cells import CELLS
        >>> [Eprop(CELLS[name](n_inputs=1, n_units=2)).exact for name in ("elstm", "lstm")]
        [True, False]
    """

    def __init__(self, cell: Cell) -> None:
        """Take the sizes of the cell.

        Raises:
            ValueError: a dense cell that does not say which path is internal.
        """
        refuse_layered(cell, "eprop")
        if cell.recurrence == "dense" and probe(cell).internal is None:
            raise ValueError("eprop needs a cell that tells its internal path: use snap_1")
        self._shape = (cell.n_parts, cell.n_params_per_unit, cell.n_units)
        self.exact = self.unbiased = cell.recurrence != "dense"
        size = int(np.prod(self._shape))
        self.cost = Cost(time=float((cell.n_parts + 1) * size), memory=size)

    def init_memory(self) -> Fields:
        """Return the memory of a new model: a trace of zeros, (k, q, n)."""
        return {"trace": np.zeros(self._shape)}

    def advance(self, memory: State, factors: StepFactors) -> None:
        """Take one step of the cell into the trace by eq. (1), in place."""
        path = factors.transition if factors.internal is None else factors.internal
        memory["trace"][...] = advance_traces(memory["trace"], path, factors.immediate)

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
