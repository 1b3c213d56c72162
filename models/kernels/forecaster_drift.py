"""What is watched for drift, and CUSUM upon it: twins of `models.drift.watch` and `models.drift.cusum`.

Any other detector takes what is watched after the compiled call, in numpy, all series of the micro-batch at once.
"""

from __future__ import annotations

import numpy as np

from models.drift.watch import Watch, detect, forget_inputs
from models.forecast_protocols import DriftDetector
from models.kernels.forecaster_parts import Constants, Places
from models.kernels.jit import inner
from models.protocols import Array, BoolArray, IntArray, State
from models.records import Layout, Record, view

Others = dict[int, tuple[str, DriftDetector]]
"""Detectors that are not compiled: by the place of what they watch, the name of their part and themselves."""


@inner
def watched_inputs(
    f: Array, i: IntArray, at: Places, c: Constants, increment: float, features: Array, moved: bool
) -> float:
    """Twin of `Watch.inputs`: return NaN where it is not watched."""
    if not moved:
        return np.nan
    size = abs(increment)
    for j in range(len(features)):
        size += abs(features[j])
    size /= 1 + len(features)
    usual, seen = f[at.inputs_size], i[at.inputs_seen]
    f[at.inputs_size] = usual + max(1.0 / c.watch_span, 1.0 / (seen + 1.0)) * (size - usual)
    i[at.inputs_seen] = seen + 1
    if seen < c.watch_seen_min or not usual > 0.0:
        return np.nan
    return float(min(size / usual, c.watch_value_max))


@inner
def drift_update(f: Array, i: IntArray, at: Places, c: Constants, watched: Array, signals: BoolArray) -> None:
    """Take what is watched into the detectors that are CUSUM; write statistics behind it, and signals."""
    cusum_update(f, at.drift_loss_sum, c, 0, watched, signals)
    cusum_update(f, at.drift_inputs_sum, c, 1, watched, signals)
    cusum_update(f, at.drift_calibration_sum, c, 2, watched, signals)
    if signals[1]:
        f[at.inputs_size], i[at.inputs_seen] = 0.0, 0


@inner
def cusum_update(f: Array, place: int, c: Constants, which: int, watched: Array, signals: BoolArray) -> None:
    """Twin of `Cusum.update` and `statistic`; nothing where the detector is another."""
    if place < 0:
        return
    value = watched[which]
    if not np.isnan(value):
        grown = max(0.0, f[place] + value - c.cusum_mean - c.cusum_delta)
        signals[which] = grown > c.cusum_threshold
        f[place] = 0.0 if grown > c.cusum_threshold else grown
    watched[3 + which] = f[place] / c.cusum_threshold


def detect_others(
    others: Others,
    layout: Layout,
    records: tuple[Record, ...],
    models: IntArray,
    watched: Array,
    signals: BoolArray,
    warnings: BoolArray,
) -> None:
    """Take what is watched, in rows as `models` of the flat records, into detectors that are not compiled, in place."""
    for which, (part, detector) in others.items():
        views, state = _gathered(layout, part, records, models)
        value = watched[:, which]
        signals[:, which], warnings[:, which], watched[:, 3 + which] = detect(
            detector, state, value, ~np.isnan(value)
        )
        _write_rows(views, state, models)
        if part == "drift.inputs":
            views, state = _gathered(layout, "inputs", records, models)
            forget_inputs(state, signals[:, which])
            _write_rows(views, state, models)


def _gathered(
    layout: Layout, part: str, records: tuple[Record, ...], models: IntArray
) -> tuple[State, State]:
    """Return views of the fields of a part, and copies of some models' rows of them."""
    views = {name: view(records[place.record], place) for name, place in layout.places[part].items()}
    return views, {name: value[models] for name, value in views.items()}


def _write_rows(views: State, state: State, models: IntArray) -> None:
    """Write rows back."""
    for name, one in views.items():
        one[models] = state[name]


def others_of(watch: Watch, compiled: type) -> Others:
    """Return the detectors that are not compiled."""
    return {
        which: (f"drift.{what}", detector)
        for which, (what, detector) in enumerate(watch.detectors.items())
        if type(detector) is not compiled
    }
