"""Goal: the loss, the inputs and the calibration are watched as the equations say, and what changes is what signals.

Method: series of known noise that change in one respect at a known row, many side by side in a compiled bank and in numpy.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.bank import Bank
from models.protocols import Array
from models.specification import DRIFT_STREAMS
from tests.models.streams import (
    SMALL,
    Stream,
    assert_alike,
    run,
    run_new,
    side_by_side,
    state_bytes,
    step,
)

LOSS, INPUTS, CALIBRATION = range(len(DRIFT_STREAMS))
QUIET = replace(SMALL, experts=("last_value", "linear"))
ROWS, CHANGE, SERIES = 1200, 900, 12


def noise(*, factor: float = 1.0, seed: int = 0, rows: int = ROWS) -> Stream:
    """White noise whose size changes by a factor at the row CHANGE."""
    values = np.random.default_rng(seed).normal(size=(SERIES, rows))
    values[:, CHANGE:] *= factor
    return side_by_side(*values)


def signals(result: dict[str, Array]) -> Array:
    """Return how many drifts each stream signalled in each series before and after the change, (2, B, 3)."""
    drift = result["drift"][:, :, 0]
    return np.stack((drift[:CHANGE].sum(axis=0), drift[CHANGE:].sum(axis=0)))


def test_nothing_is_signalled_while_nothing_changes_and_every_statistic_is_below_its_threshold() -> None:
    result = run_new(QUIET, noise())
    assert signals(result).sum() <= 1
    assert result["drift_statistic"].min() >= 0.0
    assert result["drift_statistic"].max() <= 1.0
    assert (result["drift_statistic"][200:] > 0.0).any(axis=(0, 1, 2)).all()


def test_noise_that_grows_is_a_drift_of_loss_inputs_and_calibration_once_or_twice() -> None:
    before, after = signals(run_new(QUIET, noise(factor=4.0)))
    assert before.sum() <= 1
    assert (after[:, LOSS] >= 1).all()
    assert (after[:, INPUTS] >= 1).all()
    assert after[:, INPUTS].mean() <= 2.0
    assert (after[:, CALIBRATION] >= 1).mean() > 0.5


def test_noise_that_falls_is_no_drift() -> None:
    assert signals(run_new(QUIET, noise(factor=0.25)))[1].sum() == 0


def test_a_feature_that_moves_is_a_drift_of_the_inputs_alone() -> None:
    stream = noise(seed=1)
    features = np.random.default_rng(2).normal(size=(ROWS, SERIES, 1))
    features[CHANGE:] += 4.0
    specification = replace(QUIET, experts=("last_value",), features=("f",))
    _, after = signals(run_new(specification, Stream(stream.times, stream.values, features)))
    assert (after[:, INPUTS] >= 1).all()
    assert after[:, [LOSS, CALIBRATION]].sum() <= 1


def test_nothing_is_watched_before_a_hundred_forecasts_were_settled() -> None:
    values = np.random.default_rng(3).normal(size=(SERIES, 100))
    values[:, 50:] *= 100.0
    result = run_new(QUIET, side_by_side(*values))
    assert not result["drift"].any()
    assert not result["drift_statistic"].any()


def test_a_missing_value_is_not_watched() -> None:
    stream = noise(rows=400)
    bank = Bank(QUIET)
    slots = [bank.admit() for _ in range(SERIES)]
    before = run(bank, slots, stream, range(300))["drift_statistic"][-1]
    stream.values[300:320] = np.nan
    after = run(bank, slots, stream, range(300, 320))
    assert not after["drift"].any()
    for statistic in after["drift_statistic"]:
        assert statistic.tobytes() == before.tobytes()


def test_the_statistics_are_cusum_s_of_what_the_results_tell() -> None:
    """Method: what is watched is computed again from the forecasts' errors, scales and intervals, and summed up in a loop."""
    stream = noise(factor=2.0, seed=4)
    result = run_new(QUIET, stream)
    share = 1.0 - QUIET.interval_levels[-1]
    unit = np.sqrt(share * (1.0 - share))
    for row in range(3):
        error, scale = result["error"][:, row, 0, 0], result["scale"][:, row, 0]
        covered, settled = result["covered"][:, row, 0, 0, -1], result["settled"][:, row, 0, 0]
        change = np.diff(stream.values[:, row, 0], prepend=stream.values[0, row, 0])
        spread, seen, loss, calibration = 1.0, 0, 0.0, 0.0
        usual, usual_seen, inputs = 0.0, 0, 0.0
        for t in range(1, ROWS):
            size = min(abs(change[t]) / scale[t], 6.0)
            if usual_seen >= 100:
                inputs = max(0.0, inputs + min(size / usual, 8.0) - 1.25)
            usual += max(1e-3, 1.0 / (usual_seen + 1.0)) * (size - usual)
            usual_seen += 1
            if inputs > 25.0:
                inputs, usual, usual_seen = 0.0, 0.0, 0
            if settled[t] and t >= 2:  # the forecast of the first row had no scale
                off = abs(error[t]) / scale[t - 1]
                if seen >= 100:
                    loss = max(0.0, loss + min(off / spread, 8.0) - 1.25)
                    calibration = max(0.0, calibration + 1.0 + (float(not covered[t]) - share) / unit - 1.25)
                    loss, calibration = (0.0 if s > 25.0 else s for s in (loss, calibration))
                seen += 1
                spread += max(1.0 / 200.0, 1.0 / seen) * (min(off, 20.0 * spread) - spread)
            expected = np.array([loss, inputs, calibration]) / 25.0
            np.testing.assert_allclose(result["drift_statistic"][t, row, 0], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("detector", ["adwin", "hddm_w"])
def test_beside_a_compiled_forecaster_detectors_find_and_warn_of_the_drifts_that_numpy_does(
    detector: str,
) -> None:
    pytest.importorskip("numba", reason="the compiled twins need the extra `fast`")
    specification = replace(QUIET, drift_loss=detector, drift_inputs=detector, drift_calibration=detector)
    stream, results = noise(factor=4.0), []
    for compiled in (True, False):
        bank = Bank(specification, compiled=compiled)
        assert bank.compiled is compiled
        results.append(run(bank, [bank.admit() for _ in range(SERIES)], stream))
    found, expected = results
    assert_alike(found, expected, tolerance=1e-8)
    assert found["drift"][..., INPUTS].any()
    assert found["drift_warning"].any() == (detector == "hddm_w")


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("detector", ["cusum", "adwin", "hddm_w"])
def test_a_series_signals_the_same_alone_and_from_a_snapshot_in_the_middle(
    detector: str, compiled: bool
) -> None:
    specification = replace(QUIET, drift_loss=detector, drift_inputs=detector, drift_calibration=detector)
    stream = noise(factor=4.0, seed=5)
    bank, alone = (Bank(specification, compiled=compiled) for _ in range(2))
    slots = [bank.admit() for _ in range(4)]
    run(bank, slots, stream, range(CHANGE + 10))
    slot = alone.admit()
    alone.restore(slot, bank.snapshot(slots[2]))
    drifts = 0
    for row in range(CHANGE + 10, CHANGE + 160):
        expected, found = step(bank, slots, stream, row), step(alone, [slot], stream, row, [2])
        for name in ("drift", "drift_warning", "drift_statistic"):
            assert getattr(found, name)[0].tobytes() == getattr(expected, name)[2].tobytes()
        drifts += int(found.drift.sum())
    assert state_bytes(alone, slot) == state_bytes(bank, slots[2])
    assert drifts > 0
