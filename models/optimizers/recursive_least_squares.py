"""Recursive least squares as a learner of whatever is linear in its parameters, such as a linear readout."""

from __future__ import annotations

from typing import final

import numpy as np

from models.optimizers.innovations import whitened
from models.optimizers.rls import FORGETTING, PRIOR_VARIANCE, forget_in, rls_update
from models.protocols import Array, Blocks, BoolArray, Fields, State


@final
class Rls:
    """Recursive least squares, one filter a block and output.

        k = P phi / (lambda + phi' P phi),  w <- w + k e,  P <- (P - k phi' P) / lambda      (1)

    phi is the derivative of an output to the block's parameters, which for a linear readout is its features: then
    (1) is exact least squares with exponential forgetting. For what is not linear it is a filter without
    process noise; blocks do not know of each other, and each is told the whole error.

    State: "covariance.<block>", P, one a group. Cost: O(sum size^2) a step.

    Args:
        forgetting: lambda.
        prior_variance: P at first, as in `models.optimizers.rls`.

    Source: Haykin (2002), ch. 9; as a readout's rule, Sussillo & Abbott (2009), FORCE.
    """

    def __init__(self, *, forgetting: float = FORGETTING, prior_variance: float = PRIOR_VARIANCE) -> None:
        """Set the forgetting and the prior."""
        if not (0.0 < forgetting <= 1.0 and prior_variance > 0.0):
            raise ValueError(
                f"forgetting in (0, 1] and a positive prior_variance, not {forgetting} and {prior_variance}"
            )
        self.forgetting = forgetting
        self.prior_variance = prior_variance

    def init_state(self, shapes: tuple[tuple[int, int], ...]) -> Fields:
        """Return P of the prior, (groups, size, size) a block."""
        return {
            f"covariance.{at}": np.tile(self.prior_variance * np.eye(size), (groups, 1, 1))
            for at, (groups, size) in enumerate(shapes)
        }

    def update(
        self, state: State, jacobian: Blocks, error: Array, noise: Array, active: BoolArray
    ) -> tuple[Blocks, BoolArray]:
        """Return what eq. (1) adds, summed over outputs."""
        jacobian, error, rows = whitened(jacobian, error, noise, active)
        updates = []
        for at, block in enumerate(jacobian):
            update = np.zeros((len(error), *block.shape[2:]))
            for j in range(error.shape[1]):
                concerned = rows[:, None] & (block[:, j] != 0.0).any(axis=2)
                residual = np.broadcast_to(error[:, j, None], concerned.shape)
                update, state[f"covariance.{at}"] = rls_update(
                    update,
                    state[f"covariance.{at}"],
                    block[:, j],
                    residual,
                    concerned,
                    forgetting=self.forgetting,
                )
            updates.append(update)
        return tuple(updates), rows

    def forget(self, state: State, params: tuple[BoolArray, ...]) -> None:
        """Give the parameters the prior's variance and no covariance."""
        for at, block in enumerate(params):
            forget_in(state[f"covariance.{at}"], block, self.prior_variance)
