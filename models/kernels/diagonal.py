"""The event loops of diagonal cells under their traces: step, predict, learn, in one compiled function.

The arithmetic is that of `models.cells`, `models.rules.rtrl_trace` and `models.updates`, event by event; sums run in another
order, so results agree to rounding. This is down the gradient; by a filter is `diagonal_filter`, so that a learner compiles
what it needs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from models.kernels.descent import moved, squared_loss
from models.kernels.diagonal_cells import (
    ELSTM,
    WORK_ROWS,
    begin_anew,
    complex_step,
    elstm_step,
    is_finite,
    read_out,
    through_units,
)
from models.kernels.jit import inner, jit
from models.kernels.reductions import folded, norm_of
from models.protocols import Array, BoolArray, IntArray, SingleOrDouble


class Room(NamedTuple):
    """Room for what an event needs on its way: of n units, k parts, q parameters a unit and o outputs."""

    work: Array
    by_unit: Array
    features: Array
    slope: Array
    credit: Array
    gradient: Array
    of_readout: Array
    error: Array


def room_for(units: int, parts: int, params: int, outputs: int) -> Room:
    """Return room for the events of a cell of these sizes."""
    return Room(
        work=np.empty((WORK_ROWS, units)),
        by_unit=np.empty(units),
        features=np.empty((parts, units)),
        slope=np.empty((parts, units)),
        credit=np.empty((parts, units)),
        gradient=np.empty((params, units)),
        of_readout=np.empty((outputs, parts * units + 1)),
        error=np.empty(outputs),
    )


@inner
def predicted(
    kind: int,
    state: Array,
    trace: SingleOrDouble,
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


@jit
def descent_events(
    kind: int,
    optimizer: int,
    rates: Array,
    limits: Array,
    params: Array,
    state: Array,
    readout: Array,
    trace: SingleOrDouble,
    cell_moments: tuple[Array, Array, IntArray],
    readout_moments: tuple[Array, Array, IntArray],
    slots: IntArray,
    inputs: Array,
    targets: Array,
    scored: BoolArray,
    prediction: Array,
    loss: Array,
    room: Room,
) -> None:
    """Take events in their order, each a step down the gradient: `Descent` with SGD or Adam.

    `rates` and `limits` are those of `models.kernels.descent`. Slabs are (capacity, ...), as `OnlineLearner.init_row` names them.
    """
    usual, influence_max, error_max = limits
    _, parts, n = state.shape
    n_outputs = readout.shape[1]
    work, by_unit, features, slope, credit, gradient, of_readout, error = room
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
        for i in range(n):
            by_unit[i] = 0.0
        through_units(credit, traced, gradient, by_unit)
        norm = np.sqrt(folded(by_unit))
        if not norm <= usual and not norm_of(traced, by_unit) <= influence_max:
            begin_anew(here, traced)
            continue
        if np.isfinite(norm):
            moved(weights, gradient, slot, cell_moments, optimizer, rates)
        moved(above, of_readout, slot, readout_moments, optimizer, rates)
