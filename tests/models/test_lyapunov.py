"""Goal: the exponent, the horizon of memory, the rank and the condition are those of systems where they are known.

Method: the logistic map (ln 2), Henon's (.419), linear maps (the logarithm of the spectral radius), matrices with known spectra,
and cells whose Jacobians are multiplied out.
"""

from __future__ import annotations

import numpy as np
import pytest

from models.cells import CELLS
from models.cells.rtu import Rtu
from models.cells.stack import Stack
from models.protocols import Array, State
from models.stability import (
    Lyapunov,
    effective_rank,
    log_condition,
    memory_horizon,
    unit_radii,
    units_correlation,
)
from models.stability.lyapunov import GROWTH_MIN, MEMORY_MAX, MEMORY_SHARE, init_tangent, propagate
from tests.conformance.cases import CELL_NAMES, full_transition, make_run, of_parts
from tests.models.streams import rows_of
from tests.oracles.cells import cell_oracle
from tests.oracles.gradients import naive_step_jacobians


def logistic(steps: int) -> list[Array]:
    """Return the Jacobians along x <- 4 x (1 - x), (1, 1, 1, 1) each."""
    x, found = 0.1234, []
    for _ in range(steps):
        found.append(np.full((1, 1, 1, 1), 4.0 - 8.0 * x))
        x = 4.0 * x * (1.0 - x)
    return found


def henon(steps: int) -> list[Array]:
    """Return the Jacobians along x <- 1 - 1.4 x^2 + y, y <- .3 x, (1, 2, 2) each."""
    x, y, found = 0.1, 0.1, []
    for _ in range(steps):
        found.append(np.array([[[-2.8 * x, 1.0], [0.3, 0.0]]]))
        x, y = 1.0 - 1.4 * x * x + y, 0.3 * x
    return found


def along(jacobians: list[Array], parts: int, units: int) -> State:
    """Return the state of the exponent after these Jacobians."""
    exponent = Lyapunov(parts, units)
    state = rows_of(exponent.init_state())
    for jacobian in jacobians:
        exponent.update(state, jacobian)
    return state


def test_the_logistic_maps_exponent_is_the_logarithm_of_two() -> None:
    state = along(logistic(20_000), 1, 1)
    np.testing.assert_allclose(state["lifetime"], [np.log(2.0)], atol=0.005)
    np.testing.assert_allclose(state["recent"], [np.log(2.0)], atol=0.15)


@pytest.mark.parametrize("form", ["dense", "one unit of two parts"])
def test_henons_exponent_is_known(form: str) -> None:
    jacobians = henon(20_000)
    if form == "dense":
        state = along(jacobians, 1, 2)
    else:
        state = along([jacobian[..., None] for jacobian in jacobians], 2, 1)
    np.testing.assert_allclose(state["lifetime"], [0.419], atol=0.01)


@pytest.mark.parametrize("radius", [0.2, 0.9, 1.0, 1.3])
def test_a_linear_maps_exponent_is_the_logarithm_of_its_spectral_radius(radius: float) -> None:
    matrix = np.random.default_rng(3).normal(size=(1, 5, 5))
    matrix *= radius / np.abs(np.linalg.eigvals(matrix)).max()
    state = along([matrix] * 6000, 1, 5)
    np.testing.assert_allclose(state["lifetime"], [np.log(radius)], atol=2e-3)
    np.testing.assert_allclose(state["recent"], [np.log(radius)], atol=2e-3)


def test_a_map_that_forgets_at_once_has_the_least_exponent_and_one_that_is_not_finite_waits() -> None:
    state = along([np.zeros((1, 2, 2, 3))] * 4, 2, 3)
    np.testing.assert_allclose(state["lifetime"], [np.log(GROWTH_MIN)])
    before = {name: value.copy() for name, value in state.items()}
    exponent = Lyapunov(2, 3)
    exponent.update(state, np.full((1, 2, 2, 3), np.nan))
    assert state["lifetime"].tobytes() == before["lifetime"].tobytes()
    assert state["steps"].tolist() == [4]
    assert state["tangent"][0].tobytes() == init_tangent(2, 3).tobytes()


@pytest.mark.parametrize("cell_name", CELL_NAMES)
def test_a_change_goes_on_as_by_the_explicit_jacobian(cell_name: str) -> None:
    run = make_run(cell_name, steps=3, n_units=4)
    state = run.state[None]
    change = np.random.default_rng(0).normal(size=(1, run.cell.n_parts, run.cell.n_units))
    for x in run.inputs:
        jacobian, _ = naive_step_jacobians(cell_oracle(cell_name), run.params, state[0], x)
        factors = run.cell.step(run.params[None], state, x[None])
        found = propagate(factors.transition, factors.upward, change)
        expected = of_parts(run.cell, jacobian) @ change.reshape(-1)
        np.testing.assert_allclose(found.reshape(-1), expected, rtol=1e-9, atol=1e-12)
        state = factors.state


