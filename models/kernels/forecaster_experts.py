"""The forecaster's learning experts for one row of the records: twins of `models.experts.linear` and `.recurrent`."""

from __future__ import annotations

import numpy as np

from models.kernels.fetching import fetch
from models.kernels.forecaster_parts import Constants, Experts, Places, clipped
from models.kernels.forecaster_watch import turned, watch_step, watch_units
from models.kernels.forecaster_work import RECURRENT, Sizes, Work
from models.kernels.jit import inner
from models.protocols import Array, BoolArray, IntArray


@inner
def forgets(ints: IntArray, at: Places, of: Experts, e: int, c: Constants) -> float:
    """Return the forgetting of an expert's readout at this event."""
    return min(of.forgetting[e], c.hasty_forgetting) if is_hasty(ints, at) else float(of.forgetting[e])


@inner
def is_hasty(ints: IntArray, at: Places) -> bool:
    """Twin of `Reaction.hasty`."""
    return bool(at.quicken_left >= 0 and ints[at.quicken_left] > 0)


@inner
def hasty_rate(ints: IntArray, at: Places, c: Constants) -> float:
    """Return how many times as fast to learn at this event."""
    return float(c.hasty_rate) if is_hasty(ints, at) else 1.0


@inner
def readout_gain(
    floats: Array, of: Experts, e: int, forgetting: float, row: int, denominators: Array
) -> None:
    """Twin of the first half of `rls_gain` for an expert's inputs in a row of its ring: keep the gain.

    The covariance is as it was until `readout_settle`, so that a series that is put back needs no copy of what is largest.
    """
    n, covariance = of.inputs[e], of.covariance_at[e]
    first = of.inputs_at[e] + row * n
    phi = floats[first : first + n]
    first = of.gain_at[e] + row * n
    gain = floats[first : first + n]
    for i in range(n):
        gain[i] = 0.0
    for i in range(n):
        factor, own = phi[i], floats[covariance + i * n : covariance + (i + 1) * n]
        for j in range(n):
            gain[j] += factor * own[j]
    power = 0.0
    for i in range(n):
        power += gain[i] * phi[i]
    denominator = forgetting + power
    if not (np.isfinite(denominator) and denominator > 0.0):
        denominator = np.inf
    for i in range(n):
        gain[i] /= denominator
    denominators[e] = denominator


@inner
def readout_settle(
    floats: Array,
    of: Experts,
    e: int,
    forgetting: float,
    row: int,
    c: Constants,
    denominators: Array,
    ahead: Array,
    far: bool,
) -> None:
    """Twin of the other half of `rls_gain`: take an expert's inputs into its covariance; `ahead` as for `settle_covariances`."""
    n, covariance = of.inputs[e], of.covariance_at[e]
    denominator = denominators[e]
    if not np.isfinite(denominator):
        return
    first = of.gain_at[e] + row * n
    gain = floats[first : first + n]
    trace = 0.0
    for i in range(n):
        trace += floats[covariance + i * (n + 1)]
    growth = 1.0 / forgetting if trace < c.trace_ceiling * n else 1.0
    for i in range(n):
        start, end = covariance + i * n, covariance + (i + 1) * n
        factor, own = denominator * gain[i], floats[start:end]
        fetch(ahead[start:end], far)
        for j in range(n):
            own[j] = (own[j] - factor * gain[j]) * growth


@inner
def readout_learn(
    floats: Array,
    of: Experts,
    e: int,
    origins: IntArray,
    known: BoolArray,
    target: Array,
    bound: Array,
) -> None:
    """Twin of `learn_readout`: labels that are due, (H,), into the weights of an expert."""
    n = of.inputs[e]
    for h in range(len(known)):
        if not known[h]:
            continue
        first = of.inputs_at[e] + origins[h] * n
        phi = floats[first : first + n]
        first = of.gain_at[e] + origins[h] * n
        gain = floats[first : first + n]
        first = of.weights_at[e] + h * n
        weights = floats[first : first + n]
        offset = floats[of.offset_at[e] + origins[h]] if of.offset_at[e] >= 0 else 0.0
        error = clipped(target[h] - offset - weighed_inputs(weights, phi), bound[h])
        if np.isfinite(error):
            for i in range(n):
                weights[i] += gain[i] * error


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
def put_inputs(inputs: Array, first: int, lags: Array, beside: Array) -> None:
    """Twin of `linear_inputs`, from the place `first` on; as much of what stands beside the lags as there is room for."""
    copied(lags, inputs, first)
    at = first + len(lags)
    for i in range(len(inputs) - at):
        inputs[at + i] = beside[i]


@inner
def weighed_inputs(weights: Array, inputs: Array) -> float:
    """Return w' phi."""
    total = 0.0
    for i in range(len(inputs)):
        total += weights[i] * inputs[i]
    return total


@inner
def rtu_advance(
    floats: Array, ints: IntArray, flags: BoolArray, at: Places, size: Sizes, c: Constants, seen: Array
) -> None:
    """Advance an RTU and its trace by the inputs `seen`, (m,): twin of `Rtu.step` and `RtrlTrace.advance`; judge the trace."""
    n, m = size.units, len(seen)
    q = 2 + 2 * m
    params, state = floats[at.recurrent_params :], floats[at.recurrent_state :]
    trace = floats[at.recurrent_memory_trace :]
    tangent = floats[at.recurrent_tangent :]
    total, radius_max, grown = 0.0, 0.0, 0.0
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
        if size.watched:
            grown += turned(tangent, i, n, real, imaginary)
    norm = np.sqrt(total)
    healthy = np.isfinite(norm) and norm <= c.influence_ceiling
    if not healthy:
        for j in range(2 * q * n):
            trace[j] = 0.0
        for j in range(2 * n):
            state[j] = 0.0
        ints[at.recurrent_influence_resets] += 1
    flags[at.recurrent_reset] = not healthy
    if size.watched:
        watch_step(floats, ints, at, 2 * n, np.sqrt(grown))
    floats[at.recurrent_influence_norm] = norm if healthy else 0.0
    floats[at.recurrent_spectral_radius] = radius_max if healthy else 0.0


