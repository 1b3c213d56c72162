"""The forecaster's event: settle, learn, advance, predict, for all events of a micro-batch in one compiled call.

The twin of `models.forecaster.Forecaster.step`, part by part in the same order; works on the records of `models.records` in
place. Sums run in another order than numpy's, so results agree to rounding. A series whose results would not be finite is
put back as it was.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from models.kernels.forecaster_experts import (
    Sizes,
    bounded_residual,
    copied,
    linear_forecast,
    readout_learn,
    readout_settle,
    recurrent_forecast,
    recurrent_learn,
)
from models.kernels.forecaster_parts import (
    Constants,
    Places,
    Readout,
    anomaly_update,
    calendar_update,
    clipped,
    drift_update,
    features_update,
    interval_learn,
    mixture_combine,
    mixture_learn,
    scale_update,
    season_update,
)
from models.kernels.jit import inner, jit
from models.protocols import Array, BoolArray, IntArray

LAST_VALUE: Final = 0
SEASONAL: Final = 1
LINEAR: Final = 2
RECURRENT: Final = 3

FIGURES: Final = 7
"""Anomaly score, scale, drift statistic, gradient norm, influence norm, spectral radius, saturated ratio."""
FLAGS: Final = 4
"""Drift, updated, clipped, skipped."""


class Work(NamedTuple):
    """Room for what an event needs on its way: of its horizons (H), cycles (C), experts (E), inputs and parameters."""

    slots: IntArray
    origins: IntArray
    known: BoolArray
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


def work_for(size: Sizes, n_cycles: int, n_waves: int) -> Work:
    """Return room for an event of a forecaster of these sizes."""
    return Work(
        np.empty(size.horizons, np.int64),
        np.empty(size.horizons, np.int64),
        np.empty(size.horizons, np.bool_),
        np.empty(size.horizons),
        np.empty((size.experts, size.horizons)),
        np.empty((size.experts, size.horizons)),
        np.empty((size.horizons, n_cycles)),
        np.empty((size.horizons, n_cycles)),
        np.empty((size.horizons, n_cycles), np.bool_),
        np.empty((size.experts, size.horizons)),
        np.empty(size.experts),
        np.empty(size.features),
        np.empty(2 + size.features + n_cycles + 2 * n_waves),
        np.empty(2 * n_waves),
        np.empty(2 + size.features),
        np.empty(2 * size.units),
        np.empty(2 * size.units),
        np.empty((6 + 2 * size.features) * size.units),
    )


@inner
def copied_whole(source: Array, target: Array) -> None:
    """Write an array over another."""
    for i in range(len(source)):
        target[i] = source[i]


@inner
def copied_parts(source: Array, target: Array, parts: IntArray) -> None:
    """Write parts of an array over those of another: parts are (P, 2), each from one place up to another."""
    for part in range(len(parts)):
        for i in range(parts[part, 0], parts[part, 1]):
            target[i] = source[i]


@inner
def score(
    f: Array,
    i: IntArray,
    g: BoolArray,
    at: Places,
    size: Sizes,
    c: Constants,
    horizons: IntArray,
    level: float,
    row: Array,
    row_flags: BoolArray,
    w: Work,
) -> None:
    """Score the forecasts that are due: what they were off by, and the residuals that there is to learn from."""
    n_horizons, n_experts = size.horizons, size.experts
    errors_at = 4 * n_horizons + 2 * n_horizons * n_experts
    count, offset = i[at.clock_count], 0
    for h in range(n_horizons):
        slot = offset + count % horizons[h]
        offset += horizons[h]
        w.slots[h], w.known[h], w.target[h] = slot, False, 0.0
        w.origins[h] = (count - horizons[h]) % size.rows
        for e in range(n_experts):
            w.residuals[e, h] = 0.0
        if count < horizons[h]:
            continue
        base, unit = f[at.pending_level + slot], f[at.pending_scale + slot]
        width = f[at.pending_half_width + slot]
        experts = f[at.pending_experts + slot * n_experts : at.pending_experts + (slot + 1) * n_experts]
        prediction = base + unit * f[at.pending_mixed + slot]
        inside = prediction - unit * width <= level <= prediction + unit * width
        row_flags[h], row_flags[n_horizons + h] = True, inside
        row[3 * n_horizons + h] = level - prediction
        for e in range(n_experts):
            row[errors_at + h * n_experts + e] = level - (base + unit * experts[e])
        w.target[h] = (level - base) / unit
        # A forecast made before the series had a scale is in no unit: it is scored, but teaches nothing.
        w.known[h] = g[at.pending_scaled + slot]
        if w.known[h]:
            place = at.residual_seen + h
            i[place] += 1
            for e in range(n_experts):
                variance_at = at.residual_variance + h * n_experts + e
                w.residuals[e, h], w.bounds[e, h] = bounded_residual(
                    f, variance_at, i[place], c, w.target[h] - experts[e]
                )
    i[at.clock_count] = count + 1


@inner
def learn(
    f: Array,
    i: IntArray,
    g: BoolArray,
    at: Places,
    of: Readout,
    size: Sizes,
    c: Constants,
    kinds: IntArray,
    row: Array,
    row_flags: BoolArray,
    w: Work,
) -> bool:
    """Let every part learn from what is due; return whether the first horizon's surprise is finite."""
    n_horizons, n_experts = size.horizons, size.experts
    figures = row[4 * n_horizons + 3 * n_horizons * n_experts :]
    for e in range(n_experts):
        if of.inputs[e] > 0:
            readout_learn(f, of, e, w.origins, w.known, w.target, w.bounds[e])
        if kinds[e] == RECURRENT:
            recurrent_learn(f, i, g, at, size, c, w.slots, w.known, w.residuals[e], w.gradient)
    finite, spread = True, f[at.interval_spread]
    if w.known[0] and spread > 0.0:
        surprise = abs(w.target[0] - f[at.pending_mixed + w.slots[0]]) / spread
        finite = np.isfinite(surprise)
        figures[0] = anomaly_update(f, at, c, surprise)
        row_flags[2 * n_horizons] = drift_update(f, i, at, c, min(surprise, c.drift_value_max))
    for h in range(n_horizons):
        if w.known[h]:
            slot = w.slots[h]
            experts = f[at.pending_experts + slot * n_experts : at.pending_experts + (slot + 1) * n_experts]
            mixture_learn(f, i, at, c, h, experts, w.target[h])
            off = w.target[h] - f[at.pending_mixed + slot]
            interval_learn(f, i, at, c, h, off, not row_flags[n_horizons + h])
    return finite


