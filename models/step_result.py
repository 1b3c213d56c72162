"""What a micro-batch said and brought."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from models.protocols import Array, BoolArray, IntArray

FORECASTS = ("prediction", "quantiles", "expert_predictions")
"""Results that are NaN until a target has a value."""

SAID_BEFORE_ANY_VALUE = ("begun", "scale", "weights")
"""Results that are as in a new model until a target has a value."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a micro-batch said and brought: B series, K targets, H horizons, E experts, L levels of intervals.

    From the forecaster, which knows models and not series, the arrays come without the axis K.

    Attributes:
        begun: the target has had a value, (B, K). Elsewhere forecasts and their intervals are NaN, and figures 0.
        prediction: of the mixture, raw units, (B, K, H).
        quantiles: raw units, of the shares `Specification.quantiles`, ascending, (B, K, H, 2 L).
        expert_predictions: raw units, (B, K, H, E).
        weights: of the experts in the mixture, which sum to one; of a stacked one some may be negative, (B, K, H, E).
        anomaly_score: share of past events less surprising than this one, in [0, 1], (B, K).
        anomaly_log_score: -log10 of how likely so surprising an event is, 0 while a stronger one is recent, (B, K).
        scale: running scale of one-step increments, raw units, (B, K).
        settled: this event settled the forecast made h rows before, (B, K, H).
        error: target - prediction of the settled forecasts, raw units, 0 elsewhere, (B, K, H).
        expert_errors: the same of each expert, (B, K, H, E).
        covered: the settled forecast's interval of each level held the target, (B, K, H, L).
        drift: a drift was signalled at this event, in each of DRIFT_STREAMS, (B, K, 3).
        drift_warning: one was warned of and not signalled, (B, K, 3).
        drift_statistic: in units of its threshold, after it began anew where a drift was signalled, (B, K, 3).
        reaction: what was done about drift after this event, bits of REACTIONS, (B, K).
        gradient_norm: before clipping, 0 where nothing was learned, (B, K).
        updated: the recurrent weights took an update, (B, K).
        clipped: its gradient was clipped, (B, K).
        skipped: the guard refused it, (B, K).
        influence_norm: Frobenius norm of dh/dtheta, (B, K).
        spectral_radius: of the state Jacobian, (B, K).
        saturated_ratio: share of saturated units, (B, K).
        stability: columns `models.experts.watch.FIGURES`, (B, K, S).
        guard: what guards did, bits of `models.experts.recovery.ACTIONS`, (B, K).
    """

    begun: BoolArray
    prediction: Array
    quantiles: Array
    expert_predictions: Array
    weights: Array
    anomaly_score: Array
    anomaly_log_score: Array
    scale: Array
    settled: BoolArray
    error: Array
    expert_errors: Array
    covered: BoolArray
    drift: BoolArray
    drift_warning: BoolArray
    drift_statistic: Array
    reaction: IntArray
    gradient_norm: Array
    updated: BoolArray
    clipped: BoolArray
    skipped: BoolArray
    influence_norm: Array
    spectral_radius: Array
    saturated_ratio: Array
    stability: Array
    guard: IntArray

    @property
    def lower(self) -> Array:
        """Lower end of the widest interval, (B, K, H)."""
        return self.quantiles[..., 0]

    @property
    def upper(self) -> Array:
        """Upper end of the widest interval, (B, K, H)."""
        return self.quantiles[..., -1]


def joined(results: list[StepResult]) -> StepResult:
    """Return results of events that followed one another as one; at least one is needed."""
    if len(results) == 1:
        return results[0]
    return StepResult(
        **{
            field.name: np.concatenate([getattr(one, field.name) for one in results])
            for field in fields(StepResult)
        }
    )


def by_target(result: StepResult, n_rows: int, n_targets: int) -> StepResult:
    """Return results that came model by model with the axis K."""
    shaped = {
        field.name: (value := getattr(result, field.name)).reshape(n_rows, n_targets, *value.shape[1:])
        for field in fields(result)
    }
    return StepResult(**shaped)


def silent(result: StepResult) -> StepResult:
    """Return the result with nothing said of rows that are not begun: forecasts NaN, figures 0."""
    said = {}
    for field in fields(result):
        value = getattr(result, field.name)
        begun = result.begun.reshape(-1, *[1] * (value.ndim - 1))
        nothing = np.nan if field.name in FORECASTS else np.zeros((), value.dtype)
        said[field.name] = value if field.name in SAID_BEFORE_ANY_VALUE else np.where(begun, value, nothing)
    return StepResult(**said)
