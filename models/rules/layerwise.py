"""Each layer's own trace, and credit handed down within the step: what stacks are mostly trained by online."""

from __future__ import annotations

from typing import final

import numpy as np

from models.protocols import Array, BoolArray, Cell, Cost, Fields, State, StepFactors
from models.rules.products import advance_traces, clear_step, clear_units, handed_down, start_anew
from models.rules.rtrl_layers import layered_cell
from models.rules.rtrl_trace import credit_through_units
from models.stability import frobenius_norm


@final
class Layerwise:
    """APPROXIMATE: RTRL in each layer, backpropagation from layer to layer, the past of their meeting left out.

        E_l <- J_l E_l + I_l                                                (1)
        delta_l = credit_l + delta_{l+1} K_{l+1}                            (2)
        g_l = delta_l @ E_l                                                 (3)

    with J, I and K as in `RtrlLayers`. Right of what a layer does to those above in the same step, and of what
    it does to itself over time. It leaves out J_{l+1} E_{l+1,l}: what the layer above remembers of what this
    layer did before. Exact for the uppermost layer, and for a stack of one.

    Memory: "trace", (k, q, n); "upward", the last step's K, (L - 1, k w, k w).
    Cost: O(k^2 q n) time and O(k q n + L k^2 w^2) memory, that of the step itself.

    Source: Zucchet et al. (2023), whose layers are made of independent units.

    Example:
        >>> from models.cells import CELLS
        >>> rule = Layerwise(CELLS["rtu_stack"](n_inputs=1, n_units=4))
        >>> rule.exact, {name: row.shape for name, row in rule.init_memory().items()}
        (False, {'trace': (2, 12, 4), 'upward': (1, 4, 4)})
    """

    def __init__(self, cell: Cell) -> None:
        """Take the sizes of the cell.

        Raises:
            ValueError: the cell is not layered; says which rule is exact for it.
        """
        layered = layered_cell(cell, "layerwise")
        k, q, n = cell.n_parts, cell.n_params_per_unit, cell.n_units
        self._n_layers = layered.n_layers
        self._width = n // layered.n_layers
        self._trace_shape = (k, q, n)
        size = k * self._width
        self._upward_shape = (self._n_layers - 1, size, size)
        self.exact = self.unbiased = self._n_layers == 1
        between = (self._n_layers - 1) * size * size
        self.cost = Cost(time=float((k + 1) * k * q * n + between), memory=k * q * n + between)

    def init_memory(self) -> Fields:
        """Return the memory of a new model: zeros."""
        return {"trace": np.zeros(self._trace_shape), "upward": np.zeros(self._upward_shape)}

    def advance(self, memory: State, factors: StepFactors) -> None:
        """Take one step of the cell into the traces by eq. (1), and keep its upward Jacobian."""
        if factors.upward is None:
            raise ValueError("layerwise needs the upward Jacobian of the step: its cell must give it")
        memory["trace"][...] = advance_traces(memory["trace"], factors.transition, factors.immediate)
        memory["upward"][...] = factors.upward

    def gradient(self, memory: State, credit: Array) -> Array:
        """Return eq. (3) for C credits at once: (B, C, k, n) -> (B, C, q, n)."""
        return credit_through_units(memory["trace"], handed_down(memory["upward"], credit))

    def reset(self, memory: State, rows: BoolArray) -> None:
        """Begin a sequence in some rows, in place."""
        start_anew(memory, self.init_memory(), rows)

    def forget_units(self, memory: State, units: BoolArray) -> None:
        """Take units that were made anew out of the trace, in place."""
        clear_units(memory["trace"], units)
        clear_step({"upward": memory["upward"]}, units, self._trace_shape[0])

    def memory_norm(self, memory: State) -> Array:
        """Return the Frobenius norm of the traces, (B,)."""
        return frobenius_norm(memory["trace"])
