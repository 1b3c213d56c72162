"""RMSprop: steps divided by a running root mean square of the gradient."""

from __future__ import annotations

from typing import final

import numpy as np

from models.protocols import Array, BoolArray, Fields, State


@final
class RmsProp:
    """RMSprop.

        v <- rho v + (1 - rho) g^2                                          (1)
        update = -learning_rate g / (sqrt(v) + epsilon)                     (2)

    v begins at zero, so the first steps are up to 1 / sqrt(1 - rho) times the later ones; Adam corrects that.

    State: "mean_square", of the parameters' shape. Cost: O(P) time and memory.

    Args:
        learning_rate: size of a step for a gradient of its usual size.
        rho: decay of the mean square; the lecture's .9.
        epsilon: keeps parameters without any gradient still.

    Source: Tieleman & Hinton (2012), lecture 6.5.

    Example:
        >>> import numpy as np
        >>> rmsprop = RmsProp(learning_rate=0.1)
        >>> state = {name: row[None] for name, row in rmsprop.init_state((1,)).items()}
        >>> update, _ = rmsprop.update(state, np.full((1, 1), 5.0), np.array([True]), np.zeros((1, 1)))
        >>> np.round(update, 6).tolist()
        [[-0.316228]]
    """

    def __init__(self, *, learning_rate: float, rho: float = 0.9, epsilon: float = 1e-8) -> None:
        """Set the step size and the decay."""
        if not 0.0 <= rho < 1.0:
            raise ValueError(f"rho: at least 0 and under 1, not {rho}")
        self.learning_rate = learning_rate
        self.rho = rho
        self.epsilon = epsilon

    def init_state(self, shape: tuple[int, ...]) -> Fields:
        """Return a mean square of zero."""
        return {"mean_square": np.zeros(shape)}

    def update(
        self, state: State, gradient: Array, active: BoolArray, params: Array
    ) -> tuple[Array, BoolArray]:
        """Take the active rows' gradients into the mean square and return eq. (2); zeros elsewhere."""
        mask = active.reshape(-1, *[1] * (gradient.ndim - 1))
        gradient = np.where(mask, gradient, 0.0)
        square = state["mean_square"]
        np.copyto(square, self.rho * square + (1.0 - self.rho) * gradient * gradient, where=mask)
        step = gradient / (np.sqrt(square) + self.epsilon)
        return np.where(mask, -self.learning_rate * step, 0.0), active
