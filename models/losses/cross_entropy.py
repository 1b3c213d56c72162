"""The cross-entropy loss: the probability of each class is forecast."""

from __future__ import annotations

from typing import Final, final

import numpy as np

from models.losses.bernoulli import NOISE_MIN
from models.protocols import Array, BoolArray, Innovation

SUM_TOLERANCE: Final = 1e-6
"""How far the sum of a target's probabilities may be from 1."""


@final
class CrossEntropy:
    """The cross-entropy of classes, in nats; one output a class, the target one-hot or probabilities.

        p = softmax(o),  L = log sum_c exp(o_c) - sum_c y_c o_c             (1)
        dL/do = p - y                                                       (2)

    For a filter the mean is p, d p / d o = diag(p) - p p', and each class has variance p_c (1 - p_c).

    Example:
        >>> import numpy as np
        >>> CrossEntropy().value(np.zeros((1, 4)), np.array([[0.0, 1.0, 0.0, 0.0]])).round(4).tolist()
        [1.3863]
    """

    def n_outputs(self, n_targets: int) -> int:
        return n_targets

    def valid(self, target: Array) -> BoolArray:
        with np.errstate(invalid="ignore", over="ignore"):
            total = target.sum(axis=1)
            rows: BoolArray = (target >= 0.0).all(axis=1) & (np.abs(total - 1.0) <= SUM_TOLERANCE)
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
        slope = mean[:, :, None] * (np.eye(outputs.shape[1]) - mean[:, None, :])
        return Innovation(target - mean, slope, np.maximum(mean * (1.0 - mean), NOISE_MIN))
