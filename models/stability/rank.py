"""How many directions there are in what the readout sees, and how uneven they are."""

from __future__ import annotations

from typing import Final

import numpy as np

from models.protocols import Array

LOG_CONDITION_MAX: Final = 16.0
"""Decimal digits of float64: beyond, a matrix has no inverse that means anything."""


def log_condition(covariance: Array) -> Array:
    """Return log10 of the condition of symmetric matrices, (B, F, F) -> (B,); LOG_CONDITION_MAX where there is none.

        log10(lambda_max / lambda_min)                                          (1)

    Of the P of recursive least squares: 0 is round, and from about 8 on half of float64's digits are lost. Cost O(F^3).

    Example:
        >>> import numpy as np
        >>> log_condition(np.array([np.diag([100.0, 1.0]), np.diag([1.0, 0.0])])).tolist()
        [2.0, 16.0]
    """
    finite = np.all(np.isfinite(covariance), axis=(1, 2))
    values = np.linalg.eigvalsh(np.where(finite[:, None, None], covariance, 0.0))
    least, largest = values[:, 0], values[:, -1]
    sound = (least > 0.0) & (largest < np.inf)
    ratio = np.where(sound, largest, 1.0) / np.where(sound, least, 1.0)
    return np.where(sound, np.minimum(np.log10(ratio), LOG_CONDITION_MAX), LOG_CONDITION_MAX)


def effective_rank(correlation: Array) -> Array:
    """Return how many directions symmetric, positive matrices have in effect, (B, F, F) -> (B,); 0 where nothing is.

        exp(-sum_i p_i log p_i),  p_i = lambda_i / sum_j lambda_j               (1)

    F where all directions are as strong, 1 where all inputs say the same. Source: Roy & Vetterli (2007), of eigenvalues
    of the correlation. Cost O(F^3).

    Example:
        >>> import numpy as np
        >>> effective_rank(np.array([np.eye(3), np.ones((3, 3)), np.zeros((3, 3))])).round(6).tolist()
        [3.0, 1.0, 0.0]
    """
    finite = np.all(np.isfinite(correlation), axis=(1, 2))
    values = np.linalg.eigvalsh(np.where(finite[:, None, None], correlation, 0.0))
    values = np.maximum(values, 0.0)
    total = values.sum(axis=1)
    share = values / np.where(total > 0.0, total, 1.0)[:, None]
    entropy = -(share * np.log(np.where(share > 0.0, share, 1.0))).sum(axis=1)
    return np.where(total > 0.0, np.exp(entropy), 0.0)


def units_correlation(covariance: Array, n_units: int, condition: Array) -> Array:
    """Return the correlation of the first inputs of a least-squares readout, (B, F, F) -> (B, n, n), of its P and P's `log_condition`.

        C = D (P^-1)_nn D,  D_ii = (P^-1)_ii^(-1/2)                             (1)
        (P^-1)_nn = (P_nn - P_nr P_rr^-1 P_rn)^-1                               (2)

    P^-1 is the sum of phi phi' with forgetting (and of the prior), so that nothing has to be kept for it; r are the other inputs, which
    eq. (2), a Schur complement, leaves out at half the cost of the whole inverse. Zeros where P has no inverse.

    Example:
        >>> import numpy as np
        >>> covariance = np.diag([4.0, 1.0, 1.0])[None]
        >>> units_correlation(covariance, 2, log_condition(covariance))[0].tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    found = np.zeros((len(covariance), n_units, n_units))
    sound = condition < LOG_CONDITION_MAX
    if sound.any():
        whole, n = covariance[sound], n_units
        others = np.linalg.solve(whole[:, n:, n:], whole[:, n:, :n])
        inverse = np.linalg.inv(whole[:, :n, :n] - whole[:, :n, n:] @ others)
        size = np.sqrt(np.maximum(np.diagonal(inverse, axis1=1, axis2=2), 0.0))
        unit = np.where(size > 0.0, size, 1.0)
        found[sound] = inverse / unit[:, :, None] / unit[:, None, :]
    return found
