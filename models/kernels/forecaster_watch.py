"""What is watched of a recurrent expert, for one row of the records: twin of `models.experts.watch`."""

from __future__ import annotations

import numpy as np

from models.experts.watch import (
    BASELINE_FLOOR,
    DEAD_EVENTS,
    DEAD_RATIO,
    ERROR_MAX,
    EVENTS,
    HEALTHY,
    HEALTHY_RATIO,
    LABELS,
    LIFETIME,
    LOOK_EVERY,
    LOSS_RATIO,
    LOSS_SPAN,
    LYAPUNOV,
    POSITIVE,
    POSITIVE_EVENTS,
    SILENT_SHARE,
    STEPS,
    STUCK_EVENTS,
    WORSE,
    WORSE_LABELS,
)
from models.kernels.forecaster_parts import Constants, Places
from models.kernels.jit import inner
from models.protocols import Array, BoolArray, IntArray
from models.stability.lyapunov import GROWTH_MIN, SPAN_EVENTS


@inner
def watch_loss(f: Array, i: IntArray, at: Places, error: float, target: float) -> None:
    """Twin of `watch_loss` where there is a label."""
    labels = i[at.recurrent_counts + LABELS] + 1
    i[at.recurrent_counts + LABELS] = labels
    share = max(1.0 / LOSS_SPAN, 1.0 / labels)
    for place in range(2):
        bounded = min(abs(error if place == 0 else target), ERROR_MAX)
        mean = f[at.recurrent_losses + place]
        f[at.recurrent_losses + place] = mean + share * (bounded * bounded - mean)
    worse = at.recurrent_counts + WORSE
    far = _is_over(f, at, LOSS_RATIO) and labels >= LOSS_SPAN
    i[worse] = i[worse] + 1 if far else 0


@inner
def _is_over(f: Array, at: Places, ratio: float) -> bool:
    """Say whether the loss is over so many times the baseline's."""
    loss, baseline = f[at.recurrent_losses], f[at.recurrent_losses + 1]
    return bool(loss > ratio * max(baseline, BASELINE_FLOOR))


@inner
def turned(tangent: Array, unit: int, n: int, real: float, imaginary: float) -> float:
    """Multiply a unit's part of a tangent by its complex eigenvalue; return the square of its length."""
    of_re, of_im = tangent[unit], tangent[n + unit]
    after_re, after_im = real * of_re - imaginary * of_im, imaginary * of_re + real * of_im
    tangent[unit], tangent[n + unit] = after_re, after_im
    return float(after_re * after_re + after_im * after_im)


@inner
def watch_step(f: Array, i: IntArray, at: Places, n: int, size: float) -> None:
    """Twin of `watch_step` after the tangent, of n numbers, went on to one of this length."""
    tangent = f[at.recurrent_tangent : at.recurrent_tangent + n]
    goes_on = np.isfinite(size) and size > GROWTH_MIN
    start, unit = 1.0 / np.sqrt(n), size if goes_on else 1.0
    for a in range(n):
        tangent[a] = tangent[a] / unit if goes_on else start
    recent, lifetime = at.recurrent_figures + LYAPUNOV, at.recurrent_figures + LIFETIME
    if np.isfinite(size):
        steps = i[at.recurrent_counts + STEPS] + 1
        i[at.recurrent_counts + STEPS] = steps
        growth, share = np.log(max(size, GROWTH_MIN)), 1.0 / steps
        f[recent] += max(1.0 / SPAN_EVENTS, share) * (growth - f[recent])
        f[lifetime] += share * (growth - f[lifetime])
    positive = at.recurrent_counts + POSITIVE
    i[positive] = i[positive] + 1 if f[recent] > 0.0 else 0


@inner
def watch_units(f: Array, i: IntArray, at: Places, n: int, c: Constants, read: Array) -> int:
    """Twin of `watch_units` for units of two parts; return how many are saturated."""
    largest, saturated, dead = 0.0, 0, 0
    for a in range(2 * n):
        largest = max(largest, abs(read[a]))
    quiet = SILENT_SHARE * largest
    for a in range(n):
        real, imaginary = read[a], read[n + a]
        full = min(1.0 - real * real, 1.0 - imaginary * imaginary) < c.saturated_slope
        silent = max(abs(real), abs(imaginary)) < quiet
        stuck = i[at.recurrent_stuck + a] + 1 if full or silent else 0
        i[at.recurrent_stuck + a] = stuck
        saturated += 1 if full else 0
        dead += 1 if stuck >= DEAD_EVENTS else 0
    f[at.recurrent_figures + DEAD_RATIO] = dead / n
    return saturated


@inner
def watch_event(f: Array, i: IntArray, g: BoolArray, at: Places, n: int) -> bool:
    """Twin of `watch_event`: return whether somebody has to look."""
    counts = at.recurrent_counts
    troubled = _is_over(f, at, HEALTHY_RATIO) or g[at.recurrent_reset]
    i[counts + HEALTHY] = 0 if troubled else i[counts + HEALTHY] + 1
    i[counts + EVENTS] += 1
    longest = 0
    for a in range(n):
        longest = max(longest, i[at.recurrent_stuck + a])
    return bool(
        g[at.recurrent_reset]
        or i[counts + EVENTS] % LOOK_EVERY == 0
        or i[counts + POSITIVE] >= POSITIVE_EVENTS
        or i[counts + WORSE] >= WORSE_LABELS
        or longest >= STUCK_EVENTS
    )
