"""Gradients found in three ways that share no code: differences, backpropagation, naive RTRL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import autograd
import autograd.numpy as anp
import numpy as np

from models.protocols import Array
from tests.oracles.equations import CellOracle


def total_loss(oracle: CellOracle, params: Any, state: Any, inputs: Array, weights: Array) -> Any:
    """Return the sum over t of <weights_t, read_out(h_t)> + |read_out(h_t)|^2 / 2.

    Linear and quadratic, so that credit depends on the state. inputs (T, m), weights (T, r, n).
    """
    loss = 0.0
    for x, w in zip(inputs, weights, strict=True):
        state = oracle.step(params, state, x)
        read = oracle.read_out(state)
        loss = loss + anp.sum(w * read) + 0.5 * anp.sum(read * read)
    return loss


def bptt_gradient(oracle: CellOracle, params: Array, state: Array, inputs: Array, weights: Array) -> Array:
    """Return the gradient of `total_loss` by reverse-mode automatic differentiation, (q, n)."""
    gradient: Array = autograd.grad(lambda p: total_loss(oracle, p, state, inputs, weights))(params)
    return gradient


def central_differences(function: Callable[[Array], Array], at: Array, *, step: float = 1e-5) -> Array:
    """Return the derivative of `function` by each entry of `at`, of shape (*function(at).shape, *at.shape)."""
    derivative = np.zeros((*np.shape(function(at)), *at.shape))
    for index in np.ndindex(at.shape):
        above, below = at.copy(), at.copy()
        above[index] += step
        below[index] -= step
        derivative[(..., *index)] = (function(above) - function(below)) / (2.0 * step)
    return derivative


def central_differences_of_rows(
    function: Callable[[Array], Array], at: Array, *, step: float = 1e-5
) -> Array:
    """Return the same for a function of many points at once, (P, *at.shape) to (P, ...), asked once for them all."""
    steps = step * np.eye(at.size).reshape(at.size, *at.shape)
    values = function(np.concatenate((at + steps, at - steps)))
    slopes = (values[: at.size] - values[at.size :]) / (2.0 * step)
    derivative: Array = np.moveaxis(slopes, 0, -1).reshape(*values.shape[1:], *at.shape)
    return derivative


def naive_step_jacobians(
    oracle: CellOracle, params: Array, state: Array, inputs: Array
) -> tuple[Array, Array]:
    """Return J = dh_t/dh_{t-1}, (S, S), and I = dh_t/dtheta with h_{t-1} fixed, (S, q n), by autograd."""
    size = state.size
    of_state = autograd.jacobian(lambda h: oracle.step(params, h, inputs))(state)
    of_params = autograd.jacobian(lambda p: oracle.step(p, state, inputs))(params)
    return of_state.reshape(size, size), of_params.reshape(size, params.size)


def naive_rtrl(
    oracle: CellOracle, params: Array, state: Array, inputs: Array
) -> Iterator[tuple[Array, Array]]:
    """Yield the state (k, n) and the influence matrix (S, q n) after each step, parameters frozen."""
    influence = np.zeros((state.size, params.size))
    for x in inputs:
        jacobian, immediate = naive_step_jacobians(oracle, params, state, x)
        influence = naive_advance(influence, jacobian, immediate)
        state = oracle.step(params, state, x)
        yield state, influence


def naive_advance(influence: Array, jacobian: Array, immediate: Array) -> Array:
    """Return J M + I, summed term by term."""
    advanced = immediate.copy()
    for c, of_state in enumerate(influence):
        advanced += jacobian[:, c, None] * of_state
    return advanced


def credit_of(oracle: CellOracle, state: Array, weights: Array) -> Array:
    """Return d/dh of one term of `total_loss`, (k, n)."""
    credit: Array = autograd.grad(
        lambda h: anp.sum(weights * oracle.read_out(h)) + 0.5 * anp.sum(oracle.read_out(h) ** 2)
    )(state)
    return credit
