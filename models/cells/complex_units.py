"""What the complex diagonal cells share: eigenvalues held inside the unit circle, and how new ones are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from models.protocols import Array

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


@dataclass(frozen=True, slots=True)
class Modes:
    """The eigenvalues of a step and what their derivatives need, (B, n) each.

    lambda = exp(-r + i w) with r = 1e-6 + exp(nu) and w = exp(theta); gamma = sqrt(1 - |lambda|^2). The
    slopes are d r / d nu, d w / d theta and d gamma / d nu, zero where a logarithm is held.
    """

    real: Array
    imaginary: Array
    gamma: Array
    rate_slope: Array
    phase_slope: Array
    gamma_slope: Array

    def turned(self, state: Array) -> tuple[Array, Array]:
        """Return lambda h by parts for a state (B, 2, n)."""
        return (
            self.real * state[:, 0] - self.imaginary * state[:, 1],
            self.imaginary * state[:, 0] + self.real * state[:, 1],
        )

    def transition(self) -> Array:
        """Return multiplication by lambda as a Jacobian, (B, 2, 2, n)."""
        batch, n = self.real.shape
        jacobian = np.empty((batch, 2, 2, n))
        jacobian[:, 0, 0] = jacobian[:, 1, 1] = self.real
        jacobian[:, 0, 1] = -self.imaginary
        jacobian[:, 1, 0] = self.imaginary
        return jacobian


def modes_of(log_rate: Array, log_phase: Array) -> Modes:
    """Return the modes for nu and theta, (B, n) each."""
    rate = np.exp(np.minimum(log_rate, LOG_MAX))
    phase = np.exp(np.minimum(log_phase, LOG_MAX))
    radius = np.exp(-(DECAY_MIN + rate))
    gamma = np.sqrt(-np.expm1(-2.0 * (DECAY_MIN + rate)))  # without cancellation near 1
    rate_slope = np.where(log_rate < LOG_MAX, rate, 0.0)
    return Modes(
        real=radius * np.cos(phase),
        imaginary=radius * np.sin(phase),
        gamma=gamma,
        rate_slope=rate_slope,
        phase_slope=np.where(log_phase < LOG_MAX, phase, 0.0),
        gamma_slope=rate_slope * radius * radius / gamma,
    )


def ring(rng: np.random.Generator, n_units: int) -> tuple[Array, Array]:
    """Return nu and theta of new units, (n,) each.

    |lambda|^2 is spread evenly over [RADIUS_MIN^2, RADIUS_MAX^2], which is uniform in the ring's
    area, and the phase over (0, pi]. Both are stratified, one draw in each of n equal strata,
    since n independent draws leave gaps when units are few.
    """
    radius_squared = RADIUS_MIN**2 + (RADIUS_MAX**2 - RADIUS_MIN**2) * _stratified(rng, n_units)
    phase = np.pi * (1.0 - _stratified(rng, n_units))
    return np.log(-0.5 * np.log(radius_squared) - DECAY_MIN), np.log(phase)


def drive_of(weights: Array, inputs: Array) -> Array:
    """Return (B_re + i B_im)^T x by parts, (B, 2, n), for weights (B, 2 m, n) and inputs (B, m)."""
    batch, m = inputs.shape
    by_part = weights.reshape(batch, 2, m, -1)
    drive: Array = np.matmul(inputs[:, None, None, :], by_part)[:, :, 0, :]
    return drive


def _stratified(rng: np.random.Generator, count: int) -> Array:
    """Return `count` draws from [0, 1), one in each of `count` equal strata, in random order."""
    return (rng.permutation(count) + rng.random(count)) / count
