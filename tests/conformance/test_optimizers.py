"""Goal: optimizers compute their sources' equations, and rows that are not active or refused stay as they were.

Method: every optimizer of OPTIMIZERS is compared with a scalar form written from its source; the
transforms are held to what a clip and a guard promise, on gradients that Hypothesis draws.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models.optimizers import (
    OPTIMIZERS,
    Chain,
    chain,
    clip_by_global_norm,
    clip_by_value,
    clip_by_zscore,
    finite_guard,
)
from models.protocols import Array, Optimizer, State
from tests.conformance.cases import one_row
from tests.oracles.optimizers import START, optimizer_oracle

SHAPE = (3, 2)
NO_PARAMS = np.zeros(())
"""For what does not look at them."""
NORM_MAX = 1.0
ACTIVE = np.array([True])
INACTIVE = np.array([False])

for_every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)
gradients = hnp.arrays(np.float64, SHAPE, elements=st.floats(-1e3, 1e3, width=64))
bad_values = st.sampled_from([np.nan, np.inf, -np.inf, 1e200, -1.7e308, 1e4])


def bits(state: State) -> dict[str, bytes]:
    return {name: rows.tobytes() for name, rows in state.items()}


def guarded(name: str = "adam") -> Chain:
    return chain(
        guard=finite_guard(10 * NORM_MAX),
        clip=clip_by_global_norm(NORM_MAX),
        last=OPTIMIZERS[name](learning_rate=0.1),
    )


def unguarded_fields(state: State) -> State:
    return {name: rows for name, rows in state.items() if not name.startswith("guard.")}


@for_every_optimizer
@given(steps=st.lists(st.tuples(gradients, st.booleans()), min_size=1, max_size=12))
def test_an_optimizer_equals_its_scalar_form(name: str, steps: list[tuple[Array, bool]]) -> None:
    optimizer = OPTIMIZERS[name](learning_rate=0.05)
    state = one_row(optimizer.init_state(SHAPE))
    scalars = [optimizer_oracle(name)(0.05) for _ in range(math.prod(SHAPE))]
    params = np.full((1, *SHAPE), START)
    for gradient, active in steps:
        update, moved = optimizer.update(state, gradient[None], np.array([active]), params)
        params = params + update
        expected = [
            scalar.update(float(g)) if active else 0.0
            for scalar, g in zip(scalars, gradient.ravel(), strict=True)
        ]
        assert moved.tolist() == [active]
        np.testing.assert_allclose(update.ravel(), expected, rtol=1e-12, atol=1e-300)


@for_every_optimizer
@given(gradient=gradients)
def test_a_learning_rate_of_zero_moves_nothing(name: str, gradient: Array) -> None:
    optimizer = OPTIMIZERS[name](learning_rate=0.0)
    state = one_row(optimizer.init_state(SHAPE))
    params = np.linspace(-1, 1, math.prod(SHAPE)).reshape(1, *SHAPE)
    for _ in range(3):
        update, _ = optimizer.update(state, gradient[None], ACTIVE, NO_PARAMS)
        assert (params + update).tobytes() == params.tobytes()


@for_every_optimizer
@given(first=gradients, between=hnp.arrays(np.float64, SHAPE), last=gradients)
def test_an_inactive_row_is_as_if_the_event_had_not_been(
    name: str, first: Array, between: Array, last: Array
) -> None:
    optimizer = guarded(name)
    with_it, without = one_row(optimizer.init_state(SHAPE)), one_row(optimizer.init_state(SHAPE))
    for state in (with_it, without):
        optimizer.update(state, first[None] * 1e-3, ACTIVE, NO_PARAMS)
    before = bits(with_it)
    update, moved = optimizer.update(with_it, between[None], INACTIVE, NO_PARAMS)
    assert not update.any()
    assert not moved.any()
    assert bits(with_it) == before
    after_it, _ = optimizer.update(with_it, last[None] * 1e-3, ACTIVE, NO_PARAMS)
    after_nothing, _ = optimizer.update(without, last[None] * 1e-3, ACTIVE, NO_PARAMS)
    assert after_it.tobytes() == after_nothing.tobytes()


@for_every_optimizer
def test_an_optimizer_alone_ignores_what_stands_in_inactive_rows(name: str) -> None:
    optimizer = OPTIMIZERS[name](learning_rate=0.1)
    state = one_row(optimizer.init_state(SHAPE))
    before = bits(state)
    for value in (np.nan, np.inf, 1e300):
        update, _ = optimizer.update(state, np.full((1, *SHAPE), value), INACTIVE, NO_PARAMS)
        assert not update.any()
    assert bits(state) == before


@for_every_optimizer
def test_an_optimizer_descends(name: str) -> None:
    optimizer = OPTIMIZERS[name](learning_rate=0.05)
    params = np.array([[[1.0, -2.0], [0.5, 3.0], [-1.0, 0.1]]])
    state = one_row(optimizer.init_state(SHAPE))
    first = float((params**2).sum())
    for _ in range(200):
        params = params + optimizer.update(state, 2.0 * params, ACTIVE, params)[0]
    assert float((params**2).sum()) < 0.01 * first


@given(gradient=gradients, norm_max=st.floats(1e-3, 1e3))
def test_clipping_bounds_the_norm_and_keeps_the_direction(gradient: Array, norm_max: float) -> None:
    clip = clip_by_global_norm(norm_max)
    state = one_row(clip.init_state(SHAPE))
    clipped, _ = clip.update(state, gradient[None], ACTIVE, NO_PARAMS)
    norm = np.linalg.norm(gradient)
    np.testing.assert_allclose(state["norm"], [norm], rtol=1e-12)
    assert np.linalg.norm(clipped) <= norm_max * (1 + 1e-12)
    assert state["clip_count"].tolist() == [int(state["clipped"][0])]
    if state["clipped"][0]:
        np.testing.assert_allclose(clipped[0], gradient * (norm_max / norm), rtol=1e-12)
    else:
        assert norm <= norm_max * (1 + 1e-12)
        assert clipped.tobytes() == gradient.tobytes()


def test_clipping_counts_the_active_rows_that_were_over_the_bound() -> None:
    clip = clip_by_global_norm(1.0)
    state = {name: np.repeat(row[None], 3, axis=0) for name, row in clip.init_state((1,)).items()}
    gradient = np.array([[3.0], [0.5], [3.0]])
    for _ in range(2):
        clip.update(state, gradient, np.array([True, True, False]), NO_PARAMS)
    assert state["clip_count"].tolist() == [2, 0, 0]
    assert state["clipped"].tolist() == [True, False, False]
    assert state["norm"].tolist() == [3.0, 0.5, 0.0]


@pytest.mark.parametrize("norm_max", [0.0, -1.0, np.nan])
def test_a_clip_without_a_positive_bound_is_refused(norm_max: float) -> None:
    with pytest.raises(ValueError, match="norm_max"):
        clip_by_global_norm(norm_max)


@for_every_optimizer
@given(good=gradients, bad=bad_values, where=st.integers(0, math.prod(SHAPE) - 1))
def test_a_refused_gradient_changes_nothing_behind_the_guard(
    name: str, good: Array, bad: float, where: int
) -> None:
    optimizer = guarded(name)
    state = one_row(optimizer.init_state(SHAPE))
    optimizer.update(state, good[None] * 1e-3, ACTIVE, NO_PARAMS)
    before = bits(unguarded_fields(state))
    gradient = good[None] * 1e-3
    gradient.reshape(-1)[where] = bad
    update, moved = optimizer.update(state, gradient, ACTIVE, NO_PARAMS)
    assert not update.any()
    assert not moved.any()
    assert bits(unguarded_fields(state)) == before
    assert state["guard.skipped"].tolist() == [True]
    assert state["guard.skip_count"].tolist() == [1]
    _, moved = optimizer.update(state, good[None] * 1e-3, ACTIVE, NO_PARAMS)
    assert moved.all()
    assert state["guard.skipped"].tolist() == [False]


def test_a_guard_refuses_row_by_row() -> None:
    optimizer = guarded()
    state = {name: np.repeat(row[None], 4, axis=0) for name, row in optimizer.init_state((1,)).items()}
    gradient = np.array([[0.5], [np.nan], [10.5], [np.inf]])
    update, moved = optimizer.update(state, gradient, np.array([True, True, True, False]), NO_PARAMS)
    assert moved.tolist() == [True, False, False, False]
    assert update[1:].any() == np.False_
    assert update[0, 0] < 0.0
    assert state["guard.skip_count"].tolist() == [0, 1, 1, 0]


def test_a_guards_flag_is_that_of_the_rows_last_active_gradient() -> None:
    guard = finite_guard(1.0)
    state = one_row(guard.init_state((1,)))
    guard.update(state, np.array([[2.0]]), ACTIVE, NO_PARAMS)
    guard.update(state, np.array([[0.0]]), INACTIVE, NO_PARAMS)
    assert state["skipped"].tolist() == [True]
    assert state["skip_count"].tolist() == [1]


def test_a_guard_without_a_bound_lets_all_finite_norms_pass() -> None:
    guard = finite_guard()
    state = one_row(guard.init_state((2,)))
    assert guard.update(state, np.array([[1e150, -1e150]]), ACTIVE, NO_PARAMS)[1].all()
    assert not guard.update(state, np.array([[np.inf, 0.0]]), ACTIVE, NO_PARAMS)[1].any()


def test_a_chain_names_its_fields_by_its_parts() -> None:
    assert set(guarded().init_state(SHAPE)) == {
        "guard.skipped",
        "guard.skip_count",
        "clip.norm",
        "clip.clipped",
        "clip.clip_count",
        "last.first_moment",
        "last.second_moment",
        "last.update_count",
    }


def test_an_empty_chain_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one part"):
        chain()


def test_chains_nest() -> None:
    inner: Optimizer = chain(clip=clip_by_global_norm(1.0), sgd=OPTIMIZERS["sgd"](learning_rate=1.0))
    outer = chain(guard=finite_guard(), rest=inner)
    state = one_row(outer.init_state((2,)))
    update, _ = outer.update(state, np.array([[3.0, 4.0]]), ACTIVE, NO_PARAMS)
    np.testing.assert_allclose(update, [[-0.6, -0.8]], rtol=1e-12)
    assert state["rest.clip.norm"].tolist() == [5.0]


@given(gradient=gradients, value_max=st.floats(1e-3, 1e3))
def test_a_clip_by_value_cuts_each_entry_and_no_other(gradient: Array, value_max: float) -> None:
    clip = clip_by_value(value_max)
    state = one_row(clip.init_state(SHAPE))
    cut, moved = clip.update(state, gradient[None], ACTIVE, NO_PARAMS)
    expected = [min(max(float(g), -value_max), value_max) for g in gradient.ravel()]
    assert cut.ravel().tolist() == expected
    assert state["clipped"].tolist() == [bool(np.abs(gradient).max() > value_max)]
    assert state["clip_count"].tolist() == [int(state["clipped"][0])]
    assert moved.all()


def test_a_clip_by_z_score_equals_its_scalar_form() -> None:
    rng, z_max, memory = np.random.default_rng(0), 2.5, 300.0
    clip = clip_by_zscore(z_max)
    state = one_row(clip.init_state((2,)))
    mean, variance, seen, cuts = 0.0, 0.0, 0, 0
    for at in range(600):
        norm = math.exp(rng.normal()) * (1e3 if at % 50 == 49 else 1.0)
        active = at % 7 != 6
        clipped, _ = clip.update(state, np.array([[0.6 * norm, 0.8 * norm]]), np.array([active]), NO_PARAMS)
        if not active:
            assert not clipped.any()
            continue
        log = math.log(norm)
        if seen >= 25 and log > mean + z_max * math.sqrt(variance):
            log = mean + z_max * math.sqrt(variance)
            cuts += 1
        assert np.linalg.norm(clipped) == pytest.approx(math.exp(log), rel=1e-9)
        seen += 1
        weight = max(1.0 / seen, 1.0 / memory)
        deviation = log - mean
        mean += weight * deviation
        variance = (1.0 - weight) * (variance + weight * deviation * deviation)
    assert state["clip_count"].tolist() == [cuts]
    assert 8 < cuts < 40


def test_a_burst_cannot_lift_the_bound_of_a_clip_by_z_score() -> None:
    rng, clip = np.random.default_rng(1), clip_by_zscore()
    state = one_row(clip.init_state((1,)))
    for _ in range(200):
        clip.update(state, np.exp(0.3 * rng.normal(size=(1, 1))), ACTIVE, NO_PARAMS)
    passed = [clip.update(state, np.full((1, 1), 1e9), ACTIVE, NO_PARAMS)[0].item() for _ in range(20)]
    assert max(passed) < 10.0


@pytest.mark.parametrize("gradient", [np.zeros((1, 2)), np.full((1, 2), np.inf)])
def test_a_norm_that_has_no_logarithm_is_not_counted_by_a_clip_by_z_score(gradient: Array) -> None:
    clip = clip_by_zscore()
    state = one_row(clip.init_state((2,)))
    clip.update(state, gradient, ACTIVE, NO_PARAMS)
    assert state["count"].tolist() == [0]
