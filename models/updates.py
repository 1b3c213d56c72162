"""How a learner's parameters move at a step: down the gradient, or as a filter of the outputs' derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol, TypeGuard, final

import numpy as np

from models.protocols import (
    Array,
    Blocks,
    BoolArray,
    CreditedRule,
    Fields,
    JacobianOptimizer,
    LearningRule,
    Loss,
    Optimizer,
    State,
    WindowedRule,
)

Shapes = tuple[tuple[int, int], ...]

GRADIENT_USUAL: Final = 1e3
"""A norm of the cell's gradient up to this needs no second look: with inputs of order one few are over it."""
INFLUENCE_MAX: Final = 1e6
"""An influence beyond has exploded: with inputs of order one a sound one is under a thousand."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A step whose prediction is made and whose target is known.

    Attributes:
        outputs: of the readout, (B, o).
        target: (B, t).
        active: rows in which a loss is taken, (B,).
        params: of the cell, that the step was made with, (B, q, n).
        readout: its parameters, blocks of (B, groups, size).
        of_params: d outputs / d readout parameters, blocks of (B, o, groups, size).
        of_state: d outputs / d state of the cell, (B, o, k, n).
    """

    outputs: Array
    target: Array
    active: BoolArray
    params: Array
    readout: Blocks
    of_params: Blocks
    of_state: Array


@dataclass(frozen=True, slots=True)
class Change:
    """What to add: to the cell's parameters, (B, q, n), and to the readout's blocks, (B, groups, size).

    Attributes:
        cell: of the cell's parameters.
        readout: of the readout's.
        gradient_norm: of the cell's gradient, or derivatives, before any clipping, (B,); 0 where none.
        moved: rows whose cell parameters move, (B,).
        exploded: rows in which what stands for the influence has; nothing of theirs moves, (B,).
    """

    cell: Array
    readout: Blocks
    gradient_norm: Array
    moved: BoolArray
    exploded: BoolArray


class Update(Protocol):
    """Turns a scored step into a change of the parameters."""

    def check(self, rule: LearningRule) -> None:
        """Raise a ValueError if it cannot work with this rule."""
        ...

    def init_state(self, cell_shape: tuple[int, int], shapes: Shapes) -> Fields:
        """Return the state for a cell's parameters (q, n) and a readout's blocks."""
        ...

    def change(self, state: State, rule: LearningRule, memory: State, loss: Loss, step: Scored) -> Change:
        """Return the change; state and the rule's memory in place."""
        ...

    def flush(
        self, state: State, rule: LearningRule, memory: State, params: Array, ending: BoolArray
    ) -> tuple[Array, BoolArray]:
        """Return what windows that end in some rows add to the cell's parameters, and where, (B, q, n) and (B,)."""
        ...

    def forget(self, state: State, cell: BoolArray, readout: tuple[BoolArray, ...]) -> None:
        """Make what is known of some parameters that of new ones, in place: (B, q, n), blocks (B, groups, size)."""
        ...


