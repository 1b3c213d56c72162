"""SnAp-k: the influence matrix kept only where a parameter reaches within few steps."""

from __future__ import annotations

from typing import Protocol, final, runtime_checkable

import numpy as np

from models.protocols import Array, BoolArray, Cell, Cost, Fields, State, StepFactors
from models.rules.products import start_anew
from models.stability import frobenius_norm


@runtime_checkable
class SparseCell(Cell, Protocol):
    """A dense cell of which some recurrent weights do not exist: connections[c, i], from unit c to unit i."""

    connections: BoolArray


@final
class Snap:
    """APPROXIMATE: the influence on units that a parameter's unit reaches within order - 1 steps (SnAp-k).

        M_t = mask (J_t M_{t-1} + I_t),  mask[s, i] = 1 where i reaches s in at most order - 1 steps    (1)

    Exact once the mask is full. A fully connected cell is full at order 2, so it takes a sparse one. Of the column of
    each unit only the entries that are not masked are kept and computed: J between the states that it reaches.

    Memory: "influence", (n, R, q), entry [i, s, j] is d (the s-th state that unit i reaches) / d theta[j, i]; R is
    the most states that a unit reaches, and who reaches fewer has zeros behind them.
    Cost: O(n R^2 q) time and O(n R q) memory, where all of it would be S in place of R.

    Args:
        cell: a sparse one.
        order: k of SnAp-k. 2 is the least that sees another unit.

    Source: Menick et al. (2021), section 3.
    """

    def __init__(self, cell: Cell, *, order: int = 2) -> None:
        """Find out how far each unit reaches.

        Raises:
            ValueError: the cell has every connection, or none; or an order under 2, which is Snap1.
        """
        if not isinstance(cell, SparseCell):
            raise ValueError("snap needs a cell of sparse recurrence: use rtrl_step, or snap_1")  # noqa: TRY004
        if order < 2:
            raise ValueError(f"order: at least 2 is needed, not {order}: use snap_1")
        parts, n, q = cell.n_parts, cell.n_units, cell.n_params_per_unit
        linked = np.eye(n, dtype=np.bool_) | cell.connections
        reach = np.linalg.matrix_power(linked.astype(np.float64), order - 1) > 0.0  # [from, to]
        most = int(reach.sum(axis=1).max())
        # Of each unit the units that it reaches, itself first; behind them itself again, masked.
        reached = np.tile(np.arange(n)[:, None], (1, most))
        there = np.zeros((n, most), dtype=np.bool_)
        for unit in range(n):
            others = np.flatnonzero(reach[unit] & (np.arange(n) != unit))
            reached[unit, 1 : 1 + len(others)] = others
            there[unit, : 1 + len(others)] = True
        self._states = np.concatenate([part * n + reached for part in range(parts)], axis=1)  # (n, R)
        self._there = np.tile(there, (1, parts))
        self._own = np.arange(parts) * most
        self._parts = parts
        size = parts * most
        self._shape = (n, size, q)
        self.exact = self.unbiased = bool(reach.all())
        self.cost = Cost(time=float(n * size * size * q), memory=n * size * q)

    def init_memory(self) -> Fields:
        """Return the memory of a new model: an influence of zeros, (n, R, q)."""
        return {"influence": np.zeros(self._shape)}

    def advance(self, memory: State, factors: StepFactors) -> None:
        """Take one step of the cell into the influence by eq. (1), in place."""
        between = factors.transition[:, self._states[:, :, None], self._states[:, None, :]]  # (B, n, R, R)
        advanced = np.matmul(between, memory["influence"])
        advanced[:, :, self._own] += factors.immediate.transpose(0, 3, 1, 2)
        memory["influence"][...] = np.where(self._there[:, :, None], advanced, 0.0)

    def gradient(self, memory: State, credit: Array) -> Array:
        """Return credit times the influence for C credits at once: (B, C, k, n) -> (B, C, q, n)."""
        batch, count = credit.shape[:2]
        owed = credit.reshape(batch, count, -1)[:, :, self._states].swapaxes(1, 2)  # (B, n, C, R)
        gradient: Array = np.matmul(owed, memory["influence"]).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(gradient)

    def reset(self, memory: State, rows: BoolArray) -> None:
        """Begin a sequence in some rows, in place."""
        start_anew(memory, self.init_memory(), rows)

    def forget_units(self, memory: State, units: BoolArray) -> None:
        """Take units that were made anew out of the influence, in place."""
        of_states = np.tile(units, (1, self._parts))[:, self._states]  # (B, n, R)
        np.copyto(memory["influence"], 0.0, where=(of_states | units[:, :, None])[..., None])

    def memory_norm(self, memory: State) -> Array:
        """Return the Frobenius norm of the influence, (B,)."""
        return frobenius_norm(memory["influence"])