@inner
def put_beside(
    c: Constants, periods: Array, harmonics: Array, time: float, scale: float, deviation: float, w: Work
) -> None:
    """Write what readouts see beside their lags: the tail of `linear_inputs`."""
    n_features, n_cycles = len(w.features), w.then.shape[1]
    w.beside[0] = deviation
    copied(w.features, w.beside, 1)
    w.beside[1 + n_features] = 1.0
    for cycle in range(n_cycles):  # of the first horizon
        moved = w.then[0, cycle] - w.begin[0, cycle] if w.season_known[0, cycle] else 0.0
        w.beside[2 + n_features + cycle] = clipped(moved / scale, c.winsor)
    calendar_update(time, periods, harmonics, w.waves)
    copied(w.waves, w.beside, 2 + n_features + n_cycles)


@inner
def advance(
    f: Array,
    i: IntArray,
    at: Places,
    of: Readout,
    size: Sizes,
    c: Constants,
    kinds: IntArray,
    horizons: IntArray,
    cycles: IntArray,
    periods: Array,
    harmonics: Array,
    time: float,
    level: float,
    features: Array,
    denominators: Array,
    w: Work,
) -> float:
    """Advance season, scale and state by the event, and let each expert forecast; return the scale."""
    season_update(f, i, at, c, size.levels, time, level, cycles, horizons, w.then, w.begin, w.season_known)
    scale, increment, deviation = scale_update(f, i, at, c, level)
    features_update(f, i, at, c, features, w.features)
    put_beside(c, periods, harmonics, time, scale, deviation, w)
    row = (i[at.clock_count] - 1) % size.rows  # the clock has counted this row already
    for e in range(size.experts):
        forecast = w.forecasts[e]
        if kinds[e] == LINEAR:
            linear_forecast(f, of, e, increment, w.beside, row, denominators, forecast)
        elif kinds[e] == RECURRENT:
            recurrent_forecast(
                f,
                i,
                at,
                of,
                e,
                size,
                c,
                increment,
                deviation,
                w.features,
                w.beside,
                row,
                w.slots,
                w.seen,
                w.read,
                w.credit,
                denominators,
                forecast,
            )
        else:
            for h in range(size.horizons):
                seasonal = w.then[h, 0] if w.season_known[h, 0] else f[at.scale_mean]
                forecast[h] = (seasonal - level) / scale if kinds[e] == SEASONAL else 0.0
    return scale


