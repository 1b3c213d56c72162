"""Metrics: figures against sums by hand, a text that Prometheus can read, and a size that does not grow."""

from __future__ import annotations

import doctest
import math
import threading

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from models.bank import StepResult
from models.specification import Specification
from service.observe import figures, http, metrics, server, shadow
from service.observe.catalog import CHECKPOINT_FAILURES, METRICS, RESTORE_SOURCES
from service.ports import Applied, Eviction, Outcome, Reason, Record
from service.settings import Settings
from service.stream.shard import Shard
from tests.service.observed import (
    EXPERTS,
    NOW,
    SPECIFICATION,
    make_metrics,
    make_result,
    read,
    value,
)


def test_every_metric_of_the_catalogue_is_in_the_text_with_its_kind_and_labels_and_no_other_is() -> None:
    """Goal: the catalogue is the truth. Method: one event, then compare the families both ways."""
    observed = make_metrics()
    observed.rebalanced([0])
    observed.applied(0, Applied(results=[make_result()], consumed=1, event_time_last=NOW), 0.01)
    families = {
        family.name: family
        for family in text_string_to_metric_families(observed.exposition().decode())
        if family.name.startswith("onward_")
    }
    assert set(families) == {metric.full_name.removesuffix("_total") for metric in METRICS}
    for metric in METRICS:
        family = families[metric.full_name.removesuffix("_total")]
        assert family.type == metric.kind
        assert family.documentation == metric.help
        assert family.samples, metric.name
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels)
            assert sample.name.startswith(metric.full_name)


def test_closed_label_sets_stand_at_zero_before_anything_happens() -> None:
    """Goal: a dashboard is never empty. Method: read the text of a worker that has done nothing."""
    samples = read(make_metrics())
    for outcome in Outcome:
        assert value(samples, "events_total", outcome=outcome) == 0
    for reason in Reason:
        assert value(samples, "dead_letters_total", reason=reason) == 0
    for expert in EXPERTS:
        assert value(samples, "expert_weight", expert=expert) == 0
    for window in ("1000", "100000"):
        assert value(samples, "prequential_error", window=window) == 0
        assert value(samples, "skill_ratio", window=window) == 0
        for baseline in ("last_value", "seasonal"):
            assert value(samples, "baseline_error", baseline=baseline, window=window) == 0
    for reason_ in CHECKPOINT_FAILURES:
        assert value(samples, "checkpoint_failures_total", reason=reason_) == 0
    for source in RESTORE_SOURCES:
        assert value(samples, "restore_total", source=source) == 0
    for stream in ("loss", "inputs", "calibration"):
        for level in ("drift", "warning"):
            assert value(samples, "drift_events_total", stream=stream, detector="cusum", level=level) == 0
        assert value(samples, "drift_statistic", stream=stream, detector="cusum") == 0
    for reaction in ("quicken", "reset", "challenge", "takeover"):
        assert value(samples, "drift_reactions_total", reaction=reaction) == 0
    assert value(samples, "interval_coverage_ratio", level="0.8") == 0
    assert value(samples, "influence_norm", stat="p99") == 0


def test_errors_are_absolute_and_in_units_of_the_scale_and_skill_compares_with_the_best_naive() -> None:
    """Goal: the figures by hand. Method: two rows, errors 3 and -8 at scales 1 and 2, a third not settled."""
    result = make_result(
        rows=3,
        scale=[[1.0], [2.0], [5.0]],
        settled=[[[True]], [[True]], [[False]]],
        error=[[[3.0]], [[-8.0]], [[99.0]]],
        expert_errors=[[[[8.0, -4.0, 1.0, 1.0]]], [[[16.0, 12.0, 1.0, 1.0]]], [[[99.0] * 4]]],
        covered=[[[[True, True]]], [[[False, True]]], [[[True, True]]]],
    )
    observed = make_metrics()
    observed.applied(0, Applied(results=[result]), 0.0)
    samples = read(observed)
    for window in ("1000", "100000"):
        assert value(samples, "prequential_error", window=window) == pytest.approx((3 + 4) / 2)
        assert value(samples, "baseline_error", baseline="last_value", window=window) == pytest.approx(8)
        assert value(samples, "baseline_error", baseline="seasonal", window=window) == pytest.approx(
            (4 + 6) / 2
        )
        assert value(samples, "skill_ratio", window=window) == pytest.approx(1 - 3.5 / 5)
    assert value(samples, "interval_coverage_ratio", level="0.8") == pytest.approx(0.5)
    assert value(samples, "interval_coverage_ratio", level="0.95") == pytest.approx(1.0)


