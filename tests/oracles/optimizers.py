"""Optimizers in scalar form, written from their sources, for one number."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

START = 3.0
"""Where the parameters of the oracles that look at them begin."""


class ScalarOptimizer(Protocol):
    """An optimizer of one number."""

    def update(self, gradient: float) -> float: ...


class ScalarAdam:
    """Adam for one number, as algorithm 1 of Kingma & Ba (2015) says it."""

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = learning_rate
        self.m = self.v = 0.0
        self.t = 0

    def update(self, gradient: float) -> float:
        self.t += 1
        self.m = 0.9 * self.m + 0.1 * gradient
        self.v = 0.999 * self.v + 0.001 * gradient**2
        m_hat = self.m / (1.0 - 0.9**self.t)
        v_hat = self.v / (1.0 - 0.999**self.t)
        return -self.learning_rate * m_hat / (math.sqrt(v_hat) + 1e-8)


class ScalarSgd:
    """Gradient descent for one number."""

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = learning_rate

    def update(self, gradient: float) -> float:
        return -self.learning_rate * gradient


class ScalarMomentum:
    """The heavy ball for one number."""

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = learning_rate
        self.velocity = 0.0

    def update(self, gradient: float) -> float:
        self.velocity = 0.9 * self.velocity + gradient
        return -self.learning_rate * self.velocity


class ScalarRmsProp:
    """RMSprop for one number."""

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = learning_rate
        self.square = 0.0

    def update(self, gradient: float) -> float:
        self.square = 0.9 * self.square + 0.1 * gradient**2
        return -self.learning_rate * gradient / (math.sqrt(self.square) + 1e-8)


class ScalarAdamW:
    """Adam with decoupled decay towards zero, for one number that starts at START."""

    def __init__(self, learning_rate: float) -> None:
        self.adam = ScalarAdam(learning_rate)
        self.position = START

    def update(self, gradient: float) -> float:
        step = self.adam.update(gradient) - 0.01 * self.adam.learning_rate * self.position
        self.position += step
        return step


OPTIMIZER_ORACLES: dict[str, Callable[[float], ScalarOptimizer]] = {
    "adam": ScalarAdam,
    "adamw": ScalarAdamW,
    "rmsprop": ScalarRmsProp,
    "momentum": ScalarMomentum,
    "sgd": ScalarSgd,
}


def optimizer_oracle(name: str) -> Callable[[float], ScalarOptimizer]:
    """Return the scalar form of the optimizer that stands under this name in OPTIMIZERS."""
    if name not in OPTIMIZER_ORACLES:
        raise LookupError(
            f"tests/oracles/optimizers.py has no scalar form of the optimizer {name!r}. Write one from its source and"
            " add a line to OPTIMIZER_ORACLES."
        )
    return OPTIMIZER_ORACLES[name]
