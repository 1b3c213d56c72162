"""What is kept of a step to go back through it, and the last steps of fixed number."""

from __future__ import annotations

from typing import Final

import numpy as np

from models.protocols import Array, BoolArray, Cell, Fields, State, StepFactors
from models.rules.products import backward, clear_step, clear_units, handed_down, upward_shape
from models.rules.rtrl_trace import credit_through_units
from models.stability import frobenius_norm

WINDOW: Final = 10
"""Steps of a window: as many as the best compared online learners of the literature see."""


def step_shapes(cell: Cell) -> dict[str, tuple[int, ...]]:
    """Return the shapes of what is kept of a step, without the batch."""
    k, n = cell.n_parts, cell.n_units
    transition = (k * n, k * n) if cell.recurrence == "dense" else (k, k, n)
    kept: dict[str, tuple[int, ...]] = {"transition": transition, "immediate": (k, cell.n_params_per_unit, n)}
    return kept | upward_shape(cell)


def step_size(shapes: dict[str, tuple[int, ...]]) -> int:
    """Return how many numbers are kept of a step."""
    return sum(int(np.prod(shape)) for shape in shapes.values())


def step_factors(shapes: dict[str, tuple[int, ...]], factors: StepFactors) -> State:
    """Return what is kept of a step."""
    taken: State = {"transition": factors.transition, "immediate": factors.immediate}
    return taken | ({"upward": factors.upward} if "upward" in shapes and factors.upward is not None else {})


def step_back(step: State, credit: Array) -> tuple[Array, Array]:
    """Return what a step's parameters owe to credits on its state, (B, C, q, n), and the credits a step before."""
    credit = handed_down(step.get("upward"), credit)
    return credit_through_units(step["immediate"], credit), backward(step["transition"], credit)


class Window:
    """The factors of the last steps, newest first, of fixed number; steps not yet taken are zeros."""

    def __init__(self, cell: Cell, window: int) -> None:
        if window < 1:
            raise ValueError(f"window: at least one step is needed, not {window}")
        self.shapes, self.parts = step_shapes(cell), cell.n_parts
        self.window = window

    def init_memory(self) -> Fields:
        return {name: np.zeros((self.window, *shape)) for name, shape in self.shapes.items()}

    def advance(self, memory: State, factors: StepFactors) -> None:
        for name, value in step_factors(self.shapes, factors).items():
            push(memory[name], value)

    def back(self, memory: State, credit: Array, credits_: Array | None = None) -> Array:
        gradient = np.zeros((*credit.shape[:2], *self.shapes["immediate"][1:]))
        for back in range(self.window):
            if credits_ is not None:
                credit = credit + credits_[:, None, back]
            owed, credit = step_back({name: memory[name][:, back] for name in self.shapes}, credit)
            gradient += owed
        return gradient

    def forget_units(self, memory: State, units: BoolArray) -> None:
        clear_units(memory["immediate"], units)
        clear_step({name: memory[name][:, 0] for name in self.shapes}, units, self.parts)

    def norm(self, memory: State) -> Array:
        parts, n = memory["immediate"].shape[2], memory["immediate"].shape[4]
        every = np.broadcast_to(np.eye(parts * n), (len(memory["immediate"]), parts * n, parts * n))
        return frobenius_norm(self.back(memory, every.reshape(len(every), -1, parts, n)))


def push(kept: Array, newest: Array) -> None:
    """Put a step in front of those that are kept, (B, T, ...), and drop the oldest; in place."""
    kept[:, 1:] = kept[:, :-1].copy()
    kept[:, 0] = newest
