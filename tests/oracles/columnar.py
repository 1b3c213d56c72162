"""The equations of columnar networks."""

from __future__ import annotations

import math
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.tracer import getval, isbox

from tests.oracles.equations import StepFunction, logistic


def columnar_step(params: Any, state: Any, inputs: Any) -> Any:
    """Return the scalar LSTMs after a step; gates I, F, O, G, each over [x, own h, 1]."""
    m = len(inputs)
    sums = []
    for gate in range(4):
        own = params[gate * (m + 2) : (gate + 1) * (m + 2)]
        sums.append(anp.dot(inputs, own[:m]) + own[m] * state[1] + own[m + 1])
    cell = logistic(sums[1]) * state[0] + logistic(sums[0]) * anp.tanh(sums[3])
    return anp.stack((cell, logistic(sums[2]) * anp.tanh(cell)))


def constructive_step(columns_per_stage: int | None, stage_steps: int) -> StepFunction:
    """Return the step of columns in stages (None: four stages); what is frozen is a constant, what is unborn zero."""

    def step(params: Any, state: Any, inputs: Any) -> Any:
        n, m = state.shape[1], len(inputs)
        columns = columns_per_stage or math.ceil(n / 4)
        width, last = m + n + 1, (n - 1) // columns
        stage = np.arange(n) // columns
        done = constant(state[2])
        born = (stage == 0) | (done >= stage * stage_steps)
        learning = born & ((stage == last) | (done < (stage + 1) * stage_steps))
        earlier = stage[:, None] < stage[None, :]
        sums = []
        for gate in range(4):
            own = params[gate * width : (gate + 1) * width]
            of_state = own[m : m + n]
            heard = anp.dot(constant(state[1]), anp.where(earlier, of_state, 0.0))
            sums.append(anp.dot(inputs, own[:m]) + heard + anp.diag(of_state) * state[1] + own[m + n])
        cell = logistic(sums[1]) * state[0] + logistic(sums[0]) * anp.tanh(sums[3])
        parts = anp.stack((cell, logistic(sums[2]) * anp.tanh(cell)))
        parts = anp.where(learning, parts, np.where(born, constant(parts), 0.0))
        return anp.concatenate((parts, np.minimum(done + 1.0, last * stage_steps)[None]))

    return step


def constant(value: Any) -> Any:
    """Return the number without the derivative that autograd carries with it."""
    while isbox(value):
        value = getval(value)
    return value
