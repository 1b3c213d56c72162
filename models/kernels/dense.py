"""The event loop of dense cells under the block engine: step, predict, learn, in one compiled function.

The arithmetic is that of `models.cells`, `models.rules.rtrl_block` and `models.updates`, event by event; sums run in another
order, so results agree to rounding. The unit is the innermost index of every loop, so that the compiler can take several at
a time; and none of the large sums is over it, which without fast mathematics would be one at a time.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from models.kernels.jit import jit
from models.protocols import Array, BoolArray, IntArray

VANILLA: Final = 0
GRU: Final = 1
LSTM: Final = 2
SGD: Final = 0
ADAM: Final = 1


@jit
def squash(value: float) -> float:
    """Return the sigmoid, as `models.cells.activations` has it."""
    return float(0.5 * (1.0 + np.tanh(0.5 * value)))


@jit
def weighed(z: Array, params: Array, first: int, summed: Array) -> None:
    """Put sum over j of z[j] params[first + j] into `summed`, (n,)."""
    summed[:] = 0.0
    for j in range(len(z)):
        weight, row = z[j], params[first + j]
        for i in range(len(summed)):
            summed[i] += weight * row[i]


@jit
def vanilla_step(
    params: Array, state: Array, z: Array, transition: Array, sensitivity: Array, work: Array
) -> None:
    """Advance a tanh cell; write its factors, see `models.cells.vanilla`."""
    n = state.shape[1]
    weighed(z, params, 0, work[0])
    for i in range(n):
        state[0, i] = np.tanh(work[0, i])
        sensitivity[0, 0, i] = 1.0 - state[0, i] * state[0, i]
    for i in range(n):
        slope = sensitivity[0, 0, i]
        for u in range(n):
            transition[i, u] = slope * params[u, i]


@jit
def gru_step(
    params: Array, state: Array, z: Array, transition: Array, sensitivity: Array, work: Array
) -> None:
    """Advance a GRU; write its factors, see `models.cells.gru`."""
    n, p = state.shape[1], len(z)
    weighed(z, params, 0, work[0])
    weighed(z, params, p, work[1])
    weighed(z[:n], params, 2 * p, work[2])
    weighed(z[n:], params, 2 * p + n, work[3])
    for i in range(n):
        reset, keep = squash(work[0, i]), squash(work[1, i])
        past = work[2, i] + params[3 * p, i]
        candidate = np.tanh(work[3, i] + reset * past)
        before = state[0, i]
        to_candidate = (1.0 - keep) * (1.0 - candidate * candidate)
        sensitivity[0, 0, i] = to_candidate * past * (reset * (1.0 - reset))
        sensitivity[0, 1, i] = (before - candidate) * (keep * (1.0 - keep))
        sensitivity[0, 2, i] = to_candidate * reset
        sensitivity[0, 3, i] = to_candidate
        state[0, i] = (1.0 - keep) * candidate + keep * before
        work[4, i] = keep
    for i in range(n):
        of_reset, of_keep, of_past = sensitivity[0, 0, i], sensitivity[0, 1, i], sensitivity[0, 2, i]
        for u in range(n):
            transition[i, u] = (
                of_reset * params[u, i] + of_keep * params[p + u, i] + of_past * params[2 * p + u, i]
            )
        transition[i, i] += work[4, i]


@jit
def lstm_step(
    params: Array, state: Array, z: Array, transition: Array, sensitivity: Array, work: Array
) -> None:
    """Advance an LSTM; write its factors, see `models.cells.lstm`."""
    n, p = state.shape[1], len(z)
    for gate in range(4):
        weighed(z, params, gate * p, work[gate])
    transition[:] = 0.0
    for i in range(n):
        entry, forget, output = squash(work[0, i]), squash(work[1, i]), squash(work[2, i])
        candidate, before = np.tanh(work[3, i]), state[0, i]
        cell = forget * before + entry * candidate
        squashed = np.tanh(cell)
        passed = output * (1.0 - squashed * squashed)
        sensitivity[0, 0, i] = candidate * (entry * (1.0 - entry))
        sensitivity[0, 1, i] = before * (forget * (1.0 - forget))
        sensitivity[0, 2, i] = 0.0
        sensitivity[0, 3, i] = entry * (1.0 - candidate * candidate)
        for gate in range(4):
            sensitivity[1, gate, i] = passed * sensitivity[0, gate, i]
        sensitivity[1, 2, i] = squashed * (output * (1.0 - output))
        state[0, i], state[1, i] = cell, output * squashed
        transition[i, i] = forget
        transition[n + i, i] = passed * forget
    for part in range(2):
        for i in range(n):
            for gate in range(4):
                slope, first = sensitivity[part, gate, i], gate * p
                for u in range(n):
                    transition[part * n + i, n + u] += slope * params[first + u, i]


@jit
def carried_back(
    credit: Array,
    earlier: Array,
    transition: Array,
    sensitivity: Array,
    presynaptic: Array,
    influence: Array,
    filled: int,
    gate_of: IntArray,
    input_of: IntArray,
    through: Array,
    gradient: Array,
) -> None:
    """Put into `gradient`, (q, n), what a credit on the state, (S,), owes: eq. (2) of `RtrlBlock`. The credit is used up."""
    size, (parts, gates, n) = len(credit), sensitivity.shape[1:]
    gradient[:] = 0.0
    for step in range(filled - 1, -1, -1):
        through[:] = 0.0
        for part in range(parts):
            for gate in range(gates):
                for i in range(n):
                    through[gate, i] += credit[part * n + i] * sensitivity[step, part, gate, i]
        for j in range(len(gradient)):
            weight, row, slope = presynaptic[step, input_of[j]], gradient[j], through[gate_of[j]]
            for i in range(n):
                row[i] += weight * slope[i]
        earlier[:] = 0.0
        for s in range(size):
            weight, row = credit[s], transition[step, s]
            for u in range(size):
                earlier[u] += weight * row[u]
        credit[:] = earlier
    for s in range(size):
        weight = credit[s]
        for j in range(len(gradient)):
            row, of_state = gradient[j], influence[s, j]
            for i in range(n):
                row[i] += weight * of_state[i]


@jit
def norm_of(values: Array, by_unit: Array) -> float:
    """Return the Frobenius norm of (.., n), summed unit by unit first."""
    by_unit[:] = 0.0
    rows = values.reshape(-1, values.shape[-1])
    for j in range(len(rows)):
        row = rows[j]
        for i in range(len(by_unit)):
            by_unit[i] += row[i] * row[i]
    total = 0.0
    for i in range(len(by_unit)):
        total += by_unit[i]
    return float(np.sqrt(total))


@jit
def moved(
    params: Array,
    gradient: Array,
    first: Array,
    second: Array,
    count: int,
    optimizer: int,
    rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
) -> None:
    """Move parameters along a gradient, (rows, units) both, by SGD or Adam; its count is the update's own."""
    if optimizer == SGD:
        for j in range(len(params)):
            row, along = params[j], gradient[j]
            for i in range(len(row)):
                row[i] -= rate * along[i]
        return
    first_weight, second_weight = 1.0 - beta1**count, 1.0 - beta2**count
    for j in range(len(params)):
        row, along, mean, square = params[j], gradient[j], first[j], second[j]
        for i in range(len(row)):
            mean[i] = beta1 * mean[i] + (1.0 - beta1) * along[i]
            square[i] = beta2 * square[i] + (1.0 - beta2) * along[i] * along[i]
            row[i] -= rate * ((mean[i] / first_weight) / (np.sqrt(square[i] / second_weight) + epsilon))


