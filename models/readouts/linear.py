"""The linear readout, of one output or several."""

from __future__ import annotations

from typing import final

import numpy as np

from models.protocols import Array, Blocks, BoolArray


def with_one(features: Array) -> Array:
    """Return features with a 1 behind them for the bias, (B, F) -> (B, F + 1)."""
    return np.concatenate((features, np.ones((len(features), 1))), axis=1)


@final
class Linear:
    """Outputs that are weighted sums of the features.

        o = W [a, 1]                                                        (1)
        d o_j / d W[j] = [a, 1],  d o / d a = W without its last column     (2)

    One block of parameters, (o, F + 1): a group is one output's weights. New weights are zero, so the first
    prediction is zero, and the cell gets credit as soon as the readout has learned something.

    Cost: o F multiply-adds; the derivative to the parameters, block-diagonal over outputs, is held dense, so
    O(o^2 F) memory.

    Args:
        n_features: F, at least 1.
        n_outputs: o, at least 1.

    Example:
        >>> import numpy as np
        >>> readout = Linear(n_features=2, n_outputs=1)
        >>> outputs, of_params, of_features = readout.forward(
        ...     (np.array([[[1.0, 2.0, 3.0]]]),), np.ones((1, 2))
        ... )
        >>> outputs.tolist(), of_params[0].tolist(), of_features.tolist()
        ([[6.0]], [[[[1.0, 1.0, 1.0]]]], [[[1.0, 2.0]]])
    """

    def __init__(self, *, n_features: int, n_outputs: int) -> None:
        """Set the sizes."""
        if n_features < 1 or n_outputs < 1:
            raise ValueError(
                f"a readout needs at least one feature and output, not {n_features} and {n_outputs}"
            )
        self.n_features = n_features
        self.n_outputs = n_outputs
        self.shapes: tuple[tuple[int, int], ...] = ((n_outputs, n_features + 1),)
        self._own = np.eye(n_outputs)

    def init_params(self, rng: np.random.Generator) -> tuple[Array, ...]:
        """Return weights of zero; the generator is not used."""
        return (np.zeros(self.shapes[0]),)

    def forward(self, params: Blocks, features: Array) -> tuple[Array, Blocks, Array]:
        """Return eq. (1) and (2)."""
        (weights,) = params
        seen = with_one(features)
        outputs = np.matmul(weights, seen[:, :, None])[:, :, 0]
        of_params = seen[:, None, None, :]
        if self.n_outputs > 1:
            of_params = self._own[None, :, :, None] * of_params
        return outputs, (of_params,), weights[:, :, :-1]

    def contributions(self, params: Blocks, features: Array) -> tuple[Array, ...]:
        """Return how strongly each feature is heard."""
        return (np.abs(features) * np.abs(params[0][:, :, :-1]).sum(axis=1),)

    def renew(self, params: Blocks, units: tuple[BoolArray, ...], fresh: Blocks) -> tuple[BoolArray, ...]:
        """Set the weights of the features that are new to zero."""
        changed = np.zeros(params[0].shape, dtype=np.bool_)
        changed[:, :, :-1] = units[0][:, None]
        params[0][changed] = 0.0
        return (changed,)
