"""Many models of one `OnlineLearner` in slabs, and streams of events for them, in order.

A slab is an array (capacity, ...) for each field of a model's state. Where the learner has a compiled twin in
`models.kernels`, or an event loop in numpy, a call is one kernel for all its events; else events are taken in rounds in which each
model stands at most once, gathered, stepped and written back. Either way a model's results depend on its own events alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from models.kernels import Kernel, fused_for, loop_for
from models.kernels.arrays import aligned
from models.learner import NonFiniteError, OnlineLearner
from models.protocols import Array, BoolArray, Fields, IntArray, State


@dataclass(frozen=True, slots=True)
class Consumed:
    """What a call gave: of each of E events the prediction made before its target was seen, and its loss.

    Attributes:
        prediction: what the loss publishes, (E, o).
        loss: of the prediction, 0 where not scored, (E,).
    """

    prediction: Array
    loss: Array


@final
class LearnerBank:
    """Models of one learner, each in a slot.

    Args:
        learner: what the models are made of; a rule whose memory grows is refused.
        capacity: models that there is room for at first; it doubles when it is full.
        compiled: take the compiled twin, where there is one.

    Example:
        >>> import numpy as np
        >>> from models.cells import CELLS
        >>> from models.learner import features_of
        >>> from models.losses import LOSSES
        >>> from models.optimizers import OPTIMIZERS
        >>> from models.readouts import READOUTS
        >>> from models.rules import exact_rule_for
        >>> from models.updates import Descent
        >>> cell = CELLS["rtu"](n_inputs=1, n_units=4)
        >>> readout = READOUTS["linear"](n_features=features_of(cell), n_outputs=1)
        >>> update = Descent(OPTIMIZERS["adam"](learning_rate=0.01))
        >>> learner = OnlineLearner(cell, exact_rule_for(cell), readout, LOSSES["squared"](), update)
        >>> bank = LearnerBank(learner, compiled=False)
        >>> slots = np.array([bank.admit(), bank.admit()])[
        ...     [0, 1, 0]
        ... ]  # two events of the first model, one of the second
        >>> bank.consume(slots, np.ones((3, 1)), np.ones((3, 1))).prediction.shape
        (3, 1)
    """

    def __init__(self, learner: OnlineLearner, *, capacity: int = 64, compiled: bool = True) -> None:
        """Make an empty bank."""
        if learner.rule.cost.grows:
            raise ValueError(
                "a bank keeps models of constant size: take another rule than one that keeps the whole past"
            )
        self.learner = learner
        row = {name: np.asarray(value) for name, value in learner.init_row().items()}
        self._capacity = max(1, capacity)
        self._slabs: State = {
            name: aligned((self._capacity, *value.shape), value.dtype) for name, value in row.items()
        }
        self._free = list(range(self._capacity - 1, -1, -1))
        self._used = np.zeros(self._capacity, dtype=np.bool_)
        twin = fused_for(learner) if compiled else None
        self._compiled = twin is not None
        self._kernel: Kernel | None = twin or loop_for(learner)

    @property
    def compiled(self) -> bool:
        """Whether events go through a compiled twin."""
        return self._compiled

    @property
    def model_count(self) -> int:
        """How many models there are."""
        return int(self._used.sum())

    def bytes_per_model(self) -> int:
        """Return the memory of one model, constant in time."""
        return sum(slab[0].nbytes for slab in self._slabs.values())

    def admit(self, seed: int = 0) -> int:
        """Return the slot of a new model; the seed is that of its first parameters."""
        if not self._free:
            self._grow()
        slot = self._free.pop()
        self._used[slot] = True
        for name, value in self.learner.init_row(seed).items():
            self._slabs[name][slot] = value
        return slot

    def release(self, slot: int) -> None:
        """Give a slot back."""
        self._require(np.array([slot]))
        self._used[slot] = False
        self._free.append(slot)

    def consume(
        self, slots: IntArray, inputs: Array, targets: Array, scored: BoolArray | None = None
    ) -> Consumed:
        """Take events in their order: each model predicts, then learns from the target where scored.

        Args:
            slots: of the models, (E,); one may stand several times.
            inputs: (E, m).
            targets: (E, t); what stands where nothing is scored is not looked at.
            scored: events in which a loss is taken, (E,); by default all.

        Raises:
            NonFiniteError: an input, or a target where scored, is not finite or not one of the loss's.
            ValueError: shapes do not fit, or a slot is not in use.
            After either every model is as it was.
        """
        slots = np.asarray(slots, dtype=np.int64)
        self._check(slots, inputs, targets, scored)
        scored = np.ones(len(slots), dtype=np.bool_) if scored is None else scored
        n_outputs = self.learner.readout.n_outputs
        given = Consumed(np.zeros((len(slots), n_outputs)), np.zeros(len(slots)))
        if self._kernel is not None:
            self._kernel(self._slabs, slots, inputs, targets, scored, given.prediction, given.loss)
            return given
        in_rounds = rounds(slots)
        if len(in_rounds) == len(slots):  # all of one model: its state is gathered once, as a view
            own = slice(int(slots[0]), int(slots[0]) + 1) if len(slots) else slice(0)
            self._take(own, in_rounds, (inputs, targets, scored), given)
        else:
            for events in in_rounds:
                self._take(slots[events], [events], (inputs, targets, scored), given)
        return given

    def _take(
        self,
        rows: IntArray | slice,
        in_turn: list[IntArray],
        data: tuple[Array, Array, BoolArray],
        given: Consumed,
    ) -> None:
        """Take events of the models of some rows, an event of each in turn."""
        inputs, targets, scored = data
        state = {name: slab[rows] for name, slab in self._slabs.items()}
        for events in in_turn:
            outcome = self.learner.step(state, inputs[events], targets[events], scored[events], checked=True)
            given.prediction[events], given.loss[events] = outcome.prediction, outcome.loss
        for name, slab in self._slabs.items():
            if not np.may_share_memory(state[name], slab):  # else it was changed in place
                slab[rows] = state[name]

    def snapshot(self, slot: int) -> Fields:
        """Return a copy of all that the model is, as named arrays."""
        self._require(np.array([slot]))
        return {name: slab[slot].copy() for name, slab in self._slabs.items()}

    def restore(self, slot: int, fields: Fields) -> None:
        """Make the model what the snapshot says.

        Raises:
            ValueError: a field is missing, unknown, or of another shape or type; nothing was changed.
        """
        self._require(np.array([slot]))
        if set(fields) != set(self._slabs):
            odd = sorted(set(fields) ^ set(self._slabs))
            raise ValueError(f"the snapshot's fields are not this learner's; they differ in {odd[:5]}")
        for name, slab in self._slabs.items():
            value = np.asarray(fields[name])
            if value.shape != slab.shape[1:] or value.dtype != slab.dtype:
                raise ValueError(f"{name}: {value.shape} {value.dtype} in the snapshot, not this learner's")
        for name, slab in self._slabs.items():
            slab[slot] = fields[name]

    def _check(self, slots: IntArray, inputs: Array, targets: Array, scored: BoolArray | None) -> None:
        count = len(slots)
        for name, array, shape in (
            ("slots", slots, (count,)),
            ("inputs", inputs, (count, self.learner.cell.n_inputs)),
            ("targets", targets, (count, *targets.shape[1:2])),
            ("scored", slots if scored is None else scored, (count,)),
        ):
            if array.shape != shape:
                raise ValueError(f"{name} has shape {array.shape}, {shape} is needed")
        if self.learner.loss.n_outputs(targets.shape[1]) != self.learner.readout.n_outputs:
            raise ValueError(f"targets of {targets.shape[1]} numbers do not fit the readout's outputs")
        self._require(slots)
        if not np.isfinite(inputs).all():
            raise NonFiniteError("inputs: finite numbers are needed; nothing was changed")
        known = targets if scored is None or scored.all() else targets[scored]
        if not self.learner.loss.valid(known).all():
            raise NonFiniteError("targets: not finite, or none that the loss knows; nothing was changed")

    def _require(self, slots: IntArray) -> None:
        if len(slots) and not (slots.min() >= 0 and slots.max() < self._capacity and self._used[slots].all()):
            raise ValueError("a slot is not in use; call admit first")

    def _grow(self) -> None:
        for name, slab in self._slabs.items():
            self._slabs[name] = aligned((2 * self._capacity, *slab.shape[1:]), slab.dtype)
            self._slabs[name][: self._capacity] = slab
        self._used = np.concatenate((self._used, np.zeros_like(self._used)))
        self._free.extend(range(2 * self._capacity - 1, self._capacity - 1, -1))
        self._capacity *= 2


def rounds(slots: IntArray) -> list[IntArray]:
    """Return places of events in rounds: each slot at most once in a round, and its events in their order.

    Example:
        >>> import numpy as np
        >>> [places.tolist() for places in rounds(np.array([7, 3, 7, 7, 3]))]
        [[0, 1], [2, 4], [3]]
    """
    order = np.argsort(slots, kind="stable")
    ordered = slots[order]
    first = (
        np.concatenate(([True], ordered[1:] != ordered[:-1])) if len(slots) else np.zeros(0, dtype=np.bool_)
    )
    start = np.maximum.accumulate(np.where(first, np.arange(len(slots)), 0))
    rank = np.empty(len(slots), dtype=np.int64)
    rank[order] = np.arange(len(slots)) - start
    return [np.flatnonzero(rank == at) for at in range(int(rank.max(initial=-1)) + 1)]
