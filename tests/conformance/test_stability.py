"""Goal: the stability figures are what they are called.

Method: each is compared with numpy.linalg on the explicit matrix, for cells as they run and for
matrices that are awkward: complex pairs, defective, zero, very large, very small, not finite.
"""

from __future__ import annotations

import numpy as np
import pytest

from models.cells.columnar import Columnar
from models.cells.rtu import Rtu
from models.cells.stack import Stack
from models.protocols import Array
from models.rules import exact_rule_for
from models.stability import (
    EXACT_STATES_MAX,
    frobenius_norm,
    saturated_ratio,
    spectral_radius,
    spectral_radius_bound,
)
from tests.conformance.cases import CELL_NAMES, advance, full_transition, make_run, of_parts, one_row
from tests.oracles.cells import cell_oracle
from tests.oracles.gradients import naive_rtrl, naive_step_jacobians


def block_diagonal(blocks: Array) -> Array:
    """Return (k, k, n) blocks as one matrix."""
    k, _, n = blocks.shape
    full = np.zeros((k, n, k, n))
    for i in range(n):
        full[:, i, :, i] = blocks[:, :, i]
    return full.reshape(k * n, k * n)


def radius_of(matrix: Array) -> float:
    return float(np.abs(np.linalg.eigvals(matrix)).max())


@pytest.mark.parametrize("cell_name", CELL_NAMES)
def test_spectral_radius_and_influence_norm_equal_those_of_the_explicit_matrices(cell_name: str) -> None:
    run = make_run(cell_name, steps=10, n_units=4)
    oracle, rule = cell_oracle(cell_name), exact_rule_for(run.cell)
    memory, state, expected_state = one_row(rule.init_memory()), run.state[None], run.state
    naive = naive_rtrl(oracle, run.params, run.state, run.inputs)
    for at, (next_state, influence) in enumerate(naive):
        factors = advance(run, rule, memory, state, at)
        state = factors.state
        jacobian, _ = naive_step_jacobians(oracle, run.params, expected_state, run.inputs[at])
        jacobian = of_parts(run.cell, jacobian)
        expected_state = next_state
        np.testing.assert_allclose(spectral_radius(factors.transition), [radius_of(jacobian)], rtol=1e-10)
        np.testing.assert_allclose(rule.memory_norm(memory), [np.linalg.norm(influence)], rtol=1e-12)


@pytest.mark.parametrize("layer", [Rtu, Columnar])
@pytest.mark.parametrize("n_layers", [2, 3])
def test_a_layered_cells_whole_step_has_the_eigenvalues_of_its_layers(
    layer: type[Rtu | Columnar], n_layers: int
) -> None:
    """Goal: the radius of `transition` is that of (1 - K)^-1 J too, whatever K is, so nothing else is needed.

    Method: both spectra of a stack are matched value by value, for an upward Jacobian that is far from zero.
    """
    cell = Stack(layer=layer, n_inputs=2, n_units=2 * n_layers, n_layers=n_layers)
    rng = np.random.default_rng(0)
    params = cell.init_params(rng) + 0.3 * rng.normal(size=(cell.n_params_per_unit, cell.n_units))
    state = 0.3 * rng.normal(size=(1, 2, cell.n_units))
    for x in rng.normal(size=(5, 1, 2)):
        factors = cell.step(params[None], state, x)
        state = factors.state
        whole, of_layers = full_transition(cell, factors), block_diagonal(factors.transition[0])
        assert np.abs(whole - of_layers).max() > 0.05
        apart = np.abs(np.linalg.eigvals(whole)[:, None] - np.linalg.eigvals(of_layers)[None, :])
        assert apart.min(axis=0).max() < 1e-10
        assert apart.min(axis=1).max() < 1e-10
        np.testing.assert_allclose(spectral_radius(factors.transition), [radius_of(whole)], rtol=1e-10)


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("scale", [1e-150, 1e-3, 1.0, 1e100])
def test_the_radius_of_blocks_is_exact(parts: int, scale: float) -> None:
    rng = np.random.default_rng(parts)
    for _ in range(50):
        blocks = scale * rng.normal(size=(4, parts, parts, 3))
        expected = [radius_of(block_diagonal(row)) for row in blocks]
        np.testing.assert_allclose(spectral_radius(blocks), expected, rtol=1e-9)


