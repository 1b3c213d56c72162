"""Sketched RTRL: every unit's own trace exactly, and all that passes between units by a sketch of low rank."""

from __future__ import annotations

from typing import final

import numpy as np

from models.protocols import Array, BoolArray, Cell, Cost, Fields, State, StepFactors
from models.random import signs
from models.rules.products import advance_traces, clear_states, clear_units, own_blocks, start_anew
from models.rules.rtrl_trace import credit_through_units
from models.stability import frobenius_norm


@final
class SketchedRtrl:
    """APPROXIMATE: M ~ own(E) + L R, with E the SnAp-1 traces and L R a sketch of rank r of the rest.

        E_t = own(J_t) E_{t-1} + I_t                                        (1)
        N   = (J_t - own(J_t)) own(E_{t-1}) + J_t L R                       (2)
        L_t = orthonormal basis of N W,   R_t = L_t' N                      (3)

    with W fixed random signs. No random draw enters from step to step, so there is no variance, but a
    bias: what of N lies outside the r directions is lost. At r = S nothing is, and it is exact RTRL.

    Memory: "trace" E, (k, q, n); "basis" L, (S, r); "rest" R, (r, q, n).
    Cost: O(S (k + 2 r) q n) time and O((k + r) q n) memory: n^3 r instead of n^4.

    Args:
        cell: dense.
        rank: r; 4 is an eighth of 32 units.
        seed: of W.

    Source: the idea is SnAp-1 with a remainder kept by sketching; (3) is the randomised range finder of
    Halko, Martinsson & Tropp (2011), algorithm 4.1.
    """

    def __init__(self, cell: Cell, *, rank: int = 4, seed: int = 0) -> None:
        """Take the sizes of the cell.

        Raises:
            ValueError: the cell is not dense, so nothing passes between units; or a rank that cannot be.
        """
        if cell.recurrence != "dense":
            raise ValueError("sketched_rtrl needs a dense cell: use rtrl_trace")
        size = cell.n_parts * cell.n_units
        if rank < 1:
            raise ValueError(f"rank: at least 1 is needed, not {rank}")
        self._rank = min(rank, size)
        self._shape = (cell.n_parts, cell.n_params_per_unit, cell.n_units)
        n_params = cell.n_params_per_unit * cell.n_units
        self._signs = signs(np.array([0]), n_params * self._rank, seed).reshape(n_params, self._rank)
        self.exact = self.unbiased = self._rank == size
        self.cost = Cost(
            time=float(size * n_params * (cell.n_parts + 3 * self._rank)),
            memory=(cell.n_parts + self._rank) * n_params + size * self._rank,
        )

    def init_memory(self) -> Fields:
        """Return the memory of a new model: zeros."""
        parts, params, n = self._shape
        return {
            "trace": np.zeros(self._shape),
            "basis": np.zeros((parts * n, self._rank)),
            "rest": np.zeros((self._rank, params, n)),
        }

    def advance(self, memory: State, factors: StepFactors) -> None:
        """Take one step of the cell by eq. (1) to (3), in place."""
        parts, params, n = self._shape
        batch = len(factors.state)
        trace, rest = memory["trace"], memory["rest"].reshape(batch, self._rank, -1)
        between = factors.transition.reshape(batch, parts, n, parts, n).copy()
        units = np.arange(n)
        between[:, :, units, :, units] = 0.0
        remainder = np.matmul(np.matmul(factors.transition, memory["basis"]), rest)
        passed = remainder.reshape(batch, parts, n, params, n)
        for part in range(parts):
            passed += between[:, :, :, part, None] * trace[:, None, None, part]
        basis, _ = np.linalg.qr(np.matmul(remainder, self._signs))
        memory["basis"][...] = basis
        memory["rest"][...] = np.matmul(basis.swapaxes(1, 2), remainder).reshape(memory["rest"].shape)
        trace[...] = advance_traces(trace, own_blocks(factors.transition, parts), factors.immediate)

    def gradient(self, memory: State, credit: Array) -> Array:
        """Return credit (own(E) + L R) for C credits at once: (B, C, k, n) -> (B, C, q, n)."""
        batch, count = credit.shape[:2]
        along = np.matmul(credit.reshape(batch, count, -1), memory["basis"])
        between = np.matmul(along, memory["rest"].reshape(batch, self._rank, -1))
        own = credit_through_units(memory["trace"], credit)
        gradient: Array = own + between.reshape(own.shape)
        return gradient

    def reset(self, memory: State, rows: BoolArray) -> None:
        """Begin a sequence in some rows, in place."""
        start_anew(memory, self.init_memory(), rows)

    def forget_units(self, memory: State, units: BoolArray) -> None:
        """Take units that were made anew out of trace and sketch, in place."""
        clear_units(memory["trace"], units)
        clear_states(memory["basis"], units, self._shape[0])
        clear_units(memory["rest"], units)

    def memory_norm(self, memory: State) -> Array:
        """Return the Frobenius norm of the influence kept, (B,), the two parts taken as orthogonal."""
        return np.hypot(frobenius_norm(memory["trace"]), frobenius_norm(memory["rest"]))
