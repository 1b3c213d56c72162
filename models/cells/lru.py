"""The linear recurrent unit: a ring of complex modes whose gain is learned, read out as they are."""

from __future__ import annotations

from typing import final

import numpy as np

from models.cells.activations import OVERDRIVEN
from models.cells.complex_units import LOG_MAX, drive_of, modes_of, ring
from models.protocols import Array, BoolArray, Recurrence, StepFactors


@final
class Lru:
    """Linear recurrent unit: complex, diagonal, with a gain of its own and a linear read-out.

        lambda = exp(-r + i w),  r = 1e-6 + exp(nu),  w = exp(theta)          (1)
        h_t    = lambda h_{t-1} + exp(g) (B_re + i B_im)^T x_t               (2)
        read-out: Re h_t, Im h_t                                             (3)

    It differs from `Rtu` in two things. The gain exp(g), which starts at sqrt(1 - |lambda|^2), is a
    parameter and not a function of lambda. And the read-out is linear: what is nonlinear belongs above, into a
    feed-forward readout. Parts (Re h, Im h), k = 2; q = 3 + 2 m parameters: nu, theta, g, B_re, B_im. With
    s = lambda h_{t-1} and u the drive:

        dh/dnu = -exp(nu) s,  dh/dtheta = i w s,  dh/dg = exp(g) u,  dh/dB_re = exp(g) x      (4)

    Nothing in it saturates. A unit is called so where it is beyond OVERDRIVEN: the gain starts where states
    are of order one, and one so far from there drowns all others in a linear readout.

    Args:
        n_inputs: m, at least 1.
        n_units: n, at least 1.

    Cost: O(m n) time per step; the immediate Jacobian is (2, q, n).

    Source: Orvieto et al. (2023), eq. 1-7; Zucchet et al. (2023) for its exact online gradient.

    Example:
        >>> import numpy as np
        >>> cell = Lru(n_inputs=1, n_units=4)
        >>> params = cell.init_params(np.random.default_rng(0))
        >>> factors = cell.step(params[None], cell.init_state()[None], np.ones((1, 1)))
        >>> read, _ = cell.read_out(factors.state)
        >>> params.shape, bool(np.all(read == factors.state))
        ((5, 4), True)
    """

    recurrence: Recurrence = "diagonal"

    def __init__(self, *, n_inputs: int, n_units: int) -> None:
        """Set the sizes."""
        if n_inputs < 1 or n_units < 1:
            raise ValueError(f"a cell needs at least one input and one unit, not {n_inputs} and {n_units}")
        self.n_inputs = n_inputs
        self.n_units = n_units
        self.n_parts = 2
        self.n_params_per_unit = 3 + 2 * n_inputs
        self.n_read_parts = 2

    def init_params(self, rng: np.random.Generator) -> Array:
        """Return new parameters, (q, n): modes in a ring, the gain that keeps white inputs' variance."""
        n, m = self.n_units, self.n_inputs
        params = np.empty((self.n_params_per_unit, n))
        params[0], params[1] = ring(rng, n)
        params[2] = np.log(modes_of(params[0][None], params[1][None]).gamma[0])
        params[3:] = rng.normal(scale=np.sqrt(0.5 / m), size=(2 * m, n))
        return params

    def init_state(self) -> Array:
        """Return the state of a new model, zeros of shape (2, n)."""
        return np.zeros((2, self.n_units))

    def step(self, params: Array, state: Array, inputs: Array) -> StepFactors:
        """Advance one step by eq. (2) and return it with the derivatives (4)."""
        batch, m = inputs.shape
        modes = modes_of(params[:, 0], params[:, 1])
        gain = np.exp(np.minimum(params[:, 2], LOG_MAX))
        gain_slope = np.where(params[:, 2] < LOG_MAX, gain, 0.0)
        drive = drive_of(params[:, 3:], inputs)
        kept_re, kept_im = modes.turned(state)
        kept = np.stack((kept_re, kept_im), axis=1)
        scaled_inputs = gain[:, None, :] * inputs[:, :, None]
        immediate = np.zeros((batch, 2, self.n_params_per_unit, self.n_units))
        immediate[:, :, 0] = -modes.rate_slope[:, None] * kept
        immediate[:, 0, 1] = -modes.phase_slope * kept_im
        immediate[:, 1, 1] = modes.phase_slope * kept_re
        immediate[:, :, 2] = gain_slope[:, None] * drive
        immediate[:, 0, 3 : 3 + m] = scaled_inputs
        immediate[:, 1, 3 + m :] = scaled_inputs
        return StepFactors(
            state=kept + gain[:, None] * drive, transition=modes.transition(), immediate=immediate
        )

    def read_out(self, state: Array) -> tuple[Array, Array]:
        """Return eq. (3), (B, 2, n), and its Jacobian to the state, (B, 2, 2, n)."""
        jacobian = np.zeros((state.shape[0], 2, 2, self.n_units))
        jacobian[:, 0, 0] = jacobian[:, 1, 1] = 1.0
        return state, jacobian

    def saturated(self, state: Array) -> BoolArray:
        """Say which units are far beyond the order of one, (B, n)."""
        return np.maximum(np.abs(state[:, 0]), np.abs(state[:, 1])) > OVERDRIVEN