def test_a_change_goes_on_through_the_layers_of_a_stack() -> None:
    cell = Stack(layer=Rtu, n_inputs=2, n_units=6, n_layers=3)
    rng = np.random.default_rng(0)
    params = cell.init_params(rng) + 0.3 * rng.normal(size=(cell.n_params_per_unit, cell.n_units))
    factors = cell.step(params[None], 0.3 * rng.normal(size=(1, 2, 6)), rng.normal(size=(1, 2)))
    change = rng.normal(size=(1, 2, 6))
    found = propagate(factors.transition, factors.upward, change)
    np.testing.assert_allclose(
        found.reshape(-1), full_transition(cell, factors) @ change.reshape(-1), rtol=1e-10
    )


def test_the_exponent_of_a_row_is_its_own_to_the_bit() -> None:
    rng = np.random.default_rng(0)
    jacobians = [rng.normal(size=(3, 4, 4)) / 2.0 for _ in range(50)]
    together = Lyapunov(1, 4)
    state = rows_of(together.init_state(), rows=3)
    for jacobian in jacobians:
        together.update(state, jacobian)
    alone = along([jacobian[1:2] for jacobian in jacobians], 1, 4)
    assert {name: value[1].tobytes() for name, value in state.items()} == {
        name: value[0].tobytes() for name, value in alone.items()
    }


def test_the_horizon_of_a_turning_and_shrinking_unit_is_where_a_hundredth_is_left() -> None:
    cell = CELLS["rtu"](n_inputs=2, n_units=5)
    rng = np.random.default_rng(1)
    params = cell.init_params(rng)[None]
    factors = cell.step(params, np.zeros((1, 2, 5)), rng.normal(size=(1, 2)))
    horizons = memory_horizon(np.log(unit_radii(factors.transition)))[0]
    for unit, horizon in enumerate(horizons):
        block = factors.transition[0, :, :, unit]
        before = np.linalg.norm(np.linalg.matrix_power(block, int(horizon)), 2)
        after = np.linalg.norm(np.linalg.matrix_power(block, int(horizon) + 1), 2)
        assert after <= MEMORY_SHARE * (1.0 + 1e-9)
        assert before >= MEMORY_SHARE * (1.0 - 1e-9)
    state = along([factors.transition] * 20_000, 2, 5)
    np.testing.assert_allclose(memory_horizon(state["recent"]), [horizons.max()], rtol=0.02)


def test_the_horizon_of_a_dense_cell_is_where_products_of_its_jacobians_fade() -> None:
    run = make_run("gru", steps=1200, n_units=6)
    exponent, state = Lyapunov(run.cell.n_parts, 6), run.state[None]
    watched, jacobians = rows_of(exponent.init_state()), []
    for x in run.inputs:
        factors = run.cell.step(run.params[None], state, x[None])
        exponent.update(watched, factors.transition)
        jacobians.append(factors.transition[0])
        state = factors.state
    product, steps = np.eye(jacobians[0].shape[0]), 0
    while np.linalg.norm(product, 2) > MEMORY_SHARE:
        steps += 1
        product = product @ jacobians[-steps]
    assert 0.5 * steps < memory_horizon(watched["recent"])[0] < 2.0 * steps


def test_what_does_not_fade_has_the_largest_horizon() -> None:
    assert memory_horizon(np.array([0.0, 0.3, -1e-7])).tolist() == [MEMORY_MAX] * 3


def test_rank_and_condition_are_those_of_known_spectra() -> None:
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    spectra = np.array([[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1e-13, 1e-13], [8.0, 4.0, 2.0, 2.0]])
    matrices = turn @ (spectra[:, :, None] * turn.T)
    matrices = (matrices + matrices.swapaxes(1, 2)) / 2.0
    np.testing.assert_allclose(effective_rank(matrices), [4.0, 2.0, 2.0**1.75], rtol=1e-6)
    np.testing.assert_allclose(log_condition(matrices)[[0, 2]], [0.0, np.log10(4.0)], atol=1e-9)
    broken = np.stack([np.full((4, 4), np.nan), np.zeros((4, 4))])
    assert log_condition(broken).tolist() == [16.0, 16.0]
    assert effective_rank(broken).tolist() == [0.0, 0.0]


def test_units_that_say_the_same_lower_the_rank_of_what_least_squares_has_seen() -> None:
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(500, 4))
    alike = seen.copy()
    alike[:, 1] = seen[:, 0] + 0.01 * seen[:, 1]
    ranks = []
    for inputs in (seen, alike):
        covariance: Array = np.linalg.inv(inputs.T @ inputs + 1e-3 * np.eye(4)).astype(np.float64)
        condition = log_condition(covariance[None])
        ranks.append(effective_rank(units_correlation(covariance[None], 3, condition))[0])
    assert ranks[0] > 2.95
    assert ranks[1] < 2.1
