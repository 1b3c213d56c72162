"""Metrics and results to test them with, and their text as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from models.bank import StepResult
from models.experts.watch import FIGURES
from models.specification import Specification
from service.observe.metrics import Metrics

NOW = 1_700_000_000.0
EXPERTS = ("last_value", "seasonal", "linear", "recurrent")
SPECIFICATION = Specification(experts=EXPERTS, units=4, lags=4, optimizer="adam")

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def make_metrics(specification: Specification = SPECIFICATION) -> Metrics:
    """Metrics on a registry of their own, at a fixed time."""
    return Metrics(specification, clock=lambda: NOW)


def make_result(rows: int = 1, targets: int = 1, horizons: int = 1, **changes: object) -> StepResult:
    """A result in which nothing happened, but for what is changed."""
    bk, bkh, experts = (rows, targets), (rows, targets, horizons), (rows, targets, horizons, len(EXPERTS))
    shapes: Mapping[str, tuple[int, ...]] = {
        **dict.fromkeys(("prediction", "settled", "error"), bkh),
        **dict.fromkeys(("expert_predictions", "weights", "expert_errors"), experts),
        "quantiles": (*bkh, 4),
        "covered": (*bkh, 2),
        **dict.fromkeys(("anomaly_score", "anomaly_log_score", "scale", "gradient_norm", "reaction"), bk),
        **dict.fromkeys(("drift", "drift_warning", "drift_statistic"), (*bk, 3)),
        **dict.fromkeys(("updated", "clipped", "skipped"), bk),
        **dict.fromkeys(("influence_norm", "spectral_radius", "saturated_ratio"), bk),
    }
    shapes = {**shapes, "begun": bk, "guard": bk, "stability": (*bk, len(FIGURES))}
    flags = {"settled", "covered", "drift", "drift_warning", "updated", "clipped", "skipped", "begun"}
    kinds = dict.fromkeys(flags, bool) | {"guard": int, "reaction": int}
    fields = {name: np.zeros(shape, dtype=kinds.get(name, float)) for name, shape in shapes.items()}
    fields["scale"] += 1.0
    fields["begun"] |= True
    for name, value in changes.items():
        fields[name] = np.broadcast_to(np.asarray(value, fields[name].dtype), shapes[name]).copy()
    return StepResult(**fields)


def read(observed: Metrics) -> Samples:
    """Everything in the text, as Prometheus would read it."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(observed.exposition().decode())
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[f"onward_{name}", tuple(sorted(labels.items()))]
