"""The forecaster's event: settle, learn, advance, predict, for all events of a micro-batch in one compiled call.

The twin of `models.forecaster.Forecaster.step`, part by part in the same order; works on the records of `models.records` in
place. Sums run in another order than numpy's, so results agree to rounding. A series whose results would not be finite is
put back as it was.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.experts.recovery import ATTEND, CLIP, SKIP, WINSORISE
from models.kernels.fetching import fetch_share
from models.kernels.forecaster_beside import put_beside
from models.kernels.forecaster_challengers import challengers_forecast, challengers_learn, end_event
from models.kernels.forecaster_drift import drift_update, watched_inputs
from models.kernels.forecaster_experts import readout_forecast
from models.kernels.forecaster_missing import expected, say_nothing, settle_covariances
from models.kernels.forecaster_mixture import mixture_combine
from models.kernels.forecaster_naive import drift_forecast, smoothing_forecast
from models.kernels.forecaster_parts import (
    Constants,
    Experts,
    Places,
    clipped,
    season_update,
)
from models.kernels.forecaster_scales import deviation_of, features_update, scale_update, steady_update
from models.kernels.forecaster_settle import learn, score
from models.kernels.forecaster_trust import drawn
from models.kernels.forecaster_watch import watch_event
from models.kernels.forecaster_work import (
    DRIFT,
    GUARD,
    SEASONAL,
    SMOOTHING,
    STABILITY,
    Sizes,
    Work,
    clear,
    copied_parts,
    copied_record,
    copied_whole,
    experts_at,
    flags_at,
)
from models.kernels.jit import inner, jit_large
from models.protocols import Array, BoolArray, IntArray


@inner
def advance(
    f: Array,
    i: IntArray,
    g: BoolArray,
    at: Places,
    of: Experts,
    size: Sizes,
    c: Constants,
    horizons: IntArray,
    cycles: IntArray,
    season_at: IntArray,
    periods: Array,
    harmonics: Array,
    time: float,
    level: float,
    observed: bool,
    awaited: float,
    outlier: bool,
    features: Array,
    denominators: Array,
    watched: Array,
    w: Work,
) -> tuple[float, float, tuple[float, float, float]]:
    """Advance season, scale and state by the event, and let each expert forecast; return scale, increment and what is steady."""
    season_update(f, i, at, c, size.levels, time, level, cycles, horizons, w.then, w.begin, w.season_known)
    first = i[at.scale_seen] == 0
    scale, increment, deviation = scale_update(f, i, at, c, level, observed)
    steady, change = steady_update(f, g, at, level, awaited, observed, outlier)
    steady_increment = 0.0 if first else clipped(change / scale, c.winsor)
    features_update(f, i, at, c, features, w.features)
    moved = observed and np.sqrt(f[at.scale_variance]) > c.tiny
    watched[1] = watched_inputs(f, i, at, c, increment, w.features, moved)
    put_beside(c, season_at, periods, harmonics, time, scale, deviation, w)
    counted = steady_increment, deviation_of(f, at, c, steady), (steady - level) / scale
    row = (i[at.clock_count] - 1) % size.rows  # the clock has counted this row already
    for e in range(size.experts):
        forecast = w.forecasts[e]
        if of.inputs[e] > 0:
            readout_forecast(f, i, g, at, of, e, size, c, increment, counted, row, denominators, w)
            copied_whole(w.own, forecast)
        elif of.kinds[e] == DRIFT:
            drift_forecast(f, i, of.own_at[e], of.seen_at[e], increment, scale, horizons, forecast)
        elif of.kinds[e] == SMOOTHING:
            smoothing_forecast(f, i, of.own_at[e], of.seen_at[e], c, level, scale, forecast)
        else:
            for h in range(size.horizons):
                seasonal = w.then[h, 0] if w.season_known[h, 0] else f[at.scale_mean]
                forecast[h] = (seasonal - level) / scale if of.kinds[e] == SEASONAL else 0.0
    return scale, increment, counted


@inner
def publish(
    f: Array,
    i: IntArray,
    g: BoolArray,
    at: Places,
    size: Sizes,
    c: Constants,
    horizons: IntArray,
    level: float,
    scale: float,
    row: Array,
    w: Work,
    stacking: Array | None,
) -> bool:
    """Combine the forecasts and make them pending; return whether all that is said is finite."""
    n_horizons, n_experts = size.horizons, size.experts
    first_expert, n_quantiles = experts_at(size), size.quantiles
    weights_at = first_expert + n_horizons * n_experts
    margin = c.range_margin * (f[at.scale_highest] - f[at.scale_lowest])
    lowest = ((f[at.scale_lowest] - margin) - level) / scale
    highest = ((f[at.scale_highest] + margin) - level) / scale
    has_scale = np.sqrt(f[at.scale_variance]) > c.tiny
    finite, ring = True, 0
    for h in range(n_horizons):
        for e in range(n_experts):
            value = w.forecasts[e, h]
            if value < lowest:  # noqa: PLR1730 - so NaN stays, and is found
                value = lowest
            if value > highest:  # noqa: PLR1730 - as above
                value = highest
            w.of_horizon[e] = value
        weights = row[weights_at + h * n_experts : weights_at + (h + 1) * n_experts]
        whole = mixture_combine(f, i, at, c, h, horizons[h], ring, w.of_horizon, weights, stacking)
        ring += horizons[h]
        mixed = whole
        if size.naive >= 0:
            mixed = drawn(f, at, h, horizons[h], size.naive, w.of_horizon, whole, weights)
        if size.units > 0 and g[at.recurrent_quarantined]:
            mixed = w.of_horizon[size.naive] if size.naive >= 0 else 0.0
            for e in range(n_experts):
                weights[e] = 1.0 if e == size.naive else 0.0
        slot = w.slots[h]
        f[at.pending_level + slot], f[at.pending_scale + slot] = level, scale
        g[at.pending_scaled + slot] = has_scale
        f[at.pending_mixed + slot], f[at.pending_whole + slot] = mixed, whole
        prediction = level + scale * mixed
        row[h] = prediction
        finite = finite and np.isfinite(prediction)
        unit = f[at.interval_size + h]
        unit += c.interval_spread_share * (f[at.interval_spread + h] - unit)
        for j in range(n_quantiles):
            quantile = 0.0
            if has_scale:
                quantile = f[at.interval_quantile + h * n_quantiles + j] * unit
            f[at.pending_quantiles + slot * n_quantiles + j] = quantile
            raw = prediction + scale * quantile
            row[2 * n_horizons + h * n_quantiles + j] = raw
            finite = finite and np.isfinite(raw)
        for e in range(n_experts):
            f[at.pending_experts + slot * n_experts + e] = w.of_horizon[e]
            raw = level + scale * w.of_horizon[e]
            row[first_expert + h * n_experts + e] = raw
            finite = finite and np.isfinite(raw)
    if stacking is not None:
        i[at.mixture_count] += 1
    return finite


@inner
def tell(
    f: Array,
    i: IntArray,
    g: BoolArray,
    at: Places,
    size: Sizes,
    scale: float,
    row: Array,
    row_flags: BoolArray,
) -> None:
    """Write the figures that go with the forecasts."""
    n_horizons = size.horizons
    figures, flags = row[experts_at(size) + 3 * n_horizons * size.experts :], row_flags[flags_at(size) :]
    figures[1] = scale
    if size.units == 0:
        return
    figures[3], figures[4] = f[at.recurrent_gradient_norm], f[at.recurrent_influence_norm]
    figures[5], figures[6] = f[at.recurrent_spectral_radius], f[at.recurrent_saturated_ratio]
    labelled, updated = False, g[at.recurrent_updated]
    for h in range(n_horizons):
        labelled = labelled or row_flags[h]
    flags[0] = updated
    flags[1] = updated and g[at.recurrent_clipped]
    flags[2] = labelled and not updated
    if size.watched:
        attends = watch_event(f, i, g, at, size.units)
        figures[GUARD] += CLIP * flags[1] + SKIP * flags[2] + ATTEND * attends
        for j in range(GUARD - STABILITY):
            figures[STABILITY + j] = f[at.recurrent_figures + j]


@jit_large
def events(
    floats: Array,
    ints: IntArray,
    flags: BoolArray,
    places: Sequence[Places],
    sizes: Sequence[Sizes],
    constants: Sequence[Constants],
    of: Experts,
    places_born: Sequence[Places],
    born: Experts,
    missed: Array,
    horizons: IntArray,
    cycles: IntArray,
    season_at: IntArray,
    periods: Array,
    harmonics: Array,
    rows: IntArray,
    pools: IntArray,
    shared: IntArray,
    shared_ints: IntArray,
    far: bool,
    n_targets: int,
    times: Array,
    levels: Array,
    features: Array,
    told: Array,
    told_flags: BoolArray,
    watched: Array,
    signals: BoolArray,
    asked: BoolArray,
    sound: BoolArray,
    saved: Array,
    saved_ints: IntArray,
    saved_flags: BoolArray,
    parts: IntArray,
    denominators: Array,
    roots: Array,
    w: Work,
    stacking: Array | None,
) -> int:
    """Take one event of each series; its targets are the next rows of the records. Return of how many events it was done.

    That is all, or up to the first after which somebody has to look at weights that are shared.

    Args:
        floats: the records, (models, size).
        ints: as above.
        flags: as above.
        places: of fields in them, as one record, as are the next two.
        sizes: of the parts.
        constants: of all of them.
        of: the experts.
        places_born: those of the challengers' fields where they have any of their own.
        born: the challengers.
        missed: the share of labels that is to lie beyond each quantile, (Q,).
        horizons: in rows, (H,).
        cycles: seasons back that are looked at, (C,).
        season_at: horizons whose seasonal changes readouts see.
        periods: of the calendar's waves, in seconds.
        harmonics: of them.
        rows: first row of each series, (B,).
        pools: of each series' pool, negative for none, (B,).
        shared: parts of `floats` that series share with their pools, (S, 2).
        shared_ints: as above.
        far: whether the next series' records are asked for beforehand.
        n_targets: K.
        times: of the events, in seconds, (B,).
        levels: the values, NaN where one is missing, (B K,).
        features: exogenous inputs, NaN where one is missing, (B K, F).
        told: written: prediction and error, (H,) each; quantiles (H Q,); predictions, weights and errors of experts, (H E,)
            each; figures, (B K, ...), see `told_types`.
        told_flags: written: settled (H,) and covered (H Q / 2,); flags of the event, (B K, ...).
        watched: written: loss, inputs and calibration, NaN where they are not watched, and their detectors' statistics, (B K, 6).
        signals: written: drifts of those three, (B K, 3).
        asked: written: whether a challenger is to take over or to be given up, (B K,).
        sound: written: whether the series' results are finite, (B,).
        saved: room for a series' records before the event, (K, size).
        saved_ints: as above.
        saved_flags: as above.
        parts: of `floats` that are saved: all but the covariances, which change last, (P, 2).
        denominators: room for those of the readouts' gains, (K, E).
        roots: room for what a filter takes from its covariance, (K, N + 1).
        w: room for what an event needs on its way.
        stacking: room for what a stacked mixture needs, (2, E); None where there is none.
    """
    at, size, c, at_born = places[0], sizes[0], constants[0], places_born[0]
    for b in range(len(rows)):
        first, pool, after = rows[b], pools[b], rows[min(b + 1, len(rows) - 1)]
        fine, attends = True, False
        for k in range(n_targets):
            if pool >= 0:
                copied_parts(floats[pool + k], floats[first + k], shared)
                copied_parts(ints[pool + k], ints[first + k], shared_ints)
            f, i, g = floats[first + k], ints[first + k], flags[first + k]
            copied_record(f, i, g, saved[k], saved_ints[k], saved_flags[k], parts)
        for k in range(n_targets):
            f, i, g, ahead = floats[first + k], ints[first + k], flags[first + k], floats[after + k]
            place = b * n_targets + k
            level, row, row_flags = levels[place], told[place], told_flags[place]
            asked[place] = False
            clear(row, row_flags, watched[place], signals[place])
            observed = not np.isnan(level)
            begun = observed or i[at.scale_seen] > 0
            row_flags[flags_at(size) + 3] = begun
            if not begun:
                say_nothing(f, at, size, c, horizons, row, w)
                continue
            fetch_share(ahead, parts, 0, far)
            awaited = expected(f, i, at, horizons)
            if not observed:
                level = awaited
            score(f, i, g, at, size, c, horizons, level, observed, row, row_flags, w)
            fetch_share(ahead, parts, 1, far)
            fine = (
                learn(
                    f,
                    i,
                    g,
                    at,
                    of,
                    size,
                    c,
                    horizons,
                    missed,
                    level,
                    observed,
                    row,
                    row_flags,
                    watched[place],
                    roots[k],
                    w,
                    stacking,
                )
                and fine
            )
            fetch_share(ahead, parts, 2, far)
            challengers_learn(f, i, g, at_born, born, size, c, roots[n_targets + k], w)
            scale, increment, counted = advance(
                f,
                i,
                g,
                at,
                of,
                size,
                c,
                horizons,
                cycles,
                season_at,
                periods,
                harmonics,
                times[b],
                level,
                observed,
                awaited,
                (int(row[experts_at(size) + 3 * size.horizons * size.experts + GUARD]) & WINSORISE) > 0,
                features[place],
                denominators[k],
                watched[place],
                w,
            )
            fetch_share(ahead, parts, 3, far)
            room = denominators[n_targets + k]
            challengers_forecast(f, i, g, at_born, born, size, c, increment, counted, room, w)
            drift_update(f, i, at, c, watched[place], signals[place])
            fetch_share(ahead, parts, 4, far)
            fine = publish(f, i, g, at, size, c, horizons, level, scale, row, w, stacking) and fine
            tell(f, i, g, at, size, scale, row, row_flags)
            attends = attends or row[experts_at(size) + 3 * size.horizons * size.experts + GUARD] >= ATTEND
        sound[b] = fine
        if fine:
            for k in range(n_targets):
                f, i, own, ahead = floats[first + k], ints[first + k], n_targets + k, floats[after + k]
                settle_covariances(f, i, at, of, size, c, denominators[k], roots[k], ahead, far)
                asked[b * n_targets + k] = end_event(
                    f, i, at, at_born, born, size, c, denominators[own], roots[own], ahead, far
                )
                if pool >= 0:
                    copied_parts(f, floats[pool + k], shared)
                    copied_parts(i, ints[pool + k], shared_ints)
            if attends and pool >= 0 and len(shared) > 0:
                return b + 1
        else:
            for k in range(n_targets):
                f, i, g = floats[first + k], ints[first + k], flags[first + k]
                copied_record(saved[k], saved_ints[k], saved_flags[k], f, i, g, parts)
    return len(rows)
