"""The pinball loss: quantiles are forecast."""

from __future__ import annotations

from typing import final

import numpy as np

from models.losses.squared import finite, identity_slope
from models.protocols import Array, BoolArray, Innovation


@final
class Pinball:
    """The pinball (quantile) loss, summed over levels and targets; one output a target and level.

        L = max(tau e, (tau - 1) e),  e = y - o                             (1)
        dL/do = 1[y < o] - tau, and 0 at the kink                           (2)

    Its minimum is the tau-quantile of the target. Outputs are target-major: o[t * levels + l].

    Args:
        levels: tau, each in (0, 1). By default the median and the bounds of an 80% interval.

    Source: Koenker & Bassett (1978). As a filter's innovation each output is pushed by a bounded amount, the
    negative of Eq. (2); the push is not an error in the target's units, so a filter learns quantiles
    slowly, and gradient optimizers are the usual choice.

    Example:
        >>> import numpy as np
        >>> Pinball(levels=(0.9,)).value(np.array([[0.0], [2.0]]), np.array([[1.0], [1.0]])).round(3).tolist()
        [0.9, 0.1]
    """

    def __init__(self, *, levels: tuple[float, ...] = (0.1, 0.5, 0.9)) -> None:
        """Set the levels."""
        if not levels or not all(0.0 < level < 1.0 for level in levels):
            raise ValueError(f"levels: numbers between 0 and 1 are needed, not {levels}")
        self.levels = np.array(levels)

    def n_outputs(self, n_targets: int) -> int:
        return n_targets * len(self.levels)

    def valid(self, target: Array) -> BoolArray:
        return finite(target)

    def predict(self, outputs: Array) -> Array:
        return outputs

    def value(self, outputs: Array, target: Array) -> Array:
        error, levels = self._errors(outputs, target)
        total: Array = np.maximum(levels * error, (levels - 1.0) * error).sum(axis=1)
        return total

    def gradient(self, outputs: Array, target: Array) -> Array:
        error, levels = self._errors(outputs, target)
        slope: Array = np.where(error < 0.0, 1.0 - levels, np.where(error > 0.0, -levels, 0.0))
        return slope

    def innovation(self, outputs: Array, target: Array) -> Innovation:
        return Innovation(-self.gradient(outputs, target), identity_slope(outputs), np.ones_like(outputs))

    def _errors(self, outputs: Array, target: Array) -> tuple[Array, Array]:
        """Return target - output and the levels, both as the outputs lie, (B, o) and (o,)."""
        count = len(self.levels)
        return np.repeat(target, count, axis=1) - outputs, np.tile(self.levels, target.shape[1])
