"""The event loop of diagonal cells under their traces that learn by a filter; see `diagonal`, which is down the gradient."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from models.kernels.arrays import aligned
from models.kernels.descent import squared_loss
from models.kernels.diagonal import Sizes, predicted
from models.kernels.diagonal_cells import (
    ELSTM,
    PASSED_ROWS,
    WORK_ROWS,
    begin_anew,
    complex_step,
    elstm_step,
    through_units,
)
from models.kernels.diagonal_updates import EKF, OBGD, bounded_steps, is_data, kalman, least_squares, scaled
from models.kernels.fetching import AHEAD, fetch
from models.kernels.jit import inner, jit
from models.kernels.reductions import folded, norm_of
from models.protocols import Array, BoolArray, IntArray, SingleOrDouble


class Room(NamedTuple):
    """Room for what an event needs on its way: of n units, k parts, q parameters a unit, o outputs and N parameters in all.

    The last two are of the trace's precision.
    """

    work: Array
    by_unit: Array
    features: Array
    slope: Array
    credit: Array
    gradients: Array
    jacobian: Array
    error: Array
    gain: Array
    spare: Array
    update: Array
    passed: SingleOrDouble
    seen: SingleOrDouble


def room_for(size: Sizes) -> Room:
    """Return room for the events of a learner of these sizes."""
    n, parts = size.units, size.parts
    count = n * size.params + size.outputs * (parts * n + 1)
    return Room(
        work=aligned((WORK_ROWS, n)),
        by_unit=aligned((n,)),
        features=aligned((parts, n)),
        slope=aligned((parts, n)),
        credit=aligned((parts, n)),
        gradients=aligned((size.outputs, size.params, n)),
        jacobian=aligned((size.outputs, count)),
        error=aligned((size.outputs,)),
        gain=aligned((count,)),
        spare=aligned((count,)),
        update=aligned((count,)),
        passed=aligned((PASSED_ROWS, n), size.precision),
        seen=aligned((size.inputs,), size.precision),
    )


@inner
def derivatives(
    trace: SingleOrDouble,
    readout: SingleOrDouble,
    features: Array,
    slope: Array,
    credit: Array,
    gradients: Array,
    jacobian: Array,
    squares: Array,
    ahead: SingleOrDouble,
    far: bool,
) -> None:
    """Write what each output owes to the cell, (o, q, n), and to all parameters, unit by unit and then the readout's, (o, N)."""
    parts, n_params, n = trace.shape
    n_outputs, size = readout.shape
    first = n * n_params
    for i in range(n):
        squares[i] = 0.0
    for o in range(n_outputs):
        for part in range(parts):
            for i in range(n):
                credit[part, i] = readout[o, part * n + i] * slope[part, i]
        through_units(credit, trace, gradients[o], squares, ahead, far and o == 0)
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
    params: SingleOrDouble,
    state: SingleOrDouble,
    readout: SingleOrDouble,
    trace: SingleOrDouble,
    of_cell: Array,
    of_readout: Array,
    scales: tuple[Array, Array, IntArray],
    far: bool,
    slots: IntArray,
    inputs: Array,
    targets: Array,
    scored: BoolArray,
    prediction: Array,
    loss: Array,
    room: Room,
) -> None:
    """Take events in their order, each a step of a filter: `Filter` with `Obgd`, `Ekf` or `Rls`.

    `constants` are the optimizer's: learning rate and kappa; process noise, greatest mean of P's diagonal, gate, memory and
    whether the noise is estimated; or the forgetting. `of_cell` and `of_readout` are covariances, (capacity, groups, size,
    size), `scales` the filter's median, variance and count; empty where the optimizer has none. `far` as for `descent_events`.
    """
    usual, influence_max, error_max = limits
    n = state.shape[2]
    n_params, n_outputs, size = params.shape[1], readout.shape[1], readout.shape[2]
    n_all = n * n_params + n_outputs * size
    work, by_unit, features, slope, credit, gradients, jacobian, error, gain, spare, update, passed, seen = (
        room
    )
    for e in range(len(slots)):
        slot = slots[e]
        weights, above = params[slot], readout[slot]
        here, traced = state[slot], trace[slot]
        after = slots[min(e + AHEAD, len(slots) - 1)]
        for part in range(state.shape[1]):
            fetch(state[after, part], far)
        for o in range(n_outputs):
            fetch(readout[after, o], far)
        if kind == ELSTM:
            elstm_step(weights, inputs[e], here, traced, work, passed, seen, params[after], far)
        else:
            complex_step(kind, weights, inputs[e], here, traced, work, params[after], far)
        predicted(kind, here, traced, above, features, slope, by_unit, prediction[e])
        if not scored[e]:
            continue
        loss[e] = squared_loss(prediction[e], targets[e], error_max, error)
        for o in range(n_outputs):
            error[o] = -error[o]  # a filter's is the target less the prediction
        derivatives(traced, above, features, slope, credit, gradients, jacobian, by_unit, trace[after], far)
        if not np.sqrt(folded(by_unit)) <= usual and not norm_of(traced, by_unit) <= influence_max:
            begin_anew(here, traced)
            continue
        if not is_data(jacobian, error):
            continue
        if optimizer == OBGD:
            bounded_steps(jacobian, error, constants[0], constants[1], spare, update)
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
                spare,
                update,
                of_cell[after],
                of_readout[after],
                far,
            )
        else:
            for a in range(n_all):
                update[a] = 0.0
            for o in range(n_outputs):
                asks = far and o == 0
                least_squares(
                    jacobian[o],
                    error[o],
                    constants[0],
                    of_cell[slot],
                    0,
                    gain,
                    update,
                    of_cell[after],
                    asks,
                )
                least_squares(
                    jacobian[o],
                    error[o],
                    constants[0],
                    of_readout[slot],
                    n * n_params,
                    gain,
                    update,
                    of_readout[after],
                    asks,
                )
        for i in range(n):
            for j in range(n_params):
                weights[j, i] += update[i * n_params + j]
        for o in range(n_outputs):
            for a in range(size):
                above[o, a] += update[n * n_params + o * size + a]
