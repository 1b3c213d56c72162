"""Goal: a cell computes its equations, and its factors are their derivatives.

Method: every cell of CELLS is compared with the equations written once more in tests/oracles, with
central differences, and with what the protocol says of shapes.
"""

from __future__ import annotations

import numpy as np
import pytest

from models.cells import CELLS
from models.cells.rtu import Rtu
from models.protocols import Array
from tests.conformance.cases import CELL_NAMES, dynamic, full_immediate, full_transition, make_run, of_parts
from tests.oracles.cells import cell_oracle
from tests.oracles.gradients import central_differences, naive_step_jacobians

for_every_cell = pytest.mark.parametrize("cell_name", CELL_NAMES)


@for_every_cell
def test_shapes_are_those_of_the_protocol(cell_name: str) -> None:
    run = make_run(cell_name)
    cell, batch = run.cell, 5
    k, q, n, r = cell.n_parts, cell.n_params_per_unit, cell.n_units, cell.n_read_parts
    state = np.repeat(run.state[None], batch, axis=0)
    factors = cell.step(np.repeat(run.params[None], batch, axis=0), state, run.inputs[:batch])
    read, jacobian = cell.read_out(factors.state)
    transition = (batch, k * n, k * n) if cell.recurrence == "dense" else (batch, k, k, n)
    assert run.params.shape == (q, n)
    assert cell.init_state().shape[0] >= k
    assert cell.init_state().shape[1] == n
    assert factors.state.shape == state.shape
    assert factors.transition.shape == transition
    assert factors.immediate.shape == (batch, k, q, n)
    assert read.shape == (batch, r, n)
    assert jacobian.shape == (batch, r, k, n)
    assert cell.saturated(factors.state).shape == (batch, n)
    for array in (factors.state, factors.transition, factors.immediate, read, jacobian):
        assert array.dtype == np.float64


@for_every_cell
def test_a_step_does_not_change_its_arguments(cell_name: str) -> None:
    run = make_run(cell_name)
    arguments = (run.params[None].copy(), run.state[None].copy(), run.inputs[:1].copy())
    for array in arguments:
        array.flags.writeable = False
    run.cell.read_out(run.cell.step(*arguments).state)


