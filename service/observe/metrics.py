"""The worker's metrics for Prometheus. The only file that imports prometheus_client.

Rules:

- What there is stands in `service.observe.catalog`. What has a closed set of labels starts at 0, so that
  a dashboard is never empty.
- Errors are absolute and in units of the series' own scale (`StepResult.scale`, its usual change from
  one row to the next), so that they can be averaged over series and workers.
- A scrape sees whole batches only, so consumed = learned + rejected + duplicate holds in each.
- What the core says is kept until some hundred rows have come, or a scrape, and then taken in by a fixed
  number of numpy calls, however many rows and rounds it has.
"""

from __future__ import annotations

import math
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from typing import Any, final

import numpy as np
import numpy.typing as npt
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from models.bank import StepResult, step_size
from models.specification import DRIFT_STREAMS, REACTIONS, Specification
from service.observe.catalog import CHECKPOINT_FAILURES, METRICS, NAIVE, RESTORE_SOURCES, WINDOWS, Metric
from service.observe.figures import Array, Buckets, MovingMean, Recent, add_counts, closed, count_bits
from service.observe.shadow import ShadowFigures
from service.observe.stability import STATS, StabilityFigures
from service.ports import PLACES, Applied, Eviction, Missing, Outcome, Reason

SKILL_MIN = -1.0
"""Skill ends here, at twice the naive error, or one constant series would hide all others."""
PENDING_ROWS_MAX = 256
"""Rows that are taken in together: a hundred numpy calls cost as much for one row as for hundreds."""

_STEP_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LAG_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0, 86400.0)
_NORM_BUCKETS = (0.0001, 0.001, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 1000.0)
_RECENT = ("influence_norm", "spectral_radius", "saturated_ratio")
"""Columns of the figures that are told of recent rows."""
_Samples = dict[tuple[str, ...], float]


