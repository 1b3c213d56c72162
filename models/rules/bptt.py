"""Backpropagation through time, over the whole past and over windows of it."""

from __future__ import annotations

from typing import Final, final

import numpy as np

from models.protocols import Array, BoolArray, Cell, Cost, Fields, State, StepFactors
from models.rules.products import backward, clear_step, clear_units, handed_down, start_anew, upward_shape
from models.rules.rtrl_trace import credit_through_units
from models.stability import frobenius_norm

WINDOW: Final = 10
"""Steps of a window: as many as the best compared online learners of the literature see."""
CAPACITY_FIRST: Final = 8
"""Steps that a new full memory has room for; it doubles when it is full."""


def _shapes(cell: Cell) -> dict[str, tuple[int, ...]]:
    """Return the shapes of what is kept of a step, without the batch."""
    k, n = cell.n_parts, cell.n_units
    transition = (k * n, k * n) if cell.recurrence == "dense" else (k, k, n)
    kept: dict[str, tuple[int, ...]] = {"transition": transition, "immediate": (k, cell.n_params_per_unit, n)}
    return kept | upward_shape(cell)


def _size(shapes: dict[str, tuple[int, ...]]) -> int:
    return sum(int(np.prod(shape)) for shape in shapes.values())


def _factors(shapes: dict[str, tuple[int, ...]], factors: StepFactors) -> State:
    """Return what is kept of a step."""
    taken: State = {"transition": factors.transition, "immediate": factors.immediate}
    return taken | ({"upward": factors.upward} if "upward" in shapes and factors.upward is not None else {})


def _back(step: State, credit: Array) -> tuple[Array, Array]:
    """Return what a step's parameters owe to credits on its state, (B, C, q, n), and the credits a step before."""
    credit = handed_down(step.get("upward"), credit)
    return credit_through_units(step["immediate"], credit), backward(step["transition"], credit)


@final
class Bptt:
    """Exact: the gradient over the whole past, from every step's factors (backpropagation through time).

        c_t = credit,  c_{s-1} = c_s J_s,  g = sum_s c_s I_s                (1)

    in which a layered cell's credit c_s is first handed down through the layers. The same gradient as RTRL's, at a cost that does not depend on n to the fourth power; but every past step
    has to be stored, so it is for sequences that end. With a loss at every step, `sweep` takes all their
    credits in one pass.

    Memory: "transition", "immediate" and of a layered cell "upward" of every step, with room that doubles; "length".
    Cost: a gradient O(T (S^2 + k q n)) time, O(T (S^2 + k q n)) memory.

    Source: Werbos (1990); Williams & Zipser (1995), section 3.

    Example:
        >>> from models.cells import CELLS
        >>> rule = Bptt(CELLS["vanilla"](n_inputs=1, n_units=2))
        >>> rule.exact, rule.cost.grows
        (True, True)
    """

    def __init__(self, cell: Cell) -> None:
        """Take the sizes of the cell."""
        self._shapes, self._parts = _shapes(cell), cell.n_parts
        size = _size(self._shapes)
        self.exact = self.unbiased = True
        self.cost = Cost(time=float(size), memory=CAPACITY_FIRST * size + 1, grows=True)

    def init_memory(self) -> Fields:
        """Return the memory of a new model: no steps."""
        steps: Fields = {name: np.zeros((CAPACITY_FIRST, *shape)) for name, shape in self._shapes.items()}
        return steps | {"length": np.zeros((), dtype=np.int64)}

    def advance(self, memory: State, factors: StepFactors) -> None:
        """Store the step; the arrays are replaced by longer ones when a row is full."""
        length = memory["length"]
        if length.max() == memory["transition"].shape[1]:
            for name in self._shapes:
                memory[name] = np.concatenate((memory[name], np.zeros_like(memory[name])), axis=1)
        rows = np.arange(len(length))
        for name, value in _factors(self._shapes, factors).items():
            memory[name][rows, length] = value
        length += 1

    def gradient(self, memory: State, credit: Array) -> Array:
        """Return eq. (1) for C credits of the last step: (B, C, k, n) -> (B, C, q, n)."""
        return self._back(memory, credit, None)

    def sweep(self, memory: State, credits_: Array) -> Array:
        """Return the gradient for a credit at each of the T steps kept, (B, T, k, n) -> (B, q, n).

        All rows must have T steps.
        """
        if not (memory["length"] == credits_.shape[1]).all():
            raise ValueError("sweep: one credit a step is needed, for as many steps as were taken")
        return self._back(memory, np.zeros_like(credits_[:, :1]), credits_)[:, 0]

    def _back(self, memory: State, credit: Array, credits_: Array | None) -> Array:
        length = memory["length"]
        rows = np.arange(len(length))
        gradient = np.zeros((*credit.shape[:2], *self._shapes["immediate"][1:]))
        for back in range(int(length.max())):
            at = length - 1 - back
            if credits_ is not None:
                credit = credit + credits_[rows, at][:, None]
            there = (at >= 0)[:, None, None, None]
            owed, credit = _back({name: memory[name][rows, at] for name in self._shapes}, credit)
            gradient += np.where(there, owed, 0.0)
        return gradient

    def reset(self, memory: State, rows: BoolArray) -> None:
        """Begin a sequence in some rows, in place."""
        memory["length"][rows] = 0

    def forget_units(self, memory: State, units: BoolArray) -> None:
        """Take units that were made anew out of all stored steps, and what leads to them out of the last, in place."""
        clear_units(memory["immediate"], units)
        rows = np.flatnonzero(memory["length"] > 0)
        at = memory["length"][rows] - 1
        last = {name: memory[name][rows, at] for name in self._shapes}
        clear_step(last, units[rows], self._parts)
        for name, value in last.items():
            memory[name][rows, at] = value

    def memory_norm(self, memory: State) -> Array:
        """Return the Frobenius norm of the influence that the stored steps stand for, (B,)."""
        transition, immediate = memory["transition"], memory["immediate"]
        parts, n = immediate.shape[2], immediate.shape[4]
        every = np.broadcast_to(np.eye(parts * n), (len(immediate), parts * n, parts * n))
        influence = self.gradient(memory, every.reshape(len(transition), -1, parts, n))
        return frobenius_norm(influence)


