"""Goal: every mixture of MIXTURES weighs by what came, by weights that sum to one, and knows no unit. But for the stacked one all stay on
the simplex.

Method: streams of forecasts with known qualities (one right, one better, complementary, changing places), many
rows at once; and the polynomial one against its equations in plain loops.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from models.forecast_protocols import Mixture
from models.mixtures import MIXTURES
from models.protocols import Array, BoolArray, State
from tests.models.streams import rows_of

for_every_mixture = pytest.mark.parametrize("name", MIXTURES)
ROWS = 8


def mixed(
    mixture: Mixture, forecasts: Array, targets: Array, state: State | None = None
) -> tuple[Array, Array, State]:
    """Return the mixed forecasts (T, B, H), the weights (T, B, H, E) and the last state.

    forecasts are (T, B, H, E), targets (T, B, H). Each row is combined before its target is learned from.
    """
    if state is None:
        state = rows_of(mixture.init_state(), rows=targets.shape[1])
    results, used = [], []
    for forecast, target in zip(forecasts, targets, strict=True):
        result, weights = mixture.combine(state, forecast)
        mixture.learn(state, forecasts=forecast, target=target, valid=np.full(target.shape, True))
        results.append(result)
        used.append(weights)
    return np.stack(results), np.stack(used), state


def experts_with_noise(deviations: list[float], *, rows: int = 3000, seed: int = 0) -> tuple[Array, Array]:
    """Return targets and forecasts that are off by independent noise of these deviations."""
    rng = np.random.default_rng(seed)
    targets = rng.normal(size=(rows, ROWS, 1))
    noise = rng.normal(size=(rows, ROWS, 1, len(deviations)))
    return targets[..., None] + np.array(deviations) * noise, targets


def mean_squares(result: Array, forecasts: Array, targets: Array) -> tuple[float, Array]:
    return float(((result - targets) ** 2).mean()), ((forecasts - targets[..., None]) ** 2).mean(
        axis=(0, 1, 2)
    )


NUMBERS = st.floats(-1e100, 1e100) | st.sampled_from([0.0, 1.0, -1.0, 1e-200, 1e200, -1e200])


@for_every_mixture
@hypothesis_settings(max_examples=80)
@given(
    events=st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.booleans()), min_size=1, max_size=30),
)
def test_weights_sum_to_one_none_is_negative_but_of_a_stacked_one_and_all_is_finite(
    name: str, events: list[tuple[float, float, float, float, bool]]
) -> None:
    mixture = MIXTURES[name]((1,), 3)
    state = rows_of(mixture.init_state())
    for target, *forecasts, valid in events:
        forecast = np.array([[forecasts]])
        with np.errstate(over="ignore", invalid="ignore"):
            result, weights = mixture.combine(state, forecast)
            mixture.learn(state, forecasts=forecast, target=np.array([[target]]), valid=np.array([[valid]]))
        inside = name != "stacked"
        for told in (weights, state["weights"]):
            assert (told >= 0.0).all() or not (inside or told is state["weights"])
            np.testing.assert_allclose(told.sum(axis=-1), 1.0, rtol=0, atol=1e-12)
        assert result[0, 0] >= min(forecasts) - 1e-9 * abs(min(forecasts)) or not inside
        assert result[0, 0] <= max(forecasts) + 1e-9 * abs(max(forecasts)) or not inside
        assert all(np.isfinite(value).all() for value in state.values()), state


@for_every_mixture
def test_where_no_label_is_due_nothing_changes(name: str) -> None:
    mixture = MIXTURES[name]((1, 1), 3)
    rng = np.random.default_rng(0)
    _, _, state = mixed(mixture, rng.normal(size=(40, 3, 2, 3)), rng.normal(size=(40, 3, 2)))
    before = {field: value.copy() for field, value in state.items()}
    valid: BoolArray = np.array([[True, False], [False, False], [False, True]])
    mixture.learn(state, forecasts=rng.normal(size=(3, 2, 3)), target=rng.normal(size=(3, 2)), valid=valid)
    for field, value in state.items():
        idle = ~valid if value.shape[:2] == valid.shape else slice(None)
        assert value[idle].tobytes() == before[field][idle].tobytes(), field
    assert (state["weights"][valid] != before["weights"][valid]).any()


@for_every_mixture
@pytest.mark.parametrize("first_wrong", [0, 100])
def test_an_expert_that_is_never_wrong_is_followed_exactly(name: str, first_wrong: int) -> None:
    """At once, and after a time in which it was the worst, as the seasonal expert is until it knows the season."""
    forecasts, targets = experts_with_noise([0.5, 0.0, 0.3], rows=1500)
    forecasts[:first_wrong, ..., 1] += 2.0
    result, weights, _ = mixed(MIXTURES[name]((1,), 3), forecasts, targets)
    late = slice(first_wrong + 400, None)
    exact = (weights[late] == [0.0, 1.0, 0.0]).all(axis=-1)
    assert (result[late] == targets[late])[exact].all()
    assert exact.mean() > 0.9
    own, experts = mean_squares(result[late], forecasts[late], targets[late])
    assert own < 1e-4 * np.delete(experts, 1).min()


@for_every_mixture
def test_the_mixture_is_hardly_worse_than_the_best_expert(name: str) -> None:
    rng = np.random.default_rng(1)
    targets = rng.normal(size=(3000, ROWS, 1))
    shared = rng.normal(size=targets.shape)
    # All err alike, the others by something more: no combination is better than the first of them.
    forecasts = np.stack([targets + f * shared for f in (1.3, 1.0, 2.0, 1.1)], axis=-1)
    result, _, _ = mixed(MIXTURES[name]((1,), 4), forecasts, targets)
    own, experts = mean_squares(result, forecasts, targets)
    assert own < 1.02 * experts.min()


@for_every_mixture
def test_it_changes_over_when_the_experts_change_places(name: str) -> None:
    forecasts, targets = experts_with_noise([0.2, 1.0], rows=3000, seed=2)
    forecasts[1000:] = forecasts[1000:, ..., ::-1]
    result, _, _ = mixed(MIXTURES[name]((1,), 2), forecasts, targets)
    late, experts = mean_squares(result[2400:], forecasts[2400:], targets[2400:])
    assert late < 1.2 * experts.min()


@for_every_mixture
@pytest.mark.parametrize("power", [-300, -40, 1, 40, 300])
def test_weights_do_not_depend_on_the_unit(name: str, power: int) -> None:
    """Forecasts and targets times a power of two give the very same weights."""
    forecasts, targets = experts_with_noise([0.5, 0.4, 0.7], rows=200, seed=3)
    unit = 2.0**power
    result, weights, _ = mixed(MIXTURES[name]((1,), 3), forecasts, targets)
    scaled, same_weights, _ = mixed(MIXTURES[name]((1,), 3), unit * forecasts, unit * targets)
    assert same_weights.tobytes() == weights.tobytes()
    assert scaled.tobytes() == (unit * result).tobytes()


@for_every_mixture
def test_one_label_out_of_all_proportion_does_not_decide_for_long(name: str) -> None:
    forecasts, targets = experts_with_noise([1.0, 0.5], rows=2000, seed=4)
    wild = targets.copy()
    wild[500] = 1e12
    forecasts[501, ..., 0] = 1.0
    result, _, _ = mixed(MIXTURES[name]((1,), 2), forecasts, wild)
    late, experts = mean_squares(result[700:], forecasts[700:], wild[700:])
    assert late < 1.25 * experts.min()


@for_every_mixture
def test_horizons_are_weighed_apart(name: str) -> None:
    forecasts, targets = experts_with_noise([0.5, 0.4, 0.7], rows=100, seed=5)
    others, other_targets = experts_with_noise([0.1, 2.0, 0.7], rows=100, seed=6)
    both = np.concatenate((forecasts, others), axis=2), np.concatenate((targets, other_targets), axis=2)
    result, weights, _ = mixed(MIXTURES[name]((1, 1), 3), *both)
    for place, alone in enumerate(((forecasts, targets), (others, other_targets))):
        expected, expected_weights, _ = mixed(MIXTURES[name]((1,), 3), *alone)
        assert result[:, :, place].tobytes() == expected[:, :, 0].tobytes()
        assert weights[:, :, place].tobytes() == expected_weights[:, :, 0].tobytes()


def test_a_new_series_follows_the_first_expert() -> None:
    mixture = MIXTURES["polynomial"]((1, 1), 3)
    state = rows_of(mixture.init_state())
    result, weights = mixture.combine(state, np.array([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]))
    assert result.tolist() == [[1.0, 4.0]]
    assert weights.tolist() == [[[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]]


def test_the_polynomial_mixture_beats_every_expert_where_they_err_apart() -> None:
    """Regret is against the best convex combination: of two independent errors of one size half is left."""
    forecasts, targets = experts_with_noise([0.5, 0.5, 3.0], seed=7)
    result, _, _ = mixed(MIXTURES["polynomial"]((1,), 3), forecasts, targets)
    own, experts = mean_squares(result[1000:], forecasts[1000:], targets[1000:])
    assert own < 0.6 * experts.min()


def test_the_polynomial_mixtures_regret_grows_slower_than_the_rows() -> None:
    """The excess over the best expert, in its own losses, against the order of the square root of the rows."""
    rng = np.random.default_rng(8)
    targets = rng.normal(size=(4000, ROWS, 1))
    shared = rng.normal(size=targets.shape)
    forecasts = np.stack([targets + f * shared for f in (1.05, 1.0, 1.1)], axis=-1)
    result, _, _ = mixed(MIXTURES["polynomial"]((1,), 3), forecasts, targets)
    excess = ((result - targets) ** 2 - (forecasts[..., 1] - targets) ** 2).cumsum(axis=0).mean(axis=(1, 2))
    for rows in (250, 1000, 4000):
        assert excess[rows - 1] < 3.0 * math.sqrt(rows * math.log(3.0))
    assert excess[3999] / 4000 < 0.5 * excess[249] / 250


def test_the_polynomial_mixture_follows_its_equations() -> None:
    keep, optimism, span, most = 1.0 - 1e-4, 0.7, 500.0, 30.0
    forecasts, targets = experts_with_noise([0.5, 1.0, 2.0], rows=700, seed=9)
    forecasts[300] += 50.0
    _, _, state = mixed(MIXTURES["polynomial"]((1,), 3), forecasts, targets)
    for row in range(ROWS):
        weights, loss = [1.0, 0.0, 0.0], 0.0
        regret, variation = [0.0] * 3, [0.0] * 3
        for t in range(700):
            target, said = float(targets[t, row, 0]), forecasts[t, row, 0].tolist()
            own = sum(w * f for w, f in zip(weights, said, strict=True))
            loss += max(1 / span, 1 / (t + 1)) * ((own - target) ** 2 - loss)
            for e in range(3):
                slope = max(-most, min(most, 2.0 * (own - target) * (own - said[e]) / loss))
                regret[e] = keep * regret[e] + slope
                variation[e] = keep * variation[e] + slope**2
            raw = [
                max(r + optimism * math.sqrt(v), 0.0) / v if v > 0.0 else 0.0
                for r, v in zip(regret, variation, strict=True)
            ]
            if sum(raw) > 0.0:
                weights = [w / sum(raw) for w in raw]
        np.testing.assert_allclose(state["weights"][row, 0], weights, rtol=0, atol=1e-9)
