"""Adam: a step size for each parameter from running moments of its gradient."""

from __future__ import annotations

from typing import final

import numpy as np

from models.protocols import Array, BoolArray, Fields, State


@final
class Adam:
    """Adam with bias correction.

        m <- beta1 m + (1 - beta1) g                                        (1)
        v <- beta2 v + (1 - beta2) g^2                                      (2)
        update = -learning_rate (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)   (3)

    t counts a row's own updates, so a row in which no label was due is as if the event had not been.

    State: "first_moment" and "second_moment", of the parameters' shape; "update_count", t.
    Cost: O(P) time and 2 P memory.

    Args:
        learning_rate: bound on one update's size, nearly, for each parameter.
        beta1: decay of the mean. The paper's default.
        beta2: decay of the mean square. The paper's default.
        epsilon: keeps parameters without any gradient still. The paper's default.

    Source: Kingma & Ba (2015), algorithm 1.

    Example:
        >>> import numpy as np
        >>> adam = Adam(learning_rate=0.1)
        >>> state = {name: row[None] for name, row in adam.init_state((2,)).items()}
        >>> update, moved = adam.update(state, np.array([[3.0, -5.0]]), np.array([True]), np.zeros((1, 2)))
        >>> np.round(update, 6).tolist(), state["update_count"].tolist()
        ([[-0.1, 0.1]], [1])
    """

    def __init__(
        self, *, learning_rate: float, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8
    ) -> None:
        """Set the step size and the decays."""
        self.learning_rate = learning_rate
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon

    def init_state(self, shape: tuple[int, ...]) -> Fields:
        """Return moments of zero and a count of zero."""
        return {
            "first_moment": np.zeros(shape),
            "second_moment": np.zeros(shape),
            "update_count": np.zeros((), dtype=np.int64),
        }

    def update(
        self, state: State, gradient: Array, active: BoolArray, params: Array
    ) -> tuple[Array, BoolArray]:
        """Take the active rows' gradients into the moments and return eq. (3); zeros elsewhere."""
        per_row = (-1, *[1] * (gradient.ndim - 1))
        mask = active.reshape(per_row)
        gradient = np.where(mask, gradient, 0.0)  # What stands in the other rows may be anything.
        first, second, count = state["first_moment"], state["second_moment"], state["update_count"]
        count += active
        np.copyto(first, self.beta1 * first + (1.0 - self.beta1) * gradient, where=mask)
        np.copyto(second, self.beta2 * second + (1.0 - self.beta2) * gradient * gradient, where=mask)
        # A row that was never updated has t = 0 and would divide zero by zero; it is masked all the same.
        exponent = np.maximum(count, 1).astype(np.float64)
        first_weight = (1.0 - np.power(self.beta1, exponent)).reshape(per_row)
        second_weight = (1.0 - np.power(self.beta2, exponent)).reshape(per_row)
        step = (first / first_weight) / (np.sqrt(second / second_weight) + self.epsilon)
        return np.where(mask, -self.learning_rate * step, 0.0), active
