"""The minimal GRU: gates that see the input alone, so the state is a running mean with learned weights."""

from __future__ import annotations

from typing import Final, final

import numpy as np

from models.cells.activations import SATURATED_SLOPE, sigmoid, sigmoid_slope, tanh_slope
from models.protocols import Array, BoolArray, Recurrence, StepFactors

GATE_BIAS: Final = -1.0
"""A new gate lets .27 of the candidate in: a memory of some steps. Longer ones are learned."""


@final
class MinGru:
    """Minimal GRU: real, diagonal, and linear in its past.

        z = sigmoid(Z' x + b_z),  v = V' x + b_v                            (1)
        h = (1 - z) h_- + z v                                               (2)
        read-out: tanh(h)                                                   (3)
        dh/dh_- = 1 - z,  dh/dZ = (v - h_-) z (1 - z) x,  dh/dV = z x       (4)

    Neither gate nor candidate sees h_-, so what is kept cannot depend on what was kept: counting or parity
    is beyond it. The candidate is not squashed, so h has no bound; therefore the read-out is: one outlier
    would otherwise move an online readout as far as it likes, and a linear readout could tell no more
    than sums of past inputs while the gate does not move.

    One part, k = 1; q = 2 (m + 1): Z, b_z, V, b_v.

    A unit is saturated where the read-out has hardly any slope, |h| > 2.65. One that holds (z near 0) is not:
    its past passes as a whole.

    Args:
        n_inputs: m, at least 1.
        n_units: n, at least 1.

    Cost: O(m n) time per step; the immediate Jacobian is (1, q, n).

    Source: Feng et al. (2024), "Were RNNs all we needed?".

    Example:
        >>> import numpy as np
        >>> cell = MinGru(n_inputs=2, n_units=3)
        >>> params = cell.init_params(np.random.default_rng(0))
        >>> cell.step(params[None], cell.init_state()[None], np.ones((1, 2))).immediate.shape
        (1, 1, 6, 3)
    """

    recurrence: Recurrence = "diagonal"

    def __init__(self, *, n_inputs: int, n_units: int) -> None:
        """Set the sizes."""
        if n_inputs < 1 or n_units < 1:
            raise ValueError(f"a cell needs at least one input and one unit, not {n_inputs} and {n_units}")
        self.n_inputs = n_inputs
        self.n_units = n_units
        self.n_parts = 1
        self.n_params_per_unit = 2 * (n_inputs + 1)
        self.n_read_parts = 1

    def init_params(self, rng: np.random.Generator) -> Array:
        """Return new parameters, (q, n): Gaussian with variance 1/m, the gate's bias GATE_BIAS."""
        n, m = self.n_units, self.n_inputs
        params = np.zeros((2, m + 1, n))
        params[:, :m] = rng.normal(scale=np.sqrt(1.0 / m), size=(2, m, n))
        params[0, -1] = GATE_BIAS
        return params.reshape(-1, n)

    def init_state(self) -> Array:
        """Return the state of a new model, zeros of shape (1, n)."""
        return np.zeros((1, self.n_units))

    def step(self, params: Array, state: Array, inputs: Array) -> StepFactors:
        """Advance one step by eq. (1) and (2) and return it with the derivatives (4)."""
        batch, m = inputs.shape
        before = state[:, 0]
        seen = np.concatenate((inputs, np.ones((batch, 1))), axis=1)
        weights = params.reshape(batch, 2, m + 1, self.n_units)
        summed = np.matmul(seen[:, None, None, :], weights)[:, :, 0]
        gate, candidate = sigmoid(summed[:, 0]), summed[:, 1]
        slopes = np.stack(((candidate - before) * sigmoid_slope(gate), gate), axis=1)
        immediate = slopes[:, :, None] * seen[:, None, :, None]
        return StepFactors(
            state=((1.0 - gate) * before + gate * candidate)[:, None],
            transition=(1.0 - gate)[:, None, None],
            immediate=immediate.reshape(batch, 1, self.n_params_per_unit, self.n_units),
        )

    def read_out(self, state: Array) -> tuple[Array, Array]:
        """Return eq. (3), (B, 1, n), and its Jacobian to the state, (B, 1, 1, n)."""
        features = np.tanh(state)
        return features, tanh_slope(features)[:, :, None]

    def saturated(self, state: Array) -> BoolArray:
        """Say which units are read through hardly any slope, (B, n)."""
        return tanh_slope(np.tanh(state[:, 0])) < SATURATED_SLOPE
