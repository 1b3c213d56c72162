"""Diagonal cells, compiled: a step of one model, with its trace, and what is read out of it.

The arithmetic is that of `models.cells` and `models.rules.rtrl_trace`; immediate derivatives go into the trace at once and
are nowhere held. The unit is the innermost index of every loop, and each loop writes one row of few, so that the compiler
can show that they do not overlap, and take several units at a time: it gives up where that needs more than eight comparisons.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from models.cells.complex_units import DECAY_MIN, LOG_MAX
from models.kernels.elementary import exp, fallen, tanh, turn
from models.kernels.fetching import fetch
from models.kernels.jit import inner
from models.protocols import Array, SingleOrDouble

ELSTM: Final = 0
RTU: Final = 1
LRU: Final = 2

WORK_ROWS: Final = 16
"""Rows of n that a step needs room for."""
PASSED_ROWS: Final = 4
"""And those in the precision of the trace."""
FINITE_MAX: Final = float(np.finfo(np.float64).max)


@inner
def weighed(x: Array, params: SingleOrDouble, first: int, summed: Array) -> None:
    """Put sum over j of x[j] params[first + j] into `summed`, (n,)."""
    for i in range(len(summed)):
        summed[i] = 0.0
    for j in range(len(x)):
        weight, row = x[j], params[first + j]
        for i in range(len(summed)):
            summed[i] += weight * row[i]


@inner
def advanced(
    trace: SingleOrDouble,
    first: int,
    slope: SingleOrDouble,
    transition: SingleOrDouble,
    past: SingleOrDouble,
    seen: SingleOrDouble,
    ahead: SingleOrDouble,
    far: bool,
) -> None:
    """Advance the traces of an eLSTM's gate, (q, n), from the row `first` on: what came in, (m,), its own past, (n,), and 1."""
    n, m = len(past), len(seen)
    for j in range(m):
        row, weight = trace[first + j], seen[j]
        fetch(ahead[first + j], far)
        for i in range(n):
            row[i] = slope[i] * weight + transition[i] * row[i]
    row = trace[first + m]
    fetch(ahead[first + m], far)
    fetch(ahead[first + m + 1], far)
    for i in range(n):
        row[i] = slope[i] * past[i] + transition[i] * row[i]
    row = trace[first + m + 1]
    for i in range(n):
        row[i] = slope[i] + transition[i] * row[i]


@inner
def elstm_step(
    params: SingleOrDouble,
    x: Array,
    state: SingleOrDouble,
    trace: SingleOrDouble,
    work: Array,
    passed: SingleOrDouble,
    seen: SingleOrDouble,
    ahead: SingleOrDouble,
    far: bool,
) -> None:
    """Advance an eLSTM, state (1, n) and trace (1, q, n) in place, by inputs (m,); see `models.cells.elstm`.

    What the trace is advanced with stands in `passed` and `seen`, (m,), in its own precision, so that no number of it is converted.
    `ahead` are a later event's parameters, (q, n), to be asked for where models are far.
    """
    n, m = state.shape[1], len(x)
    before, hidden = work[0], state[0]
    candidate, forget = work[1], work[2]
    of_candidate, of_forget, transition, past = passed[0], passed[1], passed[2], passed[3]
    for j in range(m):
        seen[j] = x[j]
    for i in range(n):
        before[i] = hidden[i]
        past[i] = hidden[i]
    weighed(x, params, 0, candidate)
    weighed(x, params, m + 2, forget)
    recurrent, bias = params[m], params[m + 1]
    recurrent_forget, bias_forget = params[2 * m + 2], params[2 * m + 3]
    for i in range(n):
        candidate[i] = tanh(candidate[i] + recurrent[i] * before[i] + bias[i])
    for i in range(n):
        drive = forget[i] + recurrent_forget[i] * before[i] + bias_forget[i]
        forget[i] = 0.5 * (1.0 + tanh(0.5 * drive))  # the sigmoid, as `models.cells.activations` has it
    for i in range(n):
        hidden[i] = forget[i] * before[i] + (1.0 - forget[i]) * candidate[i]
    for i in range(n):
        of_candidate[i] = (1.0 - forget[i]) * (1.0 - candidate[i] * candidate[i])
        of_forget[i] = (before[i] - candidate[i]) * (forget[i] * (1.0 - forget[i]))
    for i in range(n):
        transition[i] = forget[i] + of_candidate[i] * recurrent[i] + of_forget[i] * recurrent_forget[i]
    for gate in range(2):
        advanced(trace[0], gate * (m + 2), passed[gate], transition, past, seen, ahead, far)


