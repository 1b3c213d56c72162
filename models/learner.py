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

from models.protocols import (
    Array,
    Blocks,
    BoolArray,
    Cell,
    Fields,
    LearningRule,
    Loss,
    Readout,
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
        moved: rows whose cell parameters were moved, (B,).
    """

    prediction: Array
    loss: Array
    gradient_norm: Array
    moved: BoolArray


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

    Raises:
        ValueError: sizes that do not fit, or a rule that the update cannot work with.

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
    ) -> None:
        """Put the parts together."""
        n_features = features_of(cell) + (cell.n_inputs if see_inputs else 0)
        if readout.n_features != n_features:
            raise ValueError(f"the readout takes {readout.n_features} features, the cell gives {n_features}")
        update.check(rule)
        self.cell, self.rule, self.readout, self.loss, self.update = cell, rule, readout, loss, update
        self.see_inputs = see_inputs
        self._n_read = features_of(cell)

    def init_row(self, seed: int = 0) -> Fields:
        """Return one new model; the seed is that of its first parameters."""
        rng = np.random.default_rng(seed)
        fields: Fields = {"params": self.cell.init_params(rng), "state": self.cell.init_state()}
        for at, block in enumerate(self.readout.init_params(rng)):
            fields[f"readout.{at}"] = block
        fields |= _prefixed("memory", self.rule.init_memory())
        cell_shape = (self.cell.n_params_per_unit, self.cell.n_units)
        return fields | _prefixed("update", self.update.init_state(cell_shape, self.readout.shapes))

    def init_state(self, seeds: Sequence[int]) -> State:
        """Return the state of one new model a seed."""
        rows = [self.init_row(seed) for seed in seeds]
        return {name: np.stack([np.asarray(row[name]) for row in rows]) for name in rows[0]}

    def step(
        self,
        state: State,
        inputs: Array,
        target: Array,
        scored: BoolArray | None = None,
        reset: BoolArray | None = None,
    ) -> Outcome:
        """Advance by one step, predict, and learn from the target where scored; state in place.

        Args:
            state: of `init_state`.
            inputs: x_t, (B, m).
            target: (B, t); what stands in rows that are not scored is not looked at.
            scored: rows in which a loss is taken, (B,); by default all.
            reset: rows in which a sequence begins with this step: their recurrent state and the rule's
                memory start anew, what was learned stays, (B,); by default none.

        Raises:
            NonFiniteError: an input, or a target where scored, is not finite or not one of the loss's;
                nothing was changed.
        """
        batch = len(inputs)
        scored = np.ones(batch, dtype=np.bool_) if scored is None else scored
        target = np.where(scored[:, None], target, 0.0)
        self._refuse(inputs, target, scored)
        memory = part(state, "memory")
        if reset is not None and reset.any():
            self._reset(state, memory, reset)
        factors = self.cell.step(state["params"], state["state"], inputs)
        self.rule.advance(memory, factors)
        state["state"] = factors.state
        read, slope = self.cell.read_out(factors.state)
        features = read.reshape(batch, self._n_read)
        if self.see_inputs:
            features = np.concatenate((features, inputs), axis=1)
        outputs, of_params, of_features = self.readout.forward(self._blocks(state), features)
        to_read = of_features[:, :, : self._n_read].reshape(batch, -1, *read.shape[1:])
        moments = part(state, "update")
        change = self.update.change(
            moments,
            self.rule,
            memory,
            self.loss,
            Scored(outputs, target, scored, of_params, _through_read_out(to_read, slope)),
        )
        state["params"] = state["params"] + change.cell
        for at, block in enumerate(change.readout):
            state[f"readout.{at}"] = state[f"readout.{at}"] + block
        state.update(_prefixed("memory", memory) | _prefixed("update", moments))
        value = np.where(scored, self.loss.value(outputs, target), 0.0)
        return Outcome(self.loss.predict(outputs), value, change.gradient_norm, change.moved)

    def _blocks(self, state: State) -> Blocks:
        return tuple(state[f"readout.{at}"] for at in range(len(self.readout.shapes)))

    def _refuse(self, inputs: Array, target: Array, scored: BoolArray) -> None:
        """Raise where something is not finite or no target of the loss."""
        if not np.isfinite(inputs).all():
            raise NonFiniteError("inputs: finite numbers are needed; nothing was changed")
        valid = np.isfinite(target).all(axis=1) & self.loss.valid(target)
        if not (valid | ~scored).all():
            raise NonFiniteError("target: not finite, or none that the loss knows; nothing was changed")

    def _reset(self, state: State, memory: State, rows: BoolArray) -> None:
        """Start the recurrent state and the rule's memory of some rows anew."""
        state["state"] = np.where(_like(rows, state["state"]), self.cell.init_state(), state["state"])
        reset = getattr(self.rule, "reset", None)
        if reset is not None:
            reset(memory, rows)
            return
        for name, value in self.rule.init_memory().items():
            memory[name] = np.where(_like(rows, memory[name]), value, memory[name])


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


def _like(flags: BoolArray, value: np.ndarray) -> np.ndarray:
    return flags.reshape(flags.shape + (1,) * (value.ndim - 1))
