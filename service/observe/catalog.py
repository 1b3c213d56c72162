"""The list of the worker's metrics: their names, kinds, labels and what they say.

What is not in `METRICS` cannot be written, and a test compares dashboards, alerts and documents with it.
A label's values come from a closed set, so /metrics keeps its size whatever is in the topic. A series id
is never a label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

WINDOWS = (1_000, 100_000)
"""Spans of the moving means, in forecasts whose label has arrived: what is now, and what is usual."""
NAIVE = ("last_value", "seasonal")
"""The experts that learn nothing: what a forecast has to beat."""
RESTORE_SOURCES = ("checkpoint", "none", "other")
CHECKPOINT_FAILURES = ("store", "timeout", "other")


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric as it is queried: its name without `onward_`, and for a histogram without `_bucket`."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """The name in a query."""
        return f"onward_{self.name}"


METRICS = (
    Metric(
        "events_consumed_total",
        "counter",
        "Records taken in; learned + rejected + duplicate, or one was lost.",
    ),
    Metric(
        "events_total",
        "counter",
        "Records by what became of them: learned, rejected, duplicate.",
        ("outcome",),
    ),
    Metric(
        "missing_total",
        "counter",
        "What was predicted past: targets that were null, features, rows that never came.",
        ("what",),
    ),
    Metric("dead_letters_total", "counter", "Records sent to the dead-letter topic, by reason.", ("reason",)),
    Metric(
        "duplicates_skipped_total", "counter", "Records skipped because the same event was learned before."
    ),
    Metric(
        "replayed_events_total",
        "counter",
        "Records read again after a restart and already learned before it.",
    ),
    Metric("predictions_total", "counter", "Prediction messages made, one for each learned event."),
    Metric(
        "last_event_timestamp_seconds", "gauge", "Event time of the partition's newest event.", ("partition",)
    ),
    Metric(
        "consumer_lag_messages", "gauge", "Records of the partition that wait to be read.", ("partition",)
    ),
    Metric("step_duration_seconds", "histogram", "Time to decode, learn and predict one batch of records."),
    Metric(
        "event_lag_seconds", "histogram", "Time from a batch's newest event time to its having been learned."
    ),
    Metric("prequential_error", "gauge", "Mean absolute error of forecasts, in units of scale.", ("window",)),
    Metric("baseline_error", "gauge", "The same error of a naive forecast.", ("baseline", "window")),
    Metric("skill_ratio", "gauge", "1 - error / smallest naive error; not below -1.", ("window",)),
    Metric("expert_weight", "gauge", "Mean weight of an expert in the forecast.", ("expert",)),
    Metric(
        "interval_coverage_ratio",
        "gauge",
        "Share of labels inside the interval of a level; the level is the aim.",
        ("level",),
    ),
    Metric(
        "drift_statistic",
        "gauge",
        "Largest drift statistic of recent rows, of each stream that is watched; 1 is the threshold.",
        ("stream", "detector"),
    ),
    Metric(
        "drift_events_total", "counter", "Drifts signalled or warned of.", ("stream", "detector", "level")
    ),
    Metric("drift_reactions_total", "counter", "What was done about drift.", ("reaction",)),
    Metric("gradient_norm", "histogram", "Gradient norm of each update, before clipping."),
    Metric(
        "gradient_applied_norm",
        "histogram",
        "Gradient norm of each update, after clipping; a filter bounds errors instead.",
    ),
    Metric("updates_total", "counter", "Updates of the recurrent weights."),
    Metric("gradient_clipped_total", "counter", "Updates whose gradient was clipped."),
    Metric(
        "influence_norm", "gauge", "Norm of the influence matrix over recent rows: p50, p99, max.", ("stat",)
    ),
    Metric(
        "jacobian_spectral_radius", "gauge", "Spectral radius of the state Jacobian, recent rows.", ("stat",)
    ),
    Metric(
        "lyapunov_exponent",
        "gauge",
        "Mean log growth of a change of the state, recent rows; above 0 it is chaotic.",
        ("stat",),
    ),
    Metric(
        "memory_horizon_events",
        "gauge",
        "Events after which a hundredth is left of a change of the state, recent rows.",
        ("stat",),
    ),
    Metric(
        "update_to_weight_ratio",
        "gauge",
        "Size of an update over the size of the weights, recent rows.",
        ("group", "stat"),
    ),
    Metric(
        "learning_rate",
        "gauge",
        "Mean learning rate of recent rows, 1 of a filter; guards halve it.",
        ("group",),
    ),
    Metric("weight_norm", "gauge", "Mean norm of the weights of recent rows.", ("group",)),
    Metric("dead_unit_ratio", "gauge", "Mean share of units silent or saturated for 1,000 events."),
    Metric("effective_rank", "gauge", "Directions that the units' read-outs have, recent rows.", ("stat",)),
    Metric(
        "covariance_condition_log10",
        "gauge",
        "log10 of the condition of the readout's covariance, recent rows.",
        ("stat",),
    ),
    Metric("gradient_checks_total", "counter", "Audits of the gradient, by what they found.", ("outcome",)),
    Metric(
        "gradient_check_cosine",
        "gauge",
        "Mean cosine between the gradient and finite differences; 1 before an audit.",
        ("against",),
    ),
    Metric(
        "gradient_check_error_ratio",
        "gauge",
        "Mean distance of the gradient from finite differences, over their size.",
        ("against",),
    ),
    Metric("saturated_unit_ratio", "gauge", "Mean share of saturated units over recent rows."),
    Metric(
        "nonfinite_total",
        "counter",
        "NaN or infinite values met, by where; all but event: a bug.",
        ("where",),
    ),
    Metric(
        "guard_actions_total", "counter", "Times that a guard acted on an event or an update.", ("action",)
    ),
    Metric(
        "challenger_loss_ratio",
        "gauge",
        "Mean error of the challengers over that of the models, shortest horizon; 1 without any.",
        ("window",),
    ),
    Metric(
        "challenger_evidence_log10",
        "gauge",
        "log10 of the evidence that what is in the shadow is better, recent rows.",
        ("stat",),
    ),
    Metric("promotions_total", "counter", "Times that what was in the shadow took over, by why.", ("by",)),
    Metric("series_promoted", "gauge", "Series in which the challenger answers."),
    Metric("series", "gauge", "Series held in memory."),
    Metric("pools", "gauge", "Groups of series that share what pooled experts learn."),
    Metric("series_quarantined", "gauge", "Series of which a target's baseline is published."),
    Metric(
        "series_evicted_total",
        "counter",
        "Series forgotten: the least recent for a new one (full), or not heard of for long (idle).",
        ("why",),
    ),
    Metric(
        "checkpoint_last_success_timestamp_seconds", "gauge", "When a checkpoint was last saved; 0 before it."
    ),
    Metric("checkpoint_duration_seconds", "histogram", "Time to save a checkpoint of a partition."),
    Metric("checkpoint_size_bytes", "gauge", "Bytes written by the last checkpoint."),
    Metric("checkpoint_failures_total", "counter", "Checkpoints that could not be saved.", ("reason",)),
    Metric("restore_total", "counter", "Partitions restored, by what from.", ("source",)),
    Metric("rebalances_total", "counter", "Assignments of partitions by the consumer group."),
    Metric("build_info", "gauge", "1; the labels say what is running.", ("version", "python", "numpy")),
    Metric(
        "config_info",
        "gauge",
        "1; the labels say what each model is.",
        ("role", "model_version", "cell", "units", "horizons"),
    ),
)
