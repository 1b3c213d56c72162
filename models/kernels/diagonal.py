"""The event loops of diagonal cells under their traces: step, predict, learn, in one compiled function.

The arithmetic is that of `models.cells`, `models.rules.rtrl_trace` and `models.updates`, event by event; sums run in another
order, so results agree to rounding. Down the gradient and by a filter are two functions, so that a learner compiles
what it needs.
"""

from __future__ import annotations

import numpy as np

from models.kernels.dense import moved
from models.kernels.diagonal_cells import (
    ELSTM,
    WORK_ROWS,
    begin_anew,
    complex_step,
    elstm_step,
    folded,
    is_finite,
    norm_of,
    read_out,
    through_units,
)
from models.kernels.diagonal_updates import EKF, OBGD, bounded_steps, is_data, kalman, least_squares, scaled
from models.kernels.jit import inner, jit
from models.protocols import Array, BoolArray, IntArray


@inner
def predicted(
    kind: int,
    state: Array,
    trace: Array,
    readout: Array,
    features: Array,
    slope: Array,
    room: Array,
    prediction: Array,
) -> None:
    """Begin a model anew where its step led to what is no number, and write what it predicts, (o,)."""
    if not is_finite(state):
        begin_anew(state, trace)
    read_out(kind, state, features, slope)
    parts, n = state.shape
    for o in range(len(readout)):
        weights = readout[o]
        for i in range(n):
            room[i] = weights[i] * features[0, i]
        for part in range(1, parts):
            for i in range(n):
                room[i] += weights[part * n + i] * features[part, i]
        prediction[o] = folded(room) + weights[parts * n]


@inner
def squared_loss(prediction: Array, target: Array, error_max: float, error: Array) -> float:
    """Return the loss of an event; write its gradient to the prediction, (o,)."""
    value = 0.0
    for o in range(len(error)):
        error[o] = prediction[o] - target[o]
        bounded = min(max(error[o], -error_max), error_max)
        value += 0.5 * bounded * bounded
    return value


@jit
def descent_events(
    kind: int,
    optimizer: int,
    constants: Array,
    limits: Array,
    params: Array,
    state: Array,
    readout: Array,
    trace: Array,
    cell_moments: tuple[Array, Array, IntArray],
    readout_moments: tuple[Array, Array, IntArray],
    slots: IntArray,
    inputs: Array,
    targets: Array,
    scored: BoolArray,
    prediction: Array,
    loss: Array,
) -> None:
    """Take events in their order, each a step down the gradient: `Descent` with SGD or Adam.

    `constants` are the learning rate, beta1, beta2 and epsilon; `limits` the usual norm of a gradient, the greatest of an
    influence and the greatest error of a loss's value. Slabs are (capacity, ...), as `OnlineLearner.init_row` names them.
    """
    rate, beta1, beta2, epsilon = constants
    usual, influence_max, error_max = limits
    _, parts, n = state.shape
    n_outputs = readout.shape[1]
    work, by_unit = np.empty((WORK_ROWS, n)), np.empty(n)
    features, slope, credit = np.empty((parts, n)), np.empty((parts, n)), np.empty((parts, n))
    gradient, of_readout = np.empty((1, params.shape[1], n)), np.empty((n_outputs, parts * n + 1))
    error = np.empty(n_outputs)
    for e in range(len(slots)):
        slot = slots[e]
        weights, above = params[slot], readout[slot]
        here, traced = state[slot], trace[slot]
        if kind == ELSTM:
            elstm_step(weights, inputs[e], here, traced, work)
        else:
            complex_step(kind, weights, inputs[e], here, traced, work)
        predicted(kind, here, traced, above, features, slope, by_unit, prediction[e])
        if not scored[e]:
            continue
        loss[e] = squared_loss(prediction[e], targets[e], error_max, error)
        for part in range(parts):
            for i in range(n):
                credit[part, i] = 0.0
            for o in range(n_outputs):
                for i in range(n):
                    credit[part, i] += error[o] * (above[o, part * n + i] * slope[part, i])
                for i in range(n):
                    of_readout[o, part * n + i] = error[o] * features[part, i]
        for o in range(n_outputs):
            of_readout[o, parts * n] = error[o]
        through_units(credit, traced, gradient[0])
        norm = norm_of(gradient, by_unit)
        if not norm <= usual and not norm_of(traced, by_unit) <= influence_max:
            begin_anew(here, traced)
            continue
        if np.isfinite(norm):
            first, second, count = cell_moments
            count[slot] += 1
            moved(
                weights,
                gradient[0],
                first[slot],
                second[slot],
                count[slot],
                optimizer,
                rate,
                beta1,
                beta2,
                epsilon,
            )
        first, second, count = readout_moments
        count[slot] += 1
        moved(
            above,
            of_readout,
            first[slot],
            second[slot],
            count[slot],
            optimizer,
            rate,
            beta1,
            beta2,
            epsilon,
        )


