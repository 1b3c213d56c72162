"""ObGD: the largest step that cannot overshoot."""

from __future__ import annotations

from typing import final

import numpy as np

from models.optimizers.innovations import whitened
from models.protocols import Array, Blocks, BoolArray, Fields, State


@final
class Obgd:
    """Overshooting-bounded gradient descent: the largest step that cannot overshoot.

        e_j = do_j/dtheta,  step_j = learning_rate delta_j e_j / max(1, M_j)       (1)
        M_j = learning_rate kappa max(|delta_j|, 1) |e_j|_1                 (2)

    With several outputs each has a bound of its own, over their number, so that all together hold it.
    Needs no tuning: the learning rate is 1. Where no derivative is over one in magnitude, an output moves by at most a share
    1 / kappa of its error; larger ones, of features that are not scaled, can overshoot.

    No state. Cost: O(o P) time.

    Args:
        learning_rate: 1, of which (2) leaves what is safe.
        kappa: over how much the step must fall short of overshooting; the paper's 2.

    Source: Elsayed, Vasan & Mahmood (2024), eq. 5-8; its eligibility trace is that of the rule here.

    Example:
        >>> import numpy as np
        >>> (update,), _ = Obgd().update(
        ...     {}, (np.ones((1, 1, 1, 2)),), np.ones((1, 1)), np.ones((1, 1)), np.array([True])
        ... )
        >>> update.tolist()  # the error of 1 falls by 2 x .25, half of it
        [[[0.25, 0.25]]]
    """

    def __init__(self, *, learning_rate: float = 1.0, kappa: float = 2.0) -> None:
        """Set the step size and the bound."""
        if not kappa > 0.0:
            raise ValueError(f"kappa: a positive number is needed, not {kappa}")
        self.learning_rate = learning_rate
        self.kappa = kappa

    def init_state(self, shapes: tuple[tuple[int, int], ...]) -> Fields:
        """Return no state."""
        return {}

    def update(
        self, state: State, jacobian: Blocks, error: Array, noise: Array, active: BoolArray
    ) -> tuple[Blocks, BoolArray]:
        """Return the sum of eq. (1) over outputs."""
        jacobian, error, rows = whitened(jacobian, error, noise, active)
        batch, n_outputs = error.shape
        size = np.zeros((batch, n_outputs))
        for block in jacobian:
            size += np.abs(block).reshape(batch, n_outputs, -1).sum(axis=2)
        overshoot = self.learning_rate * self.kappa * np.maximum(np.abs(error), 1.0) * size
        step = self.learning_rate * error / np.maximum(overshoot, 1.0) / n_outputs
        return _along(step, jacobian), rows

    def forget(self, state: State, params: tuple[BoolArray, ...]) -> None:
        """Forget nothing: nothing is kept."""


def _along(step: Array, jacobian: Blocks) -> Blocks:
    """Return sum over outputs of step (B, o) times each block (B, o, groups, size)."""
    updates = []
    for block in jacobian:
        update = step[:, 0, None, None] * block[:, 0]
        for j in range(1, step.shape[1]):
            update = update + step[:, j, None, None] * block[:, j]
        updates.append(update)
    return tuple(updates)