@inner
def recurrent_forecast(
    floats: Array,
    ints: IntArray,
    flags: BoolArray,
    at: Places,
    of: Experts,
    e: int,
    size: Sizes,
    c: Constants,
    steady: tuple[float, float, float],
    row: int,
    denominators: Array,
    w: Work,
) -> None:
    """Twin of `Recurrent.forecast`: write a forecast for each horizon, keep the inputs, and each gradient at its slot."""
    seen, read, credit, forecast = w.seen, w.read, w.credit, w.own
    n, m, n_inputs = size.units, len(seen), of.inputs[e]
    q = 2 + 2 * m
    increment, deviation, offset = steady
    seen[0], seen[1] = increment, deviation
    for i in range(m - 2):
        seen[2 + i] = w.features[i]
    rtu_advance(floats, ints, flags, at, size, c, seen)
    for i in range(2 * n):
        read[i] = np.tanh(floats[at.recurrent_state + i])
    if size.watched:
        floats[at.recurrent_saturated_ratio] = watch_units(floats, ints, at, n, c, read) / n
    lags = floats[of.lags_at[e] : of.lags_at[e] + of.lags[e]]
    shift_in(lags, increment)
    first = of.inputs_at[e] + row * n_inputs
    inputs = floats[first : first + n_inputs]
    copied(read, inputs, 0)
    put_inputs(inputs, 2 * n, lags, w.beside)
    inputs[2 * n + len(lags)] = deviation
    floats[of.offset_at[e] + row] = offset
    readout_gain(floats, of, e, forgets(ints, at, of, e, c), row, denominators)
    trace = floats[at.recurrent_memory_trace : at.recurrent_memory_trace + 2 * q * n]
    lost = False
    for h in range(size.horizons):
        first = of.weights_at[e] + h * n_inputs
        weights = floats[first : first + n_inputs]
        forecast[h] = offset + weighed_inputs(weights, inputs)
        lost = lost or not np.isfinite(forecast[h])
        if h >= size.kept:
            continue
        for i in range(2 * n):
            credit[i] = weights[i] * (1.0 - read[i] * read[i])
        first = at.recurrent_jacobian + w.slots[h] * q * n
        for j in range(q):
            own = floats[first + j * n : first + (j + 1) * n]
            of_re, of_im = trace[j * n : (j + 1) * n], trace[(q + j) * n : (q + j + 1) * n]
            for i in range(n):
                own[i] = credit[i] * of_re[i] + credit[n + i] * of_im[i]
    if lost:  # weights that are no numbers: no change is forecast, and somebody will look
        flags[at.recurrent_reset] = True
        for h in range(size.horizons):
            forecast[h] = 0.0


@inner
def linear_forecast(
    floats: Array,
    of: Experts,
    e: int,
    forgetting: float,
    increment: float,
    beside: Array,
    row: int,
    denominators: Array,
    forecast: Array,
) -> None:
    """Twin of `Linear.forecast`: write a forecast for each horizon and keep its inputs and their gain."""
    n = of.inputs[e]
    lags = floats[of.lags_at[e] : of.lags_at[e] + of.lags[e]]
    shift_in(lags, increment)
    first = of.inputs_at[e] + row * n
    inputs = floats[first : first + n]
    put_inputs(inputs, 0, lags, beside)
    readout_gain(floats, of, e, forgetting, row, denominators)
    for h in range(len(forecast)):
        first = of.weights_at[e] + h * n
        forecast[h] = weighed_inputs(floats[first : first + n], inputs)


@inner
def readout_forecast(
    floats: Array,
    ints: IntArray,
    flags: BoolArray,
    at: Places,
    of: Experts,
    e: int,
    size: Sizes,
    c: Constants,
    increment: float,
    steady: tuple[float, float, float],
    row: int,
    denominators: Array,
    w: Work,
) -> None:
    """Let an expert with a readout forecast, into `w.own`: a linear one by the increment, the recurrent one by what is steady."""
    if of.kinds[e] == RECURRENT:
        recurrent_forecast(floats, ints, flags, at, of, e, size, c, steady, row, denominators, w)
    else:
        forgetting = forgets(ints, at, of, e, c)
        linear_forecast(floats, of, e, forgetting, increment, w.beside, row, denominators, w.own)


@inner
def bounded_residual(
    floats: Array, place: int, seen: int, c: Constants, residual: float
) -> tuple[float, float]:
    """Winsorise an expert's residual and take it into its running variance, which lies at `place`; return it and the bound."""
    variance = floats[place]
    bound = c.residual_winsor * np.sqrt(variance)
    if not bound > 0.0:
        bound = c.residual_winsor
    bounded = clipped(residual, bound)
    floats[place] = variance + max(1.0 / c.residual_span, 1.0 / max(seen, 1)) * (bounded * bounded - variance)
    return bounded, bound
