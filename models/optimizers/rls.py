"""Recursive least squares with exponential forgetting, batched over series and horizons.

    k = P phi / (lambda + phi' P phi)           (1)
    w <- w + k e                                (2)
    P <- (P - k phi' P) / lambda                (3)

For forecasts of several horizons (1) and (3), which need no label, are taken once, when the forecasts are made, and (2) for each
horizon when its label comes, with e the error of today's weights. So h rows late, the weights are exactly those that the
rows up to then would have given, and one P serves all horizons.

P stays symmetric to the bit, since (3) subtracts a product with itself. Where nothing excites a
direction, (3) lets P grow without bound; so where its trace has passed the ceiling, P is not divided by
lambda. Source: Haykin, Adaptive Filter Theory (2002), ch. 9. Cost O(F^2) a row and horizon.
"""

from __future__ import annotations

import numpy as np

from models.protocols import Array, BoolArray

FORGETTING = 0.9995
"""A memory of 2,000 rows: of .999 to .9999 the one that is good on slow and on changing series."""

PRIOR_VARIANCE = 0.1
"""P starts as this times the identity: a weight is of order .3 until the data say otherwise."""

TRACE_CEILING = 1.0
"""Per weight: a trace over it means directions that nothing excites."""


def rls_update(
    weights: Array,
    covariance: Array,
    inputs: Array,
    residual: Array,
    valid: BoolArray,
    *,
    forgetting: float = FORGETTING,
) -> tuple[Array, Array]:
    """Return the weights and the covariance after one label a row and horizon.

    Args:
        weights: w, (B, H, F).
        covariance: P, (B, H, F, F).
        inputs: phi of the forecast that the label settles, (B, H, F).
        residual: e = target - forecast, (B, H).
        valid: where there is a label; elsewhere nothing changes, (B, H).
        forgetting: lambda.

    Returns:
        new weights and new covariance. A row whose update would not be finite is left as it was.
    """
    gain = np.matmul(covariance, inputs[..., None])[..., 0]
    power = (gain * inputs).sum(axis=-1)
    denominator = forgetting + power
    ok = valid & np.isfinite(denominator) & (denominator > 0.0) & np.isfinite(residual)
    safe = np.where(ok, denominator, 1.0)
    new_weights = weights + gain * (np.where(ok, residual, 0.0) / safe)[..., None]
    trace = np.trace(covariance, axis1=-2, axis2=-1)
    growth = np.where(trace < TRACE_CEILING * inputs.shape[-1], 1.0 / forgetting, 1.0)
    scaled = gain / np.sqrt(safe)[..., None]
    new_covariance = (covariance - scaled[..., :, None] * scaled[..., None, :]) * growth[..., None, None]
    return (
        np.where(ok[..., None], new_weights, weights),
        np.where(ok[..., None, None], new_covariance, covariance),
    )


def rls_gain(covariance: Array, inputs: Array, forgetting: float | Array) -> tuple[Array, Array]:
    """Return k of eq. (1), and P after eq. (3), for rows whose labels are still to come.

    Args:
        covariance: P, (B, F, F).
        inputs: phi, (B, F).
        forgetting: lambda, one or (B,).

    Returns:
        k (B, F), and the new P. A row for which they would not be finite has k of zeros and its P as it was.
    """
    gain = np.matmul(covariance, inputs[..., None])[..., 0]
    denominator = forgetting + (gain * inputs).sum(axis=-1)
    ok = np.isfinite(denominator) & (denominator > 0.0)
    safe = np.where(ok, denominator, 1.0)
    trace = np.trace(covariance, axis1=-2, axis2=-1)
    growth = np.where(trace < TRACE_CEILING * inputs.shape[-1], 1.0 / forgetting, 1.0)
    scaled = gain / np.sqrt(safe)[..., None]
    after = (covariance - scaled[..., :, None] * scaled[..., None, :]) * growth[..., None, None]
    return (
        np.where(ok[..., None], gain / safe[..., None], 0.0),
        np.where(ok[..., None, None], after, covariance),
    )


def rls_correct(
    weights: Array, gain: Array, inputs: Array, target: Array, bound: Array, valid: BoolArray
) -> Array:
    """Return the weights after eq. (2), of labels whose rows' gains were kept.

    Args:
        weights: w, (B, H, F).
        gain: k of the rows that are settled, (B, H, F).
        inputs: their phi, (B, H, F).
        target: (B, H).
        bound: the error is winsorised by, (B, H).
        valid: where there is a label; elsewhere nothing changes, (B, H).
    """
    error = np.clip(target - (weights * inputs).sum(axis=-1), -bound, bound)
    ok = valid & np.isfinite(error)
    return weights + gain * np.where(ok, error, 0.0)[..., None]


def forget_in(covariance: Array, params: BoolArray, prior_variance: float) -> None:
    """Give some parameters the prior's variance and no covariance, in place: (..., N, N) and (..., N)."""
    either = params[..., :, None] | params[..., None, :]
    np.copyto(covariance, prior_variance * np.eye(covariance.shape[-1]), where=either)