class _Window:
    """The factors of the last steps, newest first, of fixed number; steps not yet taken are zeros."""

    def __init__(self, cell: Cell, window: int) -> None:
        if window < 1:
            raise ValueError(f"window: at least one step is needed, not {window}")
        self.shapes, self.parts = _shapes(cell), cell.n_parts
        self.window = window

    def init_memory(self) -> Fields:
        return {name: np.zeros((self.window, *shape)) for name, shape in self.shapes.items()}

    def advance(self, memory: State, factors: StepFactors) -> None:
        for name, value in _factors(self.shapes, factors).items():
            push(memory[name], value)

    def back(self, memory: State, credit: Array, credits_: Array | None = None) -> Array:
        gradient = np.zeros((*credit.shape[:2], *self.shapes["immediate"][1:]))
        for back in range(self.window):
            if credits_ is not None:
                credit = credit + credits_[:, None, back]
            owed, credit = _back({name: memory[name][:, back] for name in self.shapes}, credit)
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


@final
class BpttSliding:
    """APPROXIMATE: backpropagation through the last T steps, anew at every step (F-BPTT).

        c_t = credit,  c_{s-1} = c_s J_s,  g = sum over s = t - T + 1 .. t of c_s I_s       (1)

    Exact while no more than T steps have been taken. What lies further back than T is not learned from,
    however often it comes.

    Memory: "transition" and "immediate" of T steps. Cost: O(T (S^2 + k q n)) time and memory.

    Args:
        cell: dense or diagonal.
        window: T.

    Source: Williams & Peng (1990), BPTT(h).
    """

    def __init__(self, cell: Cell, *, window: int = WINDOW) -> None:
        """Take the sizes of the cell."""
        self._window = _Window(cell, window)
        self.exact = self.unbiased = cell.recurrence == "none"
        size = window * _size(self._window.shapes)
        self.cost = Cost(time=float(size), memory=size)

    def init_memory(self) -> Fields:
        """Return the memory of a new model: zeros."""
        return self._window.init_memory()

    def advance(self, memory: State, factors: StepFactors) -> None:
        """Keep the step and drop the oldest, in place."""
        self._window.advance(memory, factors)

    def gradient(self, memory: State, credit: Array) -> Array:
        """Return eq. (1) for C credits at once: (B, C, k, n) -> (B, C, q, n)."""
        return self._window.back(memory, credit)

    def reset(self, memory: State, rows: BoolArray) -> None:
        """Begin a sequence in some rows, in place."""
        start_anew(memory, self.init_memory(), rows)

    def forget_units(self, memory: State, units: BoolArray) -> None:
        """Take units that were made anew out of the window, and what leads to them out of the last step, in place."""
        self._window.forget_units(memory, units)

    def memory_norm(self, memory: State) -> Array:
        """Return the Frobenius norm of the influence that the kept steps stand for, (B,)."""
        return self._window.norm(memory)


