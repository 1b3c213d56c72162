"""Goal: the score is the share of past events less surprising, so uniform where nothing changes, and near one for a spike.

Method: surprises of known distributions against a score by itself, its distribution compared with the uniform
one; then the whole model on noise with spikes put in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from models.anomaly import AnomalyScore
from models.protocols import Array
from tests.models.streams import SMALL, rows_of, run_new, side_by_side

ROWS, TIMES, WARMUP = 20, 3000, 500
Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]
SURPRISES: dict[str, Draw] = {
    "exponential": lambda rng, shape: rng.exponential(size=shape),
    "of normal residuals": lambda rng, shape: np.abs(rng.normal(size=shape)) / np.sqrt(2.0 / np.pi),
    "heavy": lambda rng, shape: np.abs(rng.standard_t(2.5, size=shape)),
}


def scores_of(surprises: Array) -> Array:
    score = AnomalyScore()
    state = rows_of(score.init_state(), rows=surprises.shape[1])
    return np.stack([score.update(state, row, np.full(len(row), True)) for row in surprises])


def distance_to_uniform(scores: Array) -> float:
    """Return the statistic of Kolmogorov and Smirnov."""
    ordered = np.sort(scores.ravel())
    return float(np.abs(ordered - (np.arange(ordered.size) + 0.5) / ordered.size).max())


@pytest.mark.parametrize("draw", SURPRISES.values(), ids=SURPRISES)
def test_scores_are_uniform_over_a_stationary_stream(draw: Draw) -> None:
    scores = scores_of(draw(np.random.default_rng(0), (TIMES, ROWS)))[WARMUP:]
    assert distance_to_uniform(scores) < 0.02
    # Two standard deviations of a share of .01 over 2,500 scores of a row are .004; over all rows .001.
    assert abs((scores > 0.99).mean() - 0.01) < 0.003


def test_a_new_series_scores_are_calibrated_for_exponential_surprise_from_the_first() -> None:
    scores = scores_of(np.random.default_rng(1).exponential(size=(20, 2000)))
    assert distance_to_uniform(scores) < 0.02


@pytest.mark.parametrize("spike", [12.0, 100.0, 1e30])
def test_a_spike_scores_above_99_in_a_hundred(spike: float) -> None:
    surprises = np.random.default_rng(2).exponential(size=(1001, 50))
    surprises[1000] = spike
    assert (scores_of(surprises)[1000] > 0.99).all()


def test_the_score_rises_with_the_surprise_and_stays_within_its_bounds() -> None:
    score = AnomalyScore()
    ladder = np.concatenate(([0.0, 5e-324], np.logspace(-4, 4, 400), [1e300]))
    state = rows_of(score.init_state(), rows=len(ladder))
    for surprise in np.random.default_rng(3).exponential(size=300):
        score.update(state, np.full(len(ladder), surprise), np.full(len(ladder), True))
    scores = score.update(state, ladder, np.full(len(ladder), True))
    assert (np.diff(scores) >= 0.0).all()
    assert scores[0] < 0.01
    assert 0.999 < scores[-1] <= 1.0


def test_a_row_without_a_residual_scores_nothing_and_is_not_counted() -> None:
    score = AnomalyScore()
    state = rows_of(score.init_state(), rows=2)
    before = state["counts"].copy()
    told = score.update(state, np.array([5.0, 5.0]), np.array([True, False]))
    assert told[0] > 0.9
    assert told[1] == 0.0
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
    """Goal: what is odd is said soonest. Method: the same series with and without a second horizon."""
    values = np.random.default_rng(6).normal(size=300).cumsum()
    values[200:] *= 3.0
    specification = replace(SMALL, experts=("last_value", "linear"))
    one = run_new(specification, side_by_side(values))
    two = run_new(replace(specification, horizons=(1, 7)), side_by_side(values))
    for name in ("anomaly_score", "drift", "drift_statistic"):
        assert one[name].tobytes() == two[name].tobytes(), name
    assert one["drift_statistic"].any()
