"""The cross-entropy loss: the probability of each class is forecast."""

from __future__ import annotations

from typing import Final, final

import numpy as np

from models.losses.bernoulli import VARIANCE_MIN
from models.losses.squared import at_least
from models.protocols import Array, BoolArray, Innovation

SUM_TOLERANCE: Final = 1e-6
"""How far the sum of a target's probabilities may be from 1: what single precision leaves of some ten."""


@final
class CrossEntropy:
    """The cross-entropy of classes, in nats; one output a class, the target one-hot or probabilities.

        p = softmax(o),  L = log sum_c exp(o_c) - sum_c y_c o_c             (1)
        dL/do = p - y                                                       (2)
        slope = diag(r) (1 - 1 p'),  noise = r,  r = max(p, 0.001)          (3)

    For a filter the mean is p. Eq. (3) without the floor is slope = d p / d o = diag(p) - p p' and noise p: the
    classes are not independent, but with this noise slope' noise^-1 slope = diag(p) - p p', the Fisher
    information, and slope' (error / noise) = y - p, minus (2), as for a filter that knew their covariance. The
    floor leaves the latter as it is, since the error sums to 0.

    As for Bernoulli, the noise is known: `Ekf(adaptive=False, gate=float("inf"))`.

    Cost: O(o) time; `innovation` O(o^2).

    Source: Ollivier (2018), section 3, for the filter.

    Example:
        >>> import numpy as np
        >>> CrossEntropy().value(np.zeros((1, 4)), np.array([[0.0, 1.0, 0.0, 0.0]])).round(4).tolist()
        [1.3863]
    """

    def n_outputs(self, n_targets: int) -> int:
        """Return one output a class, of at least two: an event that comes or not is for Bernoulli."""
        return at_least(n_targets, 2)

    def valid(self, target: Array) -> BoolArray:
        proper = np.logical_and.reduce((target >= 0.0) & (target <= 1.0), axis=1)
        total = np.where(proper[:, None], target, 0.0).sum(axis=1)
        rows: BoolArray = np.abs(total - 1.0) <= SUM_TOLERANCE  # what is not proper sums to 0 here
        return rows

    def predict(self, outputs: Array) -> Array:
        weights = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        shares: Array = weights / weights.sum(axis=1, keepdims=True)
        return shares

    def value(self, outputs: Array, target: Array) -> Array:
        below = outputs - outputs.max(axis=1, keepdims=True)
        log_sum = np.log(np.exp(below).sum(axis=1))
        total: Array = log_sum - (target * below).sum(axis=1)
        return total

    def gradient(self, outputs: Array, target: Array) -> Array:
        return self.predict(outputs) - target

    def innovation(self, outputs: Array, target: Array) -> Innovation:
        mean = self.predict(outputs)
        floored = np.maximum(mean, VARIANCE_MIN)
        slope = floored[:, :, None] * (np.eye(outputs.shape[1]) - mean[:, None, :])
        return Innovation(target - mean, slope, floored)
