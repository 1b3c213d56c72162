"""The simple recurrent network, fully connected, with tanh, sigmoid or rectified units, leaky or not."""

from __future__ import annotations

from typing import Final, Literal, final

import numpy as np

from models.cells.activations import OVERDRIVEN, SATURATED_SLOPE, sigmoid, sigmoid_slope, tanh_slope
from models.protocols import Array, BoolArray, Recurrence, StepFactors

RECURRENT_GAIN: Final = 0.9
"""Spectral radius of a new cell's state Jacobian at the activation's centre: a memory of some tens of
steps, with room below 1, where state and influence would grow without bound."""

RELU_BIAS: Final = 0.1
"""New rectified units start a little open: one that is shut passes no credit and may never open."""

LEAK: Final = 0.3
"""Share of a leaky unit that is renewed in a step: what is not renewed is half gone after two steps."""

SLOPE_MAX: Final = {"tanh": 1.0, "sigmoid": 0.25, "relu": 1.0}


@final
class Vanilla:
    """Fully connected recurrent cell (Elman).

        z_t = [h_{t-1}, x_t, 1]                                             (1)
        h_t = (1 - a) h_{t-1} + a f(theta^T z_t),  f = tanh, sigmoid or max(0, .)      (2)
        d h_t[i] / d h_{t-1}[c] = (1 - a) 1[i = c] + a f'_i theta[c, i]     (3)
        d h_t[i] / d theta[j, i] = a f'_i z_t[j]                            (4)

    One part, k = 1; q = n + m + 1 parameters per unit, in the order of z. The read-out is h itself.

    Args:
        n_inputs: m, at least 1.
        n_units: n, at least 1.
        activation: f.
        leak: a, in (0, 1]; 1 is the plain cell. The path 1 - a passes by no weight.
        connections: [c, i], whether unit c leads to unit i, (n, n); by default every unit to every one.
            A weight without a connection stays zero, and has no derivative.

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
        self,
        *,
        n_inputs: int,
        n_units: int,
        activation: Literal["tanh", "sigmoid", "relu"] = "tanh",
        leak: float = 1.0,
        connections: BoolArray | None = None,
    ) -> None:
        """Set the sizes and the activation."""
        if n_inputs < 1 or n_units < 1:
            raise ValueError(f"a cell needs at least one input and one unit, not {n_inputs} and {n_units}")
        if activation not in SLOPE_MAX:
            raise ValueError(f"activation: tanh or sigmoid or relu, not {activation!r}")
        if not 0.0 < leak <= 1.0:
            raise ValueError(f"leak: over 0 and at most 1, not {leak}")
        self.n_inputs = n_inputs
        self.n_units = n_units
        self.n_parts = 1
        self.n_params_per_unit = n_units + n_inputs + 1
        self.n_read_parts = 1
        self._activation = activation
        self._slope_max = SLOPE_MAX[activation]
        self._leak = leak
        if connections is not None:
            if connections.shape != (n_units, n_units):
                raise ValueError(f"connections: ({n_units}, {n_units}) is needed, not {connections.shape}")
            self.connections = connections
        self._mask = None if connections is None else connections.astype(np.float64)

    @property
    def is_plain_tanh(self) -> bool:
        """Whether it has tanh units without a leak, and every connection."""
        return self._activation == "tanh" and self._leak == 1.0 and self._mask is None

    def init_params(self, rng: np.random.Generator) -> Array:
        """Return new parameters, shape (q, n).

        The recurrent weights are a random orthogonal matrix times RECURRENT_GAIN over the greatest
        slope, so that all modes decay alike; what has no connection is then left out, without scaling up
        what is left, so a sparse cell begins more forgetful. The inputs' are Gaussian with variance 1/m. The
        bias is 0 for tanh; for the sigmoid, whose units rest at 1/2, it takes off what they add at rest.
        """
        n, m = self.n_units, self.n_inputs
        orthogonal, upper = np.linalg.qr(rng.normal(size=(n, n)))
        # Without the signs the factor of LAPACK is not uniform over the orthogonal matrices.
        orthogonal *= np.sign(np.diag(upper))
        params = np.zeros((self.n_params_per_unit, n))
        params[:n] = orthogonal * (RECURRENT_GAIN / self._slope_max)
        if self._mask is not None:
            params[:n] *= self._mask
        params[n : n + m] = rng.normal(scale=np.sqrt(1.0 / m), size=(m, n))
        if self._activation == "sigmoid":
            params[-1] = -0.5 * params[:n].sum(axis=0)
        elif self._activation == "relu":
            params[-1] = RELU_BIAS
        return params

    def init_state(self) -> Array:
        """Return the state of a new model: zeros, or halves for the sigmoid; shape (1, n)."""
        return np.full((1, self.n_units), 0.5 if self._activation == "sigmoid" else 0.0)

    def step(self, params: Array, state: Array, inputs: Array) -> StepFactors:
        """Advance one step by eq. (2) and return it with the derivatives (3) and (4).

        Args:
            params: (B, q, n).
            state: (B, 1, n).
            inputs: (B, m).
        """
        if self._mask is not None:
            params = params.copy()
            params[:, : self.n_units] *= self._mask
        gate_inputs = np.concatenate((state[:, 0], inputs, np.ones((inputs.shape[0], 1))), axis=1)
        summed = np.matmul(gate_inputs[:, None, :], params)[:, 0]
        active = self._activate(summed)
        slope = self._leak * self._slope(active)
        recurrent = params[:, : self.n_units].swapaxes(1, 2)
        transition = np.ascontiguousarray(slope[:, :, None] * recurrent)
        hidden = active
        if self._leak < 1.0:
            hidden = (1.0 - self._leak) * state[:, 0] + self._leak * active
            units = np.arange(self.n_units)
            transition[:, units, units] += 1.0 - self._leak
        immediate = gate_inputs[:, :, None] * slope[:, None, :]
        internal = np.full((len(inputs), 1, 1, self.n_units), 1.0 - self._leak)
        if self._mask is not None:  # then no longer of rank one
            immediate[:, : self.n_units] *= self._mask
            return StepFactors(hidden[:, None], transition, immediate[:, None], internal)
        return StepFactors(
            state=hidden[:, None],
            transition=transition,
            immediate=immediate[:, None],
            internal=internal,
            presynaptic=gate_inputs,
            sensitivity=slope[:, None, None, :],
        )

    def read_out(self, state: Array) -> tuple[Array, Array]:
        """Return the state itself, (B, 1, n), and ones, (B, 1, 1, n)."""
        return state, np.ones((state.shape[0], 1, 1, self.n_units))

    def saturated(self, state: Array) -> BoolArray:
        """Say which units have hardly any slope left, (B, n); of rectified units, those far beyond order one.

        A rectified unit that is shut may open at the next step: whether it is dead, one state cannot tell.
        """
        if self._activation == "relu":
            return state[:, 0] > OVERDRIVEN
        return self._slope(state[:, 0]) < SATURATED_SLOPE * self._slope_max

    def _activate(self, summed: Array) -> Array:
        if self._activation == "tanh":
            return np.tanh(summed)
        return sigmoid(summed) if self._activation == "sigmoid" else np.maximum(summed, 0.0)

    def _slope(self, active: Array) -> Array:
        if self._activation == "tanh":
            return tanh_slope(active)
        return sigmoid_slope(active) if self._activation == "sigmoid" else (active > 0.0).astype(np.float64)


def sparse_vanilla(*, n_inputs: int, n_units: int) -> Vanilla:
    """Return a tanh cell in which each unit hears itself and the two before it in a ring.

    So few connections that SnAp-2 leaves something out from six units on, and that all reach all in time.

    Example:
        >>> sparse_vanilla(n_inputs=1, n_units=6).connections.sum(axis=0).tolist()
        [3, 3, 3, 3, 3, 3]
    """
    unit = np.arange(n_units)
    behind = (unit[None, :] - unit[:, None]) % max(n_units, 1)
    return Vanilla(n_inputs=n_inputs, n_units=n_units, connections=behind <= 2)
