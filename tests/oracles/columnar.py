"""The equations of columnar networks."""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp

from tests.oracles.equations import logistic


def columnar_step(params: Any, state: Any, inputs: Any) -> Any:
    """Return the scalar LSTMs after a step; gates I, F, O, G, each over [x, own h, 1]."""
    m = len(inputs)
    sums = []
    for gate in range(4):
        own = params[gate * (m + 2) : (gate + 1) * (m + 2)]
        sums.append(anp.dot(inputs, own[:m]) + own[m] * state[1] + own[m + 1])
    cell = logistic(sums[1]) * state[0] + logistic(sums[0]) * anp.tanh(sums[3])
    return anp.stack((cell, logistic(sums[2]) * anp.tanh(cell)))
