"""What the oracles say of each cell's run, found once for all the rules that are compared with it."""

from __future__ import annotations

from functools import cache

import numpy as np

from models.protocols import Array
from tests.conformance.cases import make_run
from tests.oracles.cells import cell_oracle
from tests.oracles.gradients import (
    bptt_gradient,
    central_differences,
    credit_of,
    naive_advance,
    naive_rtrl,
    naive_step_jacobians,
    total_loss,
)

LEARNING_RATE = 0.003
"""Of the run whose parameters move."""


def kept(array: Array) -> Array:
    """Return the array, which nobody may change from here on."""
    array.flags.writeable = False
    return array


@cache
def gradient_by_differences(cell_name: str) -> Array:
    """Return the gradient of a run's total loss by central differences, (q, n)."""
    run, oracle = make_run(cell_name), cell_oracle(cell_name)
    return kept(
        central_differences(
            lambda params: total_loss(oracle, params, run.state, run.inputs, run.weights), run.params
        )
    )


@cache
def gradient_by_bptt(cell_name: str, *, seed: int = 0, steps: int = 32) -> Array:
    """Return the gradient of a run's total loss by backpropagation through time, (q, n)."""
    run = make_run(cell_name, seed=seed, steps=steps)
    return kept(bptt_gradient(cell_oracle(cell_name), run.params, run.state, run.inputs, run.weights))


@cache
def naive_states_and_influences(cell_name: str) -> tuple[tuple[Array, Array], ...]:
    """Return state (k, n) and influence (S, q n) after each step of a run, by naive RTRL."""
    run = make_run(cell_name)
    steps = naive_rtrl(cell_oracle(cell_name), run.params, run.state, run.inputs)
    return tuple((kept(state), kept(influence)) for state, influence in steps)


@cache
def jacobians_of_steps(cell_name: str) -> tuple[tuple[Array, Array], ...]:
    """Return J (S, S) and I (S, q n) of each step of a run."""
    run, oracle = make_run(cell_name), cell_oracle(cell_name)
    states = (run.state, *(state for state, _ in naive_states_and_influences(cell_name)))
    steps = [
        naive_step_jacobians(oracle, run.params, state, x)
        for state, x in zip(states[:-1], run.inputs, strict=True)
    ]
    return tuple((kept(jacobian), kept(immediate)) for jacobian, immediate in steps)


@cache
def params_learned_naively(cell_name: str) -> Array:
    """Return the parameters, (q, n), after a run in which each step moves them down naive RTRL's gradient."""
    run, oracle = make_run(cell_name), cell_oracle(cell_name)
    params, state = run.params.copy(), run.state
    influence = np.zeros((run.state.size, run.params.size))
    for x, weights in zip(run.inputs, run.weights, strict=True):
        jacobian, immediate = naive_step_jacobians(oracle, params, state, x)
        influence = naive_advance(influence, jacobian, immediate)
        state = oracle.step(params, state, x)
        credit = credit_of(oracle, state, weights).reshape(-1)
        params = params - LEARNING_RATE * (credit @ influence).reshape(run.params.shape)
    return kept(params)
