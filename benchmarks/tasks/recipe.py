"""A learner by names out of the tables, so that a task says in one line what it compares."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np

from models.cells import CELLS
from models.learner import OnlineLearner, features_of
from models.losses import LOSSES
from models.optimizers import JACOBIAN_OPTIMIZERS, OPTIMIZERS, chain, clip_by_global_norm, finite_guard
from models.protocols import Array, BoolArray, Cell, Cost, Fields, LearningRule, State, StepFactors
from models.readouts import READOUTS
from models.rules import RULES, exact_rule_for
from models.updates import Descent, Filter, Update

CLIP_NORM = 1.0
"""Of gradient steps in all tasks: of the order of a typical gradient, so that only the rare one is cut."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Names of the tables' entries, and sizes.

    `rule` "exact" is the cheapest exact rule for the cell; "frozen" leaves its parameters as they were drawn.
    """

    cell: str
    rule: str = "exact"
    n_units: int = 16
    loss: str = "squared"
    readout: str = "linear"
    optimizer: str = "adam"
    learning_rate: float = 3e-3
    see_inputs: bool = False
    cell_options: dict[str, Any] = field(default_factory=dict)
    rule_options: dict[str, Any] = field(default_factory=dict)
    readout_options: dict[str, Any] = field(default_factory=dict)
    optimizer_options: dict[str, Any] = field(default_factory=dict)
    clip_norm: float = CLIP_NORM

    def build(self, n_inputs: int, n_targets: int) -> OnlineLearner:
        """Return the learner for so many inputs and numbers in a target."""
        cell = CELLS[self.cell](n_inputs=n_inputs, n_units=self.n_units, **self.cell_options)
        loss = LOSSES[self.loss]()
        readout = READOUTS[self.readout](
            n_features=features_of(cell) + (n_inputs if self.see_inputs else 0),
            n_outputs=loss.n_outputs(n_targets),
            **self.readout_options,
        )
        return OnlineLearner(
            cell, self._rule(cell), readout, loss, self._update(), see_inputs=self.see_inputs
        )

    def _update(self) -> Update:
        if self.optimizer in JACOBIAN_OPTIMIZERS:
            return Filter(JACOBIAN_OPTIMIZERS[self.optimizer](**self.optimizer_options))
        last = OPTIMIZERS[self.optimizer](learning_rate=self.learning_rate, **self.optimizer_options)
        if not np.isfinite(self.clip_norm):
            return Descent(last)
        return Descent(chain(guard=finite_guard(), clip=clip_by_global_norm(self.clip_norm), last=last))

    def _rule(self, cell: Cell) -> LearningRule:
        if self.rule == "exact":
            return exact_rule_for(cell)
        if self.rule == "frozen":
            return Frozen(cell)
        factory: Callable[..., LearningRule] = RULES[self.rule]
        return factory(cell, **self.rule_options)


class Frozen:
    """No gradient at all: what a readout above random recurrent weights reaches."""

    exact = unbiased = False
    cost = Cost(time=0.0, memory=0)

    def __init__(self, cell: Cell) -> None:
        self._shape = (cell.n_params_per_unit, cell.n_units)

    def init_memory(self) -> Fields:
        return {}

    def advance(self, memory: State, factors: StepFactors) -> None:
        """Keep nothing."""

    def gradient(self, memory: State, credit: Array) -> Array:
        return np.zeros((*credit.shape[:2], *self._shape))

    def reset(self, memory: State, rows: BoolArray) -> None:
        """Nothing is kept."""

    def forget_units(self, memory: State, units: BoolArray) -> None:
        """Nothing is kept."""

    def memory_norm(self, memory: State) -> Array:
        raise AssertionError("a gradient of zero is never unusual")


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a stream for B rows: inputs (B, m), target (B, t), scored and reset (B,)."""

    inputs: Array
    target: Array
    scored: BoolArray | None = None
    reset: BoolArray | None = None


def run(recipe: Recipe, stream: Iterable[Step], seeds: list[int]) -> tuple[Array, Array]:
    """Learn along a stream, one row a seed; return losses and predictions, (T, B) and (T, B, o)."""
    learner, state = None, {}
    losses, predictions = [], []
    for step in stream:
        if learner is None:
            learner = recipe.build(step.inputs.shape[1], step.target.shape[1])
            state = learner.init_state(seeds)
        outcome = learner.step(state, step.inputs, step.target, step.scored, step.reset)
        losses.append(outcome.loss)
        predictions.append(outcome.prediction)
    return np.array(losses), np.array(predictions)


class Goal(TypedDict):
    """A figure to reach."""

    name: str
    value: float
    limit: float
    met: bool


def at_most(name: str, value: float, limit: float) -> Goal:
    """Return a goal that is met by a figure of `limit` or less; one that is no number is not."""
    return {"name": f"{name}, at most {limit:g}", "value": value, "limit": limit, "met": bool(value <= limit)}


def at_least(name: str, value: float, limit: float) -> Goal:
    """Return a goal that is met by a figure of `limit` or more."""
    return {
        "name": f"{name}, at least {limit:g}",
        "value": value,
        "limit": limit,
        "met": bool(value >= limit),
    }
