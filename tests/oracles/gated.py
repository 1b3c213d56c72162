"""The equations of the gated cells."""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp

from tests.oracles.equations import logistic


def lstm_step(params: Any, state: Any, inputs: Any) -> Any:
    n = state.shape[1]
    seen = anp.concatenate((state[1], inputs, anp.ones(1)))
    gates = anp.reshape(params, (4, len(seen), n))
    entry, forget, output = (logistic(anp.dot(seen, gates[gate])) for gate in range(3))
    cell = forget * state[0] + entry * anp.tanh(anp.dot(seen, gates[3]))
    return anp.stack((cell, output * anp.tanh(cell)))


def lstm_read(state: Any) -> Any:
    return state[1:]


def gru_step(params: Any, state: Any, inputs: Any) -> Any:
    n, before = state.shape[1], state[0]
    seen = anp.concatenate((before, inputs, anp.ones(1)))
    p = len(seen)
    reset = logistic(anp.dot(seen, params[:p]))
    keep = logistic(anp.dot(seen, params[p : 2 * p]))
    past = anp.dot(before, params[2 * p : 2 * p + n]) + params[3 * p]
    candidate = anp.tanh(anp.dot(seen[n:], params[2 * p + n : 3 * p]) + reset * past)
    return anp.reshape((1.0 - keep) * candidate + keep * before, (1, n))


def elstm_step(params: Any, state: Any, inputs: Any) -> Any:
    m, before = len(inputs), state[0]
    candidate = anp.tanh(anp.dot(inputs, params[:m]) + params[m] * before + params[m + 1])
    forget = logistic(
        anp.dot(inputs, params[m + 2 : 2 * m + 2]) + params[2 * m + 2] * before + params[2 * m + 3]
    )
    return anp.reshape(forget * before + (1.0 - forget) * candidate, state.shape)


def mingru_step(params: Any, state: Any, inputs: Any) -> Any:
    m = len(inputs)
    gate = logistic(anp.dot(inputs, params[:m]) + params[m])
    candidate = anp.dot(inputs, params[m + 1 : 2 * m + 1]) + params[2 * m + 1]
    return anp.reshape((1.0 - gate) * state[0] + gate * candidate, state.shape)
