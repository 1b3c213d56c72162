"""A linear complex diagonal unit: a ring of damped oscillators, read out through tanh."""

from __future__ import annotations

from typing import Final, final

import numpy as np

from models.cells.activations import SATURATED_SLOPE, tanh_slope
from models.protocols import Array, BoolArray, Recurrence, StepFactors

RADIUS_MIN: Final = 0.5
"""Smallest |lambda| of a new cell: a memory of a few steps. Shorter ones the lagged inputs give."""
RADIUS_MAX: Final = 0.99
"""Largest |lambda| of a new cell: a memory of about 100 steps. Longer ones must be learned."""
DECAY_MIN: Final = 1e-6
"""Smallest decay rate. |lambda| <= exp(-1e-6) < 1 for every value of the parameters, so no state can
grow without bound, and gamma >= 1.4e-3, so that its derivative never divides by zero."""
LOG_MAX: Final = 6.0
"""The logarithms are held below this. exp(-exp(6)) is about 1e-175, where a unit has forgotten its
past whatever the rate is, and no finite parameter makes the exponential overflow."""


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

        |lambda|^2 is spread evenly over [RADIUS_MIN^2, RADIUS_MAX^2], which is uniform in the ring's
        area, and the phase over (0, pi]. Both are stratified, one draw in each of n equal strata,
        since n independent draws leave gaps when units are few.
        """
        n, m = self.n_units, self.n_inputs
        radius_squared = RADIUS_MIN**2 + (RADIUS_MAX**2 - RADIUS_MIN**2) * _stratified(rng, n)
        phase = np.pi * (1.0 - _stratified(rng, n))
        params = np.empty((self.n_params_per_unit, n))
        params[0] = np.log(-0.5 * np.log(radius_squared) - DECAY_MIN)
        params[1] = np.log(phase)
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
        log_rate, log_phase = params[:, 0], params[:, 1]
        rate = np.exp(np.minimum(log_rate, LOG_MAX))
        phase = np.exp(np.minimum(log_phase, LOG_MAX))
        radius = np.exp(-(DECAY_MIN + rate))
        gamma = np.sqrt(-np.expm1(-2.0 * (DECAY_MIN + rate)))  # Eq. (2), without cancellation near 1.
        lambda_re, lambda_im = radius * np.cos(phase), radius * np.sin(phase)

        weights = params[:, 2:].reshape(batch, 2, m, self.n_units)
        drive = np.matmul(inputs[:, None, None, :], weights)[:, :, 0, :]  # u of eq. (3), (B, 2, n).
        kept_re = lambda_re * state[:, 0] - lambda_im * state[:, 1]
        kept_im = lambda_im * state[:, 0] + lambda_re * state[:, 1]
        kept = np.stack((kept_re, kept_im), axis=1)

        transition = np.empty((batch, 2, 2, self.n_units))
        transition[:, 0, 0] = transition[:, 1, 1] = lambda_re
        transition[:, 0, 1] = -lambda_im
        transition[:, 1, 0] = lambda_im

        rate_slope = np.where(log_rate < LOG_MAX, rate, 0.0)
        phase_slope = np.where(log_phase < LOG_MAX, phase, 0.0)
        gamma_slope = rate_slope * radius * radius / gamma
        scaled_inputs = gamma[:, None, :] * inputs[:, :, None]
        immediate = np.zeros((batch, 2, self.n_params_per_unit, self.n_units))
        immediate[:, :, 0] = gamma_slope[:, None] * drive - rate_slope[:, None] * kept
        immediate[:, 0, 1] = -phase_slope * kept_im
        immediate[:, 1, 1] = phase_slope * kept_re
        immediate[:, 0, 2 : 2 + m] = scaled_inputs
        immediate[:, 1, 2 + m :] = scaled_inputs
        return StepFactors(state=kept + gamma[:, None] * drive, transition=transition, immediate=immediate)

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


def _stratified(rng: np.random.Generator, count: int) -> Array:
    """Return `count` draws from [0, 1), one in each of `count` equal strata, in random order."""
    return (rng.permutation(count) + rng.random(count)) / count
