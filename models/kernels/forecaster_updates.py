"""How a label moves the recurrent expert's weights, for one row of the records: twins of `models.experts.cell_updates`."""

from __future__ import annotations

from typing import Final

import numpy as np

from models.experts.watch import RATE_FACTOR, UPDATE_RATIO
from models.kernels.fetching import fetch
from models.kernels.forecaster_experts import hasty_rate, readout_learn
from models.kernels.forecaster_parts import Constants, Experts, Places
from models.kernels.forecaster_work import RECURRENT, Sizes, Work
from models.kernels.jit import inner
from models.optimizers.ekf import NORMAL_FROM_MEDIAN, WARM_UP
from models.optimizers.innovations import LARGEST
from models.protocols import Array, BoolArray, IntArray

SGD: Final = 0
ADAM: Final = 1
FILTER: Final = 2


@inner
def expert_learn(
    f: Array,
    i: IntArray,
    g: BoolArray,
    at: Places,
    of: Experts,
    e: int,
    size: Sizes,
    c: Constants,
    residual: Array,
    root: Array,
    w: Work,
) -> None:
    """Take labels that are due, (H,), into an expert's readout and, of the recurrent one, by its residuals into the cell."""
    if of.inputs[e] == 0:
        return
    readout_learn(f, of, e, w.origins, w.known, w.target, w.bounds[e])
    if of.kinds[e] != RECURRENT:
        return
    if size.descent == FILTER:
        filtered(f, i, g, at, size, c, w.slots[0], w.known[0], residual[0], w.gradient, root)
    else:
        down_the_gradient(f, i, g, at, size, c, w.slots, w.known, residual, w.gradient)


@inner
def down_the_gradient(
    floats: Array,
    ints: IntArray,
    flags: BoolArray,
    at: Places,
    size: Sizes,
    c: Constants,
    slots: IntArray,
    known: BoolArray,
    residual: Array,
    gradient: Array,
) -> None:
    """Twin of `ByGradient.learn`, and of what `Recurrent.learn` does with it."""
    n_params = len(gradient)
    labelled = False
    for j in range(n_params):
        gradient[j] = 0.0
    for h in range(size.horizons):
        labelled = labelled or known[h]
        first = at.recurrent_jacobian + slots[h] * n_params
        jacobian, factor = floats[first : first + n_params], residual[h]
        for j in range(n_params):
            gradient[j] -= factor * jacobian[j]
    floats[at.recurrent_gradient_norm] = 0.0
    floats[at.recurrent_figures + UPDATE_RATIO] = 0.0
    flags[at.recurrent_updated], flags[at.recurrent_clipped] = False, False
    if not labelled:
        return
    total = 0.0
    for j in range(n_params):
        total += gradient[j] * gradient[j]
    norm = np.sqrt(total)
    floats[at.recurrent_gradient_norm] = norm if np.isfinite(norm) else 0.0
    passes = np.isfinite(norm) and norm <= c.guard_max
    flags[at.recurrent_optimizer_guard_skipped] = not passes
    if not passes:
        ints[at.recurrent_optimizer_guard_skip_count] += 1
        return
    over = norm > c.clip_max
    floats[at.recurrent_optimizer_clip_norm] = norm
    flags[at.recurrent_optimizer_clip_clipped] = over
    ints[at.recurrent_optimizer_clip_clip_count] += 1 if over else 0
    shrink = c.clip_max / norm if over else 1.0
    flags[at.recurrent_updated], flags[at.recurrent_clipped] = True, over
    params = floats[at.recurrent_params : at.recurrent_params + n_params]
    rate = c.learning_rate * (floats[at.recurrent_figures + RATE_FACTOR] * hasty_rate(ints, at, c))
    moved, whole = 0.0, 0.0
    if size.descent == SGD:
        for j in range(n_params):
            step = rate * (gradient[j] * shrink)
            moved += step * step
            whole += params[j] * params[j]
            params[j] -= step
    else:
        count = ints[at.recurrent_optimizer_last_update_count] + 1
        ints[at.recurrent_optimizer_last_update_count] = count
        start = at.recurrent_optimizer_last_first_moment
        first_moment = floats[start : start + n_params]
        start = at.recurrent_optimizer_last_second_moment
        second_moment = floats[start : start + n_params]
        first_weight, second_weight = 1.0 - c.beta1**count, 1.0 - c.beta2**count
        for j in range(n_params):
            along = gradient[j] * shrink
            first_moment[j] = c.beta1 * first_moment[j] + (1.0 - c.beta1) * along
            second_moment[j] = c.beta2 * second_moment[j] + (1.0 - c.beta2) * along * along
            step = rate * (
                (first_moment[j] / first_weight) / (np.sqrt(second_moment[j] / second_weight) + c.epsilon)
            )
            moved += step * step
            whole += params[j] * params[j]
            params[j] -= step
    floats[at.recurrent_figures + UPDATE_RATIO] = np.sqrt(moved / whole) if whole > 0.0 else 0.0


