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

    An optimizer of Onward sees gradients and not parameters, so it keeps what has been added so far: eq. (1)
    draws the parameters back to where they began, not to zero. For recurrent weights that is the better
    anchor: at zero a unit has no memory, and a drawn mode has one.

    State: Adam's, and "moved", what was added so far, of the parameters' shape.
    Cost: O(P) time and 3 P memory.

    Args:
        learning_rate: Adam's.
        decay: share of what was added that is taken back, per unit of learning rate; the paper's default.

    Source: Loshchilov & Hutter (2019), algorithm 2; for decay towards the start, Kumar et al. (2023).

    Example:
        >>> import numpy as np
        >>> adamw = AdamW(learning_rate=0.1, decay=1.0)
        >>> state = {name: row[None] for name, row in adamw.init_state((1,)).items()}
        >>> steps = [adamw.update(state, np.array([[g]]), np.array([True]))[0].item() for g in (1.0, 1.0)]
        >>> np.round(steps, 6).tolist()
        [-0.1, -0.09]
    """

    def __init__(self, *, learning_rate: float, decay: float = 0.01) -> None:
        """Set the step size and the decay."""
        if not decay >= 0.0:
            raise ValueError(f"decay: at least 0, not {decay}")
        self._adam = Adam(learning_rate=learning_rate)
        self._rate = learning_rate * decay

    def init_state(self, shape: tuple[int, ...]) -> Fields:
        """Return Adam's state, and nothing moved."""
        return self._adam.init_state(shape) | {"moved": np.zeros(shape)}

    def update(self, state: State, gradient: Array, active: BoolArray) -> tuple[Array, BoolArray]:
        """Return eq. (1) for the active rows and zeros for the others."""
        mask = active.reshape(-1, *[1] * (gradient.ndim - 1))
        update, moved = self._adam.update(state, gradient, active)
        update = update - np.where(mask, self._rate * state["moved"], 0.0)
        state["moved"] += update
        return update, moved
