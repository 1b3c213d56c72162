"""The event loop of dense cells under the block engine: step, predict, learn, in one compiled function.

The arithmetic is that of `models.cells`, `models.rules.rtrl_block` and `models.updates`, event by event; sums run in another
order, so results agree to rounding. The unit is the innermost index of every loop, so that the compiler can take several at
a time; and none of the large sums is over it, which without fast mathematics would be one at a time.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from models.kernels.arrays import aligned
from models.kernels.dense_cells import gru_step, lstm_step, vanilla_step
from models.kernels.dense_fold import FoldRoom, fold
from models.kernels.dense_products import add_weighed, add_weighed_part
from models.kernels.descent import moved, squared_loss
from models.kernels.jit import inner, jit
from models.kernels.reductions import norm_of
from models.protocols import Array, BoolArray, IntArray, SingleOrDouble

VANILLA: Final = 0
GRU: Final = 1
LSTM: Final = 2


class Room(NamedTuple):
    """Room for what an event needs on its way: of S states, n units, q parameters a unit, G gates, o outputs and k steps.

    The last three are of the influence's precision.
    """

    work: Array
    through: Array
    gradient: Array
    by_unit: Array
    of_readout: Array
    owed: Array
    error: Array
    seen: Array
    credit: SingleOrDouble
    earlier: SingleOrDouble
    before: SingleOrDouble


def room_for(
    states: int, units: int, params: int, gates: int, outputs: int, block: int, precision: np.dtype[Any]
) -> Room:
    """Return room for the events of a cell of these sizes, whose influence is of this precision."""
    return Room(
        work=aligned((5, units)),
        through=aligned((gates, block, units)),
        gradient=aligned((1, params, units)),
        by_unit=aligned((units,)),
        of_readout=aligned((outputs, units + 1)),
        owed=aligned((units,)),
        error=aligned((outputs,)),
        seen=aligned((block,)),
        credit=aligned((states,), precision),
        earlier=aligned((states,), precision),
        before=aligned((params * units,), precision),
    )


@inner
def through_steps(
    credit: SingleOrDouble,
    earlier: SingleOrDouble,
    seen: Array,
    transition: SingleOrDouble,
    sensitivity: Array,
    presynaptic: Array,
    begin: int,
    count: int,
    gate_of: IntArray,
    input_of: IntArray,
    first: int,
    through: Array,
    gradient: Array,
) -> None:
    """Take the credit, (S,), back through `count` steps from the place `begin` on, in place; add what they owe to the rows from `first` on."""
    size, (_, parts, gates, n) = len(credit), sensitivity.shape
    for step in range(count - 1, -1, -1):
        of_step = sensitivity[begin + step]
        for gate in range(gates):
            slope = through[gate, step]
            for i in range(n):
                slope[i] = credit[i] * of_step[0, gate, i]
            for part in range(1, parts):
                for i in range(n):
                    slope[i] += credit[part * n + i] * of_step[part, gate, i]
        for u in range(size):
            earlier[u] = 0.0
        add_weighed(credit, transition[begin + step], earlier)
        for u in range(size):
            credit[u] = earlier[u]
    weights = seen[:count]
    for j in range(first, len(gradient)):
        for step in range(count):
            weights[step] = presynaptic[begin + step, input_of[j]]
        add_weighed(weights, through[gate_of[j]], gradient[j])


@inner
def onto_influence(
    credit: SingleOrDouble,
    influence: SingleOrDouble,
    first: int,
    last: int,
    before: SingleOrDouble,
    gradient: Array,
) -> None:
    """Add the credit times the influence, (S, q n), to the gradient's rows from `first` up to `last`.

    In the influence's own precision, for which `before` has room for the product, (q n,).
    """
    n = gradient.shape[1]
    product = before[first * n : last * n]
    for i in range(len(product)):
        product[i] = 0.0
    add_weighed_part(credit, influence, first * n, product)
    for j in range(first, last):
        row, of_row = gradient[j], before[j * n : (j + 1) * n]
        for i in range(n):
            row[i] += of_row[i]


@inner
def carried_back(
    credit: SingleOrDouble,
    earlier: SingleOrDouble,
    seen: Array,
    transition: SingleOrDouble,
    sensitivity: Array,
    presynaptic: Array,
    influence: SingleOrDouble,
    before: SingleOrDouble,
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
    begin, count, first, last = newer, filled, 0, rows_done
    while True:
        through_steps(
            credit,
            earlier,
            seen,
            transition,
            sensitivity,
            presynaptic,
            begin,
            count,
            gate_of,
            input_of,
            first,
            through,
            gradient,
        )
        onto_influence(credit, influence, first, last, before, gradient)
        if last == n_params:
            return
        begin, count, first, last = older, block, rows_done, n_params


@inner
def begin_anew(state: Array, new_state: Array, influence: SingleOrDouble) -> None:
    """Begin a sequence: the state of a new model, and an influence of zeros."""
    for part in range(len(state)):
        for i in range(state.shape[1]):
            state[part, i] = new_state[part, i]
    for s in range(len(influence)):
        for j in range(influence.shape[1]):
            for i in range(influence.shape[2]):
                influence[s, j, i] = 0.0


@jit
def events(
    kind: int,
    optimizer: int,
    rates: Array,
    limits: Array,
    gate_of: IntArray,
    input_of: IntArray,
    new_state: Array,
    params: Array,
    state: Array,
    readout: Array,
    influence: SingleOrDouble,
    transition: SingleOrDouble,
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
    room: Room,
    fold_room: FoldRoom,
    folds: bool,
    start: int,
    stop: int,
) -> int:
    """Take events from `start` up to `stop`; where blocks are not folded here, until one whose model has a full block: return which that is, or `stop`.

    The blocks of a model lie one behind the other, (blocks k, ...); `current` is the one that fills, and `rows_done` how many
    rows of the influence are those of its start: all of them but while `RtrlBlockSmooth` folds. `rates` and `limits` are
    those of `models.kernels.descent`. Slabs are (capacity, ...), as `OnlineLearner.init_row` names them.
    """
    usual, influence_max, error_max = limits
    _, parts, n = state.shape
    n_params, m, n_outputs = params.shape[1], inputs.shape[1], readout.shape[1]
    work, through, whole_gradient, by_unit, of_readout, owed, error, seen, credit, earlier, before = room
    gradient = whole_gradient[0]
    for e in range(start, stop):
        slot = slots[e]
        if filled[slot] == block:
            if not folds:
                return e
            fold(
                influence[slot].reshape((len(credit), n_params * n)),
                transition[slot],
                sensitivity[slot],
                presynaptic[slot],
                gate_of,
                input_of,
                fold_room,
            )
            filled[slot] = 0
        newer = current[slot] * block
        at = newer + filled[slot]
        here, z, weights = state[slot], presynaptic[slot, at], params[slot]
        for i in range(n):
            z[i] = here[parts - 1, i]  # the part that is read out is the last one
        for j in range(m):
            z[n + j] = inputs[e, j]
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
            begin_anew(here, new_state, influence[slot])
            filled[slot], rows_done[slot] = 0, n_params
        read, above = here[parts - 1], readout[slot]
        for o in range(n_outputs):
            total = above[o, n]
            for i in range(n):
                total += above[o, i] * read[i]
            prediction[e, o] = total
        if not scored[e]:
            continue
        loss[e] = squared_loss(prediction[e], targets[e], error_max, error)
        for i in range(n):
            owed[i] = 0.0
        for o in range(n_outputs):
            for i in range(n):
                owed[i] += error[o] * above[o, i]
                of_readout[o, i] = error[o] * read[i]
            of_readout[o, n] = error[o]
        for s in range(len(credit) - n):
            credit[s] = 0.0
        for i in range(n):
            credit[(parts - 1) * n + i] = owed[i]
        carried_back(
            credit,
            earlier,
            seen,
            transition[slot],
            sensitivity[slot],
            presynaptic[slot],
            influence[slot].reshape((len(credit), n_params * n)),
            before,
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
        norm = norm_of(whole_gradient, by_unit)
        if not norm <= usual and not norm_of(influence[slot], by_unit) <= influence_max:
            begin_anew(here, new_state, influence[slot])
            filled[slot], rows_done[slot] = 0, n_params
            continue
        if np.isfinite(norm):
            moved(weights, gradient, slot, cell_moments, optimizer, rates, slot, False)
        moved(above, of_readout, slot, readout_moments, optimizer, rates, slot, False)
    return stop
