"""Decoupled weight decay: parameters shrink beside the gradient's step, not through it."""

from __future__ import annotations

from typing import final

import numpy as np

from models.optimizers.adam import Adam
from models.protocols import Array, BoolArray, Fields, State


@final
class AdamW:
    """Adam with decoupled weight decay.

        update = Adam(g) - learning_rate decay theta                        (1)

    Every parameter is drawn to zero, also those of recurrent modes, for which zero is a memory like any other: with
    lambda = exp(-exp(nu) + i exp(theta)) it is one of a single step.

    State: Adam's. Cost: O(P) time and 2 P memory.

    Args:
        learning_rate: Adam's.
        decay: share of a parameter that is taken off an update, per unit of learning rate; the paper's default.

    Source: Loshchilov & Hutter (2019), algorithm 2.

    Example:
        >>> import numpy as np
        >>> adamw = AdamW(learning_rate=0.1, decay=1.0)
        >>> state = {name: row[None] for name, row in adamw.init_state((1,)).items()}
        >>> update, _ = adamw.update(state, np.array([[1.0]]), np.array([True]), np.array([[2.0]]))
        >>> np.round(update, 6).tolist()
        [[-0.3]]
    """

    def __init__(self, *, learning_rate: float, decay: float = 0.01) -> None:
        """Set the step size and the decay."""
        if not decay >= 0.0:
            raise ValueError(f"decay: at least 0, not {decay}")
        self._adam = Adam(learning_rate=learning_rate)
        self._rate = learning_rate * decay

    def init_state(self, shape: tuple[int, ...]) -> Fields:
        """Return Adam's state."""
        return self._adam.init_state(shape)

    def update(
        self, state: State, gradient: Array, active: BoolArray, params: Array
    ) -> tuple[Array, BoolArray]:
        """Return eq. (1) for the active rows and zeros for the others."""
        mask = active.reshape(-1, *[1] * (gradient.ndim - 1))
        update, moved = self._adam.update(state, gradient, active, params)
        return update - np.where(mask, self._rate * params, 0.0), moved