@final
class Descent:
    """Down the gradient of the loss, by any `Optimizer`.

        dL/dw = dL/do do/dw,   dL/dtheta = rule(dL/do do/dh)                (1)

    The cell and the readout have an optimizer state each, since a rule may give the cell's gradient at
    the end of a window only; a clip by norm bounds each of the two.

    Args:
        optimizer: or a chain that ends with one.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        """Take the optimizer."""
        self.optimizer = optimizer

    def check(self, rule: LearningRule) -> None:
        """Accept every rule."""

    def init_state(self, cell_shape: tuple[int, int], shapes: Shapes) -> Fields:
        """Return the optimizer's state for the cell and for the readout, flattened."""
        size = sum(groups * size for groups, size in shapes)
        return _prefixed("cell", self.optimizer.init_state(cell_shape)) | _prefixed(
            "readout", self.optimizer.init_state((size,))
        )

    def change(self, state: State, rule: LearningRule, memory: State, loss: Loss, step: Scored) -> Change:
        """Return eq. (1) as the optimizer turns it into a change."""
        of_outputs = np.where(step.active[:, None], loss.gradient(step.outputs, step.target), 0.0)
        credit = weighted(of_outputs, step.of_state)
        due = step.active
        if windowed(rule):
            rule.take_credit(memory, credit)
            gradient, due = rule.collect(memory)
        else:
            gradient = rule.gradient(memory, credit[:, None])[:, 0]
            if credited(rule):
                rule.take_credit(memory, credit)
        norm = _norm(gradient, due)
        exploded = has_exploded(rule, memory, norm)
        active = step.active & ~exploded
        cell, moved = self._update(state, "cell", gradient, due & ~exploded & np.isfinite(norm), step.params)
        flat = _joined([weighted(of_outputs, block) for block in step.of_params])
        below = _joined(step.readout)
        readout, _ = self._update(state, "readout", flat, active, below)
        blocks, start = [], 0
        for block in step.of_params:
            size = block.shape[2] * block.shape[3]
            blocks.append(readout[:, start : start + size].reshape(len(credit), *block.shape[2:]))
            start += size
        return Change(cell, tuple(blocks), norm, moved, exploded)

    def flush(
        self, state: State, rule: LearningRule, memory: State, params: Array, ending: BoolArray
    ) -> tuple[Array, BoolArray]:
        """Return what unfinished windows give, by the optimizer; nothing for a rule without windows."""
        if not windowed(rule):
            return np.zeros_like(params), np.zeros_like(ending)
        gradient, due = rule.collect(memory, ending)
        return self._update(state, "cell", gradient, due & np.isfinite(_norm(gradient, due)), params)

    def forget(self, state: State, cell: BoolArray, readout: tuple[BoolArray, ...]) -> None:
        """Put the moments of the parameters back to those of new ones; counts go on."""
        flat = np.concatenate([block.reshape(len(cell), -1) for block in readout], axis=1)
        for name, which in (("cell", cell), ("readout", flat)):
            for field, row in self.optimizer.init_state(which.shape[1:]).items():
                if np.shape(row) == which.shape[1:]:
                    np.copyto(state[f"{name}.{field}"], row, where=which)

    def _update(
        self, state: State, name: str, gradient: Array, active: BoolArray, params: Array
    ) -> tuple[Array, BoolArray]:
        moments = part(state, name)
        update = self.optimizer.update(moments, gradient, active, params)
        state.update(_prefixed(name, moments))
        return update


@final
class Filter:
    """By a `JacobianOptimizer`, which sees the derivatives of the mean and the error apart.

        H = dmean/do [do/dw, rule(do/dh)],  e = target - mean               (1)

    All parameters are learned together; the rule's gradient is taken once for each output.

    Args:
        optimizer: an extended Kalman filter, for one.
    """

    def __init__(self, optimizer: JacobianOptimizer) -> None:
        """Take the optimizer."""
        self.optimizer = optimizer

    def check(self, rule: LearningRule) -> None:
        """Refuse a rule whose gradient is ready at the end of a window only."""
        if windowed(rule):
            raise ValueError(
                "a filter needs each step's derivatives: use the sliding window, not the disjoint"
            )

    def init_state(self, cell_shape: tuple[int, int], shapes: Shapes) -> Fields:
        """Return the optimizer's state; a unit's parameters are a group."""
        n_params, n_units = cell_shape
        return self.optimizer.init_state(((n_units, n_params), *shapes))

    def change(self, state: State, rule: LearningRule, memory: State, loss: Loss, step: Scored) -> Change:
        """Return what the optimizer makes of eq. (1)."""
        innovation = loss.innovation(step.outputs, step.target)
        of_cell = rule.gradient(memory, step.of_state).swapaxes(2, 3)
        jacobian = tuple(_chained(innovation.slope, block) for block in (of_cell, *step.of_params))
        if credited(rule):
            of_outputs = np.where(step.active[:, None], loss.gradient(step.outputs, step.target), 0.0)
            rule.take_credit(memory, weighted(of_outputs, step.of_state))
        norm = _norm(jacobian[0], step.active)
        exploded = has_exploded(rule, memory, norm)
        updates, moved = self.optimizer.update(
            state, jacobian, innovation.error, innovation.noise, step.active & ~exploded
        )
        return Change(updates[0].swapaxes(1, 2), updates[1:], norm, moved, exploded)

    def flush(
        self, state: State, rule: LearningRule, memory: State, params: Array, ending: BoolArray
    ) -> tuple[Array, BoolArray]:
        """Return nothing: a filter has no rule with windows."""
        return np.zeros_like(params), np.zeros_like(ending)

    def forget(self, state: State, cell: BoolArray, readout: tuple[BoolArray, ...]) -> None:
        """Have the optimizer forget what it knows of the parameters."""
        self.optimizer.forget(state, (cell.swapaxes(1, 2), *readout))


