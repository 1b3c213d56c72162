"""Goal: every detector that River has signals at the events at which River's does, where River is right.

Method: streams that stay and that change, several seeds, one row of a micro-batch each, with River's own parameters; signals and
warnings event by event, and what River shows of its statistics. Then four cases, each pinned, in which River's is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import river.drift
import river.drift.binary
from scipy.stats import ks_2samp

from models.drift.adwin import Adwin
from models.drift.ddm import Ddm
from models.drift.eddm import Eddm
from models.drift.hddm_a import HddmA
from models.drift.hddm_w import HddmW
from models.drift.kswin import Kswin, chance
from models.drift.page_hinkley import PageHinkley
from models.drift.watch import detect
from models.forecast_protocols import DriftDetector
from models.protocols import Array, BoolArray, State
from tests.models.streams import rows_of

ROWS, SERIES = 3000, 8

drift: Any = river.drift  # whose methods have no types
binary: Any = river.drift.binary


@dataclass(frozen=True)
class Pair:
    """A detector, and River's of the same parameters."""

    ours: DriftDetector
    river: Callable[[], Any]
    values: Callable[[], Array]


def real_values() -> Array:
    """Normal values with mean and deviation one: every other series rises, every third falls before that."""
    rng = np.random.default_rng(0)
    values = rng.normal(1.0, 1.0, size=(ROWS, SERIES))
    values[ROWS // 2 :, 1::2] += 1.0
    values[ROWS // 4 :, ::3] -= 0.7
    return values


def error_values() -> Array:
    """Zeros and ones: every other series has three times the errors in its second half."""
    share = np.full((ROWS, SERIES), 0.12)
    share[ROWS // 2 :, 1::2] = 0.36
    return (np.random.default_rng(1).random((ROWS, SERIES)) < share).astype(float)


PAIRS = {
    "page_hinkley": Pair(
        PageHinkley(),
        lambda: drift.PageHinkley(min_instances=100, delta=0.1, threshold=30.0, alpha=1.0, mode="up"),
        real_values,
    ),
    "adwin": Pair(Adwin(rising=False), drift.ADWIN, real_values),
    "ddm": Pair(Ddm(threshold=3.0, warning=2.0, events_min=30, over=0.5), binary.DDM, error_values),
    "eddm": Pair(Eddm(alpha=0.95, beta=0.9, errors_min=30, over=0.5), binary.EDDM, error_values),
    "hddm_a": Pair(HddmA(over=0.5), binary.HDDMA, error_values),
    "hddm_w": Pair(HddmW(over=0.5), binary.HDDMW, error_values),
}
for_every_pair = pytest.mark.parametrize("name", PAIRS)


def run_ours(detector: DriftDetector, values: Array) -> tuple[BoolArray, BoolArray, State]:
    """Return where it signalled and where it warned, (T, B), and the state at the end."""
    rows = values.shape[1]
    state, every = rows_of(detector.init_state(), rows=rows), np.full(rows, True)
    signals, warnings = np.zeros(values.shape, np.bool_), np.zeros(values.shape, np.bool_)
    for t, row in enumerate(values):
        signals[t], warnings[t], _ = detect(detector, state, row, every)
    return signals, warnings, state


def run_river(make: Callable[[], Any], values: Array) -> tuple[BoolArray, BoolArray, list[Any]]:
    signals, warnings = np.zeros(values.shape, np.bool_), np.zeros(values.shape, np.bool_)
    detectors = [make() for _ in range(values.shape[1])]
    for t, row in enumerate(values):
        for at, (detector, value) in enumerate(zip(detectors, row.tolist(), strict=True)):
            detector.update(value)
            signals[t, at] = detector.drift_detected
            warnings[t, at] = getattr(detector, "warning_detected", False)
    return signals, warnings, detectors


@for_every_pair
def test_it_signals_at_the_events_at_which_river_does(name: str) -> None:
    values = PAIRS[name].values()
    ours, warned, _ = run_ours(PAIRS[name].ours, values)
    theirs, river_warned, _ = run_river(PAIRS[name].river, values)
    assert theirs.sum() >= 3
    np.testing.assert_array_equal(ours, theirs)
    if name != "eddm":  # whose warnings go on too long: below
        np.testing.assert_array_equal(warned, river_warned)


def test_page_hinkley_has_the_sums_that_river_has() -> None:
    pair, values = PAIRS["page_hinkley"], real_values()[:1400]
    _, _, state = run_ours(pair.ours, values)
    _, _, detectors = run_river(pair.river, values)
    expected = [(d._sum_increase - d._min_increase) / 30.0 for d in detectors]
    np.testing.assert_allclose(pair.ours.statistic(state), expected, rtol=0, atol=1e-9)


def test_adwin_has_the_window_that_river_has() -> None:
    pair, values = PAIRS["adwin"], real_values()
    _, _, state = run_ours(pair.ours, values)
    _, _, detectors = run_river(pair.river, values)
    for field, name in (("width", "width"), ("total", "total"), ("square", "variance")):
        expected = [getattr(detector, name) for detector in detectors]
        np.testing.assert_allclose(state[field], expected, rtol=1e-9, atol=1e-9)


def test_ddm_eddm_and_the_two_hddm_have_the_figures_that_river_has() -> None:
    values = error_values()
    figures: tuple[tuple[str, str, Callable[[Any], float]], ...] = (
        ("ddm", "share", lambda d: d._p.get()),
        ("eddm", "mean", lambda d: d._error_distances.mean.get()),
        ("eddm", "highest", lambda d: max(d._p2s_prime_max, 0.0)),  # -1 before there is one
        ("hddm_a", "mean", lambda d: d._z.get()),
        ("hddm_a", "cut_mean", lambda d: d._x_min.get()),
        ("hddm_w", "mean", lambda d: d._total.ewma),
        ("hddm_w", "since_weight", lambda d: d._s2_incr.ibc),
    )
    for name, field, of in figures:
        _, _, state = run_ours(PAIRS[name].ours, values)
        _, _, detectors = run_river(PAIRS[name].river, values)
        np.testing.assert_allclose(state[field], [of(d) for d in detectors], rtol=0, atol=1e-9)


def test_kswin_signals_where_river_does_if_it_draws_the_same_values() -> None:
    """Method: River's own generator of a sample is exchanged for one that draws what ours does after as many events."""
    detector, values = Kswin(alpha=0.005, window=100, newest=30, rising=False), real_values()[:1500, :4]
    values = np.round(values, 1)  # so that there are ties

    class Drawn:
        def __init__(self, theirs: Any) -> None:
            self.theirs = theirs

        def sample(self, _: range, size: int) -> list[int]:
            drawn: list[int] = detector.drawn(np.array([self.theirs.n]))[0].tolist()
            assert len(set(drawn)) == size
            return drawn

    class Theirs(drift.KSWIN):  # type: ignore[misc]  # River has no types here
        def _reset(self) -> None:
            super()._reset()
            self._rng = Drawn(self)

    ours, _, state = run_ours(detector, values)
    theirs, _, detectors = run_river(Theirs, values)
    assert theirs.sum() >= 4
    np.testing.assert_array_equal(ours, theirs)
    full = state["seen"] >= detector.window
    assert full.any()
    chances = [chance(distance, detector.newest) for distance in state["distance"][full].tolist()]
    expected = [theirs.p_value for theirs, asked in zip(detectors, full, strict=True) if asked]
    np.testing.assert_allclose(chances, expected, rtol=1e-9)


def test_kswin_s_chance_is_the_exact_one() -> None:
    rng = np.random.default_rng(2)
    for size in (5, 30):
        for shift in (0.0, 0.5, 1.0):
            one, other = rng.normal(size=size), rng.normal(shift, size=size)
            distance, expected = ks_2samp(one, other, method="exact")
            assert chance(round(distance * size), size) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", [name for name in PAIRS if name not in {"ddm", "eddm"}])
def test_river_is_blind_for_ever_after_a_nan_which_ours_refuses(name: str) -> None:
    """River takes NaN into its means: every comparison with one is false. DDM raises TypeError, EDDM takes it for no error."""
    rise = np.ones((600, 1))
    rise[:300] = 0.0
    for values in (rise, np.concatenate(([[np.nan]], rise))):
        with np.errstate(invalid="ignore"):
            theirs, _, _ = run_river(PAIRS[name].river, 3.0 * values if name == "page_hinkley" else values)
        assert theirs.any() == (not np.isnan(values).any()), "River has changed: is it right now?"
    detector = PAIRS[name].ours
    state = rows_of(detector.init_state())
    with pytest.raises(ValueError, match="finite"):
        detector.update(state, np.array([np.nan]), np.array([True]))
    ours, _, _ = run_ours(detector, 3.0 * rise)
    assert ours.any()


def test_river_s_ddm_signals_at_the_first_error_ever_and_ours_waits_for_a_share() -> None:
    """Without an error p = s = 0, so the published bound p_min + 3 s_min is 0, and one error in a thousand is a drift."""
    values = np.zeros((2000, 1))
    values[1000] = 1.0
    theirs, _, _ = run_river(binary.DDM, values)
    ours, _, _ = run_ours(PAIRS["ddm"].ours, values)
    assert np.flatnonzero(theirs).tolist() == [1000]
    assert not ours.any()


def test_river_s_eddm_goes_on_warning_when_its_statistic_is_at_its_highest() -> None:
    """Its flag is set anew only below the maximum; at a new one the level is 1 by its equation, and there is no warning."""
    values = error_values()
    _, ours, _ = run_ours(PAIRS["eddm"].ours, values)
    drifts, theirs, _ = run_river(PAIRS["eddm"].river, values)
    theirs &= ~drifts  # where it says both
    assert not (ours & ~theirs).any()
    too_long = theirs & ~ours
    assert too_long.any()
    row = int(np.flatnonzero(too_long.any(axis=0))[0])
    first = int(np.flatnonzero(too_long[:, row])[0])
    detector = binary.EDDM()
    for value in values[:first, row].tolist():
        detector.update(value)
    before = detector._p2s_prime_max
    detector.update(float(values[first, row]))
    assert detector._p2s_prime_max > before
    assert math.isfinite(before)
    assert detector.warning_detected


def test_river_s_kswin_forgets_the_newest_values_that_it_keeps() -> None:
    """After a signal it keeps them as the paper does, and throws them away at the next event; ours starts anew at once."""
    values = np.concatenate((np.zeros(200), np.ones(200)))
    detector = drift.KSWIN(seed=0)
    kept = next(
        len(detector.window) for v in values.tolist() if detector.update(v) or detector.drift_detected
    )
    assert kept == 30
    detector.update(1.0)
    assert len(detector.window) == 1
