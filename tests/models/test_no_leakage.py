"""Goal: nothing is learned from a label before its time, and what is scored is what was told before.

Method: the future is changed and every earlier result compared bit for bit, which a leaky expert put in must
not pass; a recording expert says when each label came; a slow model in plain loops, which keeps its forecasts
in a list until their rows come, must give the same forecasts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from models.experts import EXPERTS
from models.forecast_protocols import Due, Observation
from models.protocols import Array, BoolArray, Fields, IntArray, State
from models.specification import Specification
from tests.models.streams import (
    RESULT_NAMES,
    SMALL,
    SMALL_SPECIFICATIONS,
    Stream,
    make_stream,
    run_new,
    univariate,
)

MISSING = st.sampled_from([0.0, 0.3])


def first_difference(specification: Specification, one: Stream, other: Stream) -> int | None:
    """Return the first row at which anything that is said of two streams differs in any bit."""
    told, others = run_new(specification, one), run_new(specification, other)
    for row in range(len(one)):
        if any(told[name][row].tobytes() != others[name][row].tobytes() for name in RESULT_NAMES):
            return row
    return None


def with_another_future(stream: Stream, after: int, *, shuffled: bool) -> Stream:
    """Return the stream with the rows after `after` shuffled, or with other values and features."""
    rng = np.random.default_rng(after)
    values, features = stream.values.copy(), stream.features.copy()
    later = np.arange(after + 1, len(stream))
    if shuffled:
        order = rng.permutation(later)
        values[later], features[later] = values[order], features[order]
    else:
        values[later] *= rng.normal(size=values[later].shape)
        features[later] += 1.0
    return Stream(stream.times, values, features)


@hypothesis_settings(max_examples=12)
@given(
    specification=SMALL_SPECIFICATIONS,
    seed=st.integers(0, 99),
    after=st.integers(0, 30),
    shuffled=st.booleans(),
    missing=MISSING,
)
def test_another_future_changes_nothing_that_was_said_before_it(
    specification: Specification, seed: int, after: int, shuffled: bool, missing: float
) -> None:
    stream = make_stream(specification, rows=40, seed=seed, missing=missing)
    changed = with_another_future(stream, after, shuffled=shuffled)
    differs_at = first_difference(specification, stream, changed)
    assert differs_at is None or differs_at > after


@dataclass
class Leaky:
    """An expert that knows the series' file, and forecasts what it reads one row further down."""

    files: list[Array]
    n_horizons: int

    def init_state(self) -> Fields:
        return {"row": np.zeros((), dtype=np.int64)}

    def learn(self, state: State, due: Due) -> None: ...

    def forecast(self, state: State, observation: Observation) -> Array:
        file = next(file for file in self.files if file[state["row"][0]] == observation.level[0])
        ahead = file[np.minimum(state["row"] + 1, len(file) - 1)]
        state["row"] = state["row"] + 1
        return np.repeat(((ahead - observation.level) / observation.scale)[:, None], self.n_horizons, axis=1)


