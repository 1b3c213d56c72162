"""How the experts' forecasts become one, for one horizon of one row of the records: twins of the polynomial mixture and of the stacked one.

The stacked one has all fields of the polynomial one, and others beside: so its functions go before and behind those of the other,
where there is room for them. Where there is None, which is another type to the compiler, they are not compiled.
"""

from __future__ import annotations

import numpy as np

from models.kernels.forecaster_parts import Constants, Places, clipped
from models.kernels.jit import inner
from models.mixtures.stacked import BOUND, DOUBT
from models.optimizers.rls import FORGETTING
from models.protocols import Array, IntArray


@inner
def mixture_combine(
    floats: Array,
    ints: IntArray,
    at: Places,
    c: Constants,
    h: int,
    horizon: int,
    ring: int,
    forecasts: Array,
    weights: Array,
    stacking: Array | None,
) -> float:
    """Twin of `Mixture.combine` for one horizon: write the weights, return the forecast. `ring` is where the horizon's slots begin."""
    mixed = polynomial_combine(floats, at, c, h, forecasts, weights)
    if stacking is None:
        return mixed
    slot = ring + ints[at.mixture_count] % horizon
    return stacked_combine(floats, at, c, h, horizon, slot, forecasts, mixed, weights)


@inner
def mixture_learn(
    floats: Array,
    ints: IntArray,
    at: Places,
    c: Constants,
    h: int,
    horizon: int,
    ring: int,
    forecasts: Array,
    target: float,
    prior: Array,
    stacking: Array | None,
) -> None:
    """Twin of `Mixture.learn` for one horizon whose label is due; `stacking` is room for inputs and gain, (2, E)."""
    if stacking is not None:
        slot = ring + ints[at.mixture_count] % horizon
        stacked_learn(floats, ints, at, c, h, slot, forecasts, target, stacking[0], stacking[1])
    polynomial_learn(floats, ints, at, c, h, forecasts, target, prior)


@inner
def polynomial_learn(
    floats: Array,
    ints: IntArray,
    at: Places,
    c: Constants,
    h: int,
    forecasts: Array,
    target: float,
    prior: Array,
) -> None:
    """Twin of `PolynomialWeights.learn` for one horizon whose label is due."""
    n_experts = len(forecasts)
    first = h * n_experts
    weights = floats[at.mixture_weights + first : at.mixture_weights + first + n_experts]
    regret = floats[at.mixture_regret + first : at.mixture_regret + first + n_experts]
    variation = floats[at.mixture_variation + first : at.mixture_variation + first + n_experts]
    mixed = 0.0
    for e in range(n_experts):
        mixed += weights[e] * forecasts[e]
    error = mixed - target
    seen = ints[at.mixture_seen + h] + 1
    ints[at.mixture_seen + h] = seen
    before = floats[at.mixture_loss + h]
    loss = before + max(1.0 / c.mixture_span, 1.0 / seen) * (error * error - before)
    if not np.isfinite(loss):
        return
    floats[at.mixture_loss + h] = loss
    unit = loss if loss > 0.0 else 1.0
    total = 0.0
    for e in range(n_experts):
        slope = clipped(2.0 * error * (mixed - forecasts[e]) / unit, c.regret_max)
        regret[e] = c.mixture_keep * regret[e] + slope
        variation[e] = c.mixture_keep * variation[e] + slope * slope
        total += _hope(regret[e], variation[e], c.optimism, prior[e])
    if total > 0.0:
        for e in range(n_experts):
            weights[e] = _hope(regret[e], variation[e], c.optimism, prior[e]) / total


@inner
def _hope(regret: float, variation: float, optimism: float, prior: float) -> float:
    hopeful = prior * max(regret + optimism * np.sqrt(variation), 0.0)
    return hopeful / variation if variation > 0.0 else 0.0


@inner
def polynomial_combine(
    floats: Array, at: Places, c: Constants, h: int, forecasts: Array, weights: Array
) -> float:
    """Twin of `PolynomialWeights.combine` for one horizon: write the weights, return the forecast."""
    first, total, mixed = at.mixture_weights + h * len(forecasts), 0.0, 0.0
    for e in range(len(forecasts)):
        weight = floats[first + e]
        weights[e] = 0.0 if weight < c.negligible else weight
        total += weights[e]
    for e in range(len(forecasts)):
        weights[e] /= total
        mixed += weights[e] * forecasts[e]
    return mixed


@inner
def stacked_share(floats: Array, at: Places, h: int, horizon: int) -> float:
    """Twin of `StackedWeights._share`."""
    overlap = max(1.0, horizon / 2.0)
    sure = floats[at.mixture_product + h] - DOUBT * np.sqrt(overlap * floats[at.mixture_noise + h])
    power = floats[at.mixture_power + h]
    return min(sure / power, 1.0) if sure > 0.0 and power > 0.0 else 0.0


