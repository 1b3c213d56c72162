"""Stochastic gradient descent."""

from __future__ import annotations

from typing import final

from models.protocols import Array, BoolArray, Fields, State


@final
class Sgd:
    """Gradient descent with a fixed step size.

        update = -learning_rate g                                           (1)

    No state. Cost: O(P) time.

    Source: Robbins & Monro (1951).

    Example:
        >>> import numpy as np
        >>> update, moved = Sgd(learning_rate=0.5).update(
        ...     {}, np.array([[2.0], [2.0]]), np.array([True, False]), np.zeros((2, 1))
        ... )
        >>> update.ravel().tolist(), moved.tolist()
        ([-1.0, 0.0], [True, False])
    """

    def __init__(self, *, learning_rate: float) -> None:
        """Set the step size."""
        self.learning_rate = learning_rate

    def init_state(self, shape: tuple[int, ...]) -> Fields:
        """Return no fields."""
        return {}

    def update(
        self, state: State, gradient: Array, active: BoolArray, params: Array
    ) -> tuple[Array, BoolArray]:
        """Return eq. (1) for the active rows and zeros for the others."""
        update = -self.learning_rate * gradient
        if not active.all():
            update[~active] = 0.0
        return update, active