def test_a_window_forgets_as_equation_1_says() -> None:
    """Goal: the moving mean. Method: 500 errors of 1, then 250 of 3, against the weighted sum by hand."""
    observed = make_metrics()
    for count, error in ((500, 1.0), (250, 3.0)):
        result = make_result(rows=count, settled=True, error=error, expert_errors=error)
        observed.applied(0, Applied(results=[result]), 0.0)
    keep_first, keep_second = math.exp(-0.5), math.exp(-0.25)
    old, new = keep_second * (1 - keep_first), 1 - keep_second
    expected = (old * 1.0 + new * 3.0) / (old + new)
    assert value(read(observed), "prequential_error", window="1000") == pytest.approx(expected)


def test_consumed_is_learned_and_rejected_and_duplicate_on_a_dirty_stream() -> None:
    """Goal: no event is lost unseen. Method: the real shard, poison, duplicates and a replay; read the sums."""
    settings = Settings.model_validate({"model": {"units": 2, "lags": 2}})
    shard = Shard(topic="onward.events", partition=0, settings=settings)
    observed = make_metrics(settings.specification())
    records = []
    for offset in range(60):
        time = 1_700_000_000 + 60 * (offset - offset % 7 // 6)  # Each seventh has the time of the one before.
        body = orjson.dumps({"series": "a", "time": time, "value": float(offset)})
        records.append(Record("onward.events", 0, offset, b"a", b"not JSON" if offset % 10 == 9 else body))
    for batch in (records[:20], records[10:35], records[35:]):
        observed.applied(0, shard.apply(batch), 0.01)
    samples = read(observed)
    learned = value(samples, "events_total", outcome="learned")
    rejected = value(samples, "events_total", outcome="rejected")
    duplicate = value(samples, "events_total", outcome="duplicate")
    assert value(samples, "events_consumed_total") == 60 == learned + rejected + duplicate
    assert (rejected, value(samples, "replayed_events_total")) == (6, 10)
    assert duplicate == value(samples, "duplicates_skipped_total") > 0
    assert value(samples, "dead_letters_total", reason="not_json") == 6
    assert value(samples, "predictions_total") == learned
    assert value(samples, "step_duration_seconds_count") == 3
    assert value(samples, "prequential_error", window="1000") > 0


def test_the_text_does_not_grow_with_the_number_of_series() -> None:
    """Goal: no series id in any label. Method: one series, then 10,000; the same samples stand there."""
    settings = Settings.model_validate(
        {"model": {"profile": "fast", "lags": 2, "season_max": 8}, "limits": {"series_max": 10_000}}
    )
    observed = make_metrics(settings.specification())
    shard = Shard(topic="onward.events", partition=0, settings=settings)

    def record(number: int) -> Record:
        body = orjson.dumps({"series": f"s{number}", "time": 1_700_000_000, "value": 1.0})
        return Record("onward.events", 0, number, None, body)

    observed.applied(0, shard.apply([record(0)]), 0.01)
    few = set(read(observed))
    observed.applied(0, shard.apply([record(number) for number in range(1, 10_000)]), 0.01)
    observed.series(shard.series_count, 2, 0, 1)
    many = read(observed)
    assert value(many, "series") == 10_000
    assert value(many, "pools") == 1
    assert set(many) == few


def test_forgotten_series_are_counted_by_why() -> None:
    observed = make_metrics()
    for evicted in ({Eviction.FULL: 2, Eviction.IDLE: 1}, {Eviction.FULL: 3}, {}):
        observed.applied(0, Applied(evicted=evicted), 0.01)
    samples = read(observed)
    assert value(samples, "series_evicted_total", why="full") == 5
    assert value(samples, "series_evicted_total", why="idle") == 1


def test_gauges_of_partitions_follow_the_assignment() -> None:
    """Goal: no stale figure of a partition that another worker has. Method: rebalance from 0, 1 to 1, 2."""
    observed = make_metrics()
    observed.rebalanced([0, 1])
    for partition in (0, 1):
        observed.lag(partition, 10 + partition)
        observed.applied(partition, Applied(event_time_last=NOW - 5 - partition), 0.01)
    observed.rebalanced([1, 2])
    samples = read(observed)
    lags = {
        labels: figure for (name, labels), figure in samples.items() if name == "onward_consumer_lag_messages"
    }
    times = {
        labels: figure
        for (name, labels), figure in samples.items()
        if name == "onward_last_event_timestamp_seconds"
    }
    assert lags == {(("partition", "1"),): 11, (("partition", "2"),): 0}
    assert times == {(("partition", "1"),): NOW - 6}
    assert value(samples, "rebalances_total") == 2
    assert value(samples, "event_lag_seconds_sum") == pytest.approx(5 + 6)


def test_an_event_from_the_future_does_not_make_a_histogram_sum_fall() -> None:
    """Goal: a wrong clock must not look like a counter reset. Method: an event time of tomorrow."""
    observed = make_metrics()
    observed.applied(0, Applied(event_time_last=NOW + 86_400), 0.01)
    samples = read(observed)
    assert (value(samples, "event_lag_seconds_count"), value(samples, "event_lag_seconds_sum")) == (1, 0)


def test_checkpoints_and_restores_are_counted_and_unknown_reasons_open_no_label() -> None:
    """Goal: closed label sets. Method: known and unknown reasons and sources."""
    observed = make_metrics()
    observed.checkpoint_saved(0, 0.2, 4096)
    for reason in (*CHECKPOINT_FAILURES, "made up"):
        observed.checkpoint_failed(reason)
    for source in (*RESTORE_SOURCES, "made up"):
        observed.restored(0, source, 3, 17)
    samples = read(observed)
    assert value(samples, "checkpoint_last_success_timestamp_seconds") == NOW
    assert value(samples, "checkpoint_size_bytes") == 4096
    assert value(samples, "checkpoint_duration_seconds_sum") == pytest.approx(0.2)
    assert value(samples, "checkpoint_failures_total", reason="other") == 2
    assert value(samples, "restore_total", source="other") == 2
    assert "made up" not in str(samples.keys())


def test_the_info_metrics_say_what_is_running() -> None:
    """Goal: which build and which model. Method: read their labels."""
    samples = read(make_metrics())
    labels = {name: dict(labels) for name, labels in samples if name.endswith("_info")}
    assert labels["onward_build_info"]["version"]
    assert labels["onward_config_info"] == {
        "role": "model",
        "model_version": SPECIFICATION.version(),
        "cell": "rtu",
        "units": "4",
        "horizons": "1",
    }


def test_a_specification_without_a_naive_expert_has_no_skill_and_does_not_raise() -> None:
    """Goal: nothing to compare with is no comparison. Method: the linear expert alone."""
    observed = make_metrics(Specification(experts=("linear",)))
    result = make_result(settled=True, error=1.0)
    one = {
        name: getattr(result, name)[..., :1] for name in ("weights", "expert_errors", "expert_predictions")
    }
    fields = {name: getattr(result, name) for name in StepResult.__dataclass_fields__}
    observed.applied(0, Applied(results=[StepResult(**(fields | one))]), 0.0)
    samples = read(observed)
    assert value(samples, "prequential_error", window="1000") == 1
    assert not [name for name, _ in samples if name in {"onward_skill_ratio", "onward_baseline_error"}]


def test_every_scrape_sees_whole_batches_while_batches_are_being_applied() -> None:
    """Goal: consumed = learned in every scrape. Method: scrape in one thread while another applies batches."""
    observed = make_metrics()
    batch = Applied(results=[make_result(rows=50)], consumed=50, outcomes={Outcome.LEARNED: 50})

    def apply_all() -> None:
        for _ in range(300):
            observed.applied(0, batch, 0.01)

    worker = threading.Thread(target=apply_all)
    worker.start()
    seen: list[float] = []
    while worker.is_alive() or not seen:
        samples = read(observed)
        consumed = value(samples, "events_consumed_total")
        assert consumed == value(samples, "events_total", outcome="learned")
        seen.append(consumed)
    worker.join()
    assert value(read(observed), "events_consumed_total") == 300 * 50


@pytest.mark.parametrize("module", [figures, http, metrics, server, shadow])
def test_the_examples_in_the_documentation_run(module: object) -> None:
    """Goal: examples that are true. Method: doctest."""
    failed, tried = doctest.testmod(module)  # type: ignore[arg-type]
    assert tried > 0
    assert failed == 0
