"""UORO: an unbiased estimate of the influence matrix of rank one."""

from __future__ import annotations

from typing import Final, final

import numpy as np

from models.protocols import Array, BoolArray, Cell, Cost, Fields, State, StepFactors
from models.random import signs
from models.rules.products import clear_units, forward, norm, pushed_up, spread, start_anew

EPSILON: Final = 1e-12
"""Keeps the scalings finite where a norm is zero; far under any norm that is not."""


def balance(grows: Array, shrinks: Array) -> Array:
    """Return sqrt(|grows| / |shrinks|), (B,): the scaling that gives both factors of a product one size."""
    scale: Array = np.sqrt((norm(grows) + EPSILON) / (norm(shrinks) + EPSILON))
    return scale


@final
class Uoro:
    """UNBIASED: unbiased online recurrent optimization: M is estimated by one outer product.

        s_t = r0 J_t s_{t-1} + r1 nu,   t_t = t_{t-1} / r0 + (nu' I_t) / r1     (1)
        r0 = sqrt(|t_{t-1}| / |J_t s_{t-1}|),  r1 = sqrt(|nu' I_t| / |nu|)     (2)
        g = (credit . s_t) t_t                                              (3)

    with nu of random signs: E[s t'] = M, since E[nu nu'] = 1 and all else has mean zero. The scalings (2) make
    the variance least. It is still several times the signal, and grows with the units. Of a layered cell s_t is
    pushed up through the layers within the step.

    Memory: "direction" s, (k, n); "estimate" t, (q, n); "counter" of the draws.
    Cost: O(S^2 + k q n) time, O(S + q n) memory.

    Args:
        cell: dense or diagonal.
        seed: of the signs; rows differ by their data.

    Source: Tallec & Ollivier (2018), algorithm 1.

    Example:
        >>> from models.cells import CELLS
        >>> rule = Uoro(CELLS["vanilla"](n_inputs=1, n_units=2))
        >>> rule.exact, rule.unbiased, sorted(rule.init_memory())
        (False, True, ['counter', 'direction', 'estimate'])
    """

    def __init__(self, cell: Cell, *, seed: int = 0) -> None:
        """Take the sizes of the cell."""
        self._state_shape: tuple[int, ...] = (cell.n_parts, cell.n_units)
        self._params_shape = (cell.n_params_per_unit, cell.n_units)
        self._seed = seed
        self.exact, self.unbiased = False, True
        size, n_params = int(np.prod(self._state_shape)), int(np.prod(self._params_shape))
        by_state = size * (size if cell.recurrence == "dense" else cell.n_parts)
        self._size = size
        self.cost = Cost(time=float(by_state + (cell.n_parts + 2) * n_params), memory=size + n_params + 1)

    def init_memory(self) -> Fields:
        """Return the memory of a new model: an estimate of zero."""
        return {
            "direction": np.zeros(self._state_shape),
            "estimate": np.zeros(self._params_shape),
            "counter": np.zeros((), dtype=np.int64),
        }

    def advance(self, memory: State, factors: StepFactors) -> None:
        """Take one step of the cell into the estimate by eq. (1) and (2), in place."""
        direction, estimate = memory["direction"], memory["estimate"]
        nu = signs(memory["counter"], self._size, self._seed).reshape(direction.shape)
        moved = forward(factors.transition, direction)
        projected = nu[:, 0, None] * factors.immediate[:, 0]
        for part in range(1, self._state_shape[0]):
            projected = projected + nu[:, part, None] * factors.immediate[:, part]
        past, now = balance(estimate, moved), balance(projected, nu)
        direction[...] = pushed_up(factors.upward, spread(past, moved) * moved + spread(now, nu) * nu)
        estimate[...] = estimate / spread(past, estimate) + projected / spread(now, projected)
        memory["counter"] += 1

    def gradient(self, memory: State, credit: Array) -> Array:
        """Return eq. (3) for C credits at once: (B, C, k, n) -> (B, C, q, n)."""
        batch, count = credit.shape[:2]
        along = (credit * memory["direction"][:, None]).reshape(batch, count, -1).sum(axis=2)
        gradient: Array = along[:, :, None, None] * memory["estimate"][:, None]
        return gradient

    def reset(self, memory: State, rows: BoolArray) -> None:
        """Begin a sequence in some rows, in place."""
        start_anew(memory, self.init_memory(), rows)

    def forget_units(self, memory: State, units: BoolArray) -> None:
        """Take units that were made anew out of both factors, in place."""
        clear_units(memory["direction"], units)
        clear_units(memory["estimate"], units)

    def memory_norm(self, memory: State) -> Array:
        """Return the Frobenius norm of the estimated influence, (B,)."""
        return norm(memory["direction"]) * norm(memory["estimate"])
