"""Goal: the stacked mixture finds what lies outside the experts' range, and is the polynomial one where there is nothing to find.

Method: streams of forecasts whose best combination is known; outliers in forecasts and targets; labels that overlap; its state against the
equations in plain loops; and one in a forecaster.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from models.mixtures import MIXTURES
from models.mixtures.stacked import BOUND, DOUBT, StackedWeights
from models.protocols import Array
from tests.models.streams import SMALL, make_stream, rows_of, run_new
from tests.models.test_every_mixture import ROWS, experts_with_noise, mean_squares, mixed


def with_shared_error(factors: list[float], *, rows: int, own: float = 0.1) -> tuple[Array, Array]:
    """Return forecasts that are off by one error times these factors, and by a little of their own, and the targets."""
    rng = np.random.default_rng(1)
    targets, shared = rng.normal(size=(2, rows, ROWS, 1))
    noise = own * rng.normal(size=(rows, ROWS, 1, len(factors)))
    return targets[..., None] + shared[..., None] * np.array(factors) + noise, targets


@pytest.mark.parametrize(
    ("factors", "offset"), [([1.0, 2.0], 0.0), ([1.0, 1.5, 3.0], 0.0), ([0.0, 0.0, 0.0], 1.0)]
)
def test_what_lies_outside_the_range_of_the_experts_is_found_and_by_weights_inside_it_is_not(
    factors: list[float], offset: float
) -> None:
    """Errors that all share, and forecasts that are all too high by more or less: 2 a - b is better than what lies between."""
    forecasts, targets = with_shared_error(factors, rows=3000)
    forecasts += offset * np.arange(1.0, 1.0 + len(factors))
    result, weights, _ = mixed(MIXTURES["stacked"]((1,), len(factors)), forecasts, targets)
    inside, _, _ = mixed(MIXTURES["polynomial"]((1,), len(factors)), forecasts, targets)
    late = slice(1000, None)
    own, experts = mean_squares(result[late], forecasts[late], targets[late])
    between, _ = mean_squares(inside[late], forecasts[late], targets[late])
    assert own < 0.15 * experts.min()
    assert between > 0.9 * experts.min()
    assert (weights[late] < -0.2).any(axis=-1).mean() > 0.95


def test_forecasts_that_all_fall_short_are_drawn_out_beside_one_that_says_no_change() -> None:
    """Weights of the others sum to more than one, that of the one that forecasts nothing is negative."""
    forecasts, targets = experts_with_noise([0.0, 0.3, 0.3], rows=3000)
    forecasts *= [0.0, 0.6, 0.6]
    result, weights, _ = mixed(MIXTURES["stacked"]((1,), 3), forecasts, targets)
    inside, _, _ = mixed(MIXTURES["polynomial"]((1,), 3), forecasts, targets)
    own, _ = mean_squares(result[1000:], forecasts[1000:], targets[1000:])
    between, _ = mean_squares(inside[1000:], forecasts[1000:], targets[1000:])
    assert own < 0.4 * between
    assert np.median(weights[1000:, ..., 0]) < -0.3


def test_it_is_the_polynomial_mixture_to_the_bit_until_there_is_something_to_correct() -> None:
    """From the first row on, and for good where what the others say is worth nothing."""
    rng = np.random.default_rng(5)
    targets, forecasts = rng.normal(size=(3000, ROWS, 1)), 0.3 * rng.normal(size=(3000, ROWS, 1, 3))
    forecasts[..., 0] = 0.0
    told, told_weights, _ = mixed(MIXTURES["stacked"]((1,), 3), forecasts, targets)
    plain, weights, _ = mixed(MIXTURES["polynomial"]((1,), 3), forecasts, targets)
    assert told[:5].tobytes() == plain[:5].tobytes()
    same = (told_weights == weights).all(axis=(2, 3))
    assert (told[same] == plain[same]).all()
    assert same.mean() > 0.9
    own, experts = mean_squares(told, forecasts, targets)
    assert own < 1.01 * experts.min()


def test_in_noise_it_costs_next_to_nothing_however_many_rows_ahead() -> None:
    """Forecasts that are worth nothing, of what is a sum of as many innovations as rows ahead: labels overlap, and chance looks like gain."""
    horizons, rows = (1, 24), 4000
    rng = np.random.default_rng(2)
    walk = rng.normal(size=(rows + 1, 4)).cumsum(axis=0)
    forecasts = rng.normal(size=(rows, 4, 2, 6))
    for row in range(1, rows):
        forecasts[row, :, 1] = 0.98 * forecasts[row - 1, :, 1] + 0.2 * forecasts[row, :, 1]
    forecasts[..., 0] = 0.0
    mixtures = MIXTURES["stacked"](horizons, 6), MIXTURES["polynomial"](horizons, 6)
    states = [rows_of(mixture.init_state(), rows=4) for mixture in mixtures]
    errors = np.zeros((3, 2))
    for row in range(rows):
        said = [np.zeros((4, 2))]
        begin = [max(row - h, 0) for h in horizons]
        made = np.stack([forecasts[at, :, place] for place, at in enumerate(begin)], axis=1)
        target = np.stack([walk[row] - walk[at] for at in begin], axis=1)
        for mixture, state in zip(mixtures, states, strict=True):
            if row >= horizons[1]:
                mixture.learn(state, forecasts=made, target=target, valid=np.full(target.shape, True))
            said.append(mixture.combine(state, forecasts[row])[0])
        for place, h in enumerate(horizons):
            if 200 < row < rows - h:
                off = np.stack([one[:, place] for one in said]) - (walk[row + h] - walk[row])
                errors[:, place] += (off**2).sum(axis=1)
    nothing, stacked, polynomial = errors
    assert (stacked < 1.003 * polynomial).all()
    assert stacked[0] < 1.02 * nothing[0]


def test_half_a_per_cent_of_outliers_of_twenty_deviations_does_not_wreck_it() -> None:
    """In targets, which everybody misses, and as often in forecasts, as after one: it still finds most of what lies outside."""
    forecasts, targets = with_shared_error([1.0, 2.0], rows=4000, own=0.2)
    rng = np.random.default_rng(3)
    seen = targets + 20.0 * rng.choice([-1.0, 1.0], targets.shape) * (rng.random(targets.shape) < 0.005)
    wild = 20.0 * rng.normal(size=forecasts.shape) * (rng.random((*targets.shape, 1)) < 0.005)
    result, _, _ = mixed(MIXTURES["stacked"]((1,), 2), forecasts + wild, seen)
    inside, _, _ = mixed(MIXTURES["polynomial"]((1,), 2), forecasts + wild, seen)
    calm = (wild == 0.0).all(axis=-1)[1500:]
    own = ((result[1500:] - targets[1500:]) ** 2)[calm].mean()
    assert own < 0.5 * ((inside[1500:] - targets[1500:]) ** 2)[calm].mean()


def test_a_correction_goes_no_further_than_some_usual_errors() -> None:
    forecasts, targets = with_shared_error([1.0, 2.0], rows=1500)
    mixture = MIXTURES["stacked"]((1,), 2)
    _, _, state = mixed(mixture, forecasts, targets)
    far = np.tile([0.0, 1e6], (ROWS, 1, 1))
    polynomial, _ = MIXTURES["polynomial"]((1,), 2).combine(state, far)
    said, weights = mixture.combine(state, far)
    assert (np.abs(said - polynomial) <= (BOUND + 1e-9) * np.sqrt(state["square"])).all()
    np.testing.assert_allclose((weights * far).sum(axis=-1), said, rtol=1e-9)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_teaches_nothing_and_experts_that_are_one_are_no_trouble(bad: float) -> None:
    forecasts, targets = with_shared_error([1.0, 2.0, 1.0], rows=600)
    forecasts[..., 2] = forecasts[..., 0]
    mixture = MIXTURES["stacked"]((1,), 3)
    _, _, state = mixed(mixture, forecasts[:500], targets[:500])
    before = {name: value.copy() for name, value in state.items()}
    spoilt = forecasts[500].copy()
    spoilt[0, ..., 1] = bad
    with np.errstate(all="ignore"):
        mixture.combine(state, spoilt)
        mixture.learn(state, forecasts=spoilt, target=targets[500], valid=np.full(targets[500].shape, True))
    for name in ("coefficients", "uncertainty", "product", "power", "noise"):
        assert state[name][0].tobytes() == before[name][0].tobytes(), name
        assert np.isfinite(state[name]).all(), name
    result, _, state = mixed(mixture, np.repeat(targets[500:, ..., None], 3, axis=-1), targets[500:], state)
    assert np.isfinite(result).all()
    assert all(np.isfinite(value).all() for value in state.values())


def test_the_uncertainty_is_bounded_where_nothing_tells_the_experts_apart() -> None:
    """Forgetting alone would let it grow without end."""
    mixture = StackedWeights((1,), 3)
    state = rows_of(mixture.init_state())
    rng = np.random.default_rng(4)
    for target in rng.normal(size=(6000, 1, 1)):
        same = np.full((1, 1, 3), 0.5) * target[..., None]
        mixture.combine(state, same)
        mixture.learn(state, forecasts=same, target=target, valid=np.array([[True]]))
    assert 2.9 < np.trace(state["uncertainty"][0, 0]) < 3.1


def test_a_row_does_not_depend_on_what_shares_its_batch() -> None:
    forecasts, targets = with_shared_error([1.0, 1.5, 3.0], rows=400)
    mixture = MIXTURES["stacked"]((1,), 3)
    result, weights, _ = mixed(mixture, forecasts, targets)
    for row in range(ROWS):
        alone, own, _ = mixed(mixture, forecasts[:, row : row + 1], targets[:, row : row + 1])
        assert alone.tobytes() == result[:, row : row + 1].tobytes()
        assert own.tobytes() == weights[:, row : row + 1].tobytes()


def test_it_follows_its_equations() -> None:
    """Against plain loops, with labels three rows late, of two experts of which one has the most wild forecasts."""
    horizon, keep, rows = 3, 1.0 - 1e-4, 500
    forecasts, targets = with_shared_error([1.0, 2.0], rows=rows)
    forecasts[200, ..., 1] += 50.0
    mixture, polynomial = StackedWeights((horizon,), 2), MIXTURES["polynomial"]((horizon,), 2)
    state, inner = rows_of(mixture.init_state()), rows_of(polynomial.init_state())
    c, P, square = np.zeros(2), 0.1 * np.eye(2), 0.0
    product = power = noise = share = 0.0
    corrections: list[float] = []
    for row in range(rows):
        if row >= horizon:
            made, target = forecasts[row - horizon, :1], targets[row - horizon, :1]
            weights = inner["weights"][0, 0]
            held = np.where(weights < 0.01, 0.0, weights)
            f = made[0, 0]
            m = float(held @ f / held.sum())
            off = float(target[0, 0]) - m
            if square > 0.0:
                u = math.sqrt(square)
                d, then = (f - m) / u, max(-BOUND, min(BOUND, corrections[row - horizon] / u))
                gain = then * max(-BOUND, min(BOUND, off / u))
                product, power = keep * product + gain, keep * power + then**2
                noise = keep * noise + gain**2
                shrink = min(1.0, BOUND / max(abs(d)))
                e = shrink * max(-BOUND, min(BOUND, off / u - c @ d))
                d = shrink * d
                k = P @ d / (0.9995 + d @ P @ d)
                c = c + k * e
                P = (P - np.outer(k, d @ P)) / (0.9995 if np.trace(P) < 2.0 else 1.0)
            within = min(off**2, BOUND**2 * square) if square > 0.0 else off**2
            square += max(1 / 500, 1 / (row - horizon + 1)) * (within - square)
            yes = np.array([[True]])
            mixture.learn(state, forecasts=made, target=target, valid=yes)
            polynomial.learn(inner, forecasts=made, target=target, valid=yes)
        said, _ = mixture.combine(state, forecasts[row, :1])
        m = float(polynomial.combine(inner, forecasts[row, :1])[0][0, 0])
        kept = np.where(np.abs(c) < 0.01, 0.0, c)
        bound = BOUND * math.sqrt(square)
        corrections.append(max(-bound, min(bound, float(kept @ (forecasts[row, 0, 0] - m)))))
        sure = product - DOUBT * math.sqrt(horizon / 2 * noise)
        share = min(sure / power, 1.0) if sure > 0.0 else 0.0
        np.testing.assert_allclose(said[0, 0], m + share * corrections[-1], rtol=0, atol=1e-9)
    assert share > 0.5
    np.testing.assert_allclose(state["coefficients"][0, 0], c, rtol=0, atol=1e-9)
    np.testing.assert_allclose(state["uncertainty"][0, 0], P, rtol=0, atol=1e-9)


def test_a_forecaster_stacks_and_its_weights_are_those_of_what_it_said() -> None:
    specification = replace(SMALL, mixture="stacked", horizons=(1,), experts=("last_value", "linear"))
    stream = make_stream(specification, rows=800, series=2)
    told = run_new(specification, stream)
    summed = (told["weights"] * told["expert_predictions"]).sum(axis=-1)
    unit = told["scale"][..., None]
    assert (np.abs(summed - told["prediction"])[5:] < 1e-9 * (unit + np.abs(summed))[5:]).all()
    np.testing.assert_allclose(told["weights"].sum(axis=-1), 1.0, rtol=0, atol=1e-12)
