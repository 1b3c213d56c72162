"""The Huber loss: squared near the target, linear beyond, so that an outlier pulls with a bounded force."""

from __future__ import annotations

from typing import Final, final

import numpy as np

from models.losses.squared import ERROR_MAX, at_least, finite, identity_slope
from models.protocols import Array, BoolArray, Innovation

DELTA: Final = 1.345
"""Standard deviations: with it 5% of the efficiency on Gaussian errors is lost (Huber 1964)."""


@final
class Huber:
    """The Huber loss, summed over outputs.

        L = e^2 / 2 where |e| <= delta, else delta (|e| - delta / 2),  e = o - y     (1)
        dL/do = clip(e, -delta, delta)                                       (2)

    Its minimum lies between the target's mean and its median. For a filter the mean is o, the error minus
    eq. (2), and the noise 1.

    Args:
        delta: where the loss turns linear, in the target's units, which are expected to be standardised;
            1.345 loses 5% of the efficiency on Gaussian errors.

    Cost: O(o) time; `innovation` O(o^2).

    Source: Huber (1964).

    Example:
        >>> import numpy as np
        >>> Huber(delta=1.0).gradient(np.array([[30.0]]), np.array([[0.0]])).tolist()
        [[1.0]]
    """

    def __init__(self, *, delta: float = DELTA) -> None:
        """Set where the loss turns linear."""
        if not 0.0 < delta <= ERROR_MAX:
            raise ValueError(f"delta: over 0 and at most {ERROR_MAX:g}, not {delta}")
        self.delta = delta

    def n_outputs(self, n_targets: int) -> int:
        return at_least(n_targets)

    def valid(self, target: Array) -> BoolArray:
        return finite(target)

    def predict(self, outputs: Array) -> Array:
        return outputs

    def value(self, outputs: Array, target: Array) -> Array:
        size = np.minimum(np.abs(outputs - target), ERROR_MAX)
        near = np.minimum(size, self.delta)  # L = near |e| - near^2 / 2 in both branches of Eq. (1).
        total: Array = (near * (size - 0.5 * near)).sum(axis=1)
        return total

    def gradient(self, outputs: Array, target: Array) -> Array:
        return np.clip(outputs - target, -self.delta, self.delta)

    def innovation(self, outputs: Array, target: Array) -> Innovation:
        return Innovation(-self.gradient(outputs, target), identity_slope(outputs), np.ones_like(outputs))
