"""A nonlinear complex diagonal unit: what turns and decays goes through tanh at every step."""

from __future__ import annotations

from typing import final

import numpy as np

from models.cells.activations import SATURATED_SLOPE, tanh_slope
from models.cells.complex_units import drive_of, modes_of, ring
from models.protocols import Array, BoolArray, Recurrence, StepFactors


@final
class RtuNonlinear:
    """Nonlinear recurrent trace unit: `Rtu` with the nonlinearity inside the recurrence.

        a_t = lambda h_{t-1} + gamma (B_re + i B_im)^T x_t                  (1)
        h_t = tanh(Re a_t) + i tanh(Im a_t)                                 (2)
        read-out: Re h_t, Im h_t                                            (3)

    with lambda and gamma as in `Rtu`. Every derivative is that of a_t, its parts times the slopes
    1 - (Re h)^2 and 1 - (Im h)^2; a unit still sees only its own past, so the trace rule is exact. The tanh
    bounds the state, and shortens the memory of large states.

    Parts (Re h, Im h), k = 2; q = 2 + 2 m parameters: nu, theta, B_re, B_im.

    Args:
        n_inputs: m, at least 1.
        n_units: n, at least 1.

    Cost: O(m n) time per step; the immediate Jacobian is (2, q, n).

    Source: Elelimy et al. (2024), nonlinear RTU.

    Example:
        >>> import numpy as np
        >>> cell = RtuNonlinear(n_inputs=1, n_units=4)
        >>> params = cell.init_params(np.random.default_rng(0))
        >>> factors = cell.step(params[None], cell.init_state()[None], np.full((1, 1), 1e3))
        >>> bool(np.abs(factors.state).max() <= 1.0)
        True
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
        """Return new parameters, (q, n), drawn as for `Rtu`."""
        n, m = self.n_units, self.n_inputs
        params = np.empty((self.n_params_per_unit, n))
        params[0], params[1] = ring(rng, n)
        params[2:] = rng.normal(scale=np.sqrt(0.5 / m), size=(2 * m, n))
        return params

    def init_state(self) -> Array:
        """Return the state of a new model, zeros of shape (2, n)."""
        return np.zeros((2, self.n_units))

    def step(self, params: Array, state: Array, inputs: Array) -> StepFactors:
        """Advance one step by eq. (1) and (2) and return it with its derivatives."""
        batch, m = inputs.shape
        modes = modes_of(params[:, 0], params[:, 1])
        drive = drive_of(params[:, 2:], inputs)
        kept_re, kept_im = modes.turned(state)
        kept = np.stack((kept_re, kept_im), axis=1)
        hidden = np.tanh(kept + modes.gamma[:, None] * drive)
        slope = tanh_slope(hidden)
        scaled_inputs = modes.gamma[:, None, :] * inputs[:, :, None]
        immediate = np.zeros((batch, 2, self.n_params_per_unit, self.n_units))
        immediate[:, :, 0] = modes.gamma_slope[:, None] * drive - modes.rate_slope[:, None] * kept
        immediate[:, 0, 1] = -modes.phase_slope * kept_im
        immediate[:, 1, 1] = modes.phase_slope * kept_re
        immediate[:, 0, 2 : 2 + m] = scaled_inputs
        immediate[:, 1, 2 + m :] = scaled_inputs
        return StepFactors(
            state=hidden,
            transition=slope[:, :, None] * modes.transition(),
            immediate=slope[:, :, None] * immediate,
        )

    def read_out(self, state: Array) -> tuple[Array, Array]:
        """Return eq. (3), (B, 2, n), and its Jacobian to the state, (B, 2, 2, n)."""
        jacobian = np.zeros((state.shape[0], 2, 2, self.n_units))
        jacobian[:, 0, 0] = jacobian[:, 1, 1] = 1.0
        return state, jacobian

    def saturated(self, state: Array) -> BoolArray:
        """Say which units have a part with hardly any slope left, (B, n)."""
        slope = tanh_slope(state)
        return np.minimum(slope[:, 0], slope[:, 1]) < SATURATED_SLOPE
