"""The simple recurrent network's equations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import autograd.numpy as anp

from tests.oracles.equations import StepFunction


def vanilla_step(activation: Callable[[Any], Any], leak: float = 1.0) -> StepFunction:
    def step(params: Any, state: Any, inputs: Any) -> Any:
        n, m = state.shape[1], len(inputs)
        summed = anp.dot(params[:n].T, state[0]) + anp.dot(params[n : n + m].T, inputs) + params[n + m]
        return (1.0 - leak) * state + leak * anp.reshape(activation(summed), (1, n))

    return step


def sparse_vanilla_step(params: Any, state: Any, inputs: Any) -> Any:
    """Each unit hears itself and the two before it in a ring."""
    n = state.shape[1]
    heard = anp.array([[1.0 if (i - c) % n <= 2 else 0.0 for i in range(n)] for c in range(n)])
    masked = anp.concatenate((params[:n] * heard, params[n:]))
    return vanilla_step(anp.tanh)(masked, state, inputs)