@inner
def publish(
    f: Array,
    g: BoolArray,
    at: Places,
    size: Sizes,
    c: Constants,
    level: float,
    scale: float,
    row: Array,
    w: Work,
) -> bool:
    """Combine the forecasts and make them pending; return whether all that is said is finite."""
    n_horizons, n_experts = size.horizons, size.experts
    weights_at = 4 * n_horizons + n_horizons * n_experts
    margin = c.range_margin * (f[at.scale_highest] - f[at.scale_lowest])
    lowest = ((f[at.scale_lowest] - margin) - level) / scale
    highest = ((f[at.scale_highest] + margin) - level) / scale
    has_scale = np.sqrt(f[at.scale_variance]) > c.tiny
    finite = True
    for h in range(n_horizons):
        for e in range(n_experts):
            value = w.forecasts[e, h]
            if value < lowest:  # noqa: PLR1730 - so NaN stays, and is found
                value = lowest
            if value > highest:  # noqa: PLR1730 - as above
                value = highest
            w.of_horizon[e] = value
        weights = row[weights_at + h * n_experts : weights_at + (h + 1) * n_experts]
        mixed = mixture_combine(f, at, c, h, w.of_horizon, weights)
        width = f[at.interval_quantile + h] * f[at.interval_spread + h] if has_scale else 0.0
        slot = w.slots[h]
        f[at.pending_level + slot], f[at.pending_scale + slot] = level, scale
        g[at.pending_scaled + slot] = has_scale
        f[at.pending_mixed + slot], f[at.pending_half_width + slot] = mixed, width
        prediction = level + scale * mixed
        row[h], row[n_horizons + h], row[2 * n_horizons + h] = (
            prediction,
            prediction - scale * width,
            prediction + scale * width,
        )
        finite = finite and np.isfinite(row[n_horizons + h]) and np.isfinite(row[2 * n_horizons + h])
        for e in range(n_experts):
            f[at.pending_experts + slot * n_experts + e] = w.of_horizon[e]
            raw = level + scale * w.of_horizon[e]
            row[4 * n_horizons + h * n_experts + e] = raw
            finite = finite and np.isfinite(raw)
    return finite


@inner
def tell(
    f: Array,
    g: BoolArray,
    at: Places,
    size: Sizes,
    c: Constants,
    scale: float,
    row: Array,
    row_flags: BoolArray,
) -> None:
    """Write the figures that go with the forecasts."""
    n_horizons = size.horizons
    figures = row[4 * n_horizons + 3 * n_horizons * size.experts :]
    figures[1] = scale
    figures[2] = (f[at.drift_sum] - f[at.drift_least]) / c.drift_threshold
    if size.units == 0:
        return
    figures[3], figures[4] = f[at.recurrent_gradient_norm], f[at.recurrent_influence_norm]
    figures[5], figures[6] = f[at.recurrent_spectral_radius], f[at.recurrent_saturated_ratio]
    labelled, updated = False, g[at.recurrent_updated]
    for h in range(n_horizons):
        labelled = labelled or row_flags[h]
    row_flags[2 * n_horizons + 1] = updated
    row_flags[2 * n_horizons + 2] = updated and g[at.recurrent_optimizer_clip_clipped]
    row_flags[2 * n_horizons + 3] = labelled and not updated


