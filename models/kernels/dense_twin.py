"""The twin of a learner with a dense cell and the block engine: recognises it, and drives the compiled event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, final

import numpy as np

from models.cells.gru import Gru
from models.cells.lstm import Lstm
from models.cells.vanilla import Vanilla
from models.kernels import dense
from models.kernels.arrays import plain
from models.kernels.dense_fold import STATES_MAX, fold_room_for
from models.kernels.descent import LIMITS, Descending, descending
from models.learner import OnlineLearner
from models.losses.squared import Squared
from models.protocols import Array, BoolArray, IntArray, State
from models.readouts.linear import Linear
from models.rules.products import probe
from models.rules.rtrl_block import RtrlBlock
from models.rules.rtrl_block_smooth import RtrlBlockSmooth

BLOCK_RANKS: Final = {"transition": 2, "sensitivity": 3, "presynaptic": 1}
"""The fields of a step, and how many axes one has."""


def kind_of(learner: OnlineLearner) -> int | None:
    """Return which of the compiled cells a learner's is; None for another, or one with other options."""
    cell = learner.cell
    if type(cell) is Vanilla:
        return dense.VANILLA if cell.is_plain_tanh else None
    if type(cell) is Gru:
        return dense.GRU
    return dense.LSTM if type(cell) is Lstm else None


class Recognised(NamedTuple):
    """What of a learner the event loops of dense cells have to know: the kind of its cell, its rule, and how it descends."""

    kind: int
    rule: RtrlBlock | RtrlBlockSmooth
    descent: Descending


def recognised(learner: OnlineLearner) -> Recognised | None:
    """Return the parts of a learner with tanh, GRU or LSTM, a block engine, linear readout, squared loss, SGD or Adam; None for another."""
    kind, rule, descent = kind_of(learner), learner.rule, descending(learner.update)
    if kind is None or descent is None or not isinstance(rule, RtrlBlock | RtrlBlockSmooth):
        return None
    if learner.see_inputs or learner.renews:
        return None
    if type(learner.readout) is not Linear or type(learner.loss) is not Squared:
        return None
    return Recognised(kind, rule, descent)


def dense_twin(learner: OnlineLearner) -> DenseTwin | None:
    """Return the twin of a learner all of whose parts are recognised."""
    known = recognised(learner)
    return None if known is None else DenseTwin(learner, *known)


@final
class DenseTwin:
    """Takes events block by block: compiled, but for folds of many states or by shares, which are the rule's own matrix products."""

    def __init__(
        self, learner: OnlineLearner, kind: int, rule: RtrlBlock | RtrlBlockSmooth, descent: Descending
    ) -> None:
        """Take what the event loop needs to know."""
        self._kind, self._rule, self._descent, self._limits = kind, rule, descent, np.array(LIMITS)
        factors, cell = probe(learner.cell), learner.cell
        if factors.presynaptic is None or factors.sensitivity is None:
            raise ValueError("a dense twin needs a cell that tells its gates")
        width = factors.presynaptic.shape[1]
        places = np.arange(cell.n_params_per_unit) if factors.wiring is None else factors.wiring
        self._gate_of, self._input_of = places // width, places % width
        self._new_state = cell.init_state()
        self._room = dense.room_for(
            cell.n_parts * cell.n_units,
            cell.n_units,
            cell.n_params_per_unit,
            factors.sensitivity.shape[2],
            learner.readout.n_outputs,
            rule.block,
            np.dtype(rule.precision),
        )
        states = cell.n_parts * cell.n_units
        self._folds = isinstance(rule, RtrlBlock) and states <= STATES_MAX
        self._fold_room = fold_room_for(
            states if self._folds else 0,
            cell.n_units,
            width,
            factors.sensitivity.shape[2],
            rule.block,
            np.dtype(rule.precision),
        )

    def __call__(
        self,
        slabs: State,
        slots: IntArray,
        inputs: Array,
        targets: Array,
        scored: BoolArray,
        prediction: Array,
        loss: Array,
    ) -> None:
        """Take events in their order, between them what the rule folds: whole blocks, or a share at each event."""
        memory = {
            name.removeprefix("memory."): slab for name, slab in slabs.items() if name.startswith("memory.")
        }
        take = self._events(slabs, memory, plain(slots, inputs, targets, scored), prediction, loss)
        at, count = 0, len(slots)
        while at < count:
            slot = int(slots[at])
            own = {name: slab[slot : slot + 1] for name, slab in memory.items()}
            if isinstance(self._rule, RtrlBlock):
                if not self._folds and int(memory["filled"][slot]) == self._rule.block:
                    self._rule.settle(own)
                at = take(at, count)
            else:
                self._rule.turn(own)
                at = take(at, at + 1)
                self._rule.fold_share(own)

    def _events(
        self,
        slabs: State,
        memory: State,
        events: tuple[IntArray, Array, Array, BoolArray],
        prediction: Array,
        loss: Array,
    ) -> Callable[[int, int], int]:
        """Return the compiled events of a call, from one up to another."""
        capacity, n_params = slabs["params"].shape[:2]
        transition, sensitivity, presynaptic = (
            memory[name].reshape(capacity, -1, *memory[name].shape[-rank:])
            for name, rank in BLOCK_RANKS.items()
        )
        smooth = "current" in memory
        current = memory["current"] if smooth else np.zeros(capacity, dtype=np.int64)
        rows_done = memory["rows_done"] if smooth else np.full(capacity, n_params)
        cell_moments = self._descent.moments(slabs, "cell", slabs["params"])
        readout_moments = self._descent.moments(slabs, "readout", slabs["readout.0"])
        return lambda start, stop: dense.events(
            self._kind,
            self._descent.kind,
            self._descent.rates,
            self._limits,
            self._gate_of,
            self._input_of,
            self._new_state,
            slabs["params"],
            slabs["state"],
            slabs["readout.0"],
            memory["influence"],
            transition,
            sensitivity,
            presynaptic,
            memory["filled"],
            current,
            rows_done,
            self._rule.block,
            cell_moments,
            readout_moments,
            *events,
            prediction,
            loss,
            self._room,
            self._fold_room,
            self._folds,
            start,
            stop,
        )
