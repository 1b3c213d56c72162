"""A linear complex diagonal unit: a ring of damped oscillators, read out through tanh."""

from __future__ import annotations

from typing import final

import numpy as np

from models.cells.activations import SATURATED_SLOPE, tanh_slope
from models.cells.complex_units import drive_of, modes_of, ring
from models.protocols import Array, BoolArray, Recurrence, StepFactors


@final
class Rtu:
    """Linear recurrent trace unit: each unit is one complex number that turns and decays.

        lambda = exp(-r + i w),  r = 1e-6 + exp(nu),  w = exp(theta)          (1)
        gamma  = sqrt(1 - |lambda|^2)                                        (2)
        u_t    = (B_re + i B_im)^T x_t                                       (3)
        h_t    = lambda h_{t-1} + gamma u_t                                  (4)
        read-out: tanh(Re h_t), tanh(Im h_t)                                 (5)

    gamma keeps the variance of h at that of u for white inputs, whatever lambda is. Rate and phase
    are learned as logarithms, so that one step size suits slow modes and fast ones. There is no bias:
    from a state of zero, inputs of zero leave a state of zero.

    The state's parts are (Re h, Im h), k = 2. Parameters per unit, q = 2 + 2 m, in this order:
    nu, theta, B_re (m), B_im (m). One step's immediate Jacobian, with s = lambda h_{t-1}:

        dh/dnu    = -exp(nu) s + (exp(nu) |lambda|^2 / gamma) u              (6)
        dh/dtheta = i w s                                                    (7)
        dh/dB_re  = gamma x,  dh/dB_im = i gamma x                           (8)

    Args:
        n_inputs: m, at least 1.
        n_units: n, at least 1.

    Cost: O(m n) time per step; the immediate Jacobian is (2, q, n).

    Source: Orvieto et al. (2023), eq. 1-4 of the LRU; Zucchet et al. (2023) and Elelimy et al. (2024)
    for its exact online gradient.

    Example:
        >>> import numpy as np
        >>> cell = Rtu(n_inputs=3, n_units=4)
        >>> params = cell.init_params(np.random.default_rng(0))
        >>> params.shape, cell.init_state().shape
        ((8, 4), (2, 4))
        >>> factors = cell.step(params[None], cell.init_state()[None], np.ones((1, 3)))
        >>> factors.state.shape, factors.transition.shape, factors.immediate.shape
        ((1, 2, 4), (1, 2, 2, 4), (1, 2, 8, 4))
        >>> features, slope = cell.read_out(factors.state)
        >>> bool(np.all(np.abs(features) < 1)), slope.shape
        (True, (1, 2, 2, 4))
    """

    recurrence: Recurrence = "diagonal"

    def __init__(self, *, n_inputs: int, n_units: int) -> None:
        """Set the sizes."""
        if n_inputs < 1 or n_units < 1:
            raise ValueError(f"a cell needs at least one input and one unit, not {n_inputs} and {n_units}")
        self.n_inputs = n_inputs
        self.n_units = n_units
        self.n_parts = 2
        self.n_params_per_unit = 2 + 2 * n_inputs
        self.n_read_parts = 2

    def init_params(self, rng: np.random.Generator) -> Array:
        """Return new parameters, shape (q, n).

        Eigenvalues in a ring, see `complex_units.ring`; input weights Gaussian with variance 1/(2m) a part.
        """
        n, m = self.n_units, self.n_inputs
        params = np.empty((self.n_params_per_unit, n))
        params[0], params[1] = ring(rng, n)
        params[2:] = rng.normal(scale=np.sqrt(0.5 / m), size=(2 * m, n))
        return params

    def init_state(self) -> Array:
        """Return the state of a new model, zeros of shape (2, n)."""
        return np.zeros((2, self.n_units))

    def step(self, params: Array, state: Array, inputs: Array) -> StepFactors:
        """Advance one step by eq. (1) to (4) and return it with the derivatives (6) to (8).

        Args:
            params: (B, q, n).
            state: (B, 2, n).
            inputs: (B, m).
        """
        batch, m = inputs.shape
        modes = modes_of(params[:, 0], params[:, 1])
        drive = drive_of(params[:, 2:], inputs)  # u of eq. (3), (B, 2, n).
        kept_re, kept_im = modes.turned(state)
        kept = np.stack((kept_re, kept_im), axis=1)
        scaled_inputs = modes.gamma[:, None, :] * inputs[:, :, None]
        immediate = np.zeros((batch, 2, self.n_params_per_unit, self.n_units))
        immediate[:, :, 0] = modes.gamma_slope[:, None] * drive - modes.rate_slope[:, None] * kept
        immediate[:, 0, 1] = -modes.phase_slope * kept_im
        immediate[:, 1, 1] = modes.phase_slope * kept_re
        immediate[:, 0, 2 : 2 + m] = scaled_inputs
        immediate[:, 1, 2 + m :] = scaled_inputs
        return StepFactors(
            state=kept + modes.gamma[:, None] * drive, transition=modes.transition(), immediate=immediate
        )

    def input_jacobian(self, params: Array, state: Array, inputs: Array) -> Array:
        """Return dh/dx of the step, gamma (B_re, B_im), (B, 2, m, n); it depends on no state or input."""
        gamma = modes_of(params[:, 0], params[:, 1]).gamma
        return gamma[:, None, None] * params[:, 2:].reshape(len(params), 2, self.n_inputs, self.n_units)

    def read_out(self, state: Array) -> tuple[Array, Array]:
        """Return eq. (5), (B, 2, n), and its Jacobian to the state, (B, 2, 2, n)."""
        features = np.tanh(state)
        slope = tanh_slope(features)
        jacobian = np.zeros((state.shape[0], 2, 2, self.n_units))
        jacobian[:, 0, 0] = slope[:, 0]
        jacobian[:, 1, 1] = slope[:, 1]
        return features, jacobian

    def saturated(self, state: Array) -> BoolArray:
        """Say which units have a read-out part that passes hardly any credit, (B, n)."""
        slope = tanh_slope(np.tanh(state))
        return np.minimum(slope[:, 0], slope[:, 1]) < SATURATED_SLOPE
