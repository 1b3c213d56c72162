"""Exact real-time recurrent learning for dense cells by blocks of steps: the step engine's trajectory, at n^3."""

from __future__ import annotations

from typing import Final, final

import numpy as np

from models.precision import Precision, known_precision
from models.protocols import Array, BoolArray, Cell, Cost, Fields, State, StepFactors
from models.rules.products import probe
from models.stability import frobenius_norm

HELD: Final = 2**16
"""Numbers of an influence that are worked on at a time in a fold: half a megabyte, in single precision a quarter."""

STEPS_MIN: Final = 24
"""Of a block that nobody set: below, the calls of a fold, some thirty however small it is, cost more than its products."""


@final
class RtrlBlock:
    """Exact RTRL that touches the influence matrix once in k steps (the block engine).

    From the influence M_0 at a block's start, and of each step s of the block the state Jacobian J_s, the gates'
    sensitivities D_s and their inputs z_s, all taken under the parameters of that step:

        c_t = credit,  c_{s-1} = c_s J_s                                    (1)
        g = sum_s (c_s D_s) z_s' + c_0 M_0                                  (2)
        M_0 <- A_0 M_0 + sum_s (A_s D_s) z_s',  A_s = J_t .. J_{s+1}        (3), when k steps are in the block

    (2) is what (credit M_t) is once M_t = J_t M_{t-1} + I_t is written out, so a parameter update at every step
    gives the step engine's gradient, to rounding: nothing is truncated. The fold (3) is three matrix products for
    k steps where the step engine has one a step. It is done by the first `advance` after the block is full, so that
    the reply to an event never waits for it.

    Memory: "influence", (S, q, n), as of the block's start; of each step of the block "transition", (k, S, S), "sensitivity", (k, parts, G, n), and "presynaptic", (k, p); "filled", how many there are.
    Cost: with G gates, a step's share of (1) to (3): O(k (S^2 + G n p) + S q n + S^3 + S^2 q n / k + S G n p), for
    k of the order of n that is n^3; memory O(S q n + k S^2).

    Args:
        cell: dense, with gates that each see some of one vector z.
        block: k. Half the units balances (2), which grows with k, and (3), which shrinks; but at least STEPS_MIN.
        precision: of the influence and the state Jacobians, which are most of the memory, and of the products with them:
            "float32" is off by some 1e-7 of them. All else is in double precision.

    Source: Schmidhuber (1992), A fixed size storage O(n^3) time complexity learning algorithm; here with a
    parameter update at every step.

    Example:
        >>> from models.cells import CELLS
        >>> rule = RtrlBlock(CELLS["vanilla"](n_inputs=1, n_units=4))
        >>> rule.exact, rule.init_memory()["influence"].shape, rule.init_memory()["transition"].shape
        (True, (4, 6, 4), (24, 4, 4))
    """

    def __init__(self, cell: Cell, *, block: int | None = None, precision: Precision = "float64") -> None:
        """Take the sizes of the cell.

        Raises:
            ValueError: the cell is not dense, or does not tell its gates; a block of no step; or no such precision.
        """
        self.precision = known_precision(precision)
        if not tells_gates(cell):
            raise ValueError(
                "rtrl_block needs a dense cell that tells its gates, such as vanilla, gru or lstm:"
                " use rtrl_step for another dense one, else rtrl_trace"
            )
        self.block = max(STEPS_MIN, cell.n_units // 2) if block is None else block
        if self.block < 1:
            raise ValueError(f"block: at least one step is needed, not {block}")
        self._parts, self._units, self._params = cell.n_parts, cell.n_units, cell.n_params_per_unit
        self._size = self._parts * self._units
        factors = probe(cell)
        assert factors.sensitivity is not None  # noqa: S101  tells_gates has said so
        assert factors.presynaptic is not None  # noqa: S101
        self._gates, self._inputs = factors.sensitivity.shape[2], factors.presynaptic.shape[1]
        self.wiring = factors.wiring
        self.exact = self.unbiased = True
        n_params, k = self._params * self._units, self.block
        by_gates = self._gates * self._units * self._inputs
        of_step = self._size**2 + self._parts * self._gates * self._units + self._inputs
        fold = k * self._size**3 + self._size**2 * n_params + k * self._size * by_gates
        self.cost = Cost(
            time=float((k + 1) / 2 * (self._size**2 + by_gates) + self._size * n_params + fold / k),
            memory=self._size * n_params + k * of_step + 1,
        )

    def init_memory(self) -> Fields:
        """Return the memory of a new model: an influence of zeros and an empty block."""
        k = self.block
        return {
            "influence": np.zeros((self._size, self._params, self._units), dtype=self.precision),
            "transition": np.zeros((k, self._size, self._size), dtype=self.precision),
            "sensitivity": np.zeros((k, self._parts, self._gates, self._units)),
            "presynaptic": np.zeros((k, self._inputs)),
            "filled": np.zeros((), dtype=np.int64),
        }

    def advance(self, memory: State, factors: StepFactors) -> None:
        """Take one step of the cell into the block, in place; before that, fold the rows whose block is full."""
        self._fold(memory, memory["filled"] == self.block)
        at = memory["filled"]
        # Of one row by numbers, which takes a third of the time that it takes by arrays.
        place = (0, int(at[0])) if len(at) == 1 else (np.arange(len(at)), at)
        memory["transition"][place] = factors.transition
        memory["sensitivity"][place] = factors.sensitivity
        memory["presynaptic"][place] = factors.presynaptic
        memory["filled"] += 1

    def settle(self, memory: State) -> None:
        """Fold all blocks, full or not, in place: "influence" is then the influence, and the blocks are empty."""
        self._fold(memory, memory["filled"] > 0)

    def gradient(self, memory: State, credit: Array) -> Array:
        """Return eq. (2) for C credits at once: (B, C, k, n) -> (B, C, q, n)."""
        batch, count = credit.shape[:2]
        if batch == count == 1:
            return self._gradient_of_one(memory, credit)
        filled = memory["filled"]
        longest, shortest = int(filled.max(initial=0)), int(filled.min(initial=self.block))
        # Of each step, from the last back, the credit after it; in the precision of the matrices that it goes through.
        credits_ = np.empty((longest + 1, batch, count, self._size), dtype=self.precision)
        credits_[-1] = credit.reshape(batch, count, -1)
        there = np.arange(longest)[:, None] < filled
        by_step = memory["transition"].swapaxes(0, 1)
        for step in range(longest - 1, -1, -1):
            np.matmul(credits_[step + 1], by_step[step], out=credits_[step])
            if step >= shortest:
                np.copyto(credits_[step], credits_[step + 1], where=~there[step][:, None, None])
        after = credits_[1:].reshape(longest, batch, count, self._parts, 1, self._units)
        sensitivity = memory["sensitivity"][:, None, :longest].transpose(2, 0, 1, 3, 4, 5)
        gated = after[:, :, :, 0] * sensitivity[:, :, :, 0]
        for part in range(1, self._parts):
            gated += after[:, :, :, part] * sensitivity[:, :, :, part]
        z = memory["presynaptic"][:, :longest]
        if shortest < longest:  # what is left in a row of a block before may be no number
            gated = np.where(there[:, :, None, None, None], gated, 0.0)
            z = np.where(there.T[:, :, None], z, 0.0)
        by_gate = np.matmul(z[:, None, None].swapaxes(3, 4), gated.transpose(1, 2, 3, 0, 4))
        by_gate = by_gate.reshape(batch, count, self._gates * self._inputs, self._units)
        influence = memory["influence"].reshape(batch, self._size, -1)
        before = np.matmul(credits_[0], influence)
        gradient: Array = self._wired(by_gate) + before.reshape(batch, count, self._params, self._units)
        return gradient

    def _gradient_of_one(self, memory: State, credit: Array) -> Array:
        """Return the same, to the bit, for one credit of one row, where numpy's calls are most of the time."""
        taken = int(memory["filled"][0])
        credits_ = np.empty((taken + 1, self._size), dtype=self.precision)
        credits_[-1] = credit.reshape(-1)
        transition = memory["transition"][0]
        for step in range(taken - 1, -1, -1):
            np.dot(credits_[step + 1], transition[step], out=credits_[step])
        after = credits_[1:].reshape(taken, self._parts, 1, self._units)
        sensitivity = memory["sensitivity"][0, :taken]
        gated = after[:, 0] * sensitivity[:, 0]
        for part in range(1, self._parts):
            gated += after[:, part] * sensitivity[:, part]
        by_gate = np.matmul(memory["presynaptic"][0, :taken].T, gated.swapaxes(0, 1))
        before = np.dot(credits_[0], memory["influence"].reshape(self._size, -1))
        gradient: Array = self._wired(by_gate.reshape(-1, self._units)) + before.reshape(
            self._params, self._units
        )
        return gradient[None, None]

    def reset(self, memory: State, rows: BoolArray) -> None:
        """Begin a sequence in some rows, in place."""
        memory["influence"][rows] = 0.0
        memory["filled"][rows] = 0

    def forget_units(self, memory: State, units: BoolArray) -> None:
        """Take what units that were made anew have to do with the past out of the influence, in place.

        The blocks of their rows are folded for it.
        """
        self._fold(memory, units.any(axis=1) & (memory["filled"] > 0))
        influence = memory["influence"].reshape(
            len(units), self._parts, self._units, self._params, self._units
        )
        influence[...] = np.where(
            (units[:, None, :, None, None] | units[:, None, None, None, :]), 0.0, influence
        )

    def memory_norm(self, memory: State) -> Array:
        """Return the Frobenius norm of the influence at the block's start, (B,): that of now would cost a fold.

        `settle` makes the two one. An explosion is seen at the next fold.
        """
        return frobenius_norm(memory["influence"])

    def _fold(self, memory: State, rows: BoolArray) -> None:
        """Fold the blocks of some rows into their influence, in place."""
        if not rows.any():
            return
        for row in np.flatnonzero(rows):
            self._fold_row(memory, int(row))
            memory["filled"][row] = 0

    def _fold_row(self, memory: State, row: int) -> None:
        """Take a row's influence to the end of its block by eq. (3), in place."""
        taken, influence = int(memory["filled"][row]), memory["influence"][row]
        if taken == 0:
            return
        transition = memory["transition"][row]
        # All products that are large are taken in the influence's own precision.
        onward = np.empty((taken, self._size, self._size), dtype=influence.dtype)  # A_s
        onward[-1] = np.eye(self._size)
        if taken > 1:
            onward[-2] = transition[taken - 1]
        for step in range(taken - 3, -1, -1):
            np.dot(onward[step + 1], transition[step + 1], out=onward[step])
        # Some columns and then some rows at a time: what is held beside the influence stays in the caches.
        whole, flat = onward[0] @ transition[0], influence.reshape(self._size, -1)
        step = max(1, HELD // self._size)
        for first in range(0, flat.shape[1], step):
            flat[:, first : first + step] = whole @ flat[:, first : first + step]
        z = np.ascontiguousarray(memory["presynaptic"][row, :taken].T, dtype=influence.dtype)
        sensitivity = memory["sensitivity"][row, :taken, None].astype(influence.dtype, copy=False)
        by_part = onward.reshape(taken, self._size, self._parts, 1, self._units)
        step = max(1, HELD // (self._gates * self._inputs * self._units))
        for first in range(0, self._size, step):
            own = by_part[:, first : first + step]
            through = own[:, :, 0] * sensitivity[:, :, 0]
            for part in range(1, self._parts):
                through += own[:, :, part] * sensitivity[:, :, part]
            immediate = np.matmul(z, through.transpose(1, 2, 0, 3))  # (states, G, p, n)
            influence[first : first + step] += self._wired(immediate.reshape(len(immediate), -1, self._units))

    def _wired(self, by_gate: Array) -> Array:
        """Return the parameters' part of what was found for each gate and each entry of z, (..., G p, n)."""
        if self.wiring is None:
            return by_gate
        wired: Array = by_gate[..., self.wiring, :]
        return wired


def tells_gates(cell: Cell) -> bool:
    """Say whether the cell is dense and gives the gates' sensitivities and inputs that a block is made of."""
    if cell.recurrence != "dense":
        return False
    factors = probe(cell)
    return factors.presynaptic is not None and factors.sensitivity is not None