@inner
def filtered(
    floats: Array,
    ints: IntArray,
    flags: BoolArray,
    at: Places,
    size: Sizes,
    c: Constants,
    slot: int,
    known: bool,
    residual: float,
    slope: Array,
    root: Array,
) -> None:
    """Twin of `ByFilter.learn` with `Ekf`, but for P, which is as it was until `filter_settle`.

    Writes the slopes unit by unit, (N,), and into `root` the gain over the root of its variance, and behind it whether there is one, (N + 1,).
    """
    n, n_params = size.units, len(slope)
    q = n_params // n
    root[n_params] = 0.0
    floats[at.recurrent_gradient_norm] = 0.0
    floats[at.recurrent_figures + UPDATE_RATIO] = 0.0
    flags[at.recurrent_updated], flags[at.recurrent_clipped] = False, False
    if not known:
        return
    first = at.recurrent_jacobian + slot * n_params
    norm, data = unit_by_unit(floats[first : first + n_params], n, residual, slope)
    floats[at.recurrent_gradient_norm] = norm if np.isfinite(norm) else 0.0
    if not (data and abs(residual) <= LARGEST):
        return
    error, gated = bounded_error(floats, ints, at, c, residual)
    total = floats[at.recurrent_optimizer_variance]
    width = n_params // size.groups
    for group in range(size.groups):
        own = group * width
        for a in range(own, own + width):
            root[a] = 0.0
        for b in range(width):
            weight, place = slope[own + b], at.recurrent_optimizer_covariance_0 + (own + b) * width
            row = floats[place : place + width]
            for a in range(width):
                root[own + a] += weight * row[a]
    for a in range(n_params):
        total += slope[a] * root[a]
    share, deviation = error / total * floats[at.recurrent_figures + RATE_FACTOR], np.sqrt(total)
    params = floats[at.recurrent_params : at.recurrent_params + n_params]
    moved, whole = 0.0, 0.0
    for unit in range(n):
        for j in range(q):
            step = root[unit * q + j] * share
            moved += step * step
            whole += params[j * n + unit] * params[j * n + unit]
            params[j * n + unit] += step
    floats[at.recurrent_figures + UPDATE_RATIO] = np.sqrt(moved / whole) if whole > 0.0 else 0.0
    for a in range(n_params):
        root[a] /= deviation
    root[n_params] = 1.0
    flags[at.recurrent_updated], flags[at.recurrent_clipped] = True, gated


@inner
def unit_by_unit(jacobian: Array, n: int, residual: float, slope: Array) -> tuple[float, bool]:
    """Write derivatives (q, n) as (n, q); return the norm of their product with the residual, and whether all are data."""
    q = len(slope) // n
    total, data = 0.0, True
    for unit in range(n):
        for j in range(q):
            value = jacobian[j * n + unit]
            slope[unit * q + j] = value
            total += (residual * value) * (residual * value)
            data = data and abs(value) <= LARGEST
    return np.sqrt(total), data


@inner
def bounded_error(
    floats: Array, ints: IntArray, at: Places, c: Constants, error: float
) -> tuple[float, bool]:
    """Cut an error down by the gate and take it into median, variance and count, as `Ekf`; return it and whether it was cut."""
    labels = ints[at.recurrent_optimizer_label_count] + 1
    ints[at.recurrent_optimizer_label_count] = labels
    magnitude = abs(error)
    middle = max(magnitude, 1e-6) if labels == 1 else floats[at.recurrent_optimizer_median]
    bound = c.gate * NORMAL_FROM_MEDIAN * middle if labels > WARM_UP else np.inf
    cut = min(max(error, -bound), bound)
    pace = max(1.0 / labels, 0.5 / c.memory)
    stepped = middle * np.exp(pace if magnitude > middle else -pace)
    floats[at.recurrent_optimizer_median] = max(stepped, 1e-12)
    before = cut * cut if labels == 1 else floats[at.recurrent_optimizer_variance]
    variance = before + max(1.0 / labels, 1.0 / c.memory) * (cut * cut - before)
    floats[at.recurrent_optimizer_variance] = max(variance, 1e-20)
    return cut, magnitude > bound


@inner
def filter_settle(
    floats: Array, at: Places, size: Sizes, c: Constants, root: Array, ahead: Array, far: bool
) -> None:
    """Take what `filtered` wrote from P, and add the process noise where there is room: eq. (3) and (4) of `Ekf`.

    `ahead` as for `settle_covariances`.
    """
    n_params = len(root) - 1
    if root[n_params] == 0.0:
        return
    width = n_params // size.groups
    for group in range(size.groups):
        first, trace = at.recurrent_optimizer_covariance_0 + group * width * width, 0.0
        own = root[group * width : (group + 1) * width]
        for b in range(width):
            start, end = first + b * width, first + (b + 1) * width
            weight, row = own[b], floats[start:end]
            fetch(ahead[start:end], far)
            for a in range(width):
                row[a] -= weight * own[a]
            trace += row[b]
        if trace / width < c.trace_max:
            for b in range(width):
                floats[first + b * (width + 1)] += c.process_noise
