"""Goal: every drift detector of DETECTORS is quiet while nothing changes, signals a rise, and starts anew exactly.

Method: values with mean one, as the forecaster hands them on (surprise over its running mean, at most 8), many
rows at once, so that false alarms can be counted; and Page-Hinkley against its equations in a plain loop.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from models.drift import DETECTORS
from models.drift.adwin import Adwin
from models.drift.watch import VALUE_MAX
from models.forecast_protocols import DriftDetector
from models.protocols import Array, BoolArray, State
from tests.models.streams import rows_of

for_every_detector = pytest.mark.parametrize("name", DETECTORS)

FALSE_ALARM_EVENTS = 10_000
"""A detector may signal once in so many stationary events, on average: of half hours, twice a year."""

DELAY_EVENTS_MAX = {"eddm": 1000}
"""Within so many events, 150 where nothing is said, a doubling of the error must be signalled. EDDM is slow by its nature: it
compares means over all errors since it began."""

BYTES_MAX = 5_000
"""Of one detector's state. A value is eight bytes, so no detector keeps more than some hundred of them."""

Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]
STATIONARY: dict[str, Draw] = {
    "normal residuals": lambda rng, shape: np.abs(rng.normal(size=shape)) / np.sqrt(2.0 / np.pi),
    "Laplace residuals": lambda rng, shape: rng.exponential(size=shape),
}


def run_detector(
    detector: DriftDetector, values: Array, state: State | None = None
) -> tuple[BoolArray, Array]:
    """Return where a change was signalled, and the statistic after each value; both (T, B)."""
    if state is None:
        state = rows_of(detector.init_state(), rows=values.shape[1])
    signals, statistics = [], []
    for row in values:
        signals.append(detector.update(state, row, np.full(len(row), True)))
        statistics.append(detector.statistic(state))
    return np.stack(signals), np.stack(statistics)


def drawn(draw: Draw, shape: tuple[int, ...], *, seed: int = 0) -> Array:
    return np.minimum(draw(np.random.default_rng(seed), shape), VALUE_MAX)


@for_every_detector
@pytest.mark.parametrize("draw", STATIONARY.values(), ids=STATIONARY)
def test_on_stationary_values_false_alarms_are_rarer_than_stated(name: str, draw: Draw) -> None:
    signals, statistics = run_detector(DETECTORS[name](), drawn(draw, (2000, 400)))
    assert signals.sum() <= signals.size / FALSE_ALARM_EVENTS
    assert np.isfinite(statistics).all()
    assert statistics.min() >= 0.0
    assert statistics.max() <= 1.0


@for_every_detector
@pytest.mark.parametrize("factor", [2.0, 4.0])
def test_a_rise_of_the_error_is_signalled_soon(name: str, factor: float) -> None:
    delay = DELAY_EVENTS_MAX.get(name, 150)
    values = drawn(STATIONARY["normal residuals"], (400 + delay, 200), seed=1)
    values[400:] = np.minimum(factor * values[400:], VALUE_MAX)
    signals, statistics = run_detector(DETECTORS[name](), values)
    assert signals[:400].sum() <= signals[:400].size / FALSE_ALARM_EVENTS
    assert signals[400:].any(axis=0).mean() > 0.98
    assert statistics[400:].max(axis=0).mean() > statistics[:400].max(axis=0).mean()


@for_every_detector
def test_a_fall_of_the_error_is_no_drift(name: str) -> None:
    values = drawn(STATIONARY["normal residuals"], (1500, 50), seed=2)
    values[500:] *= 0.3
    signals, _ = run_detector(DETECTORS[name](), values)
    assert not signals.any()


@for_every_detector
def test_after_a_signal_it_is_as_new(name: str) -> None:
    detector = DETECTORS[name]()
    state = rows_of(detector.init_state())
    new = {field: value.tobytes() for field, value in rows_of(detector.init_state()).items()}
    values = np.concatenate((np.ones(300), np.full(300, VALUE_MAX)))
    for value in values:
        if detector.update(state, np.array([value]), np.array([True]))[0]:
            break
    else:
        pytest.fail("an eightfold error was not signalled in 300 events")
    assert {field: value.tobytes() for field, value in state.items()} == new
    assert detector.statistic(state).tolist() == [0.0]


@for_every_detector
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused_before_the_state_is_touched(name: str, wrong: float) -> None:
    detector = DETECTORS[name]()
    state = rows_of(detector.init_state(), rows=3)
    for row in drawn(STATIONARY["normal residuals"], (150, 3), seed=3):
        detector.update(state, row, np.full(3, True))
    before = {field: value.tobytes() for field, value in state.items()}
    with pytest.raises(ValueError, match="finite"):
        detector.update(state, np.array([1.0, wrong, 1.0]), np.full(3, True))
    assert {field: value.tobytes() for field, value in state.items()} == before


