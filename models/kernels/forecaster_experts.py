"""The forecaster's learning experts for one row of the records: twins of `models.experts.linear` and `.recurrent`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from models.kernels.forecaster_parts import Constants, Places, clipped
from models.kernels.jit import inner
from models.protocols import Array, BoolArray, IntArray


class Sizes(NamedTuple):
    """The sizes of a forecaster: of its experts 0 where it has none such."""

    horizons: int
    experts: int
    features: int
    levels: int
    lags: int
    recurrent_lags: int
    units: int
    inputs: int
    recurrent_inputs: int
    adam: int


@inner
def rls_learn(
    floats: Array,
    weights: int,
    covariance: int,
    inputs: int,
    n: int,
    residual: float,
    c: Constants,
    gain: Array,
) -> None:
    """Twin of `rls_update` for one label; the integers say where w, P and phi begin in the record."""
    phi, w = floats[inputs : inputs + n], floats[weights : weights + n]
    for i in range(n):
        gain[i] = 0.0
    trace = 0.0
    for i in range(n):
        factor, row = phi[i], floats[covariance + i * n : covariance + (i + 1) * n]
        trace += row[i]
        for j in range(n):
            gain[j] += factor * row[j]
    power = 0.0
    for i in range(n):
        power += gain[i] * phi[i]
    denominator = c.forgetting + power
    if not (np.isfinite(denominator) and denominator > 0.0 and np.isfinite(residual)):
        return
    step = residual / denominator
    for i in range(n):
        w[i] += gain[i] * step
    growth = 1.0 / c.forgetting if trace < c.trace_ceiling * n else 1.0
    root = np.sqrt(denominator)
    for i in range(n):
        gain[i] /= root
    for i in range(n):
        factor, row = gain[i], floats[covariance + i * n : covariance + (i + 1) * n]
        for j in range(n):
            row[j] = (row[j] - factor * gain[j]) * growth


@inner
def shift_in(lags: Array, newest: float) -> None:
    """Put the newest increment first, and the others one further."""
    for i in range(len(lags) - 1, 0, -1):
        lags[i] = lags[i - 1]
    lags[0] = newest


@inner
def copied(source: Array, target: Array, first: int) -> None:
    """Write an array into another from the place `first` on; an assignment to a slice takes much longer to compile."""
    for i in range(len(source)):
        target[first + i] = source[i]


@inner
def put_inputs(
    inputs: Array, first: int, lags: Array, deviation: float, features: Array, change: Array
) -> None:
    """Twin of `linear_inputs` for one horizon, from the place `first` on; change is (C,)."""
    at = first + len(lags)
    copied(lags, inputs, first)
    inputs[at] = deviation
    copied(features, inputs, at + 1)
    inputs[at + 1 + len(features)] = 1.0
    copied(change, inputs, at + 2 + len(features))


@inner
def weighed_inputs(weights: Array, inputs: Array) -> float:
    """Return w' phi."""
    total = 0.0
    for i in range(len(inputs)):
        total += weights[i] * inputs[i]
    return total