def test_an_expert_that_looks_at_a_label_early_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Method: the very check of the test above must fail, at the row before the change, for an expert that cheats."""
    specification = replace(SMALL, horizons=(1, 3), experts=("last_value", "leaky"))
    rng = np.random.default_rng(0)
    stream, after = univariate(rng.normal(size=40).cumsum()), 25
    changed = with_another_future(stream, after, shuffled=False)
    files = [stream.values[:, 0, 0], changed.values[:, 0, 0]]
    runs = iter(files)
    monkeypatch.setitem(EXPERTS, "leaky", lambda _: Leaky([next(runs)], 2))
    assert first_difference(specification, stream, changed) == after


@hypothesis_settings(max_examples=12)
@given(specification=SMALL_SPECIFICATIONS, seed=st.integers(0, 99))
def test_what_is_scored_is_what_was_told_before(specification: Specification, seed: int) -> None:
    """Goal: no forecast is scored as it would be after learning. Method: score what was told, by hand, to the bit."""
    stream = make_stream(specification, rows=45, series=2, seed=seed)
    told = run_new(specification, stream)
    for place, h in enumerate(specification.horizons):
        assert not told["settled"][:h, ..., place].any()
        assert told["settled"][h:, ..., place].all()
        assert not told["error"][:h, ..., place].any()
        assert not told["covered"][:h, ..., place, :].any()
        label = stream.values[h:]
        before = told["prediction"][:-h, ..., place]
        assert (told["error"][h:, ..., place] == label - before).all()
        quantiles = told["quantiles"][:-h, ..., place, :]
        for at in range(2):  # the levels, of which the first is the inner pair of the quantiles
            inside = (quantiles[..., 1 - at] <= label) & (label <= quantiles[..., 2 + at])
            assert (told["covered"][h:, ..., place, at] == inside).all()
        experts = told["expert_predictions"][:-h, ..., place, :]
        assert (told["expert_errors"][h:, ..., place, :] == label[..., None] - experts).all()


@dataclass
class Recorder:
    """Forecasts no change, keeps its row in each ring it is given, and writes down all that it is told."""

    horizons: tuple[int, ...]
    dues: list[tuple[BoolArray, Array, Array, IntArray]]
    seen: list[tuple[float, float, IntArray]]

    def init_state(self) -> Fields:
        return {
            "row": np.zeros((), dtype=np.int64),
            "ring": np.full(sum(self.horizons), -1, dtype=np.int64),
        }

    def learn(self, state: State, due: Due) -> None:
        self.dues.append((due.valid[0], due.target[0], due.residual[0], state["ring"][0, due.slot[0]]))

    def forecast(self, state: State, observation: Observation) -> Array:
        state["ring"][0, observation.slot[0]] = state["row"][0]
        state["row"] = state["row"] + 1
        self.seen.append((observation.level[0], observation.scale[0], observation.slot[0]))
        return np.zeros((1, len(self.horizons)))


@hypothesis_settings(max_examples=20)
@given(
    horizons=st.lists(st.integers(1, 12), min_size=1, max_size=4, unique=True).map(
        lambda h: tuple(sorted(h))
    ),
    still=st.integers(1, 6),
)
def test_a_label_comes_at_its_row_with_what_was_kept_for_it(horizons: tuple[int, ...], still: int) -> None:
    recorder = Recorder(horizons, [], [])
    rng = np.random.default_rng(0)
    # The series stands still at first: its forecasts of then have no unit, and teach nothing.
    values = np.concatenate((np.full(still, 7.0), 7.0 + rng.normal(size=30).cumsum()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(EXPERTS, "recorder", lambda _: recorder)
        run_new(replace(SMALL, horizons=horizons, experts=("recorder",)), univariate(values))
    for row, (valid, target, residual, kept_at) in enumerate(recorder.dues):
        for place, h in enumerate(horizons):
            assert valid[place] == (row - h >= still)
            if not valid[place]:
                assert target[place] == residual[place] == 0.0
                continue
            level, scale, _ = recorder.seen[row - h]
            assert kept_at[place] == row - h
            assert target[place] == (values[row] - level) / scale
            assert np.sign(residual[place]) == np.sign(target[place])
            assert abs(residual[place]) <= abs(target[place])


def slow_linear_forecasts(values: Array, horizons: tuple[int, ...], lags: int) -> Array:
    """Return what the linear expert should forecast, (T, H): loops, lists, and matrices inverted outright.

    Each horizon keeps the rows it has labels for, and solves its weighted least squares anew at every label.
    """
    forgetting, prior, span, far = 0.9995, 0.1, 1000.0, 6.0
    changes = 2 * min(len(horizons), 4)
    size = lags + 10 + changes
    information = {h: np.eye(size) / prior for h in horizons}
    moment = {h: np.zeros(size) for h in horizons}
    weights = {h: np.zeros(size) for h in horizons}
    variances, counts = dict.fromkeys(horizons, 0.0), dict.fromkeys(horizons, 0)
    pending: list[tuple[int, int, float, float, Array, float, bool]] = []
    variance = mean = spread = lowest = highest = 0.0
    recent = [0.0] * lags
    forecasts = np.zeros((len(values), len(horizons)))
    for row, value in enumerate(values):
        for made_at, h, base, unit, inputs, said, scaled in [p for p in pending if p[0] + p[1] == row]:
            # Least squares towards the label, so far as it is not too far from what the weights of now say of it. A
            # forecast that was in no unit has no label: as if it had been right.
            error, goal = 0.0, float(weights[h] @ inputs)
            if scaled:
                counts[h] += 1
                bound = 4.0 * np.sqrt(variances[h]) if variances[h] > 0.0 else 4.0
                residual = float(np.clip((value - base) / unit - said, -bound, bound))
                variances[h] += max(1 / 200, 1 / counts[h]) * (residual**2 - variances[h])
                error = float(np.clip((value - base) / unit - goal, -bound, bound))
            information[h] = forgetting * information[h] + np.outer(inputs, inputs)
            goal += error
            moment[h] = forgetting * moment[h] + goal * inputs
            weights[h] = np.asarray(np.linalg.solve(information[h], moment[h]), dtype=np.float64)
            assert made_at == row - h
        pending = [p for p in pending if p[0] + p[1] > row]

        change = value - values[row - 1] if row else 0.0
        if row:
            bound = far * np.sqrt(variance)
            clipped = float(np.clip(change, -bound, bound)) if bound > 0.0 else change
            variance += max(1 / span, 1 / row) * (clipped**2 - variance)
        mean = value if row == 0 else mean + max(1 / span, 1 / (row + 1)) * (value - mean)
        scale = float(np.sqrt(variance)) if variance > 0.0 else 1.0
        lowest, highest = (value, value) if row == 0 else (min(lowest, value), max(highest, value))
        margin = 0.1 * (highest - lowest)
        recent = [float(np.clip(change / scale, -far, far)), *recent[:-1]]
        off = value - mean
        bound = far * np.sqrt(spread)
        clipped = float(np.clip(off, -bound, bound)) if bound > 0.0 else off
        spread += max(1 / span, 1 / (row + 1)) * (clipped**2 - spread)
        deviation = float(np.clip(off / np.sqrt(spread), -far, far)) if spread > 0.0 else 0.0
        day, week = row / 24.0, row / 168.0
        waves = [
            f(2.0 * np.pi * turns) for turns in (day, 2.0 * day, 3.0 * day, week) for f in (np.sin, np.cos)
        ]
        inputs = np.array([*recent, deviation, 1.0, *waves, *[0.0] * changes])
        for place, h in enumerate(horizons):
            said = float(np.clip(value + scale * (weights[h] @ inputs), lowest - margin, highest + margin))
            forecasts[row, place] = said
            pending.append((row, h, value, scale, inputs, (said - value) / scale, variance > 0.0))
    return forecasts


@pytest.mark.parametrize("horizons", [(1,), (2, 5), (1, 3, 24)])
def test_forecasts_equal_those_of_a_slow_model_that_waits_for_each_label(horizons: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=250)
    values[2:] += 0.8 * values[1:-1]
    values[[60, 61, 130]] += [40.0, 0.0, -90.0]
    values = 20.0 + values
    # Without a season: no cycle of rows an hour apart fits two rows.
    specification = replace(SMALL, horizons=horizons, experts=("linear",), season_max=2)
    told = run_new(specification, univariate(values, interval=3600.0))["prediction"][:, 0, 0]
    expected = slow_linear_forecasts(values, horizons, specification.lags)
    assert np.abs(expected[100:] - values[100:, None]).max() > 1.0
    np.testing.assert_allclose(told, expected, rtol=0, atol=1e-8)
