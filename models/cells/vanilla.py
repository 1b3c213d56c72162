"""The simple recurrent network, fully connected, with tanh or sigmoid units."""

from __future__ import annotations

from typing import Final, Literal, final

import numpy as np

from models.cells.activations import SATURATED_SLOPE, sigmoid, sigmoid_slope, tanh_slope
from models.protocols import Array, BoolArray, Recurrence, StepFactors

RECURRENT_GAIN: Final = 0.9
"""Spectral radius of a new cell's state Jacobian at the activation's centre: a memory of some tens of
steps, with room below 1, where state and influence would grow without bound."""


@final
class Vanilla:
    """Fully connected recurrent cell (Elman).

        z_t = [h_{t-1}, x_t, 1]                                             (1)
        h_t = f(theta^T z_t),  f = tanh or the logistic sigmoid             (2)
        d h_t[i] / d h_{t-1}[c] = f'_i theta[c, i]                          (3)
        d h_t[i] / d theta[j, i] = f'_i z_t[j]                              (4)

    One part, k = 1; q = n + m + 1 parameters per unit, in the order of z. The read-out is h itself.

    Args:
        n_inputs: m, at least 1.
        n_units: n, at least 1.
        activation: f.

    Cost: O(n (n + m)) time per step; the immediate Jacobian is (1, q, n).

    Source: Elman (1990); Williams & Zipser (1989) for the factors.

    Example:
        >>> import numpy as np
        >>> cell = Vanilla(n_inputs=2, n_units=3)
        >>> params = cell.init_params(np.random.default_rng(0))
        >>> factors = cell.step(params[None], cell.init_state()[None], np.zeros((1, 2)))
        >>> factors.state.tolist(), factors.transition.shape, factors.immediate.shape
        ([[[0.0, 0.0, 0.0]]], (1, 3, 3), (1, 1, 6, 3))
        >>> print(f"{np.abs(np.linalg.eigvals(factors.transition)).max():.3f}")
        0.900
    """

    recurrence: Recurrence = "dense"

    def __init__(
        self, *, n_inputs: int, n_units: int, activation: Literal["tanh", "sigmoid"] = "tanh"
    ) -> None:
        """Set the sizes and the activation."""
        if n_inputs < 1 or n_units < 1:
            raise ValueError(f"a cell needs at least one input and one unit, not {n_inputs} and {n_units}")
        if activation not in ("tanh", "sigmoid"):
            raise ValueError(f"activation: tanh or sigmoid, not {activation!r}")
        self.n_inputs = n_inputs
        self.n_units = n_units
        self.n_parts = 1
        self.n_params_per_unit = n_units + n_inputs + 1
        self.n_read_parts = 1
        self._is_tanh = activation == "tanh"
        self._slope_max = 1.0 if self._is_tanh else 0.25

    def init_params(self, rng: np.random.Generator) -> Array:
        """Return new parameters, shape (q, n).

        The recurrent weights are a random orthogonal matrix times RECURRENT_GAIN over the greatest
        slope, so that all modes decay alike; the inputs' are Gaussian with variance 1/m. The bias is
        0 for tanh; for the sigmoid, whose units rest at 1/2, it takes off what they add at rest.
        """
        n, m = self.n_units, self.n_inputs
        orthogonal, upper = np.linalg.qr(rng.normal(size=(n, n)))
        # Without the signs the factor of LAPACK is not uniform over the orthogonal matrices.
        orthogonal *= np.sign(np.diag(upper))
        params = np.zeros((self.n_params_per_unit, n))
        params[:n] = orthogonal * (RECURRENT_GAIN / self._slope_max)
        params[n : n + m] = rng.normal(scale=np.sqrt(1.0 / m), size=(m, n))
        if not self._is_tanh:
            params[-1] = -0.5 * params[:n].sum(axis=0)
        return params

    def init_state(self) -> Array:
        """Return the state of a new model: zeros, or halves for the sigmoid; shape (1, n)."""
        return np.full((1, self.n_units), 0.0 if self._is_tanh else 0.5)

    def step(self, params: Array, state: Array, inputs: Array) -> StepFactors:
        """Advance one step by eq. (2) and return it with the derivatives (3) and (4).

        Args:
            params: (B, q, n).
            state: (B, 1, n).
            inputs: (B, m).
        """
        gate_inputs = np.concatenate((state[:, 0], inputs, np.ones((inputs.shape[0], 1))), axis=1)
        summed = np.matmul(gate_inputs[:, None, :], params)[:, 0]
        hidden = np.tanh(summed) if self._is_tanh else sigmoid(summed)
        slope = self._slope(hidden)
        recurrent = params[:, : self.n_units].swapaxes(1, 2)
        return StepFactors(
            state=hidden[:, None],
            transition=np.ascontiguousarray(slope[:, :, None] * recurrent),
            immediate=(gate_inputs[:, :, None] * slope[:, None, :])[:, None],
            presynaptic=gate_inputs,
            sensitivity=slope[:, None, None, :],
        )

    def read_out(self, state: Array) -> tuple[Array, Array]:
        """Return the state itself, (B, 1, n), and ones, (B, 1, 1, n)."""
        return state, np.ones((state.shape[0], 1, 1, self.n_units))

    def saturated(self, state: Array) -> BoolArray:
        """Say which units have hardly any slope left, (B, n)."""
        return self._slope(state[:, 0]) < SATURATED_SLOPE * self._slope_max

    def _slope(self, hidden: Array) -> Array:
        return tanh_slope(hidden) if self._is_tanh else sigmoid_slope(hidden)