def credited(rule: LearningRule) -> TypeGuard[CreditedRule]:
    """Say whether a rule learns from credits; `isinstance` with a protocol costs more than a step of a small cell."""
    return hasattr(rule, "take_credit")


def windowed(rule: LearningRule) -> TypeGuard[WindowedRule]:
    """Say whether a rule's gradient is ready at the end of a window only."""
    return hasattr(rule, "collect")


def has_exploded(rule: LearningRule, memory: State, norm: Array) -> BoolArray:
    """Say in which rows the influence has, (B,), from the norms of the cell's gradients or derivatives, (B,).

    The influence's own norm, which some rules have to work for, is asked for only where the gradient is unusual.
    """
    unusual: BoolArray = ~(norm <= GRADIENT_USUAL)
    if not unusual.any():
        return unusual
    return unusual & ~(rule.memory_norm(memory) <= INFLUENCE_MAX)


def weighted(weights: Array, values: Array) -> Array:
    """Return sum over o of weights (B, o) times values (B, o, ...), term by term in this order.

    Example:
        >>> import numpy as np
        >>> weighted(np.array([[1.0, 10.0]]), np.array([[[1.0, 2.0], [3.0, 4.0]]])).tolist()
        [[31.0, 42.0]]
    """
    shape = (-1, *[1] * (values.ndim - 2))
    total: Array = weights[:, 0].reshape(shape) * values[:, 0]
    for at in range(1, values.shape[1]):
        total = total + weights[:, at].reshape(shape) * values[:, at]
    return total


def part(state: State, prefix: str) -> State:
    """Return the fields "<prefix>.<name>" under their names alone.

    Example:
        >>> part({"a.x": 1, "b.x": 2}, "b")
        {'x': 2}
    """
    return {short: state[name] for name, short in _names(tuple(state), prefix + ".")}


def _joined(blocks: Sequence[Array]) -> Array:
    """Return blocks (B, groups, size) as (B, P); of a single one a view."""
    flat = [block.reshape(len(block), -1) for block in blocks]
    return flat[0] if len(flat) == 1 else np.concatenate(flat, axis=1)


@lru_cache(maxsize=256)
def _names(names: tuple[str, ...], start: str) -> tuple[tuple[str, str], ...]:
    """Return the names that begin so, whole and without it: the same at every step, and asked for several times in each."""
    return tuple((name, name[len(start) :]) for name in names if name.startswith(start))


def _prefixed(prefix: str, fields: Fields) -> Fields:
    return {f"{prefix}.{name}": value for name, value in fields.items()}


def _chained(slope: Array, block: Array) -> Array:
    """Return slope (B, o, o) times a block (B, o, groups, size)."""
    flat = np.matmul(slope, block.reshape(*block.shape[:2], -1))
    chained: Array = flat.reshape(block.shape)
    return chained


def _norm(values: Array, active: BoolArray) -> Array:
    """Return each row's norm, 0 where not active; infinite where the squares overflow."""
    rows = values.reshape(len(values), -1)
    norm: Array = np.where(active, np.sqrt(np.vecdot(rows, rows)), 0.0)
    return norm
