"""Optimal Kronecker sum: an unbiased estimate of the influence matrix by r Kronecker products."""

from __future__ import annotations

from typing import final

import numpy as np

from models.protocols import Array, BoolArray, Cell, Cost, Fields, State, StepFactors
from models.random import signs
from models.rules.kf_rtrl import gates_of, rank_one_of
from models.rules.products import clear_states, clear_units, start_anew


@final
class OptimalKronecker:
    """UNBIASED: the sum of r Kronecker products that estimates M with the least variance.

        M ~ sum_k A_k (x) u_k;  a step makes r + 1 terms: J A_k (x) u_k and D (x) z     (1)
        U = Q_u R_u,  A = Q_a R_a,  R_u R_a' = X diag(s) Y'                  (2)
        s_i > the rest's share: kept; the others, k of them, are mixed into k - 1     (3)
        c_i^2 = 1 - s_i (k - 1) / sum s,  Z Z' = 1 - c c',  factor sqrt(sum s / (k - 1)) diag(sign) Z     (4)

    For each row i of (4) the expected square is s_i and all products of two have mean zero, so the reduction is
    unbiased, and no other of rank r has less variance. Z are the other columns of a reflection that takes the
    last unit vector to c.

    Memory: "input_factors", (r, p); "state_factors", (r, S G n); "counter".
    Cost: O(r S^2 G n + r^2 S G n) time, O(r (S G n + p)) memory.

    Args:
        cell: dense, with gates of rank one.
        rank: r. 8 is half way between one Kronecker product and the exact rule in the source's tasks.
        seed: of the signs.

    Source: Benzing et al. (2019), theorem 1 and algorithm 2.
    """

    def __init__(self, cell: Cell, *, rank: int = 8, seed: int = 0) -> None:
        """Take the sizes of the cell."""
        if rank < 1:
            raise ValueError(f"rank: at least 1 is needed, not {rank}")
        gates, inputs = gates_of(cell, "optimal_kronecker")
        self._gates, self._inputs, self._units = gates, inputs, cell.n_units
        self._size, self._rank, self._seed = cell.n_parts * cell.n_units, rank, seed
        self.exact, self.unbiased = rank >= inputs, True  # M has p columns: p terms hold all of it
        n_factor = self._size * gates * cell.n_units
        self.cost = Cost(
            time=float(rank * self._size * n_factor + 4 * rank * rank * n_factor),
            memory=rank * (n_factor + inputs) + 1,
        )

    def init_memory(self) -> Fields:
        """Return the memory of a new model: an estimate of zero."""
        return {
            "input_factors": np.zeros((self._rank, self._inputs)),
            "state_factors": np.zeros((self._rank, self._size * self._gates * self._units)),
            "counter": np.zeros((), dtype=np.int64),
        }

    def advance(self, memory: State, factors: StepFactors) -> None:
        """Take one step of the cell into the estimate by eq. (1) to (4), in place."""
        z, slopes = rank_one_of(factors)
        batch, rank = len(z), self._rank
        kept = memory["state_factors"].reshape(batch, rank, self._size, -1)
        moved = np.matmul(factors.transition[:, None], kept).reshape(batch, rank, -1)
        inputs = np.concatenate((memory["input_factors"], z[:, None]), axis=1).swapaxes(1, 2)
        states = np.concatenate((moved, slopes.reshape(batch, 1, -1)), axis=1).swapaxes(1, 2)
        if min(inputs.shape[1], states.shape[1]) < rank + 1:  # as many terms as can differ: nothing to mix
            inputs, states = _padded(inputs, rank + 1), _padded(states, rank + 1)
        input_basis, input_triangle = np.linalg.qr(inputs)
        state_basis, state_triangle = np.linalg.qr(states)
        left, values, right = np.linalg.svd(np.matmul(input_triangle, state_triangle.swapaxes(1, 2)))
        mixing = _mixing(values, signs(memory["counter"], rank + 1, self._seed))
        new_inputs = np.matmul(input_basis, np.matmul(left, mixing))
        new_states = np.matmul(state_basis, np.matmul(right.swapaxes(1, 2), mixing))
        memory["input_factors"][...] = new_inputs.swapaxes(1, 2)[:, :, : self._inputs]
        memory["state_factors"][...] = new_states.swapaxes(1, 2)[:, :, : memory["state_factors"].shape[2]]
        memory["counter"] += 1

    def gradient(self, memory: State, credit: Array) -> Array:
        """Return the sum over terms of (credit . A_k) u_k for C credits: (B, C, k, n) -> (B, C, q, n)."""
        batch, count = credit.shape[:2]
        flat = credit.reshape(batch, count, -1)
        gradient = np.zeros((batch, count, self._gates, self._inputs, self._units))
        for term in range(self._rank):
            of_state = memory["state_factors"][:, term].reshape(batch, self._size, -1)
            along = np.matmul(flat, of_state).reshape(batch, count, self._gates, 1, self._units)
            gradient += along * memory["input_factors"][:, term, None, None, :, None]
        return gradient.reshape(batch, count, -1, self._units)

    def reset(self, memory: State, rows: BoolArray) -> None:
        """Begin a sequence in some rows, in place."""
        start_anew(memory, self.init_memory(), rows)

    def forget_units(self, memory: State, units: BoolArray) -> None:
        """Take units that were made anew out of the state factors, in place."""
        for term in range(self._rank):
            factor = memory["state_factors"][:, term].reshape(len(units), self._size, -1)
            clear_states(factor, units, self._size // self._units)
            clear_units(factor.reshape(len(units), -1, self._units), units)

    def memory_norm(self, memory: State) -> Array:
        """Return the Frobenius norm of the estimated influence, (B,)."""
        inputs, states = memory["input_factors"], memory["state_factors"]
        by_inputs = np.matmul(inputs, inputs.swapaxes(1, 2))
        by_states = np.matmul(states, states.swapaxes(1, 2))
        root: Array = np.sqrt(np.maximum((by_inputs * by_states).reshape(len(inputs), -1).sum(axis=1), 0.0))
        return root


def _padded(columns: Array, rows: int) -> Array:
    """Return columns (B, d, r + 1) with rows of zeros below, so that d is at least r + 1."""
    batch, dimension, terms = columns.shape
    if dimension >= rows:
        return columns
    return np.concatenate((columns, np.zeros((batch, rows - dimension, terms))), axis=1)


def _mixing(values: Array, sign: Array) -> Array:
    """Return X, (B, r + 1, r), with E[X X'] = diag(values), values descending, by eq. (3) and (4)."""
    batch, terms = values.shape
    rest = np.cumsum(values[:, ::-1], axis=1)[:, ::-1]  # sum of this and all that are less
    mixed_count = terms - np.arange(terms)
    may_start = values * (mixed_count - 1) <= rest * (1.0 + 1e-12)
    first = np.argmax(may_start, axis=1)
    rows = np.arange(batch)
    total, count = rest[rows, first], mixed_count[first]
    mixed = np.arange(terms) >= first[:, None]
    share = np.where(count > 1, total / np.maximum(count - 1, 1), 0.0)[:, None]
    safe = np.where(share > 0.0, share, 1.0)
    corner = np.where(mixed & (share > 0.0), np.sqrt(np.maximum(1.0 - values / safe, 0.0)), 0.0)
    length = np.sqrt((corner * corner).sum(axis=1, keepdims=True))
    corner = np.where(length > 0.0, corner / np.where(length > 0.0, length, 1.0), np.eye(terms)[-1])
    axis = corner - np.eye(terms)[-1]
    square = (axis * axis).sum(axis=1)[:, None, None]
    reflection = np.eye(terms) - 2.0 * axis[:, :, None] * axis[:, None, :] / np.where(square > 0, square, 1.0)
    scale = np.sqrt(np.where(mixed, share, values))
    mixing: Array = (scale * sign)[:, :, None] * reflection[:, :, :-1]
    return mixing
