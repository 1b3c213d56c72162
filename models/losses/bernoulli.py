"""The Bernoulli loss: the probability of an event is forecast, through its logit."""

from __future__ import annotations

from typing import Final, final

import numpy as np

from models.cells.activations import sigmoid
from models.protocols import Array, BoolArray, Innovation

NOISE_MIN: Final = 1e-3
"""Least variance that a filter is told of: certainty would give a single surprise an endless weight."""


@final
class Bernoulli:
    """The log loss of independent events, in nats, summed over outputs; the outputs are logits.

        p = 1 / (1 + exp(-o)),  L = log(1 + exp(o)) - y o                   (1)
        dL/do = p - y                                                       (2)

    Targets are in [0, 1]. For a filter the mean is p, d p / d o = p (1 - p), and the variance p (1 - p): the
    extended Kalman filter is then the online natural gradient (Ollivier 2018).

    Example:
        >>> import numpy as np
        >>> Bernoulli().value(np.array([[0.0]]), np.array([[1.0]])).round(4).tolist()
        [0.6931]
    """

    def n_outputs(self, n_targets: int) -> int:
        return n_targets

    def valid(self, target: Array) -> BoolArray:
        rows: BoolArray = np.logical_and.reduce((target >= 0.0) & (target <= 1.0), axis=1)
        return rows

    def predict(self, outputs: Array) -> Array:
        return sigmoid(outputs)

    def value(self, outputs: Array, target: Array) -> Array:
        total: Array = (np.logaddexp(0.0, outputs) - target * outputs).sum(axis=1)
        return total

    def gradient(self, outputs: Array, target: Array) -> Array:
        return sigmoid(outputs) - target

    def innovation(self, outputs: Array, target: Array) -> Innovation:
        mean = sigmoid(outputs)
        variance = mean * (1.0 - mean)
        slope = variance[:, :, None] * np.eye(outputs.shape[1])
        return Innovation(target - mean, slope, np.maximum(variance, NOISE_MIN))