@jit
def events(
    floats: Array,
    ints: IntArray,
    flags: BoolArray,
    at: Places,
    size: Sizes,
    c: Constants,
    of: Readout,
    kinds: IntArray,
    horizons: IntArray,
    cycles: IntArray,
    periods: Array,
    harmonics: Array,
    rows: IntArray,
    n_targets: int,
    times: Array,
    levels: Array,
    features: Array,
    told: Array,
    told_flags: BoolArray,
    sound: BoolArray,
    saved: Array,
    saved_ints: IntArray,
    saved_flags: BoolArray,
    parts: IntArray,
    denominators: Array,
    w: Work,
) -> None:
    """Take one event of each series; its targets are the next rows of the records.

    Args:
        floats: the records, (models, size).
        ints: as above.
        flags: as above.
        at: places of fields in them.
        size: of the parts.
        c: constants.
        of: the experts' readouts.
        kinds: of the experts, in their order, (E,).
        horizons: in rows, (H,).
        cycles: seasons back that are looked at, (C,).
        periods: of the calendar's waves, in seconds.
        harmonics: of them.
        rows: first row of each series, (B,).
        n_targets: K.
        times: of the events, in seconds, (B,).
        levels: the values, (B K,).
        features: exogenous inputs, (B K, F).
        told: written: prediction, lower, upper and error, (H,) each; predictions, weights and errors of experts, (H E,)
            each; FIGURES, (B K, ...).
        told_flags: written: settled and covered, (H,) each; FLAGS, (B K, ...).
        sound: written: whether the series' results are finite, (B,).
        saved: room for a series' records before the event, (K, size).
        saved_ints: as above.
        saved_flags: as above.
        parts: of `floats` that are saved: all but the covariances, which change last, (P, 2).
        denominators: room for those of the readouts' gains, (K, E).
        w: room for what an event needs on its way.
    """
    for b in range(len(rows)):
        first = rows[b]
        fine = True
        for k in range(n_targets):
            copied_parts(floats[first + k], saved[k], parts)
            copied_whole(ints[first + k], saved_ints[k])
            copied_whole(flags[first + k], saved_flags[k])
        for k in range(n_targets):
            f, i, g = floats[first + k], ints[first + k], flags[first + k]
            place = b * n_targets + k
            level, row, row_flags = levels[place], told[place], told_flags[place]
            for j in range(len(row)):
                row[j] = 0.0
            for j in range(len(row_flags)):
                row_flags[j] = False
            score(f, i, g, at, size, c, horizons, level, row, row_flags, w)
            fine = learn(f, i, g, at, of, size, c, kinds, row, row_flags, w) and fine
            scale = advance(
                f,
                i,
                at,
                of,
                size,
                c,
                kinds,
                horizons,
                cycles,
                periods,
                harmonics,
                times[b],
                level,
                features[place],
                denominators[k],
                w,
            )
            fine = publish(f, g, at, size, c, level, scale, row, w) and fine
            tell(f, g, at, size, c, scale, row, row_flags)
        sound[b] = fine
        if fine:
            for k in range(n_targets):
                row_of = (ints[first + k, at.clock_count] - 1) % size.rows
                for e in range(size.experts):
                    if of.inputs[e] > 0:
                        readout_settle(floats[first + k], of, e, row_of, c, denominators[k])
        else:
            for k in range(n_targets):
                copied_parts(saved[k], floats[first + k], parts)
                copied_whole(saved_ints[k], ints[first + k])
                copied_whole(saved_flags[k], flags[first + k])