@inner
def stacked_combine(
    floats: Array,
    at: Places,
    c: Constants,
    h: int,
    horizon: int,
    slot: int,
    forecasts: Array,
    mixed: float,
    weights: Array,
) -> float:
    """Twin of `StackedWeights.combine` behind the polynomial mixture's: change the weights, return the forecast."""
    first = at.mixture_coefficients + h * len(forecasts)
    total, raw = 0.0, 0.0
    for e in range(len(forecasts)):
        coefficient = floats[first + e]
        if abs(coefficient) >= c.negligible:
            total += coefficient
            raw += coefficient * (forecasts[e] - mixed)
    raw = raw if np.isfinite(raw) else 0.0
    bound = BOUND * np.sqrt(floats[at.mixture_square + h])
    factor = bound / abs(raw) if abs(raw) > bound else 1.0
    floats[at.mixture_correction + slot] = factor * raw
    share = stacked_share(floats, at, h, horizon)
    pull = share * factor
    if pull > 0.0:
        for e in range(len(forecasts)):
            coefficient = floats[first + e]
            own = coefficient if abs(coefficient) >= c.negligible else 0.0
            weights[e] += pull * (own - total * weights[e])
    for e in range(len(forecasts)):
        floats[at.mixture_effective + h * len(forecasts) + e] = weights[e]
    return mixed + share * (factor * raw) if share > 0.0 else mixed


@inner
def stacked_learn(
    floats: Array,
    ints: IntArray,
    at: Places,
    c: Constants,
    h: int,
    slot: int,
    forecasts: Array,
    target: float,
    inputs: Array,
    gain: Array,
) -> None:
    """Twin of `StackedWeights.learn` before the polynomial mixture's, for one horizon whose label is due; `inputs` and `gain` are room, (E,)."""
    mixed = polynomial_combine(floats, at, c, h, forecasts, inputs)
    off, square = target - mixed, floats[at.mixture_square + h]
    within = min(off * off, BOUND * BOUND * square) if square > 0.0 else off * off
    if square > 0.0:
        unit, largest = np.sqrt(square), 0.0
        finite = True
        for e in range(len(forecasts)):
            inputs[e] = (forecasts[e] - mixed) / unit
            finite = finite and np.isfinite(inputs[e])
            largest = max(largest, abs(inputs[e]))
        scaled, then = off / unit, floats[at.mixture_correction + slot] / unit
        if finite and np.isfinite(scaled) and np.isfinite(then):
            _prove(floats, at, c, h, clipped(then, BOUND), clipped(scaled, BOUND))
            _regress(floats, at, c, h, scaled, largest, inputs, gain)
    if np.isfinite(within):
        rate = max(1.0 / c.mixture_span, 1.0 / (ints[at.mixture_seen + h] + 1))
        floats[at.mixture_square + h] = square + rate * (within - square)


@inner
def _prove(floats: Array, at: Places, c: Constants, h: int, then: float, scaled: float) -> None:
    """Twin of `StackedWeights._prove`."""
    gain, keep = then * scaled, c.mixture_keep
    floats[at.mixture_product + h] = keep * floats[at.mixture_product + h] + gain
    floats[at.mixture_power + h] = keep * floats[at.mixture_power + h] + then * then
    floats[at.mixture_noise + h] = keep * floats[at.mixture_noise + h] + gain * gain


@inner
def _regress(
    floats: Array,
    at: Places,
    c: Constants,
    h: int,
    scaled: float,
    largest: float,
    inputs: Array,
    gain: Array,
) -> None:
    """Take a label into the coefficients and their uncertainty: twin of `rls_update`. Overwrites the inputs."""
    n = len(inputs)
    coefficients = floats[at.mixture_coefficients + h * n : at.mixture_coefficients + (h + 1) * n]
    first = at.mixture_uncertainty + h * n * n
    shrink, told = BOUND / max(largest, BOUND), 0.0
    for e in range(n):
        told += coefficients[e] * inputs[e]
        inputs[e] *= shrink
    residual = shrink * clipped(scaled - told, BOUND)
    power, trace = 0.0, 0.0
    for a in range(n):
        row, total = floats[first + a * n : first + (a + 1) * n], 0.0
        for b in range(n):
            total += row[b] * inputs[b]
        gain[a] = total
        power += total * inputs[a]
        trace += row[a]
    denominator = FORGETTING + power
    if not (np.isfinite(denominator) and denominator > 0.0 and np.isfinite(residual)):
        return
    growth = 1.0 / FORGETTING if trace < c.trace_ceiling * n else 1.0
    share, root = residual / denominator, np.sqrt(denominator)
    for a in range(n):
        coefficients[a] += gain[a] * share
        gain[a] /= root
    for a in range(n):
        row = floats[first + a * n : first + (a + 1) * n]
        for b in range(n):
            row[b] = (row[b] - gain[a] * gain[b]) * growth
