"""KeRNL: the influence matrix as a learned sensitivity times a decaying trace."""

from __future__ import annotations

from typing import Final, final

import numpy as np

from models.protocols import Array, BoolArray, Cell, Cost, Fields, State, StepFactors
from models.random import signs
from models.rules.products import clear_units, forward, norm, start_anew

DECAY_FIRST: Final = 0.5
"""A new trace keeps exp(-.5) = .6 of itself a step: between the immediate derivative and a long memory."""
DECAY_MAX: Final = 10.0
LEARNING_RATE: Final = 0.05
"""Of the normalised least-mean-squares steps: an error is followed within some twenty steps."""
RESPONSE_MAX: Final = 1e3
"""A response this large is of a chaotic state: no kernel fits it, and it starts anew."""


@final
class Kernl:
    """APPROXIMATE: kernel RNN learning: M[s, (j, i)] ~ A[s, i] B[j, i].

        B_t = exp(-a_i) B_{t-1} + I_t                                       (1)
        g[j, i] = (credit . A)[i] B[j, i]                                   (2)

    A and a are regressed on how the state answers to noise xi, as its linear response tells it:

        D_t = J_t D_{t-1} + xi_t,  G_t = exp(-a) G_{t-1} + xi_t             (3)
        e = D - A G,  A += rate e G' / (1 + |G|^2)                          (4)
        a += rate (e' A) W / (1 + |A W|^2),  W_t = exp(-a) (W_{t-1} - G_{t-1})      (5)

    The source perturbs a second copy of the network; the response (3) is its limit for small noise.

    Memory: "kernel" A, (n, n); "rate" a, "noise" G, "noise_slope" W and "response" D, (n,); "trace" B, (q, n).
    Cost: O(n^2 + q n) time and memory.

    Args:
        cell: dense, of one part.
        seed: of the noise.

    Source: Roth, Kanitscheider & Fiete (2019), eq. 3-8.
    """

    def __init__(self, cell: Cell, *, seed: int = 0) -> None:
        """Take the sizes of the cell."""
        if cell.recurrence != "dense" or cell.n_parts != 1:
            raise ValueError("kernl needs a dense cell of one part, such as vanilla or gru: use snap_1")
        self._units, self._params = cell.n_units, cell.n_params_per_unit
        self._seed = seed
        self.exact = self.unbiased = False
        n, n_params = self._units, self._params * self._units
        self.cost = Cost(time=float(3 * n * n + 2 * n_params), memory=n * n + 4 * n + n_params + 1)

    def init_memory(self) -> Fields:
        """Return the memory of a new model: each unit answers for itself."""
        n = self._units
        return {
            "kernel": np.eye(n),
            "rate": np.full(n, DECAY_FIRST),
            "noise": np.zeros(n),
            "noise_slope": np.zeros(n),
            "response": np.zeros((1, n)),
            "trace": np.zeros((self._params, n)),
            "counter": np.zeros((), dtype=np.int64),
        }

    def advance(self, memory: State, factors: StepFactors) -> None:
        """Take one step of the cell by eq. (1) and (3) to (5), in place."""
        kernel, rate, noise, slope = (memory[name] for name in ("kernel", "rate", "noise", "noise_slope"))
        keep = np.exp(-rate)
        memory["trace"][...] = keep[:, None] * memory["trace"] + factors.immediate[:, 0]
        draw = signs(memory["counter"], self._units, self._seed)
        response = forward(factors.transition, memory["response"]) + draw[:, None]
        slope[...] = keep * (slope - noise)
        noise[...] = keep * noise + draw
        error = response[:, 0] - np.matmul(kernel, noise[:, :, None])[:, :, 0]
        through = np.matmul(error[:, None], kernel)[:, 0]
        along = np.matmul(kernel, slope[:, :, None])[:, :, 0]
        step = LEARNING_RATE / (1.0 + (noise * noise).sum(axis=1))
        kernel += step[:, None, None] * error[:, :, None] * noise[:, None]
        decay_step = LEARNING_RATE / (1.0 + (along * along).sum(axis=1))
        rate[...] = np.clip(rate + decay_step[:, None] * through * slope, 0.0, DECAY_MAX)
        lost = ~(np.abs(response[:, 0]).max(axis=1) < RESPONSE_MAX)
        memory["response"][...] = np.where(lost[:, None, None], 0.0, response)
        noise[lost] = 0.0
        slope[lost] = 0.0
        memory["counter"] += 1

    def gradient(self, memory: State, credit: Array) -> Array:
        """Return eq. (2) for C credits at once: (B, C, 1, n) -> (B, C, q, n)."""
        through = np.matmul(credit[:, :, 0], memory["kernel"])
        gradient: Array = through[:, :, None] * memory["trace"][:, None]
        return gradient

    def reset(self, memory: State, rows: BoolArray) -> None:
        """Begin a sequence in some rows, in place; kernel and decay stay."""
        start_anew(memory, self.init_memory(), rows, kept=("counter", "kernel", "rate"))

    def forget_units(self, memory: State, units: BoolArray) -> None:
        """Make kernel, decay and trace of units that were made anew those of a new model, in place."""
        both = units[:, :, None] | units[:, None, :]
        memory["kernel"][...] = np.where(both, np.eye(self._units), memory["kernel"])
        np.copyto(memory["rate"], DECAY_FIRST, where=units)
        for name in ("noise", "noise_slope", "response", "trace"):
            clear_units(memory[name], units)

    def memory_norm(self, memory: State) -> Array:
        """Return the Frobenius norm of the influence that kernel and trace stand for, (B,)."""
        by_unit = np.sqrt((memory["kernel"] ** 2).sum(axis=1)) * np.sqrt((memory["trace"] ** 2).sum(axis=1))
        return norm(by_unit)