@inner
def rtu_advance(floats: Array, ints: IntArray, at: Places, size: Sizes, c: Constants, seen: Array) -> None:
    """Advance an RTU and its trace by the inputs `seen`, (m,): twin of `Rtu.step` and `RtrlTrace.advance`; judge the trace."""
    n, m = size.units, len(seen)
    q = 2 + 2 * m
    params, state = floats[at.recurrent_params :], floats[at.recurrent_state :]
    trace = floats[at.recurrent_memory_trace :]
    total, radius_max = 0.0, 0.0
    for i in range(n):
        log_rate, log_phase = params[i], params[n + i]
        rate, phase = np.exp(min(log_rate, c.log_max)), np.exp(min(log_phase, c.log_max))
        radius = np.exp(-(c.decay_min + rate))
        gamma = np.sqrt(-np.expm1(-2.0 * (c.decay_min + rate)))
        rate_slope = rate if log_rate < c.log_max else 0.0
        phase_slope = phase if log_phase < c.log_max else 0.0
        gamma_slope = rate_slope * radius * radius / gamma
        real, imaginary = radius * np.cos(phase), radius * np.sin(phase)
        drive_re, drive_im = 0.0, 0.0
        for j in range(m):
            drive_re += seen[j] * params[(2 + j) * n + i]
            drive_im += seen[j] * params[(2 + m + j) * n + i]
        kept_re = real * state[i] - imaginary * state[n + i]
        kept_im = imaginary * state[i] + real * state[n + i]
        state[i], state[n + i] = kept_re + gamma * drive_re, kept_im + gamma * drive_im
        for j in range(q):
            of_re, of_im = 0.0, 0.0
            if j == 0:
                of_re, of_im = (
                    gamma_slope * drive_re - rate_slope * kept_re,
                    gamma_slope * drive_im - rate_slope * kept_im,
                )
            elif j == 1:
                of_re, of_im = -phase_slope * kept_im, phase_slope * kept_re
            elif j < 2 + m:
                of_re = gamma * seen[j - 2]
            else:
                of_im = gamma * seen[j - 2 - m]
            before_re, before_im = trace[j * n + i], trace[(q + j) * n + i]
            after_re = of_re + real * before_re - imaginary * before_im
            after_im = of_im + imaginary * before_re + real * before_im
            trace[j * n + i], trace[(q + j) * n + i] = after_re, after_im
            total += after_re * after_re + after_im * after_im
        radius_max = max(radius_max, radius)
    norm = np.sqrt(total)
    healthy = np.isfinite(norm) and norm <= c.influence_ceiling
    if not healthy:
        for j in range(2 * q * n):
            trace[j] = 0.0
        for j in range(2 * n):
            state[j] = 0.0
        ints[at.recurrent_influence_resets] += 1
    floats[at.recurrent_influence_norm] = norm if healthy else 0.0
    floats[at.recurrent_spectral_radius] = radius_max if healthy else 0.0


@inner
def recurrent_forecast(
    floats: Array,
    ints: IntArray,
    at: Places,
    size: Sizes,
    c: Constants,
    increment: float,
    deviation: float,
    features: Array,
    change: Array,
    slots: IntArray,
    seen: Array,
    read: Array,
    credit: Array,
    forecast: Array,
) -> None:
    """Twin of `Recurrent.forecast`: write a forecast for each horizon, keep its inputs and gradient at its slot."""
    n, m, n_inputs = size.units, len(seen), size.recurrent_inputs
    q = 2 + 2 * m
    seen[0], seen[1] = increment, np.tanh(deviation / 8.0)
    copied(features, seen, 2)
    rtu_advance(floats, ints, at, size, c, seen)
    saturated = 0
    for i in range(2 * n):
        read[i] = np.tanh(floats[at.recurrent_state + i])
    for i in range(n):
        slope = min(1.0 - read[i] * read[i], 1.0 - read[n + i] * read[n + i])
        saturated += 1 if slope < c.saturated_slope else 0
    floats[at.recurrent_saturated_ratio] = saturated / n
    lags = floats[at.recurrent_lags : at.recurrent_lags + size.recurrent_lags]
    shift_in(lags, increment)
    trace = floats[at.recurrent_memory_trace : at.recurrent_memory_trace + 2 * q * n]
    for h in range(size.horizons):
        first = at.recurrent_pending + slots[h] * n_inputs
        inputs = floats[first : first + n_inputs]
        for i in range(2 * n):
            inputs[i] = read[i]
        put_inputs(inputs, 2 * n, lags, deviation, features, change[h])
        weights = floats[at.recurrent_weights + h * n_inputs : at.recurrent_weights + (h + 1) * n_inputs]
        forecast[h] = weighed_inputs(weights, inputs)
        for i in range(2 * n):
            credit[i] = weights[i] * (1.0 - read[i] * read[i])
        first = at.recurrent_jacobian + slots[h] * q * n
        for j in range(q):
            row = floats[first + j * n : first + (j + 1) * n]
            of_re, of_im = trace[j * n : (j + 1) * n], trace[(q + j) * n : (q + j + 1) * n]
            for i in range(n):
                row[i] = credit[i] * of_re[i] + credit[n + i] * of_im[i]


