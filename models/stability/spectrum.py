"""The spectral radius of the state Jacobian: above 1 for long, state and influence explode."""

from __future__ import annotations

from typing import Final

import numpy as np

from models.protocols import Array
from models.stability.norms import frobenius_norm

EXACT_STATES_MAX: Final = 16
"""Up to so many state components the dense spectral radius is taken from the eigenvalues. Beyond, those
cost as much as the step of the influence itself; the bound costs a fraction, some per cent too high."""
SQUARINGS: Final = 6
"""J^64: a bound that is too high by cond^(1/64), that is 4% for a condition number of 10."""


def spectral_radius(transition: Array) -> Array:
    """Return the spectral radius of the state Jacobian, (B,); NaN for a row that is not finite.

        rho(J) = max |eigenvalue of J|                                      (1)

    Args:
        transition: as in StepFactors. (B, k, k, n) for a diagonal cell: n blocks of k x k, and the
            largest of their radii is exact, O(k^3 n). (B, S, S) for a dense cell: exact by the QR
            algorithm, about 10 S^3 flops, for S <= EXACT_STATES_MAX, else `spectral_radius_bound`.
            A layered cell's are its layers' own, of the diagonal form: the whole step's, (1 - K)^-1 J, is
            block-triangular with those on its diagonal, so that it has the same eigenvalues.
            Power iteration is no choice: it does not settle where the largest pair is complex.

    Example:
        >>> import numpy as np
        >>> turn = np.array([[0.0, -0.5], [0.5, 0.0]])
        >>> np.round([spectral_radius(turn[None]), spectral_radius(turn[None, :, :, None])], 6).tolist()
        [[0.5], [0.5]]
    """
    finite = np.isfinite(transition).reshape(transition.shape[0], -1).all(axis=1)
    safe = np.where(finite.reshape(-1, *[1] * (transition.ndim - 1)), transition, 0.0)
    if transition.ndim == 4:
        radius = unit_radii(safe).max(axis=1)
    elif transition.shape[-1] <= EXACT_STATES_MAX:
        radius = np.abs(np.linalg.eigvals(safe)).max(axis=-1)
    else:
        radius = spectral_radius_bound(safe)
    return np.where(finite, radius, np.nan)


def spectral_radius_bound(transition: Array) -> Array:
    """Return an upper bound on the spectral radius of dense Jacobians, (B, S, S) -> (B,).

        rho(J) <= |J^N|_F^(1/N),  N = 2^SQUARINGS                           (1)

    Each squaring is scaled by its norm, so that nothing overflows or vanishes; what was taken off is
    kept as a logarithm. Tends to rho as N grows (Gelfand). Cost: 2 SQUARINGS S^3 flops in GEMM.

    Example:
        >>> import numpy as np
        >>> jacobian = np.random.default_rng(0).normal(size=(1, 64, 64)) / 8
        >>> ratio = spectral_radius_bound(jacobian) / np.abs(np.linalg.eigvals(jacobian)).max()
        >>> bool(1.0 <= ratio[0] < 1.05)
        True
    """
    norm = frobenius_norm(transition)
    power, log_norm = _normalised(transition, norm)
    for _ in range(SQUARINGS):
        squared = np.matmul(power, power)
        norm = frobenius_norm(squared)
        power, log_scale = _normalised(squared, norm)
        log_norm = 2.0 * log_norm + log_scale
    bound: Array = np.where(norm > 0.0, np.exp(log_norm / 2.0**SQUARINGS), 0.0)
    return bound


def unit_radii(blocks: Array) -> Array:
    """Return the spectral radius of each unit of a diagonal cell, (B, k, k, n) -> (B, n).

    Example:
        >>> import numpy as np
        >>> unit_radii(np.array([[[[0.5, -2.0]]]])).tolist()
        [[0.5, 2.0]]
    """
    parts = blocks.shape[1]
    if parts == 1:
        radii: Array = np.abs(blocks[:, 0, 0])
        return radii
    if parts == 2:
        half_trace = 0.5 * (blocks[:, 0, 0] + blocks[:, 1, 1])
        half_gap = 0.5 * (blocks[:, 0, 0] - blocks[:, 1, 1])
        discriminant = half_gap * half_gap + blocks[:, 0, 1] * blocks[:, 1, 0]
        real = np.abs(half_trace) + np.sqrt(np.maximum(discriminant, 0.0))
        complex_pair = np.hypot(half_trace, np.sqrt(np.maximum(-discriminant, 0.0)))
        of_pairs: Array = np.where(discriminant < 0.0, complex_pair, real)
        return of_pairs
    units_first = np.ascontiguousarray(np.moveaxis(blocks, 3, 1))
    of_blocks: Array = np.abs(np.linalg.eigvals(units_first)).max(axis=2)
    return of_blocks


def _normalised(power: Array, norm: Array) -> tuple[Array, Array]:
    """Return matrices divided by their norms and the logarithms of the norms; a zero one as it is."""
    scale = np.where(norm > 0.0, norm, 1.0)
    return power / scale[:, None, None], np.log(scale)