@for_every_cell
def test_states_and_read_outs_follow_the_equations(cell_name: str) -> None:
    run, oracle = make_run(cell_name), cell_oracle(cell_name)
    state, expected = run.state[None], run.state
    for x in run.inputs:
        state = run.cell.step(run.params[None], state, x[None]).state
        expected = oracle.step(run.params, expected, x)
        np.testing.assert_allclose(state[0], expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(
            run.cell.read_out(state)[0][0], oracle.read_out(expected), rtol=0, atol=1e-12
        )


@for_every_cell
def test_factors_equal_automatic_differentiation_of_the_equations(cell_name: str) -> None:
    run = make_run(cell_name)
    for x in run.inputs[:5]:
        factors = run.cell.step(run.params[None], run.state[None], x[None])
        jacobian, immediate = naive_step_jacobians(cell_oracle(cell_name), run.params, run.state, x)
        jacobian, immediate = of_parts(run.cell, jacobian), of_parts(run.cell, immediate, columns=False)
        np.testing.assert_allclose(full_transition(run.cell, factors), jacobian, rtol=0, atol=1e-13)
        np.testing.assert_allclose(full_immediate(run.cell, factors), immediate, rtol=0, atol=1e-13)


@for_every_cell
def test_factors_equal_central_differences_of_the_step(cell_name: str) -> None:
    run = make_run(cell_name)
    cell, x = run.cell, run.inputs[:1]
    factors = cell.step(run.params[None], run.state[None], x)

    def by_state(state: Array) -> Array:
        return cell.step(run.params[None], state[None], x).state.reshape(-1)

    def by_params(params: Array) -> Array:
        return cell.step(params[None], run.state[None], x).state.reshape(-1)

    size = run.state.size
    of_state = central_differences(by_state, run.state).reshape(size, size)
    of_params = central_differences(by_params, run.params).reshape(size, run.params.size)
    of_state, of_params = of_parts(cell, of_state), of_parts(cell, of_params, columns=False)
    np.testing.assert_allclose(full_transition(cell, factors), of_state, rtol=0, atol=1e-9)
    np.testing.assert_allclose(full_immediate(cell, factors), of_params, rtol=0, atol=1e-9)


@for_every_cell
def test_the_slope_of_the_read_out_equals_central_differences(cell_name: str) -> None:
    run = make_run(cell_name)
    k, n, r = run.cell.n_parts, run.cell.n_units, run.cell.n_read_parts
    full = central_differences(lambda state: run.cell.read_out(state[None])[0][0], run.state)[..., :k, :]
    expected = np.zeros((r, n, k, n))
    for i in range(n):
        expected[:, i, :, i] = run.cell.read_out(run.state[None])[1][0][:, :, i]
    np.testing.assert_allclose(full, expected, rtol=0, atol=1e-9)


@for_every_cell
def test_new_parameters_depend_on_the_seed_alone(cell_name: str) -> None:
    def draw(seed: int) -> Array:
        return CELLS[cell_name](n_inputs=3, n_units=4).init_params(np.random.default_rng(seed))

    assert draw(1).tobytes() == draw(1).tobytes()
    assert draw(1).tobytes() != draw(2).tobytes()


@for_every_cell
@pytest.mark.parametrize("n_units", [1, 8, 64])
def test_a_new_cell_is_stable_and_not_saturated(cell_name: str, n_units: int) -> None:
    run = make_run(cell_name, n_units=n_units, steps=200)
    state, saturated = run.state[None], 0.0
    # A gate may let a step's radius pass 1; what counts is that a small change dies away over many steps.
    tangent = np.random.default_rng(2).normal(size=run.cell.n_parts * n_units)
    start = np.linalg.norm(tangent)
    for x in run.inputs:
        factors = run.cell.step(run.params[None], state, x[None])
        state = factors.state
        saturated += run.cell.saturated(state).mean() / len(run.inputs)
        tangent = full_transition(run.cell, factors) @ tangent
    assert np.linalg.norm(tangent) < 0.3 * start
    assert np.abs(dynamic(run.cell, state)).max() < 10.0
    assert saturated < 0.1


@for_every_cell
def test_every_unit_is_called_saturated_after_some_huge_inputs(cell_name: str) -> None:
    # In several directions, since a gate that is shut keeps its unit as it was.
    run, rows = make_run(cell_name), 40
    directions = np.random.default_rng(1).normal(size=(rows, run.cell.n_inputs))
    params = np.repeat(run.params[None], rows, axis=0)
    state = np.repeat(run.state[None], rows, axis=0)
    for _ in range(50):
        state = run.cell.step(params, state, 1e3 * directions).state
    born = np.abs(run.cell.read_out(state)[0]).max(axis=(0, 1)) > 0.0
    assert born.any()
    assert (run.cell.saturated(state).any(axis=0) == born).all()


@for_every_cell
@pytest.mark.parametrize(("n_inputs", "n_units"), [(0, 4), (3, 0)])
def test_a_cell_without_inputs_or_units_is_refused(cell_name: str, n_inputs: int, n_units: int) -> None:
    with pytest.raises(ValueError, match="at least one"):
        CELLS[cell_name](n_inputs=n_inputs, n_units=n_units)


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(ValueError, match="tanh or sigmoid"):
        CELLS["vanilla"](n_inputs=1, n_units=1, activation="softplus")


def test_rtu_leaves_a_zero_state_at_zero_inputs() -> None:
    cell = Rtu(n_inputs=3, n_units=4)
    params = cell.init_params(np.random.default_rng(0))
    factors = cell.step(params[None], np.zeros((1, 2, 4)), np.zeros((1, 3)))
    assert not factors.state.any()
    assert not factors.immediate.any()


@pytest.mark.parametrize("part", [0, 1])
def test_an_rtu_unit_is_saturated_if_either_part_is(part: int) -> None:
    cell = Rtu(n_inputs=1, n_units=3)
    state = np.full((1, 2, 3), 0.1)
    state[0, part] = [0.1, 3.0, -3.0]
    assert cell.saturated(state).tolist() == [[False, True, True]]


@pytest.mark.parametrize("log_rate", [-800.0, -40.0, -5.0, 0.0, 5.0, 6.0, 7.0, 800.0])
@pytest.mark.parametrize("log_phase", [-800.0, 0.0, 6.5, 800.0])
def test_rtu_stays_inside_the_unit_circle_and_finite_for_any_parameters(
    log_rate: float, log_phase: float
) -> None:
    cell = Rtu(n_inputs=1, n_units=1)
    params = np.array([[log_rate], [log_phase], [1.0], [1.0]])
    state = np.ones((1, 2, 1))
    for _ in range(3):
        factors = cell.step(params[None], state, np.ones((1, 1)))
        state = factors.state
        assert np.hypot(factors.transition[0, 0, 0, 0], factors.transition[0, 1, 0, 0]) < 1.0
        for array in (factors.state, factors.transition, factors.immediate):
            assert np.isfinite(array).all()


def test_new_rtu_modes_are_spread_over_the_ring() -> None:
    cell = Rtu(n_inputs=1, n_units=16)
    for seed in range(20):
        params = cell.init_params(np.random.default_rng(seed))
        radius, phase = np.exp(-(1e-6 + np.exp(params[0]))), np.exp(params[1])
        assert radius.min() >= 0.5
        assert radius.max() <= 0.99
        assert phase.min() > 0.0
        assert phase.max() <= np.pi
        # Stratified: between neighbours, at most two strata.
        assert np.diff(np.sort(phase)).max() <= 2 * np.pi / 16
        assert np.diff(np.sort(radius**2)).max() <= 2 * (0.99**2 - 0.5**2) / 16
