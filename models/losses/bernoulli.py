"""The Bernoulli loss: the probability of an event is forecast, through its logit."""

from __future__ import annotations

from typing import Final, final

import numpy as np

from models.cells.activations import sigmoid
from models.losses.squared import at_least
from models.protocols import Array, BoolArray, Innovation

VARIANCE_MIN: Final = 1e-3
"""Least variance that a filter is told of, that of an event of one in a thousand. Nearer to certainty the slope
vanishes, and with it whatever could be learned from a surprise."""


@final
class Bernoulli:
    """The log loss of independent events, in nats, summed over outputs; the outputs are logits.

        p = 1 / (1 + exp(-o)),  L = y log(1 + exp(-o)) + (1 - y) log(1 + exp(o))     (1)
        dL/do = p - y                                                       (2)

    Targets are in [0, 1]: what happened, or how likely it was. For a filter the mean is p, and slope and
    noise are both v = max(p (1 - p), 0.001), which is d p / d o and the variance of the event: the extended
    Kalman filter is then the online natural gradient. Under the floor the slope is not the derivative of p any
    more; but slope times error over noise is minus (2) always.

    A filter that estimates its noise, or gates errors, takes the first event after long quiet for an outlier;
    here the noise is known: `Ekf(adaptive=False, gate=float("inf"))`.

    Cost: O(o) time; `innovation` O(o^2).

    Source: Ollivier (2018), section 3, for the filter.

    Example:
        >>> import numpy as np
        >>> Bernoulli().value(np.array([[0.0]]), np.array([[1.0]])).round(4).tolist()
        [0.6931]
    """

    def n_outputs(self, n_targets: int) -> int:
        return at_least(n_targets)

    def valid(self, target: Array) -> BoolArray:
        rows: BoolArray = np.logical_and.reduce((target >= 0.0) & (target <= 1.0), axis=1)
        return rows

    def predict(self, outputs: Array) -> Array:
        return sigmoid(outputs)

    def value(self, outputs: Array, target: Array) -> Array:
        # Two terms, neither of which is negative: nothing cancels however sure the output is.
        each = target * np.logaddexp(0.0, -outputs) + (1.0 - target) * np.logaddexp(0.0, outputs)
        total: Array = each.sum(axis=1)
        return total

    def gradient(self, outputs: Array, target: Array) -> Array:
        return sigmoid(outputs) - target

    def innovation(self, outputs: Array, target: Array) -> Innovation:
        mean = sigmoid(outputs)
        variance = np.maximum(mean * (1.0 - mean), VARIANCE_MIN)
        return Innovation(target - mean, variance[:, :, None] * np.eye(outputs.shape[1]), variance)