@inner
def derivatives(
    trace: Array,
    readout: Array,
    features: Array,
    slope: Array,
    credit: Array,
    gradients: Array,
    jacobian: Array,
) -> None:
    """Write what each output owes to the cell, (o, q, n), and to all parameters, unit by unit and then the readout's, (o, N)."""
    parts, n_params, n = trace.shape
    n_outputs, size = readout.shape
    first = n * n_params
    for o in range(n_outputs):
        for part in range(parts):
            for i in range(n):
                credit[part, i] = readout[o, part * n + i] * slope[part, i]
        through_units(credit, trace, gradients[o])
        for i in range(n):
            for j in range(n_params):
                jacobian[o, i * n_params + j] = gradients[o, j, i]
        for a in range(n_outputs * size):
            jacobian[o, first + a] = 0.0
        for part in range(parts):
            for i in range(n):
                jacobian[o, first + o * size + part * n + i] = features[part, i]
        jacobian[o, first + o * size + size - 1] = 1.0


@jit
def filter_events(
    kind: int,
    optimizer: int,
    constants: Array,
    limits: Array,
    params: Array,
    state: Array,
    readout: Array,
    trace: Array,
    of_cell: Array,
    of_readout: Array,
    scales: tuple[Array, Array, IntArray],
    slots: IntArray,
    inputs: Array,
    targets: Array,
    scored: BoolArray,
    prediction: Array,
    loss: Array,
) -> None:
    """Take events in their order, each a step of a filter: `Filter` with `Obgd`, `Ekf` or `Rls`.

    `constants` are the optimizer's: learning rate and kappa; process noise, greatest mean of P's diagonal, gate, memory and
    whether the noise is estimated; or the forgetting. `of_cell` and `of_readout` are covariances, (capacity, groups, size,
    size), `scales` the filter's median, variance and count; empty where the optimizer has none.
    """
    usual, influence_max, error_max = limits
    _, parts, n = state.shape
    n_params, n_outputs, size = params.shape[1], readout.shape[1], readout.shape[2]
    work, by_unit = np.empty((WORK_ROWS, n)), np.empty(n)
    features, slope, credit = np.empty((parts, n)), np.empty((parts, n)), np.empty((parts, n))
    n_all = n * n_params + n_outputs * size
    gradients, jacobian = np.empty((n_outputs, n_params, n)), np.empty((n_outputs, n_all))
    error, gain, room, update = np.empty(n_outputs), np.empty(n_all), np.empty(n_all), np.empty(n_all)
    for e in range(len(slots)):
        slot = slots[e]
        weights, above = params[slot], readout[slot]
        here, traced = state[slot], trace[slot]
        if kind == ELSTM:
            elstm_step(weights, inputs[e], here, traced, work)
        else:
            complex_step(kind, weights, inputs[e], here, traced, work)
        predicted(kind, here, traced, above, features, slope, by_unit, prediction[e])
        if not scored[e]:
            continue
        loss[e] = squared_loss(prediction[e], targets[e], error_max, error)
        for o in range(n_outputs):
            error[o] = -error[o]  # a filter's is the target less the prediction
        derivatives(traced, above, features, slope, credit, gradients, jacobian)
        if not norm_of(gradients, by_unit) <= usual and not norm_of(traced, by_unit) <= influence_max:
            begin_anew(here, traced)
            continue
        if not is_data(jacobian, error):
            continue
        if optimizer == OBGD:
            bounded_steps(jacobian, error, constants[0], constants[1], room, update)
        elif optimizer == EKF:
            median, variance, count = scales
            scaled(error, slot, median, variance, count, constants[2], constants[3])
            level = variance[slot] if constants[4] != 0.0 else 1.0
            kalman(
                jacobian,
                error,
                level,
                constants[0],
                constants[1],
                of_cell[slot],
                of_readout[slot],
                gain,
                room,
                update,
            )
        else:
            for a in range(n_all):
                update[a] = 0.0
            for o in range(n_outputs):
                least_squares(jacobian[o], error[o], constants[0], of_cell[slot], 0, gain, update)
                least_squares(
                    jacobian[o], error[o], constants[0], of_readout[slot], n * n_params, gain, update
                )
        for i in range(n):
            for j in range(n_params):
                weights[j, i] += update[i * n_params + j]
        for o in range(n_outputs):
            for a in range(size):
                above[o, a] += update[n * n_params + o * size + a]
