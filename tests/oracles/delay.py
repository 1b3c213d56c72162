"""The equations of the delay networks. The delays are the tables' own, as the cells' documentation says them."""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp

from tests.oracles.equations import ReadOutFunction, StepFunction


def packed(values: Any, n: int) -> Any:
    """Return values in rows of n, zeros behind."""
    rows = -(-len(values) // n)
    return anp.reshape(anp.concatenate((values, anp.zeros(rows * n - len(values)))), (rows, n))


def delay_line_step(taps: int, unit_taps: int) -> StepFunction:
    def step(params: Any, state: Any, inputs: Any) -> Any:
        m, n = len(inputs), state.shape[1]
        past = anp.reshape(state[unit_taps:], -1)[: (taps - 1) * m]
        window = anp.concatenate((inputs, past))
        hidden = anp.tanh(sum(window[d] * params[d] for d in range(taps * m)) + params[taps * m])
        parts = anp.concatenate((anp.reshape(hidden, (1, n)), state[: unit_taps - 1]))
        return anp.concatenate((parts, packed(window[: (taps - 1) * m], n)))

    return step


def narx_step(taps: int, delays: int, *, own: bool) -> StepFunction:
    def step(params: Any, state: Any, inputs: Any) -> Any:
        n, parts = state.shape[1], delays if own else 1
        m = len(inputs) if own else len(inputs) - 1
        past = anp.reshape(state[parts:], -1)
        window = anp.concatenate((inputs[:m], past[: (taps - 1) * m]))
        if own:
            fed_back = anp.array([anp.sum(state[a]) for a in range(delays)])
        else:
            fed_back = anp.concatenate((inputs[m:], past[(taps - 1) * m : (taps - 1) * m + delays - 1]))
        summed = params[taps * m + delays]
        for j in range(taps * m):
            summed = summed + window[j] * params[j]
        for a in range(delays):
            summed = summed + fed_back[a] * params[taps * m + a]
        now = anp.reshape(params[-1] * anp.tanh(summed), (1, n))
        if own:
            kept = window[: (taps - 1) * m]
            return anp.concatenate((now, state[: delays - 1], packed(kept, n)))
        kept = anp.concatenate((window[: (taps - 1) * m], fed_back[: delays - 1]))
        return anp.concatenate((now, packed(kept, n)))

    return step


def first_parts(count: int) -> ReadOutFunction:
    def read(state: Any) -> Any:
        return state[:count]

    return read
