"""Long short-term memory: a cell that adds to what it holds, behind gates."""

from __future__ import annotations

from typing import Final, final

import numpy as np

from models.cells.activations import SATURATED_SLOPE, sigmoid, sigmoid_slope, tanh_slope
from models.protocols import Array, BoolArray, Recurrence, StepFactors

FORGET_BIAS: Final = 1.0
"""A new forget gate is open (.73), so that credit passes some steps back from the start (Jozefowicz et al. 2015)."""
GATES: Final = 4


@final
class Lstm:
    """Fully connected LSTM with forget gates, without peepholes.

        z_t = [h_{t-1}, x_t, 1]                                             (1)
        i, f, o = sigmoid(W_i' z), sigmoid(W_f' z), sigmoid(W_o' z),  g = tanh(W_g' z)     (2)
        c_t = f c_{t-1} + i g,  h_t = o tanh(c_t)                           (3)

    Along c the gradient is multiplied by f alone and not by a weight matrix: held open, it neither
    vanishes nor explodes. Parts (c, h), k = 2. Gates i, f, o, g in this order, each over all of z: q = 4 p with
    p = n + m + 1. Derivatives, with d the slope of a gate and tau = 1 - tanh(c_t)^2:

        dc = f dc_- + c_- d_f W_f' dz + g d_i W_i' dz + i d_g W_g' dz       (4)
        dh = o tau dc + tanh(c_t) d_o W_o' dz                               (5)

    `sensitivity` is what stands in (4) and (5) before W' dz, `presynaptic` is z, and `internal` the path
    of c_- alone: f to c, o tau f to h. The read-out is h.

    A unit is saturated where tanh(c) has hardly any slope, |c| > 2.65: it holds so much that neither what
    is added nor what is forgotten shows. Gates at an end do not count: to be open or shut is their work.

    Args:
        n_inputs: m, at least 1.
        n_units: n, at least 1.

    Cost: O(4 n p) time per step; the immediate Jacobian is (2, q, n).

    Source: Hochreiter & Schmidhuber (1997); Gers, Schmidhuber & Cummins (2000) for the forget gate.

    Example:
        >>> import numpy as np
        >>> cell = Lstm(n_inputs=2, n_units=3)
        >>> params = cell.init_params(np.random.default_rng(0))
        >>> factors = cell.step(params[None], cell.init_state()[None], np.ones((1, 2)))
        >>> factors.state.shape, factors.transition.shape, factors.immediate.shape
        ((1, 2, 3), (1, 6, 6), (1, 2, 24, 3))
    """

    recurrence: Recurrence = "dense"

    def __init__(self, *, n_inputs: int, n_units: int) -> None:
        """Set the sizes."""
        if n_inputs < 1 or n_units < 1:
            raise ValueError(f"a cell needs at least one input and one unit, not {n_inputs} and {n_units}")
        self.n_inputs = n_inputs
        self.n_units = n_units
        self.n_parts = 2
        self.n_params_per_unit = GATES * (n_units + n_inputs + 1)
        self.n_read_parts = 1

    def init_params(self, rng: np.random.Generator) -> Array:
        """Return new parameters, (q, n): Gaussian; the forget bias FORGET_BIAS.

        The recurrent weights' variance, 1/(4n), keeps the spectral radius of a new cell under 1.
        """
        n, m = self.n_units, self.n_inputs
        params = np.zeros((GATES, n + m + 1, n))
        params[:, :n] = rng.normal(scale=np.sqrt(0.25 / n), size=(GATES, n, n))
        params[:, n : n + m] = rng.normal(scale=np.sqrt(0.5 / m), size=(GATES, m, n))
        params[1, -1] = FORGET_BIAS
        return params.reshape(self.n_params_per_unit, n)

    def init_state(self) -> Array:
        """Return the state of a new model, zeros of shape (2, n)."""
        return np.zeros((2, self.n_units))

    def step(self, params: Array, state: Array, inputs: Array) -> StepFactors:
        """Advance one step by eq. (1) to (3) and return it with the derivatives (4) and (5)."""
        batch, n = len(inputs), self.n_units
        z = np.concatenate((state[:, 1], inputs, np.ones((batch, 1))), axis=1)
        weights = params.reshape(batch, GATES, -1, n)
        summed = np.matmul(z[:, None, None, :], weights)[:, :, 0]
        gates = sigmoid(summed[:, :3])
        entry, forget, output = gates[:, 0], gates[:, 1], gates[:, 2]
        candidate = np.tanh(summed[:, 3])
        before = state[:, 0]
        cell = forget * before + entry * candidate
        squashed = np.tanh(cell)
        passed = output * tanh_slope(squashed)  # dh/dc of the same step

        slopes = sigmoid_slope(gates)
        sensitivity = np.zeros((batch, 2, GATES, n))
        sensitivity[:, 0, 0] = candidate * slopes[:, 0]
        sensitivity[:, 0, 1] = before * slopes[:, 1]
        sensitivity[:, 0, 3] = entry * tanh_slope(candidate)
        sensitivity[:, 1] = passed[:, None] * sensitivity[:, 0]
        sensitivity[:, 1, 2] = squashed * slopes[:, 2]

        internal = np.zeros((batch, 2, 2, n))
        internal[:, 0, 0] = forget
        internal[:, 1, 0] = passed * forget
        by_weights = np.zeros((batch, 2, n, n))  # d state[a, i] / d h[u]
        for gate in range(GATES):
            recurrent = weights[:, gate, :n].swapaxes(1, 2)
            by_weights += sensitivity[:, :, gate, :, None] * recurrent[:, None]
        transition = np.zeros((batch, 2, n, 2, n))
        transition[:, :, :, 1] = by_weights
        units = np.arange(n)
        transition[:, :, units, 0, units] = internal[:, :, 0]
        immediate = sensitivity[:, :, :, None, :] * z[:, None, None, :, None]
        return StepFactors(
            state=np.stack((cell, output * squashed), axis=1),
            transition=transition.reshape(batch, 2 * n, 2 * n),
            immediate=immediate.reshape(batch, 2, self.n_params_per_unit, n),
            internal=internal,
            presynaptic=z,
            sensitivity=sensitivity,
        )

    def read_out(self, state: Array) -> tuple[Array, Array]:
        """Return h, (B, 1, n), and its Jacobian to (c, h), (B, 1, 2, n)."""
        jacobian = np.zeros((state.shape[0], 1, 2, self.n_units))
        jacobian[:, 0, 1] = 1.0
        return state[:, 1:], jacobian

    def saturated(self, state: Array) -> BoolArray:
        """Say which units hold so much that tanh(c) has hardly any slope left, (B, n)."""
        return tanh_slope(np.tanh(state[:, 0])) < SATURATED_SLOPE
