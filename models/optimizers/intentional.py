"""Intentional updates: a step sized by the share of the error that it takes away."""

from __future__ import annotations

from typing import Final, final

import numpy as np

from models.optimizers.innovations import whitened
from models.protocols import Array, Blocks, BoolArray, Fields, State

EPSILON: Final = 1e-12
"""Keeps a division finite where all derivatives are zero."""


@final
class Intentional:
    """Intentional updates: each step takes away a chosen share of the present error.

        update = share e_j J_j / (|J_j|^2 + epsilon), outputs one after the other      (1)

    Normalised least mean squares with the Jacobian in place of the inputs. e_j is what the outputs before
    have left. An output that no parameter moves is left as it is.

    No state. Cost: O(o P) time.

    Args:
        share: of the error taken away at once. .1 averages over some ten labels; 1 is all of it, noise included.
        epsilon: least squared norm of derivatives that are worth a full step.

    Source: Nagumo & Noda (1967) for the normalisation.

    Example:
        >>> import numpy as np
        >>> (update,), _ = Intentional(share=1.0, epsilon=0.0).update(
        ...     {}, (np.full((1, 1, 1, 2), 2.0),), np.ones((1, 1)), np.ones((1, 1)), np.array([True])
        ... )
        >>> np.round(update, 9).tolist()
        [[[0.25, 0.25]]]
    """

    def __init__(self, *, share: float = 0.1, epsilon: float = 1e-2) -> None:
        """Set the share."""
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"share: between 0 and 1, not {share}")
        self.share = share
        self.epsilon = epsilon

    def init_state(self, shapes: tuple[tuple[int, int], ...]) -> Fields:
        """Return no state."""
        return {}

    def update(
        self, state: State, jacobian: Blocks, error: Array, noise: Array, active: BoolArray
    ) -> tuple[Blocks, BoolArray]:
        """Return eq. (1)."""
        jacobian, error, rows = whitened(jacobian, error, noise, active)
        updates = [np.zeros((len(error), *block.shape[2:])) for block in jacobian]
        for j in range(error.shape[1]):
            left = error[:, j]
            power = np.full(len(error), self.epsilon + EPSILON)
            for block, update in zip(jacobian, updates, strict=True):
                left = left - self._dot(block[:, j], update)
                power = power + self._dot(block[:, j], block[:, j])
            for at, block in enumerate(jacobian):
                updates[at] += (self.share * left / power)[:, None, None] * block[:, j]
        return tuple(updates), rows

    def forget(self, state: State, params: tuple[BoolArray, ...]) -> None:
        """Forget nothing: nothing is kept."""

    @staticmethod
    def _dot(one: Array, other: Array) -> Array:
        product: Array = (one * other).reshape(len(one), -1).sum(axis=1)
        return product
