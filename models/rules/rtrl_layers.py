"""Exact real-time recurrent learning for stacks of diagonal layers: traces, and the terms across layers."""

from __future__ import annotations

from typing import final

import numpy as np

from models.protocols import Array, BoolArray, Cell, Cost, Fields, LayeredCell, State, StepFactors
from models.rules.products import advance_traces, clear_states, clear_units, start_anew
from models.rules.rtrl_trace import credit_through_units
from models.stability import frobenius_norm


@final
class RtrlLayers:
    """Exact RTRL for layers of diagonal cells (the layer engine).

    With E_{l,j} = d h^l_t / d theta^j, J_l and I_l the transition and the immediate Jacobian of layer l with
    the layers below held fixed, and K_l = d h^l_t / d h^{l-1}_t the upward Jacobian:

        E_{l,l} <- J_l E_{l,l} + I_l                                        (1)
        E_{l,j} <- J_l E_{l,j} + K_l E_{l-1,j},  j < l, with E_{l-1,j} of this step     (2)
        g_j = sum over l >= j of credit_l @ E_{l,j}                         (3)

    (1) is a trace: a parameter reaches its own unit. (2) is the cross term: by way of the layer below it
    reaches every unit of the layers above, and stays in their memory, so E_{l,j} is as large as a dense
    influence matrix, of one layer to another. Nothing reaches down. Exact for frozen parameters; with a
    change of the parameters at each step it carries derivatives taken under the parameters of their time.

    Memory: "trace", (k, q, n), eq. (1); "cross", (L (L - 1) / 2, k w, q, w), eq. (2), entry
    [p, a * w + s, i, u] = d h^l[a, s] / d theta^j[i, u] for the pair p = l (l - 1) / 2 + j, layers from 0.
    One layer has no cross terms.
    Cost: for w = n / L, O(k q n) time and memory of the traces; k q w^2 of memory and O(k^2 q w^3) of time
    for each of the L (L - 1) / 2 pairs, in adjacent layers O(k^2 q w^2).

    Source: Williams & Zipser (1989), with the zeros of a stack left out. Published stacks do without
    eq. (2): see `Layerwise`.

    Example:
        >>> import numpy as np
        >>> from models.cells import CELLS
        >>> cell = CELLS["rtu_stack"](n_inputs=1, n_units=4)
        >>> rule = RtrlLayers(cell)
        >>> params = cell.init_params(np.random.default_rng(0))[None]
        >>> memory = {name: row[None] for name, row in rule.init_memory().items()}
        >>> rule.advance(memory, cell.step(params, cell.init_state()[None], np.ones((1, 1))))
        >>> memory["trace"].shape, memory["cross"].shape
        ((1, 2, 12, 4), (1, 1, 4, 12, 2))
        >>> rule.gradient(memory, np.ones((1, 1, 2, 4))).shape
        (1, 1, 12, 4)
    """

    def __init__(self, cell: Cell) -> None:
        """Take the sizes of the cell.

        Raises:
            ValueError: the cell is not layered; says which rule is exact for it.
        """
        layered = layered_cell(cell, "rtrl_layers")
        k, q, n = cell.n_parts, cell.n_params_per_unit, cell.n_units
        self._trace_shape = (k, q, n)
        self._n_layers = layered.n_layers
        self._width = n // layered.n_layers
        width, pairs = self._width, layered.n_layers * (layered.n_layers - 1) // 2
        self._cross_shape = (pairs, k * width, q, width)
        self.exact = self.unbiased = True
        adjacent = max(layered.n_layers - 1, 0)
        # J E of a pair, then K E, for adjacent layers of traces, and the gradient.
        of_pair = (k + 1) * k * q * width * width
        by_upward = adjacent * k + (pairs - adjacent) * k * width
        time = (k + 1) * k * q * n + pairs * of_pair + by_upward * k * q * width * width
        self.cost = Cost(time=float(time), memory=k * q * n + pairs * k * q * width * width)

    def init_memory(self) -> Fields:
        """Return the memory of a new model: traces and cross terms of zeros."""
        return {"trace": np.zeros(self._trace_shape), "cross": np.zeros(self._cross_shape)}

    def advance(self, memory: State, factors: StepFactors) -> None:
        """Take one step of the cell into the memory by eq. (1) and (2), in place."""
        trace, cross, upward = memory["trace"], memory["cross"], factors.upward
        trace[...] = advance_traces(trace, factors.transition, factors.immediate)
        if upward is None:
            raise ValueError("rtrl_layers needs the upward Jacobian of the step: its cell must give it")
        batch, (k, q, _), width = len(trace), self._trace_shape, self._width
        for layer in range(1, self._n_layers):
            transition = factors.transition[:, :, :, self._units(layer)]
            below = upward[:, layer - 1]
            for of in range(layer):  # From below, so that layer - 1 is already of this step.
                pair = self._pair(layer, of)
                old = cross[:, pair].reshape(batch, k, width, q * width)
                if of == layer - 1:
                    new = _times_trace(below, trace[:, :, :, self._units(of)])
                else:
                    new = np.matmul(below, cross[:, self._pair(layer - 1, of)].reshape(batch, k * width, -1))
                new = new.reshape(old.shape)
                for part in range(k):
                    new += transition[:, :, part, :, None] * old[:, None, part]
                cross[:, pair] = new.reshape(batch, k * width, q, width)

    def gradient(self, memory: State, credit: Array) -> Array:
        """Return eq. (3) for C credits at once: (B, C, k, n) -> (B, C, q, n)."""
        gradient = credit_through_units(memory["trace"], credit)
        batch, count = credit.shape[:2]
        _, q, _ = self._trace_shape
        for layer in range(1, self._n_layers):
            own = credit[:, :, :, self._units(layer)].reshape(batch, count, -1)
            for of in range(layer):
                influence = memory["cross"][:, self._pair(layer, of)].reshape(batch, own.shape[2], -1)
                through = np.matmul(own, influence).reshape(batch, count, q, self._width)
                gradient[..., self._units(of)] += through
        return gradient

    def reset(self, memory: State, rows: BoolArray) -> None:
        """Begin a sequence in some rows, in place."""
        start_anew(memory, self.init_memory(), rows)

    def forget_units(self, memory: State, units: BoolArray) -> None:
        """Take units that were made anew out of traces and cross terms, in place."""
        clear_units(memory["trace"], units)
        for layer in range(1, self._n_layers):
            for of in range(layer):
                cross = memory["cross"][:, self._pair(layer, of)]
                clear_states(cross, units[:, self._units(layer)], self._trace_shape[0])
                clear_units(cross, units[:, self._units(of)])

    def memory_norm(self, memory: State) -> Array:
        """Return the Frobenius norm of the influence: traces and cross terms are all of it, (B,)."""
        return np.hypot(frobenius_norm(memory["trace"]), frobenius_norm(memory["cross"]))

    def _units(self, layer: int) -> slice:
        return slice(layer * self._width, (layer + 1) * self._width)

    @staticmethod
    def _pair(layer: int, of: int) -> int:
        return layer * (layer - 1) // 2 + of


def layered_cell(cell: Cell, rule_name: str) -> LayeredCell:
    """Return the cell as what it is, a layered one.

    Raises:
        ValueError: it is not layered; says which rule is exact for it.
    """
    if cell.recurrence == "layered" and isinstance(cell, LayeredCell):
        return cell
    advice = "rtrl_step" if cell.recurrence == "dense" else "rtrl_trace"
    raise ValueError(
        f"{rule_name} needs a layered cell, and this one's recurrence is {cell.recurrence}: use {advice}"
    )


def _times_trace(upward: Array, trace: Array) -> Array:
    """Return K E for an E that has entries in the own unit alone.

    Args:
        upward: K, (B, k * w, k * w).
        trace: E of the layer below, (B, k, q, w).

    Returns:
        (B, k * w, q, w): entry [s, i, u] = sum_c K[s, (c, u)] trace[c, i, u].
    """
    batch, size, _ = upward.shape
    k, width = trace.shape[1], trace.shape[3]
    by_part = upward.reshape(batch, size, k, 1, width)
    product: Array = by_part[:, :, 0] * trace[:, None, 0]
    for part in range(1, k):
        product += by_part[:, :, part] * trace[:, None, part]
    return product
