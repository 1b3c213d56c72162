"""What a value settles: the forecasts that were made for it are scored, and every part learns from them."""

from __future__ import annotations

import numpy as np

from models.experts.recovery import RESTORE, WINSORISE
from models.kernels.forecaster_anomaly import anomaly_update, novelty_update
from models.kernels.forecaster_experts import bounded_residual
from models.kernels.forecaster_faults import faults_update
from models.kernels.forecaster_mixture import mixture_learn
from models.kernels.forecaster_parts import (
    Constants,
    Experts,
    Places,
    interval_learn,
)
from models.kernels.forecaster_trust import trust_learn
from models.kernels.forecaster_updates import expert_learn
from models.kernels.forecaster_watch import watch_loss
from models.kernels.forecaster_work import GUARD, RECURRENT, Sizes, Work, experts_at
from models.kernels.jit import inner
from models.protocols import Array, BoolArray, IntArray


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
    observed: bool,
    row: Array,
    row_flags: BoolArray,
    w: Work,
) -> None:
    """Score the forecasts that are due: what they were off by, and the residuals that there is to learn from."""
    n_horizons, n_experts, n_levels = size.horizons, size.experts, size.quantiles // 2
    errors_at = experts_at(size) + 2 * n_horizons * n_experts
    count, offset = i[at.clock_count], 0
    for h in range(n_horizons):
        slot = offset + count % horizons[h]
        offset += horizons[h]
        w.slots[h], w.known[h], w.target[h] = slot, False, 0.0
        w.origins[h] = (count - horizons[h]) % size.rows
        for e in range(n_experts):
            w.residuals[e, h] = 0.0
        if count < horizons[h] or not observed:
            continue
        base, unit = f[at.pending_level + slot], f[at.pending_scale + slot]
        first_quantile = at.pending_quantiles + slot * size.quantiles
        quantiles = f[first_quantile : first_quantile + size.quantiles]
        experts = f[at.pending_experts + slot * n_experts : at.pending_experts + (slot + 1) * n_experts]
        prediction = base + unit * f[at.pending_mixed + slot]
        for j in range(n_levels):
            lower, upper = n_levels - 1 - j, n_levels + j
            w.beyond[h, lower] = level < prediction + unit * quantiles[lower]
            w.beyond[h, upper] = level > prediction + unit * quantiles[upper]
            row_flags[n_horizons + h * n_levels + j] = not (w.beyond[h, lower] or w.beyond[h, upper])
        row_flags[h] = True
        row[n_horizons + h] = level - prediction
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
    of: Experts,
    size: Sizes,
    c: Constants,
    horizons: IntArray,
    missed: Array,
    level: float,
    observed: bool,
    row: Array,
    row_flags: BoolArray,
    watched: Array,
    root: Array,
    w: Work,
    stacking: Array | None,
) -> bool:
    """Let every part learn from what is due; write loss and calibration to watch; return whether the surprise is finite."""
    n_horizons, n_experts = size.horizons, size.experts
    figures = row[experts_at(size) + 3 * n_horizons * n_experts :]
    watches = w.known[0] and i[at.interval_seen] >= c.watch_seen_min
    if watches and faults_update(f, i, at, of, size, c, level, row[n_horizons], w):
        figures[GUARD] = RESTORE
    for e in range(n_experts):
        expert_learn(f, i, g, at, of, e, size, c, w.residuals[e], root, w)
        if of.kinds[e] == RECURRENT and size.watched and w.known[0]:
            forecast = f[at.pending_experts + w.slots[0] * n_experts + e]
            watch_loss(f, i, at, w.target[0] - forecast, w.target[0])
    novelty = novelty_update(f, i, at, c, level) if observed else 0.0
    if w.known[0]:
        figures[0], figures[2] = anomaly_update(f, i, at, c, novelty, row[n_horizons])
    finite, spread = bool(np.isfinite(figures[0]) and np.isfinite(figures[2])), f[at.interval_spread]
    if watches:
        covered = row_flags[n_horizons + size.quantiles // 2 - 1]
        watched[2] = c.watch_held if covered else c.watch_missed
    if w.known[0] and spread > 0.0:
        surprise = abs(w.target[0] - f[at.pending_mixed + w.slots[0]]) / spread
        finite = bool(finite and np.isfinite(surprise))
        figures[GUARD] += WINSORISE if surprise > c.outlier_spreads else 0.0
        if watches:
            watched[0] = min(surprise, c.watch_value_max)
    ring = 0
    for h in range(n_horizons):
        if w.known[h]:
            slot = w.slots[h]
            experts = f[at.pending_experts + slot * n_experts : at.pending_experts + (slot + 1) * n_experts]
            mixture_learn(f, i, at, c, h, horizons[h], ring, experts, w.target[h], of.prior, stacking)
            if size.naive >= 0 and horizons[h] > 1:
                whole, naive = f[at.pending_whole + slot], experts[size.naive]
                trust_learn(f, at, h, horizons[h], w.target[h], whole, naive, i[at.residual_seen + h])
            off = w.target[h] - f[at.pending_mixed + slot]
            interval_learn(f, i, at, c, h, off, w.beyond[h], missed)
        ring += horizons[h]
    return finite
