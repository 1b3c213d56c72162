"""Stochastic gradient descent with momentum."""

from __future__ import annotations

from typing import final

import numpy as np

from models.protocols import Array, BoolArray, Fields, State


@final
class Momentum:
    """Heavy-ball momentum, or Nesterov's form of it.

        v <- beta v + g                                                     (1)
        update = -learning_rate v,  or with Nesterov  -learning_rate (g + beta v)       (2)

    Steps in one direction add up to 1 / (1 - beta) times a plain one.

    State: "velocity", of the parameters' shape. Cost: O(P) time and memory.

    Args:
        learning_rate: size of a step; a tenth of what plain descent would take, with beta .9.
        beta: decay of the velocity; .9 averages over some ten steps.
        nesterov: look ahead along the velocity.

    Source: Polyak (1964); Sutskever et al. (2013), eq. 1-4.

    Example:
        >>> import numpy as np
        >>> momentum = Momentum(learning_rate=0.1)
        >>> state = {name: row[None] for name, row in momentum.init_state((1,)).items()}
        >>> [
        ...     momentum.update(state, np.ones((1, 1)), np.array([True]), np.zeros((1, 1)))[0].item()
        ...     for _ in range(2)
        ... ]
        [-0.1, -0.19]
    """

    def __init__(self, *, learning_rate: float, beta: float = 0.9, nesterov: bool = False) -> None:
        """Set the step size and the decay."""
        if not 0.0 <= beta < 1.0:
            raise ValueError(f"beta: at least 0 and under 1, not {beta}")
        self.learning_rate = learning_rate
        self.beta = beta
        self.nesterov = nesterov

    def init_state(self, shape: tuple[int, ...]) -> Fields:
        """Return a velocity of zero."""
        return {"velocity": np.zeros(shape)}

    def update(
        self, state: State, gradient: Array, active: BoolArray, params: Array
    ) -> tuple[Array, BoolArray]:
        """Take the active rows' gradients into the velocity and return eq. (2); zeros elsewhere."""
        mask = active.reshape(-1, *[1] * (gradient.ndim - 1))
        gradient = np.where(mask, gradient, 0.0)
        velocity = state["velocity"]
        np.copyto(velocity, self.beta * velocity + gradient, where=mask)
        step = gradient + self.beta * velocity if self.nesterov else velocity
        return np.where(mask, -self.learning_rate * step, 0.0), active
