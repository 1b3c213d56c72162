"""Which experts a compiled forecaster has, what it tells, and room for what an event needs on its way."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from models.experts.watch import FIGURES as WATCHED
from models.kernels.jit import inner, lent
from models.protocols import Array, BoolArray, IntArray
from models.records import Record

LAST_VALUE: Final = 0
SEASONAL: Final = 1
LINEAR: Final = 2
RECURRENT: Final = 3
DRIFT: Final = 4
SMOOTHING: Final = 5

STABILITY: Final = 7
GUARD: Final = STABILITY + len(WATCHED)
"""Places among the figures of a model: anomaly score, scale, log score, gradient norm, influence norm, spectral radius, saturated ratio; what is watched of the recurrent
expert; and what guards did. See `told_types`."""


class Sizes(NamedTuple):
    """The sizes of a forecaster, those of its recurrent expert 0 where it has none. `naive` is its first naive expert, or -1.

    `others` are those of the features that joint experts alone see, the last ones.
    `kept` are the horizons whose gradients are kept, `descent` one of SGD, ADAM and FILTER, `groups` a filter's covariances.
    `watched` is 1: what is watched at each event; 0 leaves it out, to measure what it costs.
    """

    horizons: int
    first: int
    rows: int
    challengers: int
    experts: int
    quantiles: int
    features: int
    others: int
    levels: int
    units: int
    naive: int
    watched: int
    kept: int
    descent: int
    groups: int


def told_types(size: Sizes) -> tuple[np.dtype[Any], np.dtype[Any]]:
    """Return the layouts, in the order in which they are written, of the numbers and of the flags that are told of a model."""
    each, levels = (size.horizons, size.experts), (size.horizons, size.quantiles // 2)
    figures = ("anomaly_score", "scale", "anomaly_log_score", "gradient_norm", "influence_norm")
    numbers = {
        "prediction": (size.horizons,),
        "error": (size.horizons,),
        "quantiles": (size.horizons, size.quantiles),
        "expert_predictions": each,
        "weights": each,
        "expert_errors": each,
        **dict.fromkeys((*figures, "spectral_radius", "saturated_ratio"), ()),
        "stability": (GUARD - STABILITY,),
        "guard": (),
    }
    flags = {
        "settled": (size.horizons,),
        "covered": levels,
        **dict.fromkeys(("updated", "clipped", "skipped", "begun"), ()),
    }
    return (
        np.dtype([(name, np.float64, shape) for name, shape in numbers.items()]),
        np.dtype([(name, np.bool_, shape) for name, shape in flags.items()]),
    )


@inner
def experts_at(size: Sizes) -> int:
    """Return where what experts said begins in what is told: behind prediction, error and quantiles."""
    return size.horizons * (2 + size.quantiles)


@inner
def flags_at(size: Sizes) -> int:
    """Return where the flags of an event begin among those that are told: behind settled and covered."""
    return size.horizons * (1 + size.quantiles // 2)


@inner
def copied_whole(source: Record, target: Record) -> None:
    """Write an array over another."""
    for i in range(len(source)):
        target[i] = source[i]


@inner
def copied_parts(source: Record, target: Record, parts: IntArray) -> None:
    """Write parts of an array over those of another: parts are (P, 2), each from one place up to another."""
    for part in range(len(parts)):
        for i in range(parts[part, 0], parts[part, 1]):
            target[i] = source[i]


@inner
def copied_record(
    f: Array, i: IntArray, g: BoolArray, to_f: Array, to_i: IntArray, to_g: BoolArray, parts: IntArray
) -> None:
    """Write a record over another: of its floats these parts."""
    copied_parts(f, to_f, parts)
    copied_whole(i, to_i)
    copied_whole(g, to_g)


@inner
def clear(row: Array, row_flags: BoolArray, watched: Array, signals: BoolArray) -> None:
    """Take out of the room for what is told what another event told."""
    for j in range(len(row)):
        row[j] = 0.0
    for j in range(len(row_flags)):
        row_flags[j] = False
    for j in range(len(signals)):
        watched[j], watched[len(signals) + j], signals[j] = np.nan, 0.0, False


@lent
class Work(NamedTuple):
    """Room for what an event needs on its way: of its horizons (H), quantiles, cycles (C), experts (E), inputs and parameters."""

    slots: IntArray
    origins: IntArray
    known: BoolArray
    beyond: BoolArray
    target: Array
    residuals: Array
    bounds: Array
    then: Array
    begin: Array
    season_known: BoolArray
    forecasts: Array
    of_horizon: Array
    features: Array
    beside: Array
    waves: Array
    seen: Array
    read: Array
    credit: Array
    gradient: Array
    own: Array


def work_for(size: Sizes, n_cycles: int, n_waves: int, n_seasons: int) -> Work:
    """Return room for an event of a forecaster of these sizes."""
    return Work(
        np.empty(size.horizons, np.int64),
        np.empty(size.horizons, np.int64),
        np.empty(size.horizons, np.bool_),
        np.empty((size.horizons, size.quantiles), np.bool_),
        np.empty(size.horizons),
        np.empty((size.experts, size.horizons)),
        np.empty((size.experts, size.horizons)),
        np.empty((size.horizons, n_cycles)),
        np.empty((size.horizons, n_cycles)),
        np.empty((size.horizons, n_cycles), np.bool_),
        np.empty((size.experts, size.horizons)),
        np.empty(size.experts),
        np.empty(size.features),
        np.empty(2 + size.features + 2 * n_waves + n_cycles * n_seasons),
        np.empty(2 * n_waves),
        np.empty(2 + size.features - size.others),
        np.empty(2 * size.units),
        np.empty(2 * size.units),
        np.empty((6 + 2 * (size.features - size.others)) * size.units),
        np.empty(size.horizons),
    )