@final
class Metrics(Collector):
    """Turns what happens into metrics: `service.ports.Observer` in front, Prometheus' text behind.

    Told by the learner's thread, read by the thread of the HTTP server; a lock keeps them apart.

    >>> metrics = Metrics(Specification())
    >>> metrics.series(3, 0, 0, 0)
    >>> b"onward_series 3.0" in metrics.exposition()
    True
    """

    def __init__(
        self,
        specification: Specification,
        *others: Specification,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._collectors = CollectorRegistry()
        self._clock = clock
        self._lock = threading.Lock()
        self._naive = {name: i for i, name in enumerate(specification.experts) if name in NAIVE}
        self._experts = specification.experts
        self._levels = specification.level_names
        self._drifts = tuple(zip(DRIFT_STREAMS, specification.drift_detectors, strict=True))

        self._stability = StabilityFigures(specification)
        self._shadow = ShadowFigures()
        # A filter bounds errors and not gradients.
        self._norm_max = specification.clip_norm if step_size(specification) < 1.0 else np.inf

        self._samples: dict[str, _Samples] = {
            metric.name: {} if metric.labels else {(): 0.0}
            for metric in METRICS
            if metric.kind != "histogram"
        }
        self._samples |= {
            "events_total": closed(Outcome),
            "missing_total": closed(Missing),
            "dead_letters_total": closed(Reason),
            "series_evicted_total": closed(Eviction),
            "drift_events_total": {
                (*drift, level): 0.0 for drift in self._drifts for level in ("drift", "warning")
            },
            "drift_reactions_total": closed(REACTIONS),
            "nonfinite_total": closed(("event", "prediction", "error", "gradient", "influence")),
            "guard_actions_total": self._stability.guards,
            "gradient_checks_total": self._stability.checks,
            "checkpoint_failures_total": closed(CHECKPOINT_FAILURES),
            "restore_total": closed(RESTORE_SOURCES),
            "build_info": {(version("onward"), platform.python_version(), np.__version__): 1.0},
            "promotions_total": self._shadow.promotions,
            "config_info": {
                (role, *_describe(make)): 1.0
                for role, make in zip(PLACES, (specification, *others), strict=False)
            },
        }
        self._buckets = {
            "step_duration_seconds": Buckets(_STEP_BUCKETS),
            "event_lag_seconds": Buckets(_LAG_BUCKETS),
            "gradient_norm": Buckets(_NORM_BUCKETS),
            "gradient_applied_norm": Buckets(_NORM_BUCKETS),
            "checkpoint_duration_seconds": Buckets(_STEP_BUCKETS),
        }
        # Columns: the mixture's error, then each expert's.
        self._errors = {window: MovingMean(window, 1 + len(self._experts)) for window in WINDOWS}
        self._coverage = MovingMean(WINDOWS[0], len(self._levels))
        self._weights = MovingMean(WINDOWS[0], len(self._experts))
        self._recent = Recent(len(_RECENT))
        self._statistics = Recent(len(self._drifts))
        self._pending: list[StepResult] = []
        self._pending_rows = 0
        self._collectors.register(self)
        ProcessCollector("", os.getpid, "/proc", self._collectors)

    # What happens ------------------------------------------------------------------------------

    def applied(self, partition: int, applied: Applied, seconds: float) -> None:
        """Count a batch of records of a partition that took so long."""
        with self._lock:
            self._add("events_consumed_total", applied.consumed - applied.replayed)
            self._add("replayed_events_total", applied.replayed)
            self._add("duplicates_skipped_total", applied.outcomes.get(Outcome.DUPLICATE, 0))
            self._add("predictions_total", len(applied.predictions))
            add_counts(self._samples["events_total"], applied.outcomes)
            add_counts(self._samples["missing_total"], applied.missing)
            add_counts(self._samples["dead_letters_total"], applied.reasons)
            add_counts(self._samples["series_evicted_total"], applied.evicted)
            not_finite = applied.reasons.get(Reason.NOT_FINITE, 0)
            self._add("nonfinite_total", not_finite, "event")
            self._add(
                "guard_actions_total", not_finite + applied.reasons.get(Reason.OUT_OF_RANGE, 0), "reject"
            )
            self._stability.audited(applied.audits)
            for guard in applied.filled_guards:
                self._stability.guarded(guard)
            self._shadow.add(applied.shadows)
            self._buckets["step_duration_seconds"].observe(np.array([seconds]))
            if applied.event_time_last is not None:
                self._samples["last_event_timestamp_seconds"][(str(partition),)] = applied.event_time_last
                lag = self._clock() - applied.event_time_last
                self._buckets["event_lag_seconds"].observe(np.array([max(0.0, lag)]))
            self._pending += applied.results
            self._pending_rows += sum(len(result.scale) for result in applied.results)
            if self._pending_rows >= PENDING_ROWS_MAX:
                self._take_in()

    def checkpoint_saved(self, partition: int, seconds: float, size_bytes: int) -> None:
        """Count a checkpoint that is durable."""
        with self._lock:
            self._set("checkpoint_last_success_timestamp_seconds", self._clock())
            self._set("checkpoint_size_bytes", size_bytes)
            self._buckets["checkpoint_duration_seconds"].observe(np.array([seconds]))

    def spoilt(self, series: int) -> None:
        """Count series whose results would not have been finite."""
        with self._lock:
            self._add("nonfinite_total", series, "prediction")

    def checkpoint_failed(self, reason: str) -> None:
        """Count a checkpoint that could not be saved."""
        with self._lock:
            self._add("checkpoint_failures_total", 1, reason if reason in CHECKPOINT_FAILURES else "other")

    def restored(self, partition: int, source: str, series: int, next_offset: int) -> None:
        """Count a partition whose learners stand where they stood before."""
        with self._lock:
            self._add("restore_total", 1, source if source in RESTORE_SOURCES else "other")

    def rebalanced(self, partitions: Sequence[int]) -> None:
        """Keep the figures of the partitions that are now this worker's, and drop those of others."""
        with self._lock:
            self._add("rebalances_total", 1)
            mine = [(str(partition),) for partition in partitions]
            lags, times = (
                self._samples["consumer_lag_messages"],
                self._samples["last_event_timestamp_seconds"],
            )
            self._samples["consumer_lag_messages"] = {key: lags.get(key, 0.0) for key in mine}
            self._samples["last_event_timestamp_seconds"] = {key: times[key] for key in mine if key in times}

    def lag(self, partition: int, messages: int) -> None:
        """Set how many records of a partition wait."""
        with self._lock:
            self._samples["consumer_lag_messages"][(str(partition),)] = messages

    def series(self, count: int, quarantined: int, promoted: int, pools: int) -> None:
        """Set how many series are in memory, of how many a baseline is published or the challenger answers, and how many pools there are."""
        with self._lock:
            self._set("series", count)
            self._set("series_quarantined", quarantined)
            self._set("series_promoted", promoted)
            self._set("pools", pools)

    # The figures of the core ---------------------------------------------------------------------

    def _take_in(self) -> None:
        """Take in what the core said since the last time, all of it joined into one column a figure."""
        if not self._pending:
            return
        results, self._pending, self._pending_rows = self._pending, [], 0

        def joined(name: str) -> npt.NDArray[Any]:
            return np.concatenate([getattr(result, name) for result in results])

        settled, norm = joined("settled"), joined("gradient_norm")
        updated, clipped, skipped = joined("updated"), joined("clipped"), joined("skipped")
        tried = (updated | skipped) & np.isfinite(norm)
        self._buckets["gradient_norm"].observe(norm[tried])
        self._add("updates_total", int(updated.sum()))
        self._add("gradient_clipped_total", int(clipped.sum()))
        applied = norm[updated & np.isfinite(norm)]
        self._buckets["gradient_applied_norm"].observe(np.minimum(applied, self._norm_max))
        watched = self._finite_rows(joined("stability")[joined("begun")], "influence")
        self._stability.add(watched, joined("guard"))
        for level, name in (("drift", "drift"), ("warning", "drift_warning")):
            counts = joined(name).reshape(-1, len(self._drifts)).sum(axis=0).tolist()
            for drift, count in zip(self._drifts, counts, strict=True):
                self._add("drift_events_total", count, *drift, level)
        add_counts(self._samples["drift_reactions_total"], count_bits(joined("reaction"), REACTIONS))
        self._add("nonfinite_total", int(norm.size - np.isfinite(norm).sum()), "gradient")

        scale = joined("scale")[:, :, None]
        with np.errstate(all="ignore"):  # What comes out non-finite is counted below, not warned of.
            mixture = np.abs(joined("error") / scale)[settled]
            experts = np.abs(joined("expert_errors") / scale[..., None])[settled]
        errors = self._finite_rows(np.column_stack((mixture, experts)), "error")
        for moving in self._errors.values():
            moving.add(errors)
        self._coverage.add(joined("covered")[settled].astype(np.float64))
        self._weights.add(joined("weights").reshape(-1, len(self._experts)))
        # A target that never had a value is not predicted, which is no fault.
        self._finite_rows(joined("prediction")[joined("begun")].reshape(-1, 1), "prediction")
        recent = np.column_stack([joined(name).reshape(-1) for name in _RECENT])
        self._recent.add(self._finite_rows(recent, "influence"))
        statistics = joined("drift_statistic").reshape(-1, len(self._drifts))
        self._statistics.add(self._finite_rows(statistics, "error"))

    def _finite_rows(self, rows: Array, where: str) -> Array:
        """Return the rows that are finite, and count those that are not."""
        finite = np.isfinite(rows).all(axis=1)
        self._add("nonfinite_total", len(rows) - int(finite.sum()), where)
        return rows[finite]

    def _add(self, name: str, more: float, *labels: str) -> None:
        self._samples[name][labels] += more

    def _set(self, name: str, value: float) -> None:
        self._samples[name][()] = value

    def _summarise(self) -> None:
        """Bring the gauges that are computed at a scrape up to date."""
        for window, moving in self._errors.items():
            error, *of_experts = moving.means().tolist()
            naive = {name: of_experts[i] for name, i in self._naive.items()}
            self._samples["prequential_error"][(str(window),)] = error
            self._samples["baseline_error"] |= {(name, str(window)): value for name, value in naive.items()}
            if naive:
                self._samples["skill_ratio"][(str(window),)] = skill(error, min(naive.values()))
        weights = self._weights.means().tolist()
        self._samples["expert_weight"] = {(name,): w for name, w in zip(self._experts, weights, strict=True)}
        coverage = self._coverage.means().tolist()
        self._samples["interval_coverage_ratio"] = {
            (level,): c for level, c in zip(self._levels, coverage, strict=True)
        }
        recent = self._recent
        for name, column in (("influence_norm", 0), ("jacobian_spectral_radius", 1)):
            self._samples[name] = {(stat,): recent.quantile(column, q) for stat, q in STATS}
        self._set("saturated_unit_ratio", recent.mean(2))
        self._samples |= self._stability.samples()
        self._samples |= self._shadow.samples()
        self._samples["drift_statistic"] = {
            drift: self._statistics.quantile(place, 1.0) for place, drift in enumerate(self._drifts)
        }

    # What Prometheus reads -------------------------------------------------------------------------

    def collect(self) -> Iterator[Family]:
        """Yield every metric of `METRICS`, for the registry."""
        with self._lock:
            self._take_in()
            self._summarise()
            return iter([self._family(metric) for metric in METRICS])

    def _family(self, metric: Metric) -> Family:
        if metric.kind == "histogram":
            buckets = self._buckets[metric.name]
            histogram = HistogramMetricFamily(metric.full_name, metric.help)
            histogram.add_metric([], buckets.cumulative(), buckets.total)
            return histogram
        make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
        family = make(metric.full_name, metric.help, labels=metric.labels)
        for labels, value in self._samples[metric.name].items():
            family.add_metric(labels, value)
        return family

    def exposition(self) -> bytes:
        """Return everything in the registry as Prometheus' text."""
        return generate_latest(self._collectors)

    content_type = CONTENT_TYPE_PLAIN_0_0_4


def skill(error: float, naive: float) -> float:
    """Return 1 - error / naive: the share of the naive error that is saved; 0 is no better than it.

    >>> skill(0.75, 1.0), skill(0.0, 0.0), skill(5.0, 1.0)
    (0.25, 0.0, -1.0)
    """
    if not (math.isfinite(error) and math.isfinite(naive)) or error == naive:
        return 0.0
    return max(SKILL_MIN, 1.0 - error / naive) if naive else SKILL_MIN


def _describe(specification: Specification) -> tuple[str, ...]:
    horizons = ",".join(str(horizon) for horizon in specification.horizons)
    return specification.version(), specification.cell, str(specification.units), horizons
