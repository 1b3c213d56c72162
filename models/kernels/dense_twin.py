"""The twin of a learner with a dense cell and the block engine: recognises it, and drives the compiled event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

import numpy as np

from models.cells.gru import Gru
from models.cells.lstm import Lstm
from models.cells.vanilla import Vanilla
from models.kernels import dense
from models.learner import OnlineLearner
from models.losses.squared import ERROR_MAX, Squared
from models.optimizers.adam import Adam
from models.optimizers.sgd import Sgd
from models.protocols import Array, BoolArray, IntArray, State
from models.readouts.linear import Linear
from models.rules.products import probe
from models.rules.rtrl_block import RtrlBlock
from models.rules.rtrl_block_smooth import RtrlBlockSmooth
from models.updates import GRADIENT_USUAL, INFLUENCE_MAX, Descent

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


def dense_twin(learner: OnlineLearner) -> DenseTwin | None:
    """Return the twin of a learner: tanh, GRU or LSTM, a block engine, linear readout, squared loss, SGD or Adam."""
    kind, rule, update = kind_of(learner), learner.rule, learner.update
    if (
        kind is None
        or not isinstance(rule, RtrlBlock | RtrlBlockSmooth)
        or learner.see_inputs
        or learner.renews
    ):
        return None
    if (
        type(learner.readout) is not Linear
        or type(learner.loss) is not Squared
        or type(update) is not Descent
    ):
        return None
    optimizer = update.optimizer
    if type(optimizer) not in (Sgd, Adam):
        return None
    return DenseTwin(learner, kind, rule)


@final
class DenseTwin:
    """Takes events block by block: compiled between two folds, which are the rule's own matrix products."""

    def __init__(self, learner: OnlineLearner, kind: int, rule: RtrlBlock | RtrlBlockSmooth) -> None:
        """Take what the event loop needs to know."""
        self._kind, self._rule = kind, rule
        factors = probe(learner.cell)
        if factors.presynaptic is None:
            raise ValueError("a dense twin needs a cell that tells its gates")
        width = factors.presynaptic.shape[1]
        places = np.arange(learner.cell.n_params_per_unit) if factors.wiring is None else factors.wiring
        self._gate_of, self._input_of = places // width, places % width
        self._new_state = learner.cell.init_state()
        optimizer = learner.update.optimizer if isinstance(learner.update, Descent) else None
        rates = (0.0, 0.0, 0.0, 0.0)
        self._optimizer = dense.SGD
        if isinstance(optimizer, Sgd):
            rates = (optimizer.learning_rate, 0.0, 0.0, 0.0)
        elif isinstance(optimizer, Adam):
            rates = (optimizer.learning_rate, optimizer.beta1, optimizer.beta2, optimizer.epsilon)
            self._optimizer = dense.ADAM
        self._constants = np.array([*rates, GRADIENT_USUAL, INFLUENCE_MAX, ERROR_MAX])

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
        inputs, targets = np.ascontiguousarray(inputs), np.ascontiguousarray(targets)
        take = self._events(slabs, memory, slots, inputs, targets, scored, prediction, loss)
        at, count = 0, len(slots)
        while at < count:
            slot = int(slots[at])
            own = {name: slab[slot : slot + 1] for name, slab in memory.items()}
            if isinstance(self._rule, RtrlBlock):
                if int(memory["filled"][slot]) == self._rule.block:
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
        slots: IntArray,
        inputs: Array,
        targets: Array,
        scored: BoolArray,
        prediction: Array,
        loss: Array,
    ) -> Callable[[int, int], int]:
        """Return the compiled events of a call, from one up to another."""
        capacity, n_params = slabs["params"].shape[:2]
        transition, sensitivity, presynaptic = (
            memory[name].reshape(capacity, -1, *memory[name].shape[-rank:])
            for name, rank in BLOCK_RANKS.items()
        )
        current = memory.get("current", np.zeros(capacity, dtype=np.int64))
        rows_done = memory.get("rows_done", np.full(capacity, n_params))
        return lambda start, stop: dense.events(
            self._kind,
            self._optimizer,
            self._constants,
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
            self._moments(slabs, "cell", slabs["params"]),
            self._moments(slabs, "readout", slabs["readout.0"].reshape(capacity, -1)),
            slots,
            inputs,
            targets,
            scored,
            prediction,
            loss,
            start,
            stop,
        )

    def _moments(self, slabs: State, name: str, like: Array) -> tuple[Array, Array, IntArray]:
        """Return Adam's moments and count of the cell's or the readout's parameters; for SGD what nobody reads."""
        if self._optimizer == dense.ADAM:
            return (
                slabs[f"update.{name}.first_moment"],
                slabs[f"update.{name}.second_moment"],
                slabs[f"update.{name}.update_count"],
            )
        return like, like, np.zeros(len(like), dtype=np.int64)
