"""The event loop of dense cells under the block engine in numpy alone: what `models.kernels.dense` is where numba is not.

Events are taken one by one, each in some tens of calls of numpy on the slabs themselves. `OnlineLearner`, which takes any parts
and many rows at a time, has three times the calls, and for one model of some tens of units they cost as much as the
arithmetic. Of many small models it is the quicker one, since it pays a call once for all of them. So the loop is for
learners of many units, see `UNITS_MIN`; who shares a call decides nothing, so that a model's results are the same
bits in any company.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple, final

import numpy as np

from models.kernels.dense_numpy_cells import STEPS
from models.kernels.dense_twin import BLOCK_RANKS, Recognised, recognised
from models.learner import OnlineLearner
from models.optimizers.sgd import Sgd
from models.protocols import Array, BoolArray, IntArray, SingleOrDouble, State
from models.rules.products import probe
from models.rules.rtrl_block import RtrlBlock
from models.updates import GRADIENT_USUAL, INFLUENCE_MAX, part

ONE: Final = np.ones(1, dtype=np.bool_)

UNITS_MIN: Final = 32
"""From here on the loop takes less time than rounds of all models at once, for one model and for 64 with an event a call, of each of the cells; with fewer
units 64 models are quicker in rounds. `python -m benchmarks kernels --only dense` has the time of one: its numpy block falls from 16 units to 32."""


class Model(NamedTuple):
    """Views of what a slot holds. The blocks of a rule that keeps two lie one behind the other, (blocks k, ...)."""

    params: Array
    state: Array
    readout: Array
    influence: SingleOrDouble
    transition: SingleOrDouble
    sensitivity: Array
    presynaptic: Array
    memory: State
    cell_moments: State
    readout_moments: State


def dense_loop(learner: OnlineLearner) -> DenseLoop | None:
    """Return the loop of a learner that has a `DenseTwin`, from `UNITS_MIN` units on."""
    known = recognised(learner)
    return None if known is None or learner.cell.n_units < UNITS_MIN else DenseLoop(learner, known)


@final
class DenseLoop:
    """Takes events in their order; what is folded between them is the rule's own matter."""

    def __init__(self, learner: OnlineLearner, known: Recognised) -> None:
        """Take what an event needs to know, and room for what it works on."""
        self._rule, self._optimizer, self._loss = known.rule, known.descent.optimizer, learner.loss
        cell, self._step = learner.cell, STEPS[known.kind]
        self._wiring, self._new_state = probe(cell).wiring, cell.init_state()
        self._parts, self._units, self._params = cell.n_parts, cell.n_units, cell.n_params_per_unit
        self._size = size = self._parts * self._units
        self._credits = np.empty((self._rule.block + 1, size), dtype=self._rule.precision)
        self._each_credit = list(self._credits)
        self._credit, self._features = np.zeros(size), np.ones(self._units + 1)
        self._work = np.empty((self._units, self._units))

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
        """Take events in their order; slabs, prediction (E, o) and loss (E,) in place."""
        rule, seen = self._rule, np.concatenate((inputs, np.ones((len(slots), 1))), axis=1)
        models: dict[int, Model] = {}
        with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is found and begins anew
            for event, (slot, learns) in enumerate(zip(slots.tolist(), scored.tolist(), strict=True)):
                model = models.get(slot)
                if model is None:
                    model = models[slot] = self._model(slabs, slot)
                if isinstance(rule, RtrlBlock):
                    if model.memory["filled"][0] == rule.block:
                        rule.settle(model.memory)
                else:
                    rule.turn(model.memory)
                self._advance(model, seen[event])
                np.dot(model.readout, self._features, out=prediction[event])
                if learns:
                    self._learn(model, prediction[event] - targets[event])
                if not isinstance(rule, RtrlBlock):
                    rule.fold_share(model.memory)
            loss[scored] = self._loss.value(prediction[scored], targets[scored])

    def _model(self, slabs: State, slot: int) -> Model:
        """Return views of a slot."""
        memory = {name: slab[slot : slot + 1] for name, slab in part(slabs, "memory").items()}
        transition, sensitivity, presynaptic = (
            memory[name].reshape(-1, *memory[name].shape[-rank:]) for name, rank in BLOCK_RANKS.items()
        )
        moments = {name: slab[slot : slot + 1] for name, slab in part(slabs, "update").items()}
        weights = slabs["readout.0"][slot]
        of_readout = {
            name: value.reshape(1, *weights.shape) if value.ndim > 1 else value
            for name, value in part(moments, "readout").items()
        }
        return Model(
            slabs["params"][slot],
            slabs["state"][slot],
            weights,
            memory["influence"][0].reshape(self._size, -1),
            transition,
            sensitivity,
            presynaptic,
            memory,
            part(moments, "cell"),
            of_readout,
        )

    def _advance(self, model: Model, inputs: Array) -> None:
        """Take a step into the newer block, and what is read out into the features."""
        memory, state = model.memory, model.state
        at = self._newer(model) + int(memory["filled"][0])
        z = model.presynaptic[at]
        z[: self._units] = state[-1]  # the part that is read out is the last one
        z[self._units :] = inputs
        self._step(model.params, state, z, model.transition[at], model.sensitivity[at], self._work)
        memory["filled"][0] += 1
        flat = state.reshape(-1)
        if not math.isfinite(flat.dot(flat)) and not np.isfinite(flat).all():
            self._begin(model)
        self._features[:-1] = state[-1]

    def _learn(self, model: Model, error: Array) -> None:
        """Move the parameters down the gradient; begin anew where the influence has exploded."""
        self._credit[-self._units :] = error.dot(model.readout[:, :-1])
        gradient = self._owed(model)
        flat = gradient.reshape(-1)
        norm = math.sqrt(flat.dot(flat))
        if not norm <= GRADIENT_USUAL and not self._rule.memory_norm(model.memory)[0] <= INFLUENCE_MAX:
            self._begin(model)
            return
        if math.isfinite(norm):
            self._move(model.params, gradient, model.cell_moments)
        self._move(model.readout, error[:, None] * self._features, model.readout_moments)

    def _owed(self, model: Model) -> Array:
        """Return what the credit owes, (q, n): eq. (2) of `RtrlBlock`, and of `RtrlBlockSmooth` while it folds."""
        memory, newer, n = model.memory, self._newer(model), self._units
        gradient, start = self._back(model, newer, int(memory["filled"][0]), self._credit)
        done = int(memory["rows_done"][0]) if "rows_done" in memory else self._params
        gradient[:done] += start.dot(model.influence[:, : done * n]).reshape(-1, n)
        if done < self._params:
            older, start = self._back(model, self._rule.block - newer, self._rule.block, start)
            older[done:] += start.dot(model.influence[:, done * n :]).reshape(-1, n)
            gradient[done:] += older[done:]
        return gradient

    def _back(
        self, model: Model, first: int, steps: int, credit: SingleOrDouble
    ) -> tuple[Array, SingleOrDouble]:
        """Take a credit, (S,), back through a block's steps; return what they owe, (q, n), and the credit at its start."""
        self._credits[steps] = credit
        after = self._each_credit[steps]
        for before, transition in zip(
            self._each_credit[:steps][::-1], model.transition[first : first + steps][::-1], strict=True
        ):
            after.dot(transition, out=before)
            after = before
        credits_ = self._credits[1 : steps + 1].reshape(steps, self._parts, 1, self._units)
        sensitivity, z = model.sensitivity[first : first + steps], model.presynaptic[first : first + steps]
        gated = credits_[:, 0] * sensitivity[:, 0]
        for at in range(1, self._parts):
            gated += credits_[:, at] * sensitivity[:, at]
        owed: Array = np.matmul(z.T, gated.swapaxes(0, 1)).reshape(
            -1, self._units
        )  # of each gate and entry of z
        return owed if self._wiring is None else owed[self._wiring], after

    def _move(self, params: Array, gradient: Array, moments: State) -> None:
        """Move a model's parameters along a gradient of their shape, which is used up."""
        if isinstance(self._optimizer, Sgd):  # in place, in half the time
            gradient *= self._optimizer.learning_rate
            params -= gradient
            return
        change, _ = self._optimizer.update(moments, gradient[None], ONE, params[None])
        params += change[0]

    def _newer(self, model: Model) -> int:
        """Return the place at which the block that fills begins."""
        return self._rule.block * int(model.memory["current"][0]) if "current" in model.memory else 0

    def _begin(self, model: Model) -> None:
        """Begin a sequence: the state of a new model, and nothing of the past in the rule's memory."""
        model.state[...] = self._new_state
        self._rule.reset(model.memory, ONE)
