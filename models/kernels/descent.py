"""Down the gradient of the squared loss: what the compiled event loops of all cells share, and what their twins hand in."""

from __future__ import annotations

from typing import Final, final

import numpy as np

from models.kernels.fetching import fetch
from models.kernels.jit import inner
from models.losses.squared import ERROR_MAX
from models.optimizers.adam import Adam
from models.optimizers.sgd import Sgd
from models.protocols import Array, IntArray, SingleOrDouble, State
from models.updates import GRADIENT_USUAL, INFLUENCE_MAX, Descent, Update

SGD: Final = 0
ADAM: Final = 1
LIMITS: Final = (GRADIENT_USUAL, INFLUENCE_MAX, ERROR_MAX)
"""The usual norm of a gradient, the greatest of an influence, and the greatest error of a loss's value."""


@final
class Descending:
    """SGD or Adam as an event loop takes it: its kind, its rates, and its moments.

    Attributes:
        optimizer: itself.
        kind: SGD or ADAM.
        rates: learning rate, beta1, beta2 and epsilon; the last three are of Adam alone.
    """

    def __init__(self, optimizer: Sgd | Adam) -> None:
        """Take the rates."""
        self.optimizer = optimizer
        self.kind, rates = SGD, (optimizer.learning_rate, 0.0, 0.0, 0.0)
        if isinstance(optimizer, Adam):
            self.kind = ADAM
            rates = (optimizer.learning_rate, optimizer.beta1, optimizer.beta2, optimizer.epsilon)
        self.rates = np.array(rates)
        none = np.empty((0, 0, 0))
        self._none = none, none, np.empty(0, dtype=np.int64)

    def moments(self, slabs: State, name: str, like: Array) -> tuple[Array, Array, IntArray]:
        """Return Adam's moments and count of the cell's or the readout's parameters, of their shape; for SGD empty ones."""
        if self.kind == ADAM:
            return (
                slabs[f"update.{name}.first_moment"].reshape(like.shape),
                slabs[f"update.{name}.second_moment"].reshape(like.shape),
                slabs[f"update.{name}.update_count"],
            )
        return self._none


def descending(update: Update) -> Descending | None:
    """Return how an update descends, if that is compiled."""
    if type(update) is not Descent or type(update.optimizer) not in (Sgd, Adam):
        return None
    assert isinstance(update.optimizer, Sgd | Adam)  # noqa: S101  has been seen above, by its type
    return Descending(update.optimizer)


@inner
def squared_loss(prediction: Array, target: Array, error_max: float, error: Array) -> float:
    """Return the loss of an event; write its gradient to the prediction, (o,)."""
    value = 0.0
    for o in range(len(error)):
        error[o] = prediction[o] - target[o]
        bounded = min(max(error[o], -error_max), error_max)
        value += 0.5 * bounded * bounded
    return value


@inner
def moved(
    params: SingleOrDouble,
    gradient: Array,
    slot: int,
    moments: tuple[Array, Array, IntArray],
    optimizer: int,
    rates: Array,
    after: int,
    far: bool,
) -> None:
    """Move a model's parameters along a gradient, (rows, units) both, by SGD or Adam; its count is the update's own.

    Where models are far the moments of the one that comes after are asked for.
    """
    rate, beta1, beta2, epsilon = rates
    if optimizer == SGD:
        for j in range(len(params)):
            row, along = params[j], gradient[j]
            for i in range(len(row)):
                row[i] -= rate * along[i]
        return
    firsts, seconds, counts = moments
    counts[slot] += 1
    first_weight, second_weight = 1.0 - beta1 ** counts[slot], 1.0 - beta2 ** counts[slot]
    for j in range(len(params)):
        row, along, mean, square = params[j], gradient[j], firsts[slot, j], seconds[slot, j]
        fetch(firsts[after, j], far)
        fetch(seconds[after, j], far)
        for i in range(len(row)):
            mean[i] = beta1 * mean[i] + (1.0 - beta1) * along[i]
            square[i] = beta2 * square[i] + (1.0 - beta2) * along[i] * along[i]
            row[i] -= rate * ((mean[i] / first_weight) / (np.sqrt(square[i] / second_weight) + epsilon))