@inner
def recurrent_learn(
    floats: Array,
    ints: IntArray,
    flags: BoolArray,
    at: Places,
    size: Sizes,
    c: Constants,
    slots: IntArray,
    known: BoolArray,
    residual: Array,
    gain: Array,
    gradient: Array,
) -> None:
    """Twin of `Recurrent.learn`: labels that are due into the readout and, by the kept gradients, into the cell."""
    n_inputs, n_params = size.recurrent_inputs, len(gradient)
    labelled = False
    for j in range(n_params):
        gradient[j] = 0.0
    for h in range(size.horizons):
        if known[h]:
            labelled = True
            rls_learn(
                floats,
                at.recurrent_weights + h * n_inputs,
                at.recurrent_covariance + h * n_inputs * n_inputs,
                at.recurrent_pending + slots[h] * n_inputs,
                n_inputs,
                residual[h],
                c,
                gain,
            )
        first = at.recurrent_jacobian + slots[h] * n_params
        jacobian, factor = floats[first : first + n_params], residual[h]
        for j in range(n_params):
            gradient[j] -= factor * jacobian[j]
    floats[at.recurrent_gradient_norm] = 0.0
    flags[at.recurrent_updated] = False
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
    flags[at.recurrent_updated] = True
    params = floats[at.recurrent_params : at.recurrent_params + n_params]
    if not size.adam:
        for j in range(n_params):
            params[j] -= c.learning_rate * (gradient[j] * shrink)
        return
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
        params[j] -= c.learning_rate * (
            (first_moment[j] / first_weight) / (np.sqrt(second_moment[j] / second_weight) + c.epsilon)
        )


@inner
def linear_forecast(
    floats: Array,
    at: Places,
    size: Sizes,
    increment: float,
    deviation: float,
    features: Array,
    change: Array,
    slots: IntArray,
    forecast: Array,
) -> None:
    """Twin of `Linear.forecast`: write a forecast for each horizon and keep its inputs at its slot."""
    n = size.inputs
    lags = floats[at.linear_lags : at.linear_lags + size.lags]
    shift_in(lags, increment)
    for h in range(size.horizons):
        first = at.linear_pending + slots[h] * n
        inputs = floats[first : first + n]
        put_inputs(inputs, 0, lags, deviation, features, change[h])
        forecast[h] = weighed_inputs(
            floats[at.linear_weights + h * n : at.linear_weights + (h + 1) * n], inputs
        )


@inner
def linear_learn(
    floats: Array,
    at: Places,
    size: Sizes,
    c: Constants,
    slots: IntArray,
    known: BoolArray,
    residual: Array,
    gain: Array,
) -> None:
    """Twin of `Linear.learn`."""
    n = size.inputs
    for h in range(size.horizons):
        if known[h]:
            rls_learn(
                floats,
                at.linear_weights + h * n,
                at.linear_covariance + h * n * n,
                at.linear_pending + slots[h] * n,
                n,
                residual[h],
                c,
                gain,
            )


@inner
def bounded_residual(floats: Array, place: int, seen: int, c: Constants, residual: float) -> float:
    """Winsorise an expert's residual and take it into its running variance, which lies at `place`."""
    variance = floats[place]
    bound = c.residual_winsor * np.sqrt(variance)
    bounded = clipped(residual, bound if bound > 0.0 else c.residual_winsor)
    floats[place] = variance + max(1.0 / c.residual_span, 1.0 / max(seen, 1)) * (bounded * bounded - variance)
    return bounded
