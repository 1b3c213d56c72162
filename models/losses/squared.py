"""The squared loss: the mean is forecast."""

from __future__ import annotations

from typing import Final, final

import numpy as np

from models.protocols import Array, BoolArray, Innovation

ERROR_MAX: Final = 1e150
"""Errors beyond count as this in a loss's value, whose square would overflow; no gradient is cut."""


def finite(target: Array) -> BoolArray:
    """Say which targets are finite, (B, t) -> (B,)."""
    rows: BoolArray = np.logical_and.reduce(np.isfinite(target), axis=1)
    return rows


def at_least(n_targets: int, least: int = 1) -> int:
    """Return how many numbers a target has; refuse fewer than a loss can do with."""
    if n_targets < least:
        raise ValueError(f"n_targets: at least {least} is needed, not {n_targets}")
    return n_targets


def identity_slope(outputs: Array) -> Array:
    """Return one identity matrix a row, (B, o, o): the outputs are the mean themselves."""
    return np.broadcast_to(np.eye(outputs.shape[1]), (*outputs.shape, outputs.shape[1])).copy()


@final
class Squared:
    """Half the squared error, summed over outputs.

        L = 1/2 sum_j (o_j - y_j)^2,  dL/do = o - y                         (1)

    Its minimum is the mean of the target. For a filter the mean is o, and the noise 1: how much noise there
    is the filter estimates.

    Cost: O(o) time; `innovation` O(o^2).

    Example:
        >>> import numpy as np
        >>> loss = Squared()
        >>> loss.value(np.array([[3.0]]), np.array([[1.0]])).tolist()
        [2.0]
    """

    def n_outputs(self, n_targets: int) -> int:
        return at_least(n_targets)

    def valid(self, target: Array) -> BoolArray:
        return finite(target)

    def predict(self, outputs: Array) -> Array:
        return outputs

    def value(self, outputs: Array, target: Array) -> Array:
        error = np.minimum(np.maximum(outputs - target, -ERROR_MAX), ERROR_MAX)  # quicker than np.clip
        total: Array = 0.5 * (error * error).sum(axis=1)
        return total

    def gradient(self, outputs: Array, target: Array) -> Array:
        return outputs - target

    def innovation(self, outputs: Array, target: Array) -> Innovation:
        return Innovation(target - outputs, identity_slope(outputs), np.ones_like(outputs))
