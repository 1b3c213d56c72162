"""The event loops of diagonal cells under their traces: step, predict, learn, in one compiled function.

The arithmetic is that of `models.cells`, `models.rules.rtrl_trace` and `models.updates`, event by event; sums run in another
order, so results agree to rounding. This is down the gradient; by a filter is `diagonal_filter`, so that a learner compiles
what it needs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from models.kernels.arrays import aligned
from models.kernels.descent import SGD, moved, squared_loss
from models.kernels.diagonal_cells import (
    ELSTM,
    PASSED_ROWS,
    WORK_ROWS,
    begin_anew,
    complex_step,
    elstm_step,
    is_finite,
    read_out,
    through_units,
)
from models.kernels.fetching import AHEAD, fetch
from models.kernels.jit import inner, jit
from models.kernels.reductions import folded, norm_of
from models.protocols import Array, BoolArray, IntArray, SingleOrDouble


class Room(NamedTuple):
    """Room for what an event needs on its way: of n units, k parts, q parameters a unit and o outputs.

    The last two are of the trace's precision.
    """

    work: Array
    by_unit: Array
    features: Array
    slope: Array
    credit: Array
    gradient: Array
    of_readout: Array
    error: Array
    passed: SingleOrDouble
    seen: SingleOrDouble


class Sizes(NamedTuple):
    """Of a learner: units, parts, parameters a unit, outputs and inputs, and the precision of its traces."""

    units: int
    parts: int
    params: int
    outputs: int
    inputs: int
    precision: str


def room_for(size: Sizes) -> Room:
    """Return room for the events of a learner of these sizes."""
    n, parts = size.units, size.parts
    return Room(
        work=aligned((WORK_ROWS, n)),
        by_unit=aligned((n,)),
        features=aligned((parts, n)),
        slope=aligned((parts, n)),
        credit=aligned((parts, n)),
        gradient=aligned((size.params, n)),
        of_readout=aligned((size.outputs, parts * n + 1)),
        error=aligned((size.outputs,)),
        passed=aligned((PASSED_ROWS, n), size.precision),
        seen=aligned((size.inputs,), size.precision),
    )


@inner
def predicted(
    kind: int,
    state: SingleOrDouble,
    trace: SingleOrDouble,
    readout: SingleOrDouble,
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
def add_squares(rows: SingleOrDouble, summed: Array) -> None:
    """Add the squares of (rows, n) to (n,), four rows at a time."""
    count, n = rows.shape
    fours = count - count % 4
    for j in range(0, fours, 4):
        one, two, three, four = rows[j], rows[j + 1], rows[j + 2], rows[j + 3]
        for i in range(n):
            summed[i] += (one[i] * one[i] + two[i] * two[i]) + (three[i] * three[i] + four[i] * four[i])
    for j in range(fours, count):
        row = rows[j]
        for i in range(n):
            summed[i] += row[i] * row[i]


@inner
def moved_by_trace(
    params: SingleOrDouble,
    credit: Array,
    trace: SingleOrDouble,
    rate: float,
    step: SingleOrDouble,
    ahead: SingleOrDouble,
    far: bool,
) -> None:
    """Move (q, n) down credit (n,) times trace (q, n), which is the gradient of a cell of one part; `step`, (n,), is room in its precision.

    `ahead` is a later event's trace, (q, n), to be asked for where models are far.
    """
    n_params, n = params.shape
    for i in range(n):
        step[i] = rate * credit[i]
    for j in range(n_params):
        row, traced = params[j], trace[j]
        fetch(ahead[j], far)
        for i in range(n):
            row[i] -= step[i] * traced[i]


@jit
def descent_events(
    kind: int,
    optimizer: int,
    rates: Array,
    limits: Array,
    params: SingleOrDouble,
    state: SingleOrDouble,
    readout: SingleOrDouble,
    trace: SingleOrDouble,
    cell_moments: tuple[Array, Array, IntArray],
    readout_moments: tuple[Array, Array, IntArray],
    far: bool,
    slots: IntArray,
    inputs: Array,
    targets: Array,
    scored: BoolArray,
    prediction: Array,
    loss: Array,
    room: Room,
) -> None:
    """Take events in their order, each a step down the gradient: `Descent` with SGD or Adam.

    `rates` and `limits` are those of `models.kernels.descent`; `far` says that the slabs, (capacity, ...), as `OnlineLearner.init_row`
    names them, are larger than a core's caches, so that it pays to ask for a later event's model beforehand.
    """
    usual, influence_max, error_max = limits
    _, parts, n = state.shape
    n_outputs = readout.shape[1]
    work, by_unit, features, slope, credit, gradient, of_readout, error, passed, seen = room
    for e in range(len(slots)):
        slot = slots[e]
        weights, above = params[slot], readout[slot]
        here, traced = state[slot], trace[slot]
        after = slots[min(e + AHEAD, len(slots) - 1)]
        ahead, traced_ahead = params[after], trace[after]
        for part in range(parts):
            fetch(state[after, part], far)
        for o in range(n_outputs):
            fetch(readout[after, o], far)
        if kind == ELSTM:
            elstm_step(weights, inputs[e], here, traced, work, passed, seen, ahead, far)
        else:
            complex_step(kind, weights, inputs[e], here, traced, work, ahead, far)
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
        at_once = parts == 1 and optimizer == SGD  # then no gradient has to be written down
        if at_once:
            add_squares(traced[0], by_unit)
            for i in range(n):
                by_unit[i] *= credit[0, i] * credit[0, i]
        else:
            through_units(credit, traced, gradient, by_unit, traced_ahead, far)
        norm = np.sqrt(folded(by_unit))
        if not norm <= usual and not norm_of(traced, by_unit) <= influence_max:
            begin_anew(here, traced)
            continue
        if np.isfinite(norm):
            if at_once:
                moved_by_trace(weights, credit[0], traced[0], rates[0], passed[0], traced_ahead[0], far)
            else:
                moved(weights, gradient, slot, cell_moments, optimizer, rates, after, far)
        moved(above, of_readout, slot, readout_moments, optimizer, rates, after, far)
