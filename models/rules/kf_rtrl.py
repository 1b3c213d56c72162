"""KF-RTRL: an unbiased estimate of the influence matrix as a Kronecker product."""

from __future__ import annotations

from typing import final

import numpy as np

from models.protocols import Array, BoolArray, Cell, Cost, Fields, State, StepFactors
from models.random import signs
from models.rules.products import clear_states, clear_units, norm, probe, spread, start_anew
from models.rules.uoro import balance


def gates_of(cell: Cell, rule_name: str) -> tuple[int, int]:
    """Return G gates and p presynaptic inputs of a cell with an immediate Jacobian of rank one a gate."""
    factors = probe(cell) if cell.recurrence == "dense" else None
    if (
        factors is None
        or factors.presynaptic is None
        or factors.sensitivity is None
        or factors.wiring is not None
    ):
        raise ValueError(
            f"{rule_name} needs a dense cell whose gates see one vector, such as vanilla or lstm: use uoro"
        )
    return factors.sensitivity.shape[2], factors.presynaptic.shape[1]


def rank_one_of(factors: StepFactors) -> tuple[Array, Array]:
    """Return z, (B, p), and D with rows for states and columns for (gate, unit), (B, S, G n)."""
    z, sensitivity = factors.presynaptic, factors.sensitivity
    if z is None or sensitivity is None:
        raise ValueError("the cell gave no rank-one form of its immediate Jacobian in this step")
    batch, parts, gates, n = sensitivity.shape
    spread_out = np.zeros((batch, parts, n, gates, n))
    units = np.arange(n)
    spread_out[:, :, units, :, units] = sensitivity.transpose(3, 0, 1, 2)
    return z, spread_out.reshape(batch, parts * n, gates * n)


@final
class KfRtrl:
    """UNBIASED: Kronecker-factored RTRL: M[s, (g, j, i)] is estimated by A[s, (g, i)] u[j].

        u_t = c1 r0 u_{t-1} + c2 r1 z_t,   A_t = c1 J_t A_{t-1} / r0 + c2 D_t / r1     (1)
        r0 = sqrt(|J A| / |u|),  r1 = sqrt(|D| / |z|)                       (2)
        g[(g, j), i] = (credit . A)[g, i] u[j]                              (3)

    with two random signs c1, c2 a step: E[u A] = M. Where z changes slowly the estimate is nearly exact, and its
    noise, unlike UORO's, does not grow with the units.

    Memory: "input_factor" u, (p,); "state_factor" A, (S, G n); "counter".
    Cost: O(S^2 G n) time, O(S G n + p) memory: n^3 and n^2 for the plain cell.

    Source: Mujika, Meier & Steger (2018), algorithm 1.
    """

    def __init__(self, cell: Cell, *, seed: int = 0) -> None:
        """Take the sizes of the cell."""
        gates, inputs = gates_of(cell, "kf_rtrl")
        size = cell.n_parts * cell.n_units
        self._shape = (size, gates * cell.n_units)
        self._gates, self._inputs, self._units = gates, inputs, cell.n_units
        self._seed = seed
        self.exact, self.unbiased = False, True
        n_factor = int(np.prod(self._shape))
        self.cost = Cost(time=float(size * n_factor), memory=n_factor + inputs + 1)

    def init_memory(self) -> Fields:
        """Return the memory of a new model: an estimate of zero."""
        return {
            "input_factor": np.zeros(self._inputs),
            "state_factor": np.zeros(self._shape),
            "counter": np.zeros((), dtype=np.int64),
        }

    def advance(self, memory: State, factors: StepFactors) -> None:
        """Take one step of the cell into the estimate by eq. (1) and (2), in place."""
        z, slopes = rank_one_of(factors)
        of_inputs, of_state = memory["input_factor"], memory["state_factor"]
        sign = signs(memory["counter"], 2, self._seed)
        moved = np.matmul(factors.transition, of_state)
        past, now = balance(moved, of_inputs), balance(slopes, z)
        of_inputs[...] = (sign[:, 0] * past)[:, None] * of_inputs + (sign[:, 1] * now)[:, None] * z
        of_state[...] = moved * spread(sign[:, 0] / past, moved) + slopes * spread(sign[:, 1] / now, slopes)
        memory["counter"] += 1

    def gradient(self, memory: State, credit: Array) -> Array:
        """Return eq. (3) for C credits at once: (B, C, k, n) -> (B, C, q, n)."""
        batch, count = credit.shape[:2]
        along = np.matmul(credit.reshape(batch, count, -1), memory["state_factor"])
        by_gate = along.reshape(batch, count, self._gates, 1, self._units)
        gradient: Array = by_gate * memory["input_factor"][:, None, None, :, None]
        return gradient.reshape(batch, count, -1, self._units)

    def reset(self, memory: State, rows: BoolArray) -> None:
        """Begin a sequence in some rows, in place."""
        start_anew(memory, self.init_memory(), rows)

    def forget_units(self, memory: State, units: BoolArray) -> None:
        """Take units that were made anew out of the state factor, in place."""
        factor = memory["state_factor"]
        clear_states(factor, units, self._shape[0] // self._units)
        clear_units(factor.reshape(len(units), -1, self._units), units)

    def memory_norm(self, memory: State) -> Array:
        """Return the Frobenius norm of the estimated influence, (B,)."""
        return norm(memory["input_factor"]) * norm(memory["state_factor"])
