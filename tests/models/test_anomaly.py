"""Goal: the score is the share of past events less surprising, so uniform where nothing changes, and near one for a spike.

Method: residuals of known distributions through a score by itself, the distribution of its scores compared with the
uniform one; single events, leans and levels put in; then the whole model on noise with spikes put in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from models.anomaly import HOLD_EVENTS, AnomalyScore
from models.protocols import Array
from tests.models.streams import SMALL, rows_of, run_new, side_by_side

ROWS, TIMES, WARMUP = 20, 2500, 500
Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]
RESIDUALS: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "one-sided": lambda rng, shape: rng.exponential(size=shape),
    "heavy": lambda rng, shape: rng.standard_t(2.5, size=shape),
    "whole numbers": lambda rng, shape: rng.poisson(3.0, size=shape).astype(np.float64) - 3.0,
}


def scores_of(residuals: Array, levels: Array | None = None) -> tuple[Array, Array]:
    """Return scores and log scores, (T, B), where the level is what was off by so much, unless given."""
    score = AnomalyScore()
    levels = residuals if levels is None else levels
    state = rows_of(score.init_state(), rows=residuals.shape[1])
    every = np.full(residuals.shape[1], True)
    told = [score.update(state, level, row, every) for level, row in zip(levels, residuals, strict=True)]
    return np.stack([one for one, _ in told]), np.stack([log for _, log in told])


def distance_to_uniform(scores: Array) -> float:
    """Return the statistic of Kolmogorov and Smirnov."""
    ordered = np.sort(scores.ravel())
    return float(np.abs(ordered - (np.arange(ordered.size) + 0.5) / ordered.size).max())


@pytest.mark.parametrize("draw", RESIDUALS.values(), ids=RESIDUALS)
def test_scores_are_uniform_over_a_stationary_stream(draw: Draw) -> None:
    scores = scores_of(draw(np.random.default_rng(0), (TIMES, ROWS)))[0][WARMUP:]
    # New extremes of the level become rarer, so scores are a little low: by .03 for a one-sided distribution.
    assert distance_to_uniform(scores) < 0.04
    # Two standard deviations of a share of .01 over 2,000 scores of a row are .0045; over all rows .001.
    assert abs((scores > 0.99).mean() - 0.01) < 0.003


def test_scores_stay_calibrated_where_levels_wander() -> None:
    """A random walk makes new extremes all the time; they must not count as anomalies all the time."""
    steps = np.random.default_rng(8).normal(size=(TIMES, ROWS))
    scores = scores_of(steps, steps.cumsum(axis=0))[0][WARMUP:]
    assert distance_to_uniform(scores) < 0.03


def test_a_new_series_scores_few_events_high() -> None:
    scores = scores_of(np.random.default_rng(1).normal(size=(200, 2000)))[0]
    assert (scores > 0.99).mean() < 0.03


@pytest.mark.parametrize("spike", [20.0, 100.0, 1e30])
def test_a_spike_scores_above_99_in_a_hundred_and_has_the_highest_log_score(spike: float) -> None:
    residuals = np.random.default_rng(2).normal(size=(1001, 50))
    residuals[1000] = spike
    scores, logs = scores_of(residuals)
    assert (scores[1000] > 0.99).all()
    assert (logs[1000] > logs[300:1000].max(axis=0)).all()


def test_a_lasting_lean_is_found_that_no_single_residual_tells() -> None:
    """Goal: the short-term likelihood. Method: a shift of the residuals by one deviation, none beyond those before."""
    residuals = np.clip(np.random.default_rng(4).normal(size=(1030, 50)), -2.0, 2.0)
    residuals[1000:] = np.clip(residuals[1000:] + 1.0, -2.0, 2.0)
    assert (scores_of(residuals)[0][1000:].max(axis=0) > 0.99).mean() > 0.9


def test_a_level_never_seen_is_found_where_the_forecast_is_no_worse() -> None:
    rng = np.random.default_rng(7)
    residuals = rng.normal(size=(1100, 50))
    levels = np.sin(np.arange(1100) / 10.0)[:, None] + 0.0 * residuals
    levels[1000:] += 1.0
    assert (scores_of(residuals, levels)[0][1000:1020].max(axis=0) > 0.97).all()


def test_a_weaker_anomaly_soon_after_a_stronger_one_has_no_log_score_and_a_later_one_has() -> None:
    residuals = np.random.default_rng(2).normal(size=(1500, 4))
    residuals[[1000, 1100, 1400]] = np.array([[50.0], [20.0], [100.0]])
    scores, logs = scores_of(residuals)
    assert HOLD_EVENTS > 100
    assert not logs[1100].any()
    assert (scores[1100] > 0.99).all()
    assert (logs[[1000, 1400]] > 2.0).all()


def test_one_wild_value_does_not_mute_the_score() -> None:
    calm = np.random.default_rng(9).normal(size=(2000, 20))
    calm[1500] = 12.0
    streams = [calm]
    for wild in (1e3, 1e30, -1e200):
        hit = calm.copy()
        hit[1000] = wild
        streams.append(hit)
    plain, *each_after = np.split(scores_of(np.concatenate(streams, axis=1))[0], len(streams), axis=1)
    for after in each_after:
        assert (after[1500] > 0.99).all()
        assert np.abs(after[1100:] - plain[1100:]).mean() < 0.03


def test_a_series_that_never_moves_scores_nothing() -> None:
    scores, logs = scores_of(np.zeros((300, 2)), np.full((300, 2), 17.3))
    assert not scores.any()
    assert not logs.any()


def test_rounding_is_no_surprise() -> None:
    rng = np.random.default_rng(10)
    levels = np.tile(np.arange(10.0), 50)[:, None]
    logs = scores_of(1e-12 * rng.normal(size=levels.shape), levels)[1]
    assert not logs[200:].any()


def test_the_score_rises_with_the_residual_and_stays_within_its_bounds() -> None:
    score = AnomalyScore()
    ladder = np.concatenate(([0.0, 5e-324], np.logspace(-4, 4, 400), [1e300]))
    state, every = rows_of(score.init_state(), rows=len(ladder)), np.full(len(ladder), True)
    for residual in np.random.default_rng(3).normal(size=300):
        same = np.full(len(ladder), residual)
        score.update(state, same, same, every)
    state["lean"] = np.zeros(len(ladder))  # else a residual to the other side would first lower the lean
    scores, logs = score.update(state, np.zeros(len(ladder)), ladder, every)
    assert (np.diff(scores) >= 0.0).all()
    assert (np.diff(logs) >= 0.0).all()
    assert scores[0] < scores[-1]
    assert 0.99 < scores[-1] <= 1.0


def test_a_row_without_a_residual_scores_nothing_and_is_not_counted() -> None:
    score = AnomalyScore()
    state = rows_of(score.init_state(), rows=2)
    before = state["counts"].copy()
    scores, logs = score.update(state, np.ones(2), np.array([5.0, 5.0]), np.array([True, False]))
    assert scores[1] == logs[1] == 0.0
    assert state["counts"][1].tobytes() == before[1].tobytes()
    assert state["counts"][0].tobytes() != before[0].tobytes()


def test_the_whole_model_scores_noise_uniformly_and_spikes_highest() -> None:
    rng = np.random.default_rng(5)
    values = 100.0 + rng.normal(size=(1500, 4))
    spikes = np.array([700, 900, 1100, 1300])
    values[spikes, np.arange(4)] += 15.0
    specification = replace(SMALL, experts=("last_value", "seasonal", "linear"))
    told = run_new(specification, side_by_side(*values.T))
    scores = told["anomaly_score"][:, :, 0]
    assert (scores[spikes, np.arange(4)] > 0.99).all()
    usual = np.ones_like(scores, dtype=bool)
    usual[:300] = False
    for series, spike in enumerate(spikes):
        usual[spike : spike + 20, series] = False  # the spike is among the lags of the rows after it
    assert distance_to_uniform(scores[usual]) < 0.05


def test_score_and_drift_are_of_the_shortest_horizon() -> None:
    """Goal: what is odd is said soonest. Method: the same series with and without a second horizon, by experts whose
    forecast for one horizon does not depend on the others."""
    values = np.random.default_rng(6).normal(size=300).cumsum()
    values[200:] *= 3.0
    specification = replace(SMALL, experts=("last_value", "seasonal"))
    one = run_new(specification, side_by_side(values))
    two = run_new(replace(specification, horizons=(1, 7)), side_by_side(values))
    for name in ("anomaly_score", "anomaly_log_score", "drift", "drift_statistic"):
        assert one[name].tobytes() == two[name].tobytes(), name
    assert one["drift_statistic"].any()
