"""Goal: recursive least squares is least squares; the linear expert finds the coefficients that made a series.

Method: the weighted normal equations solved outright; inputs that excite no direction, or one, or overflow;
autoregressions with known coefficients.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.bank import Bank
from models.optimizers.rls import (
    PRIOR_VARIANCE,
    TRACE_CEILING,
    rls_correct,
    rls_gain,
    rls_update,
)
from models.protocols import Array, BoolArray
from tests.models.streams import SMALL, Stream, run, run_new, side_by_side, univariate

ROWS, HORIZONS, SIZE = 3, 2, 5


def new_state(rows: int = ROWS, horizons: int = HORIZONS, size: int = SIZE) -> tuple[Array, Array]:
    return np.zeros((rows, horizons, size)), np.tile(PRIOR_VARIANCE * np.eye(size), (rows, horizons, 1, 1))


def learned(
    inputs: Array,
    targets: Array,
    valid: BoolArray,
    *,
    forgetting: float,
    state: tuple[Array, Array] | None = None,
) -> tuple[Array, Array]:
    """Return weights and covariance after all rows; inputs (T, B, H, F), targets and valid (T, B, H)."""
    weights, covariance = state or new_state(*inputs.shape[1:])
    for phi, target, is_due in zip(inputs, targets, valid, strict=True):
        residual = target - (weights * phi).sum(axis=-1)
        weights, covariance = rls_update(weights, covariance, phi, residual, is_due, forgetting=forgetting)
    return weights, covariance


@pytest.mark.parametrize("forgetting", [0.9, 0.99, 0.9995, 1.0])
def test_the_weights_equal_the_closed_form_of_weighted_least_squares(forgetting: float) -> None:
    """w minimises sum_i lambda^(n-i) (y_i - w' phi_i)^2 + lambda^n |w|^2 / prior."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(300, ROWS, HORIZONS, SIZE)) * np.logspace(-0.5, 1.0, SIZE)
    targets = rng.normal(size=(300, ROWS, HORIZONS)) + inputs.sum(axis=-1)
    valid = rng.random((300, ROWS, HORIZONS)) < 0.8
    weights, covariance = learned(inputs, targets, valid, forgetting=forgetting)
    for row in range(ROWS):
        for horizon in range(HORIZONS):
            used = valid[:, row, horizon]
            phi, target = inputs[used, row, horizon], targets[used, row, horizon]
            count = len(phi)
            ages = forgetting ** np.arange(count - 1, -1, -1)
            information = (phi * ages[:, None]).T @ phi + forgetting**count / PRIOR_VARIANCE * np.eye(SIZE)
            expected = np.linalg.solve(information, (phi * ages[:, None]).T @ target)
            np.testing.assert_allclose(weights[row, horizon], expected, rtol=0, atol=1e-8)
            inverse = np.linalg.inv(information)
            np.testing.assert_allclose(covariance[row, horizon], inverse, rtol=0, atol=1e-8)


@pytest.mark.parametrize("late", [1, 5])
def test_gains_that_wait_for_their_labels_give_the_weights_of_labels_that_came_at_once(late: int) -> None:
    rng = np.random.default_rng(3)
    inputs = rng.normal(size=(200, ROWS, SIZE))
    targets = rng.normal(size=(200, ROWS, 1)) + inputs.sum(axis=-1, keepdims=True)
    always = np.full((200, ROWS, 1), True)
    at_once, _ = learned(inputs[:, :, None], targets, always, forgetting=0.99)
    weights, covariance = new_state(horizons=1)
    covariance = covariance[:, 0]
    kept: list[tuple[Array, Array]] = []
    bound = np.full((ROWS, 1), np.inf)
    for row in range(len(inputs) + late):
        if row >= late:
            gain, phi = kept[row - late]
            weights = rls_correct(weights, gain[:, None], phi[:, None], targets[row - late], bound, always[0])
        if row < len(inputs):
            gain, covariance = rls_gain(covariance, inputs[row], 0.99)
            kept.append((gain, inputs[row]))
    np.testing.assert_allclose(weights, at_once, rtol=0, atol=1e-12)


def test_a_label_that_is_not_due_or_no_number_changes_no_weight_and_an_odd_one_little() -> None:
    rng = np.random.default_rng(4)
    weights, gain, phi = rng.normal(size=(3, 4, 2, SIZE))
    target = np.array([[1.0, 2.0], [np.nan, 1.0], [np.inf, 0.0], [1e9, 0.0]])
    valid = np.array([[False, True], [True, True], [True, True], [True, True]])
    found = rls_correct(weights, gain, phi, target, np.full((4, 2), 2.0), valid)
    assert found[0, 0].tobytes() == weights[0, 0].tobytes()
    assert found[1, 0].tobytes() == weights[1, 0].tobytes()
    np.testing.assert_allclose(found[3, 0], weights[3, 0] + 2.0 * gain[3, 0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(found[2, 0], weights[2, 0] + 2.0 * gain[2, 0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1e200])
def test_a_gain_that_would_not_be_finite_is_none(wrong: float) -> None:
    covariance = np.tile(PRIOR_VARIANCE * np.eye(SIZE), (2, 1, 1))
    inputs = np.ones((2, SIZE))
    inputs[1, 0] = wrong
    with np.errstate(over="ignore", invalid="ignore"):
        gain, after = rls_gain(covariance, inputs, 0.99)
    assert not gain[1].any()
    assert after[1].tobytes() == covariance[1].tobytes()
    assert gain[0].all()


def test_where_no_label_is_due_nothing_changes() -> None:
    rng = np.random.default_rng(1)
    state = learned(
        rng.normal(size=(20, ROWS, HORIZONS, SIZE)),
        rng.normal(size=(20, ROWS, HORIZONS)),
        np.full((20, ROWS, HORIZONS), True),
        forgetting=0.99,
    )
    valid = np.array([[True, False], [False, False], [False, True]])
    weights, covariance = rls_update(*state, rng.normal(size=(ROWS, HORIZONS, SIZE)), np.ones((3, 2)), valid)
    assert weights[~valid].tobytes() == state[0][~valid].tobytes()
    assert covariance[~valid].tobytes() == state[1][~valid].tobytes()
    assert (weights[valid] != state[0][valid]).all()


@pytest.mark.parametrize(
    ("field", "wrong"),
    [("inputs", np.nan), ("inputs", np.inf), ("inputs", 1e200), ("residual", np.nan), ("residual", np.inf)],
)
def test_an_update_that_would_not_be_finite_is_not_made(field: str, wrong: float) -> None:
    state = new_state()
    arguments = {"inputs": np.ones((ROWS, HORIZONS, SIZE)), "residual": np.ones((ROWS, HORIZONS))}
    arguments[field][1, 0] = wrong
    with np.errstate(over="ignore", invalid="ignore"):
        weights, covariance = rls_update(
            *state, arguments["inputs"], arguments["residual"], np.full((ROWS, HORIZONS), True)
        )
    spared = np.full((ROWS, HORIZONS), False)
    spared[1, 0] = True
    assert weights[spared].tobytes() == state[0][spared].tobytes()
    assert covariance[spared].tobytes() == state[1][spared].tobytes()
    assert np.isfinite(weights).all()
    assert weights[~spared].all()


ILL: dict[str, Array] = {
    "zeros": np.zeros((8000, SIZE)),
    "one direction": np.tile([1.0, 1.0, 0.0, 0.0, 0.0], (8000, 1)),
    "equal columns": np.repeat(np.random.default_rng(2).normal(size=(8000, 1)), SIZE, axis=1),
    "nearly equal columns": np.random.default_rng(2).normal(size=(8000, 1))
    + 1e-9 * np.random.default_rng(3).normal(size=(8000, SIZE)),
    "of many sizes": np.random.default_rng(4).normal(size=(8000, SIZE)) * np.logspace(-12, 3, SIZE),
    "excited, then still": np.where(
        np.arange(8000)[:, None] < 2000, np.random.default_rng(5).normal(size=(8000, SIZE)), 0.0
    ),
    "still, then excited": np.where(
        np.arange(8000)[:, None] > 6000, np.random.default_rng(6).normal(size=(8000, SIZE)), 0.0
    ),
}


def test_inputs_that_excite_little_leave_all_finite_bounded_and_symmetric() -> None:
    """All cases side by side: the covariance may not blow up in directions of which nothing is heard."""
    inputs = np.stack(list(ILL.values()), axis=1)[:, :, None]
    true = np.array([1.0, -2.0, 0.5, 3.0, 1.0])
    targets = inputs @ true + 0.1 * np.random.default_rng(7).normal(size=inputs.shape[:3])
    weights, covariance = learned(inputs, targets, np.full(targets.shape, True), forgetting=0.995)
    assert np.isfinite(weights).all()
    assert np.isfinite(covariance).all()
    assert covariance.tobytes() == np.ascontiguousarray(covariance.swapaxes(-1, -2)).tobytes()
    trace = np.trace(covariance, axis1=-2, axis2=-1)
    assert trace.max() <= TRACE_CEILING * SIZE / 0.995
    lowest = np.linalg.eigvalsh(covariance)[..., 0]
    assert (lowest >= -1e-9 * trace).all()
    assert np.abs(weights).max() < 10.0
    for case, row in zip(ILL, range(len(ILL)), strict=True):
        error = float(np.abs(inputs[-50:, row, 0] @ (weights[row, 0] - true)).max())
        assert error < 0.5, (case, error)


def test_the_linear_expert_recovers_the_coefficients_of_an_autoregression() -> None:
    """Increments made by d_t = .5 d_{t-1} - .3 d_{t-2} + noise, at magnitudes that differ by a billion."""
    rng = np.random.default_rng(8)
    noise = rng.normal(size=(2500, 4))
    increments = np.zeros_like(noise)
    for t in range(2, len(noise)):
        increments[t] = 0.5 * increments[t - 1] - 0.3 * increments[t - 2] + noise[t]
    series = 1e3 + np.array([1e-3, 1.0, 1e3, 1e6]) * increments.cumsum(axis=0)
    # Without a season, whose changes would be among the lags: none of rows an hour apart fits into two.
    specification = replace(SMALL, experts=("linear",), season_max=2)
    bank = Bank(specification)
    slots = [bank.admit() for _ in range(4)]
    told = run(bank, slots, side_by_side(*series.T, interval=3600.0))
    weights = np.stack([bank.snapshot(slot)["expert.linear/weights"][0, 0] for slot in slots])
    expected = [0.5, -0.3, 0.0, 0.0]
    np.testing.assert_allclose(weights[:, : specification.lags].mean(axis=0), expected, atol=0.04)
    np.testing.assert_allclose(weights[:, : specification.lags], np.tile(expected, (4, 1)), atol=0.08)
    error = told["error"][1000:, :, 0, 0] / [1e-3, 1.0, 1e3, 1e6]
    assert (error**2).mean() < 1.03  # the noise has variance one, and nobody can do better


def test_the_linear_expert_uses_a_feature_that_leads() -> None:
    rng = np.random.default_rng(9)
    lead = rng.normal(size=901)
    stream = univariate(10.0 + np.concatenate(([0.0], lead[:-1])).cumsum()[:900])
    stream = replace(stream, features=lead[:900, None, None])
    bank = Bank(replace(SMALL, experts=("linear",), features=("lead",)))
    told = run(bank, [bank.admit()], stream)
    assert np.abs(told["error"][500:]).mean() < 0.05


@pytest.mark.parametrize("expert", ["linear_joint", "recurrent_joint"])
def test_a_joint_expert_stands_beside_one_that_sees_its_own_target_alone(expert: str) -> None:
    """The mixture goes over to the joint one where another target leads; the other one sees what it would without it."""
    steps = np.random.default_rng(10).normal(size=601)
    values = np.stack((steps[1:].cumsum(), steps[:-1].cumsum()), axis=1)
    stream = Stream(3600.0 * np.arange(600.0)[:, None], values[:, None, :], np.empty((600, 1, 0)))
    alone = replace(SMALL, experts=("linear",), targets=("a", "b"), season_max=2)
    both = replace(alone, experts=("linear", expert))
    found, expected = run_new(both, stream), run_new(alone, stream)
    of_experts = np.abs(found["expert_errors"][400:, 0, :, 0]).mean(axis=0)
    assert of_experts[1, 1] < 0.2
    assert of_experts[1, 0] > 0.5
    assert np.abs(found["error"][400:, 0, 1, 0]).mean() < 0.3
    np.testing.assert_allclose(
        found["expert_predictions"][..., 0], expected["expert_predictions"][..., 0], rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("leader", [0, 2])
def test_with_joint_each_target_sees_what_the_others_did(leader: int) -> None:
    """One target goes a row ahead of the two others: with `joint` they are foreseen, without it they are not."""
    steps = np.random.default_rng(10).normal(size=451)
    leading, following = steps[1:].cumsum(), steps[:-1].cumsum()
    values = np.stack([leading if target == leader else following for target in range(3)], axis=1)
    times = 3600.0 * np.arange(450.0)[:, None]
    stream = Stream(times, values[:, None, :], np.empty((450, 1, 0)))
    specification = replace(SMALL, experts=("linear",), targets=("a", "b", "c"), season_max=2)
    error = {
        joint: np.abs(run_new(replace(specification, joint=joint), stream)["error"][250:, 0, :, 0]).mean(
            axis=0
        )
        for joint in (True, False)
    }
    followers = [target for target in range(3) if target != leader]
    assert (error[True][followers] < 0.1).all()
    assert (error[False] > 0.5).all()
    assert error[True][leader] > 0.5