@inner
def turned(
    one: SingleOrDouble, other: SingleOrDouble, real: Array, across: Array, gain: Array, seen: float
) -> None:
    """Turn two parts by lambda, and add gain times what is seen to one of them, all (n,).

    For (Re, Im) `across` is the imaginary part of lambda, for (Im, Re) its negative.
    """
    for i in range(len(one)):
        before = one[i]
        one[i] = (real[i] * before - across[i] * other[i]) + gain[i] * seen
        other[i] = across[i] * before + real[i] * other[i]


@inner
def modes(params: SingleOrDouble, work: Array) -> None:
    """Write real and imaginary part of lambda, 1 - |lambda|, and slopes of rate and phase: rows 0 to 4; |lambda|: row 15."""
    real, imaginary, gain, of_rate, of_phase = work[0], work[1], work[2], work[3], work[4]
    log_rate, log_phase, radius, n = params[0], params[1], work[15], params.shape[1]
    for i in range(n):
        of_rate[i] = exp(min(log_rate[i], LOG_MAX))
    for i in range(n):
        of_phase[i] = exp(min(log_phase[i], LOG_MAX))
    for i in range(n):
        real[i], imaginary[i] = turn(of_phase[i])
    for i in range(n):
        radius[i], gain[i] = fallen(DECAY_MIN + of_rate[i])
    for i in range(n):
        real[i] *= radius[i]
    for i in range(n):
        imaginary[i] *= radius[i]
    for i in range(n):
        of_rate[i] = of_rate[i] if log_rate[i] < LOG_MAX else 0.0
    for i in range(n):
        of_phase[i] = of_phase[i] if log_phase[i] < LOG_MAX else 0.0


@inner
def gains(kind: int, params: SingleOrDouble, work: Array) -> None:
    """Write the gain and its slope, rows 2 and 5, after `modes`."""
    gain, of_rate, of_gain, radius = work[2], work[3], work[5], work[15]
    if kind == RTU:
        for i in range(len(gain)):
            gain[i] = np.sqrt(gain[i] * (1.0 + radius[i]))  # 1 - radius^2 without cancellation
        for i in range(len(gain)):
            of_gain[i] = of_rate[i] * radius[i] * radius[i] / gain[i]
    else:
        log_gain = params[2]
        for i in range(len(gain)):
            gain[i] = exp(min(log_gain[i], LOG_MAX))
        for i in range(len(gain)):
            of_gain[i] = gain[i] if log_gain[i] < LOG_MAX else 0.0


@inner
def told(kind: int, state: SingleOrDouble, work: Array) -> None:
    """Write what rate, phase and an LRU's gain do at once to a state that was turned and is not yet driven: rows 8 to 13."""
    n = state.shape[1]
    of_rate, of_phase, of_gain, immediate = work[3], work[4], work[5], work[8:14]
    for part in range(2):
        kept, pushed, to_rate, to_gain = state[part], work[6 + part], immediate[part], immediate[4 + part]
        for i in range(n):
            to_gain[i] = of_gain[i] * pushed[i]
        for i in range(n):
            to_rate[i] = -of_rate[i] * kept[i]
        if kind == RTU:
            for i in range(n):
                to_rate[i] += to_gain[i]
    re, im, of_re, of_im = state[0], state[1], immediate[2], immediate[3]
    for i in range(n):
        of_re[i] = -of_phase[i] * im[i]
    for i in range(n):
        of_im[i] = of_phase[i] * re[i]


