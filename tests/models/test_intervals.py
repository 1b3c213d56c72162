"""Goal: the interval covers its nominal share of the labels, whatever their distribution, and finds back to it.

Method: residuals of known distributions, many rows at once, against an interval by itself; then the whole model
on noise. Shares are counted over so many labels that their own error is well under a percentage point.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from models.intervals import Interval
from models.protocols import Array, State
from tests.models.streams import SMALL, rows_of, run_new, side_by_side

ROWS, TIMES = 25, 4000
WARMUP = 800
Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]
DISTRIBUTIONS: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "uniform": lambda rng, shape: rng.uniform(-1.0, 1.0, size=shape),
    "Laplace": lambda rng, shape: rng.laplace(size=shape),
    "Student, 3 degrees": lambda rng, shape: rng.standard_t(3, size=shape),
    "one-sided": lambda rng, shape: rng.exponential(size=shape),
}


def covered(interval: Interval, residuals: Array, state: State | None = None) -> Array:
    """Return where the half-width told before held the residual, (T, B, H)."""
    if state is None:
        state = rows_of(interval.init_state(), rows=residuals.shape[1])
    inside = np.zeros(residuals.shape, dtype=bool)
    for at, residual in enumerate(residuals):
        outside = np.abs(residual) > interval.half_width(state)
        inside[at] = ~outside
        interval.learn(state, residual, outside, np.ones_like(outside))
    return inside


@pytest.mark.parametrize("draw", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_the_share_covered_is_the_nominal_one_on_stationary_residuals(level: float, draw: Draw) -> None:
    scale = np.logspace(-6, 6, ROWS)[:, None]
    residuals = scale * draw(np.random.default_rng(0), (TIMES, ROWS, 2))
    inside = covered(Interval((1, 2), level), residuals)[WARMUP:]
    assert abs(inside.mean() - level) < 0.01
    assert np.abs(inside.mean(axis=(0, 2)) - level).max() < 0.03  # of each row


@pytest.mark.parametrize("factor", [0.05, 0.3, 3.0, 20.0, 1000.0])
def test_coverage_comes_back_within_some_hundred_rows_of_a_change_of_the_variance(factor: float) -> None:
    rng = np.random.default_rng(1)
    residuals = rng.normal(size=(3000, ROWS, 1))
    residuals[1000:] *= factor
    inside = covered(Interval((1,), 0.9), residuals)
    assert abs(inside[1400:].mean() - 0.9) < 0.03
    assert abs(inside[2000:].mean() - 0.9) < 0.015


def test_one_wild_residual_does_not_widen_the_interval() -> None:
    rng = np.random.default_rng(2)
    interval = Interval((1,), 0.9)
    state = rows_of(interval.init_state(), rows=2)
    for at in range(1000):
        residual = np.repeat(rng.normal(size=(1, 1)), 2, axis=0)
        if at == 990:
            residual[1] = 1e12
        interval.learn(state, residual, np.abs(residual) > interval.half_width(state), np.full((2, 1), True))
    width = interval.half_width(state)[:, 0]
    assert width[1] < 1.2 * width[0]


def test_a_row_without_a_label_learns_nothing() -> None:
    interval = Interval((1, 2), 0.9)
    state = rows_of(interval.init_state(), rows=2)
    covered(interval, np.random.default_rng(3).normal(size=(50, 2, 2)), state)
    before = {name: value.copy() for name, value in state.items()}
    valid = np.array([[True, False], [False, False]])
    interval.learn(state, np.full((2, 2), 5.0), np.full((2, 2), True), valid)
    for name, value in state.items():
        assert value[~valid].tobytes() == before[name][~valid].tobytes(), name
        assert value[0, 0] != before[name][0, 0]


def test_the_whole_models_interval_covers_its_share_of_noise_at_every_horizon() -> None:
    rng = np.random.default_rng(4)
    noise = rng.normal(size=(1500, 6))
    series = [1e3 + 50.0 * noise[:, i] if i < 3 else 1e-3 * noise[:, i].cumsum() for i in range(6)]
    specification = replace(SMALL, horizons=(1, 4), experts=("last_value", "seasonal", "linear"))
    told = run_new(specification, side_by_side(*series))
    inside = told["covered"][500:]
    assert told["settled"][500:].all()
    assert np.abs(inside.mean(axis=(0, 1, 2)) - 0.9).max() < 0.025
    # A new series is not without an interval: from its first change on, its width is of the right order.
    assert told["covered"][6:40].mean() > 0.75
    # Told before, not after: it is the label of the forecast made h rows earlier that must lie inside.
    for place, h in enumerate((1, 4)):
        label = np.stack(series, axis=1)[h:]
        lower, upper = told["lower"][:-h, :, 0, place], told["upper"][:-h, :, 0, place]
        assert ((lower <= label) & (label <= upper) == told["covered"][h:, :, 0, place]).all()