@for_every_detector
def test_a_row_without_a_value_stays_as_it_is_whatever_stands_there(name: str) -> None:
    detector = DETECTORS[name]()
    state = rows_of(detector.init_state(), rows=2)
    for row in drawn(STATIONARY["normal residuals"], (150, 2), seed=4):
        detector.update(state, row, np.full(2, True))
    before = {field: value[1].tobytes() for field, value in state.items()}
    for other in (np.nan, np.inf, 0.0, VALUE_MAX):
        signal = detector.update(state, np.array([1.0, other]), np.array([True, False]))
        assert not signal[1]
        assert {field: value[1].tobytes() for field, value in state.items()} == before


@for_every_detector
def test_a_row_depends_on_itself_alone_and_goes_on_from_a_copy_to_the_bit(name: str) -> None:
    detector = DETECTORS[name]()
    values = drawn(STATIONARY["Laplace residuals"], (600, 7), seed=5)
    values[300:] *= 2.0
    state = rows_of(detector.init_state(), rows=7)
    run_detector(detector, values[:330], state)
    for row in (0, 3, 6):
        alone = {field: value[row : row + 1].copy() for field, value in state.items()}
        signals, statistics = run_detector(detector, values[330:, [row]], alone)
        expected = {field: value.copy() for field, value in state.items()}
        expected_signals, expected_statistics = run_detector(detector, values[330:], expected)
        assert signals[:, 0].tolist() == expected_signals[:, row].tolist()
        assert statistics[:, 0].tobytes() == expected_statistics[:, row].tobytes()
        for field, value in alone.items():
            assert value[0].tobytes() == expected[field][row].tobytes()


@for_every_detector
def test_its_state_keeps_its_shape_whatever_it_sees(name: str) -> None:
    detector = DETECTORS[name]()
    new = {
        field: (np.shape(value), np.asarray(value).dtype) for field, value in detector.init_state().items()
    }
    assert sum(value.nbytes for value in detector.init_state().values()) <= BYTES_MAX
    state = rows_of(detector.init_state(), rows=3)
    values = drawn(STATIONARY["Laplace residuals"], (3000, 3), seed=7)
    values[::500] *= 0.0
    run_detector(detector, values, state)
    assert {field: (value.shape[1:], value.dtype) for field, value in state.items()} == new
    assert all(np.isfinite(value).all() for value in state.values())


@for_every_detector
def test_a_warning_comes_before_the_threshold_or_never(name: str) -> None:
    warning = DETECTORS[name]().warning
    assert 0.4 < warning < 1.0 or warning == np.inf


def test_cusum_follows_its_equations() -> None:
    values = drawn(STATIONARY["Laplace residuals"], (1500, 4), seed=8)
    values[600:] *= 2.0
    signals, statistics = run_detector(DETECTORS["cusum"](), values)
    assert signals.any(axis=0).all()
    for row in range(4):
        total = 0.0
        for t in range(1500):
            total = max(0.0, total + values[t, row] - 1.25)
            assert signals[t, row] == (total > 25.0)
            total = 0.0 if total > 25.0 else total
            assert abs(statistics[t, row] - total / 25.0) < 1e-9


def test_adwin_s_sums_are_those_of_its_window_and_a_full_one_forgets_the_oldest() -> None:
    """Method: four sizes of buckets hold at most 75 values; beside them the values themselves are kept."""
    detector = Adwin(levels=4, delta=1e-12)
    state, values = (
        rows_of(detector.init_state(), rows=2),
        np.random.default_rng(9).normal(5.0, 1.0, (400, 2)),
    )
    widths = []
    for t in range(400):
        assert not detector.update(state, values[t], np.array([True, t % 3 > 0])).any()
        width = int(state["width"][0])
        window = values[t + 1 - width : t + 1, 0]
        assert abs(state["total"][0] - window.sum()) < 1e-9
        assert abs(state["square"][0] - ((window - window.mean()) ** 2).sum()) < 1e-9
        widths.append(width)
    assert widths[:60] == list(range(1, 61))
    assert max(widths) <= 75
    assert min(widths[75:]) >= 60


def test_page_hinkley_follows_its_equations() -> None:
    values = drawn(STATIONARY["Laplace residuals"], (1500, 4), seed=6)
    values[600:] *= 2.0
    signals, statistics = run_detector(DETECTORS["page_hinkley"](), values)
    assert signals.any(axis=0).all()
    for row in range(4):
        seen, mean, total, least = 0, 0.0, 0.0, 0.0
        for t in range(1500):
            seen += 1
            mean += (values[t, row] - mean) / seen
            total += values[t, row] - mean - 0.1
            least = min(least, total)
            expected = total - least > 30.0 and seen >= 100
            assert signals[t, row] == expected
            if expected:
                seen, mean, total, least = 0, 0.0, 0.0, 0.0
            assert abs(statistics[t, row] - (total - least) / 30.0) < 1e-9


def test_page_hinkley_knows_its_mean_before_it_signals() -> None:
    """A stream that starts with great values, in whatever unit, is no drift within the first hundred events."""
    values = np.full((400, 3), 8.0)
    values[:50] = 0.01
    signals, _ = run_detector(DETECTORS["page_hinkley"](), values)
    assert not signals[:99].any()
    assert signals[99:].any(axis=0).all()