@final
class BpttDisjoint:
    """APPROXIMATE: backpropagation at the end of each window of T steps, within it (E-BPTT).

        c_s = credit_s + c_{s+1} J_{s+1},  g = sum over the window of c_s I_s       (1)

    One sweep for T credits, so a step costs no more than BPTT's; but the parameters move once in T
    steps only, and a step at a window's start is reached by no past at all.

    `gradient` is that of the present credit back to the window's start; `collect` gives eq. (1) when
    the window is full, and empties it.

    Memory: "transition", "immediate" and "credit" of T steps; "filled".
    Cost: O(S^2 + k q n) time a step, O(T (S^2 + k q n)) memory.

    Args:
        cell: dense or diagonal.
        window: T.

    Source: Williams & Peng (1990), BPTT(h; h'), h = h'; Marschall, Cho & Savin (2020) for the name.
    """

    def __init__(self, cell: Cell, *, window: int = WINDOW) -> None:
        """Take the sizes of the cell."""
        self._window = _Window(cell, window)
        self._credit_shape = (window, cell.n_parts, cell.n_units)
        self.exact = self.unbiased = cell.recurrence == "none"
        size = _size(self._window.shapes)
        kept = window * (size + cell.n_parts * cell.n_units) + 1
        self.cost = Cost(time=float(size), memory=kept)

    def init_memory(self) -> Fields:
        """Return the memory of a new model: an empty window."""
        return self._window.init_memory() | {
            "credit": np.zeros(self._credit_shape),
            "filled": np.zeros((), dtype=np.int64),
        }

    def advance(self, memory: State, factors: StepFactors) -> None:
        """Keep the step, with no credit yet, in place."""
        self._window.advance(memory, factors)
        push(memory["credit"], np.zeros_like(memory["credit"][:, 0]))
        memory["filled"] += 1

    def gradient(self, memory: State, credit: Array) -> Array:
        """Return what C credits give back to the window's start: (B, C, k, n) -> (B, C, q, n)."""
        return self._window.back(memory, credit)

    def take_credit(self, memory: State, credit: Array) -> None:
        """Keep the credit of the present step, (B, k, n), in place."""
        memory["credit"][:, 0] = credit

    def collect(self, memory: State, ending: BoolArray | None = None) -> tuple[Array, BoolArray]:
        """Return eq. (1), (B, q, n), for the rows whose window is full or ending, and empty those."""
        due: BoolArray = memory["filled"] >= self._window.window
        if ending is not None:
            due = due | (ending & (memory["filled"] > 0))
        credit = np.zeros_like(memory["credit"][:, :1])
        if not due.any():
            return np.zeros((len(due), *self._window.shapes["immediate"][1:])), due
        gradient = self._window.back(memory, credit, memory["credit"])[:, 0]
        self.reset(memory, due)
        return np.where(due[:, None, None], gradient, 0.0), due

    def reset(self, memory: State, rows: BoolArray) -> None:
        """Begin a sequence in some rows, in place; what their windows hold is lost, unless it was collected."""
        start_anew(memory, self.init_memory(), rows)

    def forget_units(self, memory: State, units: BoolArray) -> None:
        """Take units that were made anew out of the window, and what leads to them out of the last step, in place.

        Credits that were taken before reach other units through them: collect those first.
        """
        self._window.forget_units(memory, units)

    def memory_norm(self, memory: State) -> Array:
        """Return the Frobenius norm of the influence that the window stands for, (B,)."""
        return self._window.norm(memory)