@pytest.mark.parametrize(
    "matrix",
    [
        [[0.0, -0.5], [0.5, 0.0]],  # a turn: a complex pair
        [[0.9, 1.0], [0.0, 0.9]],  # defective
        [[0.0, 1.0], [0.0, 0.0]],  # nilpotent
        [[0.0, 0.0], [0.0, 0.0]],
        [[-0.7, 0.0], [0.0, 0.2]],  # the largest is negative
        [[0.3, 2.0], [2.0, 0.3]],
    ],
    ids=str,
)
def test_dense_and_block_radius_agree_on_awkward_matrices(matrix: list[list[float]]) -> None:
    jacobian = np.array(matrix)
    # LAPACK perturbs a defective eigenvalue by the root of the rounding error.
    np.testing.assert_allclose(spectral_radius(jacobian[None]), [radius_of(jacobian)], atol=1e-7)
    np.testing.assert_allclose(spectral_radius(jacobian[None, :, :, None]), [radius_of(jacobian)], atol=1e-7)


@pytest.mark.parametrize("size", [2, 16, EXACT_STATES_MAX + 1, 96])
@pytest.mark.parametrize("scale", [1e-120, 0.01, 1.0, 30.0, 1e120])
def test_the_bound_is_never_below_the_radius_and_little_above(size: int, scale: float) -> None:
    rng = np.random.default_rng(size)
    jacobians = scale * rng.normal(size=(3, size, size)) / np.sqrt(size)
    ratio = spectral_radius_bound(jacobians) / [radius_of(row) for row in jacobians]
    assert (ratio >= 1.0 - 1e-12).all()
    assert (ratio < 1.06).all()


def test_the_bound_of_nilpotent_and_zero_matrices_is_zero() -> None:
    jacobians = np.zeros((2, 40, 40))
    jacobians[0] = np.eye(40, k=1)
    assert spectral_radius_bound(jacobians).tolist() == [0.0, 0.0]


def test_large_dense_jacobians_take_the_bound() -> None:
    size = EXACT_STATES_MAX + 8
    jacobians = np.random.default_rng(0).normal(size=(2, size, size)) / np.sqrt(size)
    assert spectral_radius(jacobians).tobytes() == spectral_radius_bound(jacobians).tobytes()


@pytest.mark.parametrize("shape", [(3, 4, 4), (3, 2, 2, 5), (3, 40, 40)])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_has_no_radius_and_the_others_keep_theirs(
    shape: tuple[int, ...], value: float
) -> None:
    transition = np.random.default_rng(0).normal(size=shape)
    expected = spectral_radius(transition)
    transition[1].reshape(-1)[2] = value
    radius = spectral_radius(transition)
    assert np.isnan(radius[1])
    assert radius[[0, 2]].tobytes() == expected[[0, 2]].tobytes()


def test_the_norm_is_that_of_each_row() -> None:
    values = np.random.default_rng(0).normal(size=(3, 4, 5, 2))
    expected = [np.linalg.norm(row.ravel()) for row in values]
    np.testing.assert_allclose(frobenius_norm(values), expected, rtol=1e-14)


def test_the_norm_says_what_is_not_finite_or_overflows() -> None:
    values = np.array([[np.nan, 1.0], [np.inf, 1.0], [1e200, 1.0], [0.0, 0.0]])
    norm = frobenius_norm(values)
    assert np.isnan(norm[0])
    assert norm[1:].tolist() == [np.inf, np.inf, 0.0]


def test_the_saturated_ratio_is_a_share_of_the_units() -> None:
    saturated = np.array([[True, True, False, False], [False] * 4, [True] * 4])
    assert saturated_ratio(saturated).tolist() == [0.5, 0.0, 1.0]
