"""Goal: the optimizers of derivatives and errors compute their sources' equations, where the answer is known in closed form.

Method: on linear models the filters are Bayesian and weighted least squares; the rest is compared with scalar forms;
rows that cannot be learned from are refused and leave everything as it was.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models.losses import LOSSES
from models.optimizers import JACOBIAN_OPTIMIZERS, Ekf
from models.optimizers.autostep import Autostep
from models.optimizers.innovations import LARGEST, whitened
from models.optimizers.intentional import Intentional
from models.optimizers.obgd import Obgd
from models.optimizers.recursive_least_squares import Rls
from models.protocols import Array, Blocks, State
from tests.conformance.cases import one_row

SHAPES = ((2, 3), (1, 2))
SIZE = 8
ONE = np.array([True])
PLAIN: dict[str, Any] = {"process_noise": 0.0, "gate": math.inf, "adaptive": False, "prior_variance": 0.7}


def in_blocks(flat: Array) -> Blocks:
    """Return derivatives (o, SIZE) as blocks (1, o, groups, size)."""
    return (flat[:, :6].reshape(1, -1, 2, 3), flat[:, 6:].reshape(1, -1, 1, 2))


def flat(blocks: Blocks) -> Array:
    return np.concatenate([block.reshape(-1) for block in blocks])


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_the_joint_filter_is_bayesian_linear_regression(n_outputs: int) -> None:
    rng = np.random.default_rng(0)
    ekf = Ekf(**PLAIN)
    state, theta = one_row(ekf.init_state(SHAPES)), np.zeros(SIZE)
    precision, weighted = np.eye(SIZE) / 0.7, np.zeros(SIZE)
    for _ in range(40):
        h, y, noise = (
            rng.normal(size=(n_outputs, SIZE)),
            rng.normal(size=n_outputs),
            rng.uniform(0.5, 2, n_outputs),
        )
        update, moved = ekf.update(state, in_blocks(h), (y - h @ theta)[None], noise[None], ONE)
        assert moved.all()
        theta = theta + flat(update)
        precision += (h / noise[:, None]).T @ h
        weighted += h.T @ (y / noise)
    covariance = state["covariance.0"][0, 0]
    np.testing.assert_allclose(covariance, np.linalg.inv(precision), rtol=0, atol=1e-10)
    np.testing.assert_allclose(theta, np.linalg.solve(precision, weighted), rtol=0, atol=1e-10)
    assert (covariance == covariance.T).all()


def test_the_filter_by_unit_is_the_joint_one_where_units_never_meet() -> None:
    rng = np.random.default_rng(1)
    joint, by_unit = Ekf(**PLAIN), Ekf(decoupled=True, **PLAIN)
    states = one_row(joint.init_state(SHAPES)), one_row(by_unit.init_state(SHAPES))
    groups = [slice(0, 3), slice(3, 6), slice(6, 8)]
    for at in range(60):
        h = np.zeros((1, SIZE))
        h[0, groups[at % 3]] = rng.normal(size=3 if at % 3 < 2 else 2)
        error = rng.normal(size=(1, 1))
        updates = [
            ekf.update(state, in_blocks(h), error, np.ones((1, 1)), ONE)[0]
            for ekf, state in zip((joint, by_unit), states, strict=True)
        ]
        np.testing.assert_allclose(flat(updates[0]), flat(updates[1]), rtol=0, atol=1e-12)
    together = states[0]["covariance.0"][0, 0]
    np.testing.assert_allclose(together[:3, :3], states[1]["covariance.0"][0, 0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(together[6:, 6:], states[1]["covariance.1"][0, 0], rtol=0, atol=1e-12)


def test_where_units_meet_the_filter_by_unit_leaves_out_what_is_between_them() -> None:
    rng = np.random.default_rng(1)
    joint, by_unit = Ekf(**PLAIN), Ekf(decoupled=True, **PLAIN)
    states = one_row(joint.init_state(SHAPES)), one_row(by_unit.init_state(SHAPES))
    apart = 0.0
    for _ in range(5):
        h, error = rng.normal(size=(1, SIZE)), rng.normal(size=(1, 1))
        updates = [
            ekf.update(state, in_blocks(h), error, np.ones((1, 1)), ONE)[0]
            for ekf, state in zip((joint, by_unit), states, strict=True)
        ]
        apart = max(apart, float(np.abs(flat(updates[0]) - flat(updates[1])).max()))
    assert apart > 1e-3


def test_gate_median_and_noise_are_those_of_a_scalar_form() -> None:
    rng = np.random.default_rng(2)
    gate, memory = 2.0, 50.0
    ekf = Ekf(prior_variance=0.5, process_noise=0.0, gate=gate, memory=memory)
    state, p, median, variance, cuts = one_row(ekf.init_state(((1, 1),))), 0.5, 1.0, 1.0, 0
    for count in range(1, 301):
        h, e = float(rng.normal()), float(rng.normal()) * (20.0 if count % 40 == 0 else 1.0)
        (update,), _ = ekf.update(state, (np.full((1, 1, 1, 1), h),), np.array([[e]]), np.ones((1, 1)), ONE)
        size = abs(e)
        if count == 1:
            median = max(size, 1e-6)
        bound = gate * 1.4826 * median if count > 10 else math.inf
        cut = max(-bound, min(bound, e))
        cuts += cut != e
        median *= math.exp(max(1.0 / count, 0.5 / memory) * (1.0 if size > median else -1.0))
        variance = (
            cut * cut if count == 1 else variance + max(1.0 / count, 1.0 / memory) * (cut * cut - variance)
        )
        total = variance + h * p * h
        assert update.item() == pytest.approx(p * h * cut / total, rel=1e-9)
        p -= (p * h) ** 2 / total
        assert state["covariance.0"].item() == pytest.approx(p, rel=1e-9)
        assert state["median"].item() == pytest.approx(median, rel=1e-9)
    assert cuts > 7


def test_process_noise_comes_once_a_label_and_stops_at_the_bound() -> None:
    ekf = Ekf(prior_variance=1.0, process_noise=0.25, trace_max=2.0)
    state = one_row(ekf.init_state(((1, 1),)))
    seen = []
    for active in (True, False, True, True, True, True, True):
        ekf.update(state, (np.zeros((1, 1, 1, 1)),), np.ones((1, 1)), np.ones((1, 1)), np.array([active]))
        seen.append(state["covariance.0"].item())
    assert seen == [1.25, 1.25, 1.5, 1.75, 2.0, 2.0, 2.0]


def test_rls_is_least_squares_with_exponential_weights() -> None:
    rng, keep, prior = np.random.default_rng(3), 0.97, 0.4
    rls = Rls(forgetting=keep, prior_variance=prior)
    state, w = one_row(rls.init_state(((1, 4),))), np.zeros(4)
    precision, weighted = np.eye(4) / prior, np.zeros(4)
    for _ in range(80):
        phi, y = rng.normal(size=4), float(rng.normal())
        (update,), _ = rls.update(
            state, (phi.reshape(1, 1, 1, 4),), np.array([[y - phi @ w]]), np.ones((1, 1)), ONE
        )
        w = w + update[0, 0]
        precision = keep * precision + np.outer(phi, phi)
        weighted = keep * weighted + phi * y
    np.testing.assert_allclose(w, np.linalg.solve(precision, weighted), rtol=0, atol=1e-10)
    np.testing.assert_allclose(state["covariance.0"][0, 0], np.linalg.inv(precision), rtol=0, atol=1e-10)


derivatives = hnp.arrays(np.float64, (SIZE,), elements=st.floats(-1.0, 1.0, width=64))


@given(h=derivatives, error=st.floats(-1e6, 1e6))
def test_obgd_never_takes_away_more_than_half_of_an_error(h: Array, error: float) -> None:
    update, _ = Obgd().update({}, in_blocks(h[None]), np.array([[error]]), np.ones((1, 1)), ONE)
    size = float(np.abs(h).sum())
    bound = 2.0 * max(abs(error), 1.0) * size
    np.testing.assert_allclose(flat(update), error * h / max(1.0, bound), rtol=1e-12, atol=1e-300)
    taken = float(h @ flat(update))
    assert abs(error - taken) <= abs(error) * (1.0 + 1e-12)
    assert taken * error >= 0.0
    assert abs(taken) <= 0.5 * abs(error) * (1.0 + 1e-12) or bound <= 1.0


@given(h=derivatives, error=st.floats(-1e3, 1e3), share=st.floats(0.0, 1.0))
def test_an_intentional_update_takes_away_its_share(h: Array, error: float, share: float) -> None:
    power = float(h @ h)
    update, _ = Intentional(share=share, epsilon=0.01).update(
        {}, in_blocks(h[None]), np.array([[error]]), np.ones((1, 1)), ONE
    )
    expected = share * error * power / (power + 0.01)
    assert float(h @ flat(update)) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_an_intentional_update_sees_what_earlier_outputs_have_left() -> None:
    h = np.repeat(np.arange(1.0, 9.0)[None], 2, axis=0)  # two outputs that are one
    update, _ = Intentional(share=1.0, epsilon=0.0).update(
        {}, in_blocks(h), np.ones((1, 2)), np.ones((1, 2)), ONE
    )
    assert float(h[0] @ flat(update)) == pytest.approx(1.0)


def test_autostep_equals_its_scalar_form() -> None:
    rng, mu, tau, first = np.random.default_rng(4), 0.01, 1e4, 0.05
    autostep = Autostep(mu=mu, tau=tau, first=first)
    state = one_row(autostep.init_state(SHAPES))
    alpha, h, v = [first] * SIZE, [0.0] * SIZE, [0.0] * SIZE
    shrunk = 0
    for _ in range(200):
        phi, delta = 3.0 * rng.normal(size=SIZE), float(rng.normal())
        update, _ = autostep.update(state, in_blocks(phi[None]), np.array([[delta]]), np.ones((1, 1)), ONE)
        for i in range(SIZE):
            along = delta * phi[i] * h[i]
            v[i] = max(abs(along), v[i] + alpha[i] * phi[i] ** 2 * (abs(along) - v[i]) / tau)
            if v[i] != 0.0:
                alpha[i] *= math.exp(mu * along / v[i])
        total = max(sum(a * f * f for a, f in zip(alpha, phi, strict=True)), 1.0)
        shrunk += total > 1.0
        alpha = [a / total for a in alpha]
        expected = [a * delta * f for a, f in zip(alpha, phi, strict=True)]
        h = [old * (1.0 - a * f * f) + step for old, a, f, step in zip(h, alpha, phi, expected, strict=True)]
        np.testing.assert_allclose(flat(update), expected, rtol=1e-9, atol=1e-12)
    assert 5 < shrunk < 200
    assert max(alpha) / min(alpha) > 1.01


@pytest.mark.parametrize("loss_name", LOSSES)
def test_what_is_left_without_the_noise_goes_down_the_loss_itself(loss_name: str) -> None:
    loss, rng = LOSSES[loss_name](), np.random.default_rng(5)
    outputs = rng.normal(size=(6, loss.n_outputs(2)))
    target = np.eye(2)[rng.integers(0, 2, 6)] if loss_name == "cross_entropy" else rng.random((6, 2))
    seen = loss.innovation(outputs, target)
    (slope,), error, rows = whitened(
        (seen.slope[:, :, None],), seen.error, seen.noise, np.ones(6, dtype=np.bool_)
    )
    assert rows.all()
    np.testing.assert_allclose(
        (slope[:, :, 0] * error[:, :, None]).sum(axis=1),
        -loss.gradient(outputs, target),
        rtol=1e-9,
        atol=1e-12,
    )


@pytest.mark.parametrize("where", ["jacobian", "error", "noise"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e3 * LARGEST])
@pytest.mark.parametrize("name", JACOBIAN_OPTIMIZERS)
def test_a_row_that_cannot_be_learned_from_is_refused(name: str, bad: float, where: str) -> None:
    optimizer, rng = JACOBIAN_OPTIMIZERS[name](), np.random.default_rng(6)
    h, error, noise = rng.normal(size=(2, 2, SIZE)), rng.normal(size=(2, 2)), np.ones((2, 2))
    blocks = (h[:, :, :6].reshape(2, 2, 2, 3), h[:, :, 6:].reshape(2, 2, 1, 2))
    both, other = two_rows(optimizer.init_state(SHAPES)), two_rows(optimizer.init_state(SHAPES))
    active = np.array([True, True])
    for state in (both, other):
        optimizer.update(state, blocks, error, noise, active)
    before = {field: value.copy() for field, value in both.items()}
    expected, _ = optimizer.update(other, blocks, error, noise, active)
    spoilt = {"jacobian": blocks[0].copy(), "error": error.copy(), "noise": noise.copy()}
    spoilt[where].reshape(2, -1)[0, -1] = bad
    found, moved = optimizer.update(
        both, (spoilt["jacobian"], blocks[1]), spoilt["error"], spoilt["noise"], active
    )
    assert moved.tolist() == [False, True]
    for block, known in zip(found, expected, strict=True):
        assert not block[0].any()
        assert block[1].tobytes() == known[1].tobytes()
    for field, value in both.items():
        assert value[0].tobytes() == before[field][0].tobytes(), field
        assert value[1].tobytes() == other[field][1].tobytes(), field


def two_rows(fields: State) -> State:
    return {name: np.stack([np.asarray(row)] * 2) for name, row in fields.items()}


@pytest.mark.parametrize("name", JACOBIAN_OPTIMIZERS)
def test_what_is_forgotten_is_as_in_a_new_model_and_the_rest_stays(name: str) -> None:
    optimizer, rng = JACOBIAN_OPTIMIZERS[name](), np.random.default_rng(7)
    state = one_row(optimizer.init_state(SHAPES))
    for _ in range(5):
        optimizer.update(
            state, in_blocks(rng.normal(size=(1, SIZE))), rng.normal(size=(1, 1)), np.ones((1, 1)), ONE
        )
    before, fresh = {n: v.copy() for n, v in state.items()}, one_row(optimizer.init_state(SHAPES))
    masks = np.zeros((1, 2, 3), dtype=np.bool_), np.zeros((1, 1, 2), dtype=np.bool_)
    masks[0][0, 1] = True
    optimizer.forget(state, masks)
    for field, value in state.items():
        if field.startswith("covariance"):
            whole = value.reshape(-1, *value.shape[-2:])
            assert (whole == whole.swapaxes(1, 2)).all()
            assert np.linalg.eigvalsh(whole).min() > 0.0
        elif field.endswith(".0"):
            np.testing.assert_array_equal(value[0, 1], fresh[field][0, 1])
            np.testing.assert_array_equal(value[0, 0], before[field][0, 0])
            assert (value[0, 0] != fresh[field][0, 0]).any()
