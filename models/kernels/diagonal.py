"""The event loops of diagonal cells under their traces: step, predict, learn, in one compiled function.

The arithmetic is that of `models.cells`, `models.rules.rtrl_trace` and `models.updates`, event by event; sums run in another
order, so results agree to rounding. This is down the gradient; by a filter is `diagonal_filter`, so that a learner compiles
what it needs.
"""

from __future__ import annotations

from typing import Final

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
from models.kernels.jit import jit
from models.kernels.leaf import fetch_ahead, leaf
from models.protocols import Array, BoolArray, IntArray

FAR: Final = 131072
"""Doubles of all traces from which on a next model is asked for: a megabyte, more than a core's own cache holds."""


@leaf
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


@leaf
def squared_loss(prediction: Array, target: Array, error_max: float, error: Array) -> float:
    """Return the loss of an event; write its gradient to the prediction, (o,)."""
    value = 0.0
    for o in range(len(error)):
        error[o] = prediction[o] - target[o]
        bounded = min(max(error[o], -error_max), error_max)
        value += 0.5 * bounded * bounded
    return value


@leaf
def descend(
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
    room: tuple[Array, ...],
) -> None:
    """Do what `descent_events` does, with arrays for its intermediate results."""
    rate, beta1, beta2, epsilon = constants
    usual, influence_max, error_max = limits
    _, parts, n = state.shape
    n_outputs = readout.shape[1]
    work, by_unit, features, slope, credit, gradient, of_readout, error = room
    far = trace.size > FAR
    for e in range(len(slots)):
        slot = slots[e]
        ahead = slots[min(e + 1, len(slots) - 1)]
        if far:
            fetch_ahead(params[ahead])
            fetch_ahead(state[ahead])
            fetch_ahead(readout[ahead])
        weights, above = params[slot], readout[slot]
        here, traced = state[slot], trace[slot]
        if kind == ELSTM:
            elstm_step(weights, inputs[e], here, traced, work)
        else:
            complex_step(kind, weights, inputs[e], here, traced, work)
        predicted(kind, here, traced, above, features, slope, by_unit, prediction[e])
        if far:
            for part in range(parts):
                fetch_ahead(trace[ahead, part])
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
        by_unit[:] = 0.0
        through_units(credit, traced, gradient, by_unit)
        norm = np.sqrt(folded(by_unit))
        if not norm <= usual and not norm_of(traced, by_unit) <= influence_max:
            begin_anew(here, traced)
            continue
        if np.isfinite(norm):
            first, second, count = cell_moments
            count[slot] += 1
            moved(
                weights,
                gradient,
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
    _, parts, n = state.shape
    n_outputs = readout.shape[1]
    room = (
        np.empty((WORK_ROWS, n)),
        np.empty(n),
        np.empty((parts, n)),
        np.empty((parts, n)),
        np.empty((parts, n)),
        np.empty((params.shape[1], n)),
        np.empty((n_outputs, parts * n + 1)),
        np.empty(n_outputs),
    )
    descend(
        kind,
        optimizer,
        constants,
        limits,
        params,
        state,
        readout,
        trace,
        cell_moments,
        readout_moments,
        slots,
        inputs,
        targets,
        scored,
        prediction,
        loss,
        room,
    )
