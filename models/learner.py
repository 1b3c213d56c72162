"""A recurrent network that learns at every step: cell, rule, readout, loss and optimizer as one.

    a_t = read(h_t),  h_t = cell(theta, h_{t-1}, x_t)                       (1)
    o_t = readout(w, a_t)                                                   (2)
    dL_t/dtheta = (dL_t/do_t do_t/da_t da_t/dh_t) dh_t/dtheta               (3)

The learning rule carries dh_t/dtheta, or what stands for it, from step to step, so any cell goes with
any rule that takes it, and with any optimizer. A prediction is made before its target is looked at.
The three sequence modes are masks: `scored` says where a loss is taken, `reset` where a sequence begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from models.plasticity import ContinualBackprop, Renewal
from models.precision import Precision, known_precision
from models.protocols import (
    Array,
    Blocks,
    BoolArray,
    Cell,
    Fields,
    IntArray,
    LearningRule,
    Loss,
    Readout,
    SingleOrDouble,
    State,
)
from models.updates import Scored, Update, part


class NonFiniteError(ValueError):
    """Inputs or targets are not finite; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one step gave.

    Attributes:
        prediction: what the loss publishes for the outputs, before the target was looked at, (B, o).
        loss: of the prediction, (B,); 0 where not scored.
        gradient_norm: of the cell's gradient before any clipping, (B,); 0 where there was none.
        moved: rows whose cell parameters were moved by this step's gradient, (B,).
        restarted: rows whose state or influence was no number any more, or had exploded, and began anew, (B,).
        replaced: units that were made anew in this step, (B,).
    """

    prediction: Array
    loss: Array
    gradient_norm: Array
    moved: BoolArray
    restarted: BoolArray
    replaced: IntArray


@final
class OnlineLearner:
    """Eq. (1) to (3), batched over rows; each row is one model with parameters of its own.

    Args:
        cell: the recurrent layer.
        rule: the learning rule, made for this cell.
        readout: what stands above; its n_features are `features_of(cell)`, and the cell's inputs more
            with `see_inputs`.
        loss: of the readout's outputs.
        update: how parameters move: `Descent` with an optimizer, or `Filter`.
        see_inputs: the readout sees the step's inputs beside the recurrent layer.
        plasticity: whether and how units that are hardly heard are made anew; its widths are `widths_of(cell, readout)`.
        precision: of the parameters, the recurrent state and the readout, as they are kept from step to step. Among thousands
            of models an event waits for its model's memory, and "float32" halves it; the rule's own precision is the rule's. A change of
            less than 3e-8 of a parameter is then lost, so keep "float64" for learning rates under some 1e-5. An update's moments and
            covariances are in double precision: they are sums over many steps.

    Raises:
        ValueError: sizes that do not fit, no such precision, or a rule that the update cannot work with.

    Cost: the cell's step, the rule's, the readout's and the optimizer's; no more.

    Example:
        >>> import numpy as np
        >>> from models.cells import CELLS
        >>> from models.losses import LOSSES
        >>> from models.optimizers import OPTIMIZERS
        >>> from models.readouts import READOUTS
        >>> from models.rules import exact_rule_for
        >>> from models.updates import Descent
        >>> cell = CELLS["rtu"](n_inputs=1, n_units=4)
        >>> readout = READOUTS["linear"](n_features=features_of(cell), n_outputs=1)
        >>> update = Descent(OPTIMIZERS["adam"](learning_rate=0.01))
        >>> learner = OnlineLearner(cell, exact_rule_for(cell), readout, LOSSES["squared"](), update)
        >>> state, rng, losses = learner.init_state([0]), np.random.default_rng(0), []
        >>> x = rng.normal(size=(2000, 1, 1))
        >>> for now, before in zip(x[1:], x[:-1]):  # to tell what came in one step ago
        ...     losses.append(learner.step(state, now, before).loss[0])
        >>> bool(np.mean(losses[-200:]) < 0.2 * np.mean(losses[:200]))
        True
    """

    def __init__(
        self,
        cell: Cell,
        rule: LearningRule,
        readout: Readout,
        loss: Loss,
        update: Update,
        *,
        see_inputs: bool = False,
        plasticity: ContinualBackprop | None = None,
        precision: Precision = "float64",
    ) -> None:
        """Put the parts together."""
        n_features = features_of(cell) + (cell.n_inputs if see_inputs else 0)
        if readout.n_features != n_features:
            raise ValueError(f"the readout takes {readout.n_features} features, the cell gives {n_features}")
        update.check(rule)
        self.cell, self.rule, self.readout, self.loss, self.update = cell, rule, readout, loss, update
        self.see_inputs, self.precision = see_inputs, known_precision(precision)
        self._renewal = None if plasticity is None else Renewal(plasticity, cell, readout)
        self._n_read = features_of(cell)

    @property
    def renews(self) -> bool:
        """Whether units that are hardly heard are made anew."""
        return self._renewal is not None

    def init_row(self, seed: int = 0) -> Fields:
        """Return one new model; the seed is that of its first parameters."""
        rng = np.random.default_rng(seed)
        fields: Fields = {"params": self.cell.init_params(rng), "state": self.cell.init_state()}
        for at, block in enumerate(self.readout.init_params(rng)):
            fields[f"readout.{at}"] = block
        fields = {name: self._kept(np.asarray(value)) for name, value in fields.items()}
        fields |= _prefixed("memory", self.rule.init_memory())
        if self._renewal is not None:
            fields |= _prefixed("plasticity", self._renewal.init_state())
        cell_shape = (self.cell.n_params_per_unit, self.cell.n_units)
        return fields | _prefixed("update", self.update.init_state(cell_shape, self.readout.shapes))

    def init_state(self, seeds: Sequence[int]) -> State:
        """Return the state of one new model a seed."""
        rows = [self.init_row(seed) for seed in seeds]
        return {name: np.stack([np.asarray(row[name]) for row in rows]) for name in rows[0]}

    @np.errstate(over="ignore", invalid="ignore")  # what comes of it is found and begins anew
    def step(
        self,
        state: State,
        inputs: Array,
        target: Array,
        scored: BoolArray | None = None,
        reset: BoolArray | None = None,
        *,
        checked: bool = False,
    ) -> Outcome:
        """Advance by one step, predict, and learn from the target where scored; state in place.

        Args:
            state: of `init_state`.
            inputs: x_t, (B, m).
            target: (B, t); what stands in rows that are not scored is not looked at.
            scored: rows in which a loss is taken, (B,); by default all.
            reset: rows in which a sequence begins with this step: their recurrent state and the rule's
                memory start anew, what was learned stays, (B,); by default none. A rule that gathers gradients in
                windows gives what it has of the sequence that ended.
            checked: the caller has seen that nothing need be refused.

        Raises:
            NonFiniteError: an input, or a target where scored, is not finite or not one of the loss's;
                nothing was changed.
        """
        batch = len(inputs)
        scored = np.ones(batch, dtype=np.bool_) if scored is None else scored
        every = bool(scored.all())
        if not every:
            target = np.where(scored[:, None], target, 0.0)
        if not checked:
            self._refuse(inputs, target, scored)
        memory, moments = part(state, "memory"), part(state, "update")
        if reset is not None and reset.any():
            self._end(state, moments, memory, reset)
        params = _doubled(state["params"])
        factors = self.cell.step(params, _doubled(state["state"]), inputs)
        self.rule.advance(memory, factors)
        state["state"] = kept = self._kept(factors.state)
        restarted = np.zeros(batch, dtype=np.bool_)
        if not np.isfinite(kept).all():
            restarted = ~np.all(np.isfinite(kept).reshape(batch, -1), axis=1)
            self._begin(state, memory, restarted)
        read, slope = self.cell.read_out(_doubled(state["state"]))
        features = read.reshape(batch, self._n_read)
        if self.see_inputs:
            features = np.concatenate((features, inputs), axis=1)
        blocks = self._blocks(state)
        outputs, of_params, of_features = self.readout.forward(blocks, features)
        to_read = of_features[:, :, : self._n_read].reshape(batch, -1, *read.shape[1:])
        change = self.update.change(
            moments,
            self.rule,
            memory,
            self.loss,
            Scored(
                outputs,
                target,
                scored,
                params,
                blocks,
                of_params,
                _through_read_out(to_read, slope),
            ),
        )
        self._add(state, "params", change.cell)
        for at, block in enumerate(change.readout):
            self._add(state, f"readout.{at}", block)
        if change.exploded.any():
            restarted = restarted | change.exploded
            self._begin(state, memory, change.exploded)
        replaced = self._renewed(state, moments, memory, features, scored)
        state.update(_prefixed("memory", memory) | _prefixed("update", moments))
        value = self.loss.value(outputs, target)
        if not every:
            value = np.where(scored, value, 0.0)
        return Outcome(
            self.loss.predict(outputs), value, change.gradient_norm, change.moved, restarted, replaced
        )

    def _blocks(self, state: State) -> Blocks:
        return tuple(_doubled(state[f"readout.{at}"]) for at in range(len(self.readout.shapes)))

    def _kept(self, values: Array) -> SingleOrDouble:
        """Return numbers of a model as they are kept."""
        return values.astype(self.precision, copy=False)

    def _add(self, state: State, name: str, change: Array) -> None:
        """Add to parameters."""
        state[name] = self._kept(state[name] + change)

    def _refuse(self, inputs: Array, target: Array, scored: BoolArray) -> None:
        """Raise where something is not finite or no target of the loss."""
        if not np.isfinite(inputs).all():
            raise NonFiniteError("inputs: finite numbers are needed; nothing was changed")
        if not (self.loss.valid(target) | ~scored).all():
            raise NonFiniteError("target: not finite, or none that the loss knows; nothing was changed")

    def _end(self, state: State, moments: State, memory: State, rows: BoolArray) -> None:
        """End the sequences of some rows: take what their windows hold, and begin anew."""
        self._flush(state, moments, memory, rows)
        self._begin(state, memory, rows)

    def _flush(self, state: State, moments: State, memory: State, rows: BoolArray) -> None:
        change, due = self.update.flush(moments, self.rule, memory, _doubled(state["params"]), rows)
        if due.any():
            self._add(state, "params", change)

    def _begin(self, state: State, memory: State, rows: BoolArray) -> None:
        """Start the recurrent state and the rule's memory of some rows anew."""
        fresh = self._kept(self.cell.init_state())
        state["state"] = np.where(_like(rows, state["state"]), fresh, state["state"])
        self.rule.reset(memory, rows)

    def _renewed(
        self, state: State, moments: State, memory: State, features: Array, scored: BoolArray
    ) -> IntArray:
        """Make units anew that are hardly heard; return how many in each row, (B,)."""
        if self._renewal is None:
            return np.zeros(len(scored), dtype=np.int64)
        own = part(state, "plasticity")
        blocks = self._blocks(state)
        units = self._renewal.choose(own, blocks, features[:, : self._n_read], scored)
        state.update(_prefixed("plasticity", own))
        replaced: IntArray = sum(which.sum(axis=1) for which in units)
        if replaced.any():
            self._flush(state, moments, memory, replaced > 0)
            params, fresh_state = state["params"].copy(), state["state"].copy()
            cell, readout = self._renewal.renew(own, units, params, fresh_state, blocks)
            state["params"], state["state"] = params, fresh_state
            state.update({f"readout.{at}": self._kept(block) for at, block in enumerate(blocks)})
            self.rule.forget_units(memory, units[0])
            self.update.forget(moments, cell, readout)
        return replaced


def features_of(cell: Cell) -> int:
    """Return how many features the cell's read-out has.

    Example:
        >>> from models.cells import CELLS
        >>> features_of(CELLS["rtu"](n_inputs=1, n_units=4))
        8
    """
    return cell.n_read_parts * cell.n_units


def _through_read_out(of_read: Array, slope: Array) -> Array:
    """Take derivatives to the read-out, (B, o, r, n), back to the state by its slope, (B, r, k, n)."""
    credits_ = of_read[:, :, 0, None, :] * slope[:, None, 0]
    for at in range(1, slope.shape[1]):
        credits_ = credits_ + of_read[:, :, at, None, :] * slope[:, None, at]
    return credits_


def _prefixed(prefix: str, fields: Fields) -> Fields:
    return {f"{prefix}.{name}": value for name, value in fields.items()}


def _doubled(values: SingleOrDouble) -> Array:
    """Return numbers of a model as they are worked with, in double precision whatever they are kept in."""
    return values.astype(np.float64, copy=False)


def _like(flags: BoolArray, value: np.ndarray) -> np.ndarray:
    return flags.reshape(flags.shape + (1,) * (value.ndim - 1))
