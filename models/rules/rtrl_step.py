"""Exact real-time recurrent learning for dense cells: the whole influence matrix, a step at a time."""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.lib.stride_tricks import as_strided

from models.protocols import Array, BoolArray, Cell, Cost, Fields, State, StepFactors
from models.rules.products import clear_states, clear_units, start_anew
from models.rules.rtrl_trace import refuse_layered
from models.stability import frobenius_norm


@final
class RtrlStep:
    """Exact RTRL with the full influence matrix M = dh_t/dtheta (the step engine).

        M_t = J_t M_{t-1} + I_t                                             (1)
        g   = credit @ M_t                                                  (2)

    with J the transition, (S, S), S = k n, and I the immediate Jacobian. A parameter acts at once on
    its own unit only, so I has k q n entries that are not zero; they are added to the diagonal over
    (unit of the state, unit of the parameter) and nothing else of I is ever made. Exact for frozen
    parameters; with a change of the parameters at each step it carries derivatives taken under the
    parameters of their time.

    Memory: "influence", (S, q, n): entry [a * n + s, j, i] is d h[a, s] / d theta[j, i].
    Cost: O(S^2 q n) time and O(S q n) memory; for k = 1 and q of the order of n, n^4 and n^3.

    Source: Williams & Zipser (1989).

    Example:
        >>> import numpy as np
        >>> from models.cells.vanilla import Vanilla
        >>> cell = Vanilla(n_inputs=1, n_units=2)
        >>> rule = RtrlStep(cell)
        >>> params = cell.init_params(np.random.default_rng(0))[None]
        >>> memory = {name: row[None] for name, row in rule.init_memory().items()}
        >>> rule.advance(memory, cell.step(params, cell.init_state()[None], np.ones((1, 1))))
        >>> rule.gradient(memory, np.ones((1, 1, 1, 2))).shape
        (1, 1, 4, 2)
    """

    def __init__(self, cell: Cell) -> None:
        """Take the sizes of the cell.

        Raises:
            ValueError: the cell is not dense; says which rule is exact for it at a fraction of the cost.
        """
        refuse_layered(cell, "rtrl_step")
        if cell.recurrence != "dense":
            raise ValueError(f"rtrl_step needs a dense cell, not a {cell.recurrence} one: use rtrl_trace")
        self._n_parts = cell.n_parts
        self._n_units = cell.n_units
        self._n_params_per_unit = cell.n_params_per_unit
        n_states = self._n_parts * self._n_units
        n_params = self._n_params_per_unit * self._n_units
        self.exact = self.unbiased = True
        self.cost = Cost(time=float(n_states * n_states * n_params), memory=n_states * n_params)

    def init_memory(self) -> Fields:
        """Return the memory of a new model: an influence of zeros, (k * n, q, n)."""
        n_states = self._n_parts * self._n_units
        return {"influence": np.zeros((n_states, self._n_params_per_unit, self._n_units))}

    def advance(self, memory: State, factors: StepFactors) -> None:
        """Take one step of the cell into the influence by eq. (1), in place."""
        influence = memory["influence"]
        batch, n_states, q, n = influence.shape
        advanced = np.matmul(factors.transition, influence.reshape(batch, n_states, q * n))
        _own_units(advanced.reshape(batch, self._n_parts, n, q, n))[...] += factors.immediate
        influence[...] = advanced.reshape(influence.shape)

    def gradient(self, memory: State, credit: Array) -> Array:
        """Return eq. (2) for C credits at once: (B, C, k, n) -> (B, C, q, n)."""
        influence = memory["influence"]
        batch, n_states, q, n = influence.shape
        n_credits = credit.shape[1]
        flat: Array = np.matmul(
            credit.reshape(batch, n_credits, n_states), influence.reshape(batch, n_states, q * n)
        )
        return flat.reshape(batch, n_credits, q, n)

    def reset(self, memory: State, rows: BoolArray) -> None:
        """Begin a sequence in some rows, in place."""
        start_anew(memory, self.init_memory(), rows)

    def forget_units(self, memory: State, units: BoolArray) -> None:
        """Take units that were made anew out of the influence, in place."""
        clear_states(memory["influence"], units, self._n_parts)
        clear_units(memory["influence"], units)

    def memory_norm(self, memory: State) -> Array:
        """Return the Frobenius norm of the influence matrix, (B,)."""
        return frobenius_norm(memory["influence"])


def _own_units(influence: Array) -> Array:
    """Return a writable view of the entries [b, a, i, j, i], (B, k, q, n), of (B, k, n, q, n)."""
    batch, parts, n, q, _ = influence.shape
    of_row, of_part, of_unit, of_param, of_own = influence.strides
    return as_strided(
        influence, shape=(batch, parts, q, n), strides=(of_row, of_part, of_param, of_unit + of_own)
    )
