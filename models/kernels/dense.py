"""The event loop of dense cells under the block engine: step, predict, learn, in one compiled function.

The arithmetic is that of `models.cells`, `models.rules.rtrl_block` and `models.updates`, event by event; sums run in another
order, so results agree to rounding. The unit is the innermost index of every loop, so that the compiler can take several at
a time; and none of the large sums is over it, which without fast mathematics would be one at a time.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from models.kernels.dense_cells import gru_step, lstm_step, vanilla_step
from models.kernels.jit import inner, jit
from models.protocols import Array, BoolArray, IntArray

VANILLA: Final = 0
GRU: Final = 1
LSTM: Final = 2
SGD: Final = 0
ADAM: Final = 1


@inner
def back_a_step(
    credit: Array,
    earlier: Array,
    transition: Array,
    sensitivity: Array,
    z: Array,
    gate_of: IntArray,
    input_of: IntArray,
    first: int,
    through: Array,
    gradient: Array,
) -> None:
    """Add what a step owes to the gradient's rows from `first` on, and take the credit, (S,), back through it."""
    size, (parts, gates, n) = len(credit), sensitivity.shape
    for gate in range(gates):
        for i in range(n):
            through[gate, i] = 0.0
    for part in range(parts):
        for gate in range(gates):
            for i in range(n):
                through[gate, i] += credit[part * n + i] * sensitivity[part, gate, i]
    for j in range(first, len(gradient)):
        weight, row, slope = z[input_of[j]], gradient[j], through[gate_of[j]]
        for i in range(n):
            row[i] += weight * slope[i]
    for u in range(size):
        earlier[u] = 0.0
    for s in range(size):
        weight, row = credit[s], transition[s]
        for u in range(size):
            earlier[u] += weight * row[u]
    for u in range(size):
        credit[u] = earlier[u]


@inner
def onto_influence(credit: Array, influence: Array, first: int, last: int, gradient: Array) -> None:
    """Add the credit times the influence to the gradient's rows from `first` up to `last`."""
    for s in range(len(credit)):
        weight = credit[s]
        for j in range(first, last):
            row, of_state = gradient[j], influence[s, j]
            for i in range(len(row)):
                row[i] += weight * of_state[i]


@inner
def carried_back(
    credit: Array,
    earlier: Array,
    transition: Array,
    sensitivity: Array,
    presynaptic: Array,
    influence: Array,
    newer: int,
    filled: int,
    older: int,
    block: int,
    rows_done: int,
    gate_of: IntArray,
    input_of: IntArray,
    through: Array,
    gradient: Array,
) -> None:
    """Put into `gradient`, (q, n), what a credit on the state, (S,), owes: eq. (2) of `RtrlBlock`. The credit is used up.

    The steps of the newer block begin at the place `newer`. Rows that are not folded yet, from `rows_done` on, go back
    through the older block too: eq. (2) of `RtrlBlockSmooth`.
    """
    n_params = len(gradient)
    for j in range(n_params):
        for i in range(gradient.shape[1]):
            gradient[j, i] = 0.0
    for step in range(newer + filled - 1, newer - 1, -1):
        back_a_step(
            credit,
            earlier,
            transition[step],
            sensitivity[step],
            presynaptic[step],
            gate_of,
            input_of,
            0,
            through,
            gradient,
        )
    onto_influence(credit, influence, 0, rows_done, gradient)
    if rows_done == n_params:
        return
    for step in range(older + block - 1, older - 1, -1):
        back_a_step(
            credit,
            earlier,
            transition[step],
            sensitivity[step],
            presynaptic[step],
            gate_of,
            input_of,
            rows_done,
            through,
            gradient,
        )
    onto_influence(credit, influence, rows_done, n_params, gradient)


@inner
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


@inner
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
    current: IntArray,
    rows_done: IntArray,
    block: int,
    cell_moments: tuple[Array, Array, IntArray],
    readout_moments: tuple[Array, Array, IntArray],
    slots: IntArray,
    inputs: Array,
    targets: Array,
    scored: BoolArray,
    prediction: Array,
    loss: Array,
    start: int,
    stop: int,
) -> int:
    """Take events from `start` up to `stop`, until one whose model has a full block; return which that is, or `stop`.

    The blocks of a model lie one behind the other, (blocks k, ...); `current` is the one that fills, and `rows_done` how many rows of
    the influence are those of its start: all of them but while `RtrlBlockSmooth` folds.

    `constants` are the learning rate, beta1, beta2, epsilon, the usual norm of a gradient, the greatest of an influence and
    the greatest error of a loss's value. Slabs are (capacity, ...), as `OnlineLearner.init_row` names them.
    """
    rate, beta1, beta2, epsilon, usual, influence_max, error_max = constants
    _, parts, n = state.shape
    n_params, gates = params.shape[1], sensitivity.shape[3]
    m, n_outputs = inputs.shape[1], readout.shape[1]
    work, through = np.empty((5, n)), np.empty((gates, n))
    gradient, by_unit = np.empty(params.shape[1:]), np.empty(n)
    of_readout = np.empty((n_outputs, n + 1))
    credit, earlier, error = np.empty(parts * n), np.empty(parts * n), np.empty(n_outputs)
    for e in range(start, stop):
        slot = slots[e]
        if filled[slot] == block:
            return e
        newer = current[slot] * block
        at = newer + filled[slot]
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
        filled[slot] += 1
        sound = True
        for part in range(parts):
            for i in range(n):
                sound = sound and np.isfinite(here[part, i])
        if not sound:
            here[:] = new_state
            influence[slot] = 0.0
            filled[slot], rows_done[slot] = 0, n_params
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
            newer,
            filled[slot],
            block - newer,
            block,
            rows_done[slot],
            gate_of,
            input_of,
            through,
            gradient,
        )
        norm = norm_of(gradient, by_unit)
        if not norm <= usual and not norm_of(influence[slot], by_unit) <= influence_max:
            here[:] = new_state
            influence[slot] = 0.0
            filled[slot], rows_done[slot] = 0, n_params
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
    return stop
