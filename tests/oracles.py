"""What the numeric core is compared with: slow, plain, and written from the equations alone.

Nothing here calls a cell, a rule or an optimizer of `models`. The cells' equations are written once
more, for automatic differentiation, and every gradient is found in three ways that share no code:

    central differences       (L(theta + e) - L(theta - e)) / 2 e
    backpropagation           reverse mode through all steps at once, by autograd
    naive RTRL                M <- J M + I, with every matrix explicit and a loop over each index

Shapes are those of one model, without a batch: params (q, n), state (k, n), inputs (m,). Flattened,
state[a * n + i] is part a of unit i, and theta[j * n + i] is unit i's j-th parameter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import autograd
import autograd.numpy as anp
import numpy as np

from models.protocols import Array

StepFunction = Callable[[Any, Any, Any], Any]
ReadOutFunction = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class CellOracle:
    """A cell's equations: step(params, state, inputs) -> state (k, n), and read_out(state) -> (r, n)."""

    step: StepFunction
    read_out: ReadOutFunction


def cell_oracle(name: str) -> CellOracle:
    """Return the oracle of the cell that stands under this name in `models.cells.CELLS`."""
    if name not in CELL_ORACLES:
        raise LookupError(
            f"tests/oracles.py has no equations for the cell {name!r}. Write its step and read-out there with"
            " autograd.numpy, from the equations and not from the code, and add a line to CELL_ORACLES:"
            " without them its derivatives are compared with nothing."
        )
    return CELL_ORACLES[name]


def _vanilla_step(activation: Callable[[Any], Any]) -> StepFunction:
    def step(params: Any, state: Any, inputs: Any) -> Any:
        n, m = state.shape[1], len(inputs)
        summed = anp.dot(params[:n].T, state[0]) + anp.dot(params[n : n + m].T, inputs) + params[n + m]
        return anp.reshape(activation(summed), (1, n))

    return step


def _logistic(value: Any) -> Any:
    return 1.0 / (1.0 + anp.exp(-value))


def _same(state: Any) -> Any:
    return state


def _rtu_step(params: Any, state: Any, inputs: Any) -> Any:
    m = len(inputs)
    radius = anp.exp(-(1e-6 + anp.exp(params[0])))
    angle = anp.exp(params[1])
    eigenvalue = radius * anp.exp(1j * angle)
    weights = params[2 : 2 + m] + 1j * params[2 + m :]
    drive = anp.dot(inputs, weights)
    new = eigenvalue * (state[0] + 1j * state[1]) + anp.sqrt(1.0 - radius**2) * drive
    return anp.stack((anp.real(new), anp.imag(new)))


CELL_ORACLES: dict[str, CellOracle] = {
    "rtu": CellOracle(step=_rtu_step, read_out=anp.tanh),
    "vanilla": CellOracle(step=_vanilla_step(anp.tanh), read_out=_same),
    "vanilla_sigmoid": CellOracle(step=_vanilla_step(_logistic), read_out=_same),
}


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
    """Return J M + I, summed entry by entry."""
    n_states, n_params = influence.shape
    advanced = np.zeros((n_states, n_params))
    for s in range(n_states):
        advanced[s] = immediate[s]
        for c in range(n_states):
            advanced[s] += jacobian[s, c] * influence[c]
    return advanced


def credit_of(oracle: CellOracle, state: Array, weights: Array) -> Array:
    """Return d/dh of one term of `total_loss`, (k, n)."""
    credit: Array = autograd.grad(
        lambda h: anp.sum(weights * oracle.read_out(h)) + 0.5 * anp.sum(oracle.read_out(h) ** 2)
    )(state)
    return credit


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


OPTIMIZER_ORACLES: dict[str, Callable[[float], ScalarAdam | ScalarSgd]] = {
    "adam": ScalarAdam,
    "sgd": ScalarSgd,
}


def optimizer_oracle(name: str) -> Callable[[float], ScalarAdam | ScalarSgd]:
    """Return the scalar form of the optimizer that stands under this name in OPTIMIZERS."""
    if name not in OPTIMIZER_ORACLES:
        raise LookupError(
            f"tests/oracles.py has no scalar form of the optimizer {name!r}. Write one from its source and"
            " add a line to OPTIMIZER_ORACLES."
        )
    return OPTIMIZER_ORACLES[name]
