"""Goal: each quantile has its share of the labels beyond it, whatever their distribution, and finds back to it.

Method: residuals of known distributions, many rows at once, against an interval by itself; then the whole model
on noise. Shares are counted over so many labels that their own error is well under a percentage point.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.intervals import ACROSS, QUANTILE_MAX, STEP, Interval
from models.protocols import Array, BoolArray, State
from models.specification import Specification
from tests.models.streams import SMALL, rows_of, run_new, side_by_side

ROWS, TIMES = 25, 4500
WARMUP = 1300
LEVELS = (0.8, 0.95)
Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]
DISTRIBUTIONS: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "uniform": lambda rng, shape: rng.uniform(-1.0, 1.0, size=shape),
    "Laplace": lambda rng, shape: rng.laplace(size=shape),
    "Student, 3 degrees": lambda rng, shape: rng.standard_t(3, size=shape),
    "exponential about its mean": lambda rng, shape: rng.exponential(size=shape) - 1.0,
    "all on one side": lambda rng, shape: rng.exponential(size=shape),
    "whole numbers": lambda rng, shape: rng.poisson(2.0, size=shape).astype(np.float64) - 2.0,
    "three values": lambda rng, shape: rng.choice([-1.0, 0.0, 4.0], p=[0.3, 0.5, 0.2], size=shape),
    "three in ten none": lambda rng, shape: rng.normal(size=shape) * (rng.uniform(size=shape) < 0.7),
}


def beyond(interval: Interval, residuals: Array, state: State | None = None, delay: int = 0) -> BoolArray:
    """Return which quantile told `delay` rows before the last label each residual lay beyond, (T, B, H, 2 L)."""
    if state is None:
        state = rows_of(interval.init_state(), rows=residuals.shape[1])
    told = [interval.quantiles(state)] * (delay + 1)
    out = np.zeros((*residuals.shape, len(interval.missed)), dtype=bool)
    for at, residual in enumerate(residuals):
        out[at] = interval.beyond(residual, told.pop(0))
        interval.learn(state, residual, out[at], np.ones(residual.shape, dtype=bool))
        told.append(interval.quantiles(state))
    return out


@pytest.mark.parametrize("draw", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
@pytest.mark.parametrize("levels", [LEVELS, (0.5, 0.9)])
def test_each_quantile_has_its_share_of_stationary_residuals_beyond_it(
    levels: tuple[float, ...], draw: Draw
) -> None:
    scale = np.logspace(-6, 6, ROWS)[:, None]
    interval = Interval((1, 2), levels)
    missed = beyond(interval, scale * draw(np.random.default_rng(0), (TIMES, ROWS, 2)))[WARMUP:]
    assert np.abs(missed.mean(axis=(0, 1, 2)) - interval.missed).max() < 0.005
    assert np.abs(missed.mean(axis=(0, 2)) - interval.missed).max() < 0.015  # of each row
    for place, level in enumerate(levels):
        assert abs(interval.covered(missed)[..., place].mean() - level) < 0.01


@pytest.mark.parametrize("delay", [4, 23])
def test_the_share_is_kept_where_labels_come_late_and_errors_go_on(delay: int) -> None:
    """An error of a forecast far ahead is like the one before: here a moving sum of as many steps."""
    steps = np.random.default_rng(1).normal(size=(TIMES + delay, ROWS, 1))
    residuals = np.stack([steps[at : at + delay + 1].sum(axis=0) for at in range(TIMES)])
    interval = Interval((delay + 1,), LEVELS)
    inside = interval.covered(beyond(interval, residuals, delay=delay)[WARMUP:])
    assert np.abs(inside.mean(axis=(0, 1, 2)) - LEVELS).max() < 0.01
    assert np.abs(inside.mean(axis=(0, 2)) - LEVELS).max() < 0.02


def heavier(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.standard_t(2.5, size=shape)


@pytest.mark.parametrize("factor", [0.25, 0.5, 2.0, 4.0])
@pytest.mark.parametrize("draw", [DISTRIBUTIONS["normal"], heavier], ids=["normal", "heavy tails"])
def test_coverage_is_back_within_500_rows_of_a_change_of_scale_or_tails(factor: float, draw: Draw) -> None:
    rng = np.random.default_rng(2)
    residuals = np.concatenate((rng.normal(size=(1000, 100, 1)), factor * draw(rng, (1500, 100, 1))))
    interval = Interval((1,), LEVELS)
    inside = interval.covered(beyond(interval, residuals))[1500:, :, 0]
    of_hundreds = inside.reshape(10, 100, 100, 2).mean(axis=(1, 2))  # 10000 labels each
    assert np.abs(of_hundreds - LEVELS).max() < 0.02


@pytest.mark.parametrize("delay", [0, 23])
def test_what_is_missed_is_how_far_width_and_middle_have_come_over_the_sum_and_difference_of_the_steps(
    delay: int,
) -> None:
    """Closed form: for any residuals in any order, here of wandering size and side, whatever the shares and the delay."""
    rng = np.random.default_rng(6)
    residuals = np.exp(0.05 * rng.normal(size=(TIMES, 4, 1)).cumsum(axis=0)) * rng.standard_t(
        2, (TIMES, 4, 1)
    )
    interval = Interval((1 + delay,), (0.8,))
    state = rows_of(interval.init_state(), rows=4)
    before = state["quantile"][:, 0]
    off = (beyond(interval, residuals, state, delay)[:, :, 0] - interval.missed).sum(axis=0)
    lower, upper = np.moveaxis(state["quantile"][:, 0] - before, -1, 0)
    assert (np.diff(state["quantile"], axis=-1) > 0.0).all()
    assert np.allclose(off.sum(axis=-1), (upper - lower) / (STEP + ACROSS), rtol=1e-9)
    assert np.allclose(off[:, 1] - off[:, 0], (upper + lower) / (STEP - ACROSS), rtol=1e-9)


def test_one_wild_residual_does_not_widen_the_interval() -> None:
    rng = np.random.default_rng(3)
    interval = Interval((1,), LEVELS)
    state = rows_of(interval.init_state(), rows=2)
    for at in range(1000):
        residual = np.repeat(rng.normal(size=(1, 1)), 2, axis=0)
        if at == 900:
            residual[1] = 1e12
        out = interval.beyond(residual, interval.quantiles(state))
        interval.learn(state, residual, out, np.full((2, 1), True))
    told = interval.quantiles(state)[:, 0]
    width = told[:, -1] - told[:, 0]
    assert width[1] < 1.2 * width[0]


def test_a_row_without_a_label_learns_nothing() -> None:
    interval = Interval((1, 2), LEVELS)
    state = rows_of(interval.init_state(), rows=2)
    beyond(interval, np.random.default_rng(3).normal(size=(50, 2, 2)), state)
    before = {name: value.copy() for name, value in state.items()}
    valid = np.array([[True, False], [False, False]])
    interval.learn(state, np.full((2, 2), 5.0), np.full((2, 2, 4), True), valid)
    for name, value in state.items():
        assert value[~valid].tobytes() == before[name][~valid].tobytes(), name
        assert (value[0, 0] != before[name][0, 0]).all()


@given(
    levels=st.sampled_from([(0.5,), LEVELS, (0.5, 0.55, 0.6, 0.999)]),
    residuals=arrays(np.float64, (40, 2, 1), elements=st.floats(-1e12, 1e12)),
)
def test_quantiles_never_cross_and_stay_finite(levels: tuple[float, ...], residuals: Array) -> None:
    interval = Interval((1,), levels)
    state = rows_of(interval.init_state(), rows=2)
    for residual in residuals:
        told = interval.quantiles(state)
        assert (np.diff(told, axis=-1) >= 0.0).all()
        assert np.abs(told).max() <= QUANTILE_MAX * 1e12
        interval.learn(state, residual, interval.beyond(residual, told), np.full((2, 1), True))


def test_quantiles_are_named_by_their_shares() -> None:
    specification = Specification(interval_levels=(0.5, 0.8, 0.95, 0.999))
    names = ("0.0005", "0.025", "0.1", "0.25", "0.75", "0.9", "0.975", "0.9995")
    assert specification.quantile_names == names
    assert specification.level_names == ("0.5", "0.8", "0.95", "0.999")
    shares = np.array(specification.quantiles)
    assert np.allclose(np.minimum(shares, 1.0 - shares), Interval((1,), specification.interval_levels).missed)


def test_the_whole_models_interval_covers_its_share_of_noise_at_every_horizon() -> None:
    rng = np.random.default_rng(4)
    noise = rng.normal(size=(1500, 6))
    series = [1e3 + 50.0 * noise[:, i] if i < 3 else 1e-3 * noise[:, i].cumsum() for i in range(6)]
    specification = replace(SMALL, horizons=(1, 4), experts=("last_value", "seasonal", "linear"))
    told = run_new(specification, side_by_side(*series))
    inside = told["covered"][500:]
    assert told["settled"][500:].all()
    assert np.abs(inside.mean(axis=(0, 1, 2)) - LEVELS).max() < 0.02
    # A new series is not without an interval: from its first change on, its width is of the right order.
    assert told["covered"][6:40, ..., 1].mean() > 0.8
    # Told before, not after: it is the label of the forecast made h rows earlier that must lie inside.
    for place, h in enumerate((1, 4)):
        label = np.stack(series, axis=1)[h:]
        quantiles = told["quantiles"][:-h, :, 0, place]
        for at in range(2):
            held = (quantiles[..., 1 - at] <= label) & (label <= quantiles[..., 2 + at])
            assert (held == told["covered"][h:, :, 0, place, at]).all()


def test_there_is_no_interval_before_there_is_a_scale() -> None:
    flat = np.concatenate((np.full(20, 5.0), 5.0 + np.random.default_rng(5).normal(size=30)))
    quantiles = run_new(SMALL, side_by_side(flat))["quantiles"][:, 0, 0, 0]
    assert (quantiles[:20] == 5.0).all()
    assert (np.diff(quantiles[21:], axis=-1) > 0.0).all()