@inner
def complex_step(
    kind: int,
    params: SingleOrDouble,
    x: Array,
    state: SingleOrDouble,
    trace: SingleOrDouble,
    work: Array,
    ahead: SingleOrDouble,
    far: bool,
) -> None:
    """Advance an RTU or an LRU, state (2, n) and trace (2, q, n) in place; see `models.cells.rtu` and `.lru`.

    `ahead` as for `elstm_step`.
    """
    n, m = state.shape[1], len(x)
    real, imaginary, gain, drive, immediate, back = work[0], work[1], work[2], work[6:8], work[8:14], work[14]
    first = 2 if kind == RTU else 3
    modes(params, work)
    gains(kind, params, work)
    turned(state[0], state[1], real, imaginary, gain, 0.0)  # lambda h, of which rate and phase are told
    for part in range(2):
        weighed(x, params, first + part * m, drive[part])
    told(kind, state, work)
    for i in range(n):
        back[i] = -imaginary[i]
    for j in range(first):  # rate, phase, and an LRU's gain
        fetch(ahead[j], far)
        turned(trace[0, j], trace[1, j], real, imaginary, immediate[2 * j], 1.0)
        row, to_im = trace[1, j], immediate[2 * j + 1]
        for i in range(n):
            row[i] += to_im[i]
    for part in range(2):
        across = back if part == 1 else imaginary
        for j in range(m):
            at = first + part * m + j
            fetch(ahead[at], far)
            turned(trace[part, at], trace[1 - part, at], real, across, gain, x[j])
    for part in range(2):
        row, pushed = state[part], drive[part]
        for i in range(n):
            row[i] += gain[i] * pushed[i]


@inner
def read_out(kind: int, state: SingleOrDouble, features: Array, slope: Array) -> None:
    """Write what a readout sees of a state, (k, n), and its slope to the same part, (k, n)."""
    parts, n = state.shape
    for part in range(parts):
        seen, own, held = features[part], slope[part], state[part]
        for i in range(n):
            seen[i] = held[i]
        for i in range(n):
            own[i] = 1.0
        if kind == RTU:
            for i in range(n):
                seen[i] = tanh(held[i])
            for i in range(n):
                own[i] = 1.0 - seen[i] * seen[i]


@inner
def is_finite(values: SingleOrDouble) -> bool:
    """Say whether all of (k, n) is."""
    odd, n = 0, values.shape[1]
    for part in range(len(values)):
        row = values[part]
        for i in range(n):
            odd += 0 if abs(row[i]) <= FINITE_MAX else 1
    return odd == 0


@inner
def begin_anew(state: SingleOrDouble, trace: SingleOrDouble) -> None:
    """Begin a sequence: zeros, with which all of these cells begin."""
    parts, n = state.shape
    for part in range(parts):
        for i in range(n):
            state[part, i] = 0.0
        for j in range(trace.shape[1]):
            for i in range(n):
                trace[part, j, i] = 0.0


@inner
def through_units(
    credit: Array, trace: SingleOrDouble, gradient: Array, squares: Array, ahead: SingleOrDouble, far: bool
) -> None:
    """Write eq. (2) of `RtrlTrace` for a credit (k, n) and a trace (k, q, n): the gradient, (q, n).

    Its squares are added to `squares`, (n,), unit by unit. `ahead` is a later event's trace, to be asked for where models are far.
    """
    parts, n_params, n = trace.shape
    for j in range(n_params):
        row, of_first, traced = gradient[j], credit[0], trace[0, j]
        for part in range(parts):
            fetch(ahead[part, j], far)
        if parts == 1:
            for i in range(n):
                row[i] = of_first[i] * traced[i]
                squares[i] += row[i] * row[i]
            continue
        for i in range(n):
            row[i] = of_first[i] * traced[i]
        weight, other = credit[1], trace[1, j]
        for i in range(n):
            row[i] += weight[i] * other[i]
            squares[i] += row[i] * row[i]
