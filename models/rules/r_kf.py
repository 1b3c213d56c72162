"""R-KF: an unbiased estimate of the influence matrix as (unit) x (state, parameter), the reverse of KF-RTRL."""

from __future__ import annotations

from typing import final

import numpy as np

from models.protocols import Array, BoolArray, Cell, Cost, Fields, State, StepFactors
from models.random import signs
from models.rules.products import clear_units, norm, spread, start_anew
from models.rules.rtrl_trace import refuse_layered
from models.rules.uoro import balance


@final
class RKf:
    """UNBIASED: reverse Kronecker factors: M[(s), (j, i)] is estimated by A[i] B[s, j].

        A_t = r0 A_{t-1} + r1 nu,   B_t = J_t B_{t-1} / r0 + (sum_i nu_i I_t[., ., i]) / r1     (1)
        r0 = sqrt(|J B| / |A|),  r1 = sqrt(|sum_i nu_i I_i| / |nu|)         (2)
        g[j, i] = (credit . B)[j] A[i]                                      (3)

    with nu of random signs, one a unit. A parameter acts at once on its own unit only, so the sum in (1) has
    nothing to add up: row s of it is nu_i I[., i] of the unit i that s belongs to.

    Memory: "unit_factor" A, (n,); "state_factor" B, (k, n, q); "counter".
    Cost: O(S^2 q) time, O(S q) memory.

    Source: named in Marschall, Cho & Savin (2020), section 4.2.5.
    """

    def __init__(self, cell: Cell, *, seed: int = 0) -> None:
        """Take the sizes of the cell.

        Raises:
            ValueError: the cell is not dense; its influence is a trace, which costs less than this estimate.
        """
        refuse_layered(cell, "r_kf")
        if cell.recurrence != "dense":
            raise ValueError("r_kf needs a dense cell: use rtrl_trace, which is exact and cheaper")
        self._shape = (cell.n_parts, cell.n_units, cell.n_params_per_unit)
        self._seed = seed
        self.exact, self.unbiased = False, True
        size, n_params = cell.n_parts * cell.n_units, cell.n_params_per_unit
        self.cost = Cost(time=float(size * size * n_params), memory=size * n_params + cell.n_units + 1)

    def init_memory(self) -> Fields:
        """Return the memory of a new model: an estimate of zero."""
        return {
            "unit_factor": np.zeros(self._shape[1]),
            "state_factor": np.zeros(self._shape),
            "counter": np.zeros((), dtype=np.int64),
        }

    def advance(self, memory: State, factors: StepFactors) -> None:
        """Take one step of the cell into the estimate by eq. (1) and (2), in place."""
        of_units, of_state = memory["unit_factor"], memory["state_factor"]
        batch, parts, n, q = of_state.shape
        nu = signs(memory["counter"], n, self._seed)
        moved = np.matmul(factors.transition, of_state.reshape(batch, parts * n, q)).reshape(of_state.shape)
        added = (factors.immediate * nu[:, None, None]).swapaxes(2, 3)
        past, now = balance(moved, of_units), balance(added, nu)
        of_units[...] = past[:, None] * of_units + now[:, None] * nu
        of_state[...] = moved / spread(past, moved) + added / spread(now, added)
        memory["counter"] += 1

    def gradient(self, memory: State, credit: Array) -> Array:
        """Return eq. (3) for C credits at once: (B, C, k, n) -> (B, C, q, n)."""
        of_state = memory["state_factor"]
        batch, parts, n, q = of_state.shape
        along = np.matmul(credit.reshape(batch, -1, parts * n), of_state.reshape(batch, parts * n, q))
        gradient: Array = along[:, :, :, None] * memory["unit_factor"][:, None, None]
        return gradient

    def reset(self, memory: State, rows: BoolArray) -> None:
        """Begin a sequence in some rows, in place."""
        start_anew(memory, self.init_memory(), rows)

    def forget_units(self, memory: State, units: BoolArray) -> None:
        """Take units that were made anew out of both factors, in place."""
        clear_units(memory["unit_factor"], units)
        np.copyto(memory["state_factor"], 0.0, where=units[:, None, :, None])

    def memory_norm(self, memory: State) -> Array:
        """Return the Frobenius norm of the estimated influence, (B,)."""
        return norm(memory["unit_factor"]) * norm(memory["state_factor"])
