"""The Huber loss: squared near the target, linear beyond, so that an outlier pulls with a bounded force."""

from __future__ import annotations

from typing import final

import numpy as np

from models.losses.squared import finite, identity_slope
from models.protocols import Array, BoolArray, Innovation


@final
class Huber:
    """The Huber loss, summed over outputs.

        L = e^2 / 2 where |e| <= delta, else delta (|e| - delta / 2),  e = o - y     (1)
        dL/do = clip(e, -delta, delta)                                       (2)

    Args:
        delta: where the loss turns linear, in units of the target. Huber's 1.345 standard deviations lose 5%
            of efficiency on Gaussian errors; targets are expected to be standardised.

    Source: Huber (1964).

    Example:
        >>> import numpy as np
        >>> Huber(delta=1.0).gradient(np.array([[30.0]]), np.array([[0.0]])).tolist()
        [[1.0]]
    """

    def __init__(self, *, delta: float = 1.345) -> None:
        """Set where the loss turns linear."""
        if not (delta > 0.0 and np.isfinite(delta)):
            raise ValueError(f"delta: a positive finite number is needed, not {delta}")
        self.delta = delta

    def n_outputs(self, n_targets: int) -> int:
        return n_targets

    def valid(self, target: Array) -> BoolArray:
        return finite(target)

    def predict(self, outputs: Array) -> Array:
        return outputs

    def value(self, outputs: Array, target: Array) -> Array:
        size = np.abs(outputs - target)
        near = np.minimum(size, self.delta)  # L = near |e| - near^2 / 2 in both branches of Eq. (1).
        total: Array = (near * (size - 0.5 * near)).sum(axis=1)
        return total

    def gradient(self, outputs: Array, target: Array) -> Array:
        return np.clip(outputs - target, -self.delta, self.delta)

    def innovation(self, outputs: Array, target: Array) -> Innovation:
        return Innovation(-self.gradient(outputs, target), identity_slope(outputs), np.ones_like(outputs))
