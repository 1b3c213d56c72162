"""Backpropagation through time, over the whole past and over windows of it."""

from __future__ import annotations

from typing import Final, final

import numpy as np

from models.protocols import Array, BoolArray, Cell, Cost, Fields, State, StepFactors
from models.rules.products import backward
from models.rules.rtrl_trace import credit_through_units, refuse_layered
from models.stability import frobenius_norm

WINDOW: Final = 10
"""Steps of a window: as many as the best compared online learners of the literature see."""
CAPACITY_FIRST: Final = 8
"""Steps that a new full memory has room for; it doubles when it is full."""


def _shapes(cell: Cell) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shapes of a step's transition and immediate Jacobian, without the batch."""
    k, n = cell.n_parts, cell.n_units
    transition = (k * n, k * n) if cell.recurrence == "dense" else (k, k, n)
    return transition, (k, cell.n_params_per_unit, n)


def _size(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> int:
    return int(np.prod(shapes[0])) + int(np.prod(shapes[1]))


@final
class Bptt:
    """Exact: the gradient over the whole past, from every step's factors (backpropagation through time).

        c_t = credit,  c_{s-1} = c_s J_s,  g = sum_s c_s I_s                (1)

    The same gradient as RTRL's, at a cost that does not depend on n to the fourth power; but every past step
    has to be stored, so it is for sequences that end. With a loss at every step, `sweep` takes all their
    credits in one pass.

    Memory: "transition" and "immediate" of every step, with room that doubles; "length".
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
        refuse_layered(cell, "bptt")
        self._shapes = _shapes(cell)
        size = _size(self._shapes)
        self.exact = self.unbiased = True
        self.cost = Cost(time=float(size), memory=CAPACITY_FIRST * size + 1, grows=True)

    def init_memory(self) -> Fields:
        """Return the memory of a new model: no steps."""
        transition, immediate = self._shapes
        return {
            "transition": np.zeros((CAPACITY_FIRST, *transition)),
            "immediate": np.zeros((CAPACITY_FIRST, *immediate)),
            "length": np.zeros((), dtype=np.int64),
        }

    def advance(self, memory: State, factors: StepFactors) -> None:
        """Store the step; the arrays are replaced by longer ones when a row is full."""
        length = memory["length"]
        if length.max() == memory["transition"].shape[1]:
            for name in ("transition", "immediate"):
                memory[name] = np.concatenate((memory[name], np.zeros_like(memory[name])), axis=1)
        rows = np.arange(len(length))
        memory["transition"][rows, length] = factors.transition
        memory["immediate"][rows, length] = factors.immediate
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
        gradient = np.zeros((*credit.shape[:2], *self._shapes[1][1:]))
        for back in range(int(length.max())):
            at = length - 1 - back
            if credits_ is not None:
                credit = credit + credits_[rows, at][:, None]
            there = (at >= 0)[:, None, None, None]
            gradient += np.where(there, credit_through_units(memory["immediate"][rows, at], credit), 0.0)
            credit = backward(memory["transition"][rows, at], credit)
        return gradient

    def reset(self, memory: State, rows: BoolArray) -> None:
        """Forget the past of some rows, in place."""
        memory["length"][rows] = 0

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
        self.shapes = _shapes(cell)
        self.window = window

    def init_memory(self) -> Fields:
        transition, immediate = self.shapes
        return {
            "transition": np.zeros((self.window, *transition)),
            "immediate": np.zeros((self.window, *immediate)),
        }

    def advance(self, memory: State, factors: StepFactors) -> None:
        push(memory["transition"], factors.transition)
        push(memory["immediate"], factors.immediate)

    def back(self, memory: State, credit: Array, credits_: Array | None = None) -> Array:
        gradient = np.zeros((*credit.shape[:2], *self.shapes[1][1:]))
        for back in range(self.window):
            if credits_ is not None:
                credit = credit + credits_[:, None, back]
            gradient += credit_through_units(memory["immediate"][:, back], credit)
            credit = backward(memory["transition"][:, back], credit)
        return gradient

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
        refuse_layered(cell, "bptt_sliding")
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
        refuse_layered(cell, "bptt_disjoint")
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

    def collect(self, memory: State) -> tuple[Array, BoolArray]:
        """Return eq. (1), (B, q, n), for the rows whose window is full, and empty those."""
        due: BoolArray = memory["filled"] >= self._window.window
        credit = np.zeros_like(memory["credit"][:, :1])
        if not due.any():
            return np.zeros((len(due), *self._window.shapes[1][1:])), due
        gradient = self._window.back(memory, credit, memory["credit"])[:, 0]
        for name in ("transition", "immediate", "credit", "filled"):
            memory[name][due] = 0
        return np.where(due[:, None, None], gradient, 0.0), due

    def memory_norm(self, memory: State) -> Array:
        """Return the Frobenius norm of the influence that the window stands for, (B,)."""
        return self._window.norm(memory)