@jit
def events(
    kind: int,
    optimizer: int,
    constants: Array,
    gate_of: IntArray,
    input_of: IntArray,
    new_state: Array,
    params: Array,
    state: Array,
    readout: Array,
    influence: Array,
    transition: Array,
    sensitivity: Array,
    presynaptic: Array,
    filled: IntArray,
    cell_moments: tuple[Array, Array, IntArray],
    readout_moments: tuple[Array, Array, IntArray],
    slots: IntArray,
    inputs: Array,
    targets: Array,
    scored: BoolArray,
    prediction: Array,
    loss: Array,
    start: int,
) -> int:
    """Take events from `start` on, until one whose model has a full block; return which that is, or how many there are.

    `constants` are the learning rate, beta1, beta2, epsilon, the usual norm of a gradient, the greatest of an influence and
    the greatest error of a loss's value. Slabs are (capacity, ...), as `OnlineLearner.init_row` names them.
    """
    rate, beta1, beta2, epsilon, usual, influence_max, error_max = constants
    _, parts, n = state.shape
    block, gates = transition.shape[1], sensitivity.shape[3]
    m, n_outputs = inputs.shape[1], readout.shape[1]
    work, through = np.empty((5, n)), np.empty((gates, n))
    gradient, by_unit = np.empty(params.shape[1:]), np.empty(n)
    of_readout = np.empty((n_outputs, n + 1))
    credit, earlier, error = np.empty(parts * n), np.empty(parts * n), np.empty(n_outputs)
    for e in range(start, len(slots)):
        slot = slots[e]
        at = filled[slot]
        if at == block:
            return e
        here, z, weights = state[slot], presynaptic[slot, at], params[slot]
        z[:n] = here[parts - 1]  # the part that is read out is the last one
        z[n : n + m] = inputs[e]
        z[n + m] = 1.0
        if kind == VANILLA:
            vanilla_step(weights, here, z, transition[slot, at], sensitivity[slot, at], work)
        elif kind == GRU:
            gru_step(weights, here, z, transition[slot, at], sensitivity[slot, at], work)
        else:
            lstm_step(weights, here, z, transition[slot, at], sensitivity[slot, at], work)
        filled[slot] = at + 1
        sound = True
        for part in range(parts):
            for i in range(n):
                sound = sound and np.isfinite(here[part, i])
        if not sound:
            here[:] = new_state
            influence[slot] = 0.0
            filled[slot] = 0
        read, above = here[parts - 1], readout[slot]
        for o in range(n_outputs):
            total = above[o, n]
            for i in range(n):
                total += above[o, i] * read[i]
            prediction[e, o] = total
        if not scored[e]:
            continue
        credit[:] = 0.0
        value = 0.0
        for o in range(n_outputs):
            error[o] = prediction[e, o] - targets[e, o]
            bounded = min(max(error[o], -error_max), error_max)
            value += 0.5 * bounded * bounded
            for i in range(n):
                credit[(parts - 1) * n + i] += error[o] * above[o, i]
                of_readout[o, i] = error[o] * read[i]
            of_readout[o, n] = error[o]
        loss[e] = value
        carried_back(
            credit,
            earlier,
            transition[slot],
            sensitivity[slot],
            presynaptic[slot],
            influence[slot],
            filled[slot],
            gate_of,
            input_of,
            through,
            gradient,
        )
        norm = norm_of(gradient, by_unit)
        if not norm <= usual and not norm_of(influence[slot], by_unit) <= influence_max:
            here[:] = new_state
            influence[slot] = 0.0
            filled[slot] = 0
            continue
        if np.isfinite(norm):
            cell_moments[2][slot] += 1
            moved(
                weights,
                gradient,
                cell_moments[0][slot],
                cell_moments[1][slot],
                cell_moments[2][slot],
                optimizer,
                rate,
                beta1,
                beta2,
                epsilon,
            )
        readout_moments[2][slot] += 1
        moved(
            above,
            of_readout,
            readout_moments[0][slot].reshape(n_outputs, n + 1),
            readout_moments[1][slot].reshape(n_outputs, n + 1),
            readout_moments[2][slot],
            optimizer,
            rate,
            beta1,
            beta2,
            epsilon,
        )
    return len(slots)
