"""The pinball loss: quantiles are forecast."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, final

import numpy as np

from models.losses.squared import at_least, finite, identity_slope
from models.protocols import Array, BoolArray, Innovation

LEVELS: Final = (0.1, 0.5, 0.9)
"""The median, and the bounds of an interval that holds 80% of the targets."""


@final
class Pinball:
    """The pinball (quantile) loss, summed over targets and levels; one output a target and level.

        L = max(tau e, (tau - 1) e),  e = y - o                             (1)
        dL/do = 1[y < o] - tau, and 0 at the kink, where any of [-tau, 1 - tau] is a subgradient      (2)

    Its minimum is the tau-quantile of the target. Outputs are target-major: o[t * L + l] for L levels.

    The loss has no curvature for a filter to go by; in its place stands the square of the slope, whose mean at
    the quantile is tau (1 - tau) (the empirical Fisher information). So the noise is 1 / (dL/do)^2 and
    the error -1 / (dL/do): large and hardly believed where the output was on its likely side. Then
    error / sqrt(noise) is 1 in size on both sides, and no gate on it shifts the quantile.

    Args:
        levels: tau, increasing, each in (0, 1). By default the median and the bounds of an 80% interval.

    Cost: O(o) time for o outputs; `innovation` O(o^2).

    Source: Koenker & Bassett (1978).

    Example:
        >>> import numpy as np
        >>> Pinball(levels=(0.9,)).value(np.array([[0.0], [2.0]]), np.array([[1.0], [1.0]])).round(3).tolist()
        [0.9, 0.1]
    """

    def __init__(self, *, levels: Sequence[float] = LEVELS) -> None:
        """Set the levels."""
        if not levels or not all(0.0 < level < 1.0 for level in levels):
            raise ValueError(f"levels: numbers between 0 and 1 are needed, not {tuple(levels)}")
        if not all(low < high for low, high in pairwise(levels)):
            raise ValueError(f"levels: increasing ones are needed, not {tuple(levels)}")
        self.levels = np.array(levels, dtype=np.float64)

    def n_outputs(self, n_targets: int) -> int:
        return at_least(n_targets) * len(self.levels)

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
        error, levels = self._errors(outputs, target)
        noise = np.where(error < 0.0, (1.0 - levels) ** -2.0, levels**-2.0)
        # At the kink the error is 0; the noise there only has to be finite.
        return Innovation(np.sign(error) * np.sqrt(noise), identity_slope(outputs), noise)

    def _errors(self, outputs: Array, target: Array) -> tuple[Array, Array]:
        """Return target - output and the levels, both as the outputs lie, (B, o) and (o,)."""
        count = len(self.levels)
        return np.repeat(target, count, axis=1) - outputs, np.tile(self.levels, target.shape[1])
