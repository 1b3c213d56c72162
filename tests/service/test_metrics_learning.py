"""What metrics say of learning: gradients, stability, drift, guards, audits and challengers, against sums by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.bank import Audit, StepResult
from models.specification import Specification
from service.observe.metrics import Metrics
from service.ports import Applied, Promotion, Reason, Shadow
from tests.service.observed import EXPERTS, NOW, SPECIFICATION, make_metrics, make_result, read, value

STABLE = [-0.1, -0.2, 1e-3, 0.0, 1.0, 6.0, 3.0, 9.0, 2.0]
SHAKY = [0.05, -0.1, 1e-1, 0.5, 0.5, 0.0, 0.0, 0.0, 0.0]
"""Figures of a series that is well, and of one that is not and was not looked at yet."""


def test_what_the_core_says_of_learning_is_counted() -> None:
    """Goal: counters and norms. Method: four rows of which one each is clipped, skipped and not tried."""
    result = make_result(
        rows=4,
        gradient_norm=[[0.03], [2.0], [500.0], [0.0]],
        updated=[[True], [True], [False], [False]],
        clipped=[[False], [True], [False], [False]],
        skipped=[[False], [False], [True], [False]],
        guard=[[1], [2], [4], [8 + 16 + 32]],
        stability=np.array([STABLE, STABLE, STABLE, SHAKY])[:, None],
        drift=[[[True, False, False]], [[True, False, True]], [[False] * 3], [[False] * 3]],
        drift_warning=[[[False] * 3], [[False] * 3], [[False, True, False]], [[False] * 3]],
        drift_statistic=[[[1.25, 0.2, 0.0]], [[0.5, 0.3, 0.1]], [[0.0] * 3], [[0.0] * 3]],
        reaction=[[0b1001], [0b0001], [0], [0]],
        influence_norm=[[1.0], [2.0], [3.0], [10.0]],
        spectral_radius=[[0.9], [0.8], [0.7], [0.95]],
        saturated_ratio=[[0.0], [0.5], [0.5], [1.0]],
        weights=[[[[0.1, 0.2, 0.3, 0.4]]]] * 4,
    )
    observed = make_metrics()
    observed.applied(0, Applied(results=[result]), 0.0)
    samples = read(observed)
    assert value(samples, "updates_total") == 2
    assert value(samples, "gradient_clipped_total") == 1
    assert value(samples, "guard_actions_total", action="clip") == 1
    for action in ("winsorise", "skip", "reset", "roll_back", "quarantine"):
        assert value(samples, "guard_actions_total", action=action) == 1
    for action in ("reject", "release", "renew", "restore"):
        assert value(samples, "guard_actions_total", action=action) == 0
    drifts = {
        (stream, level): value(samples, "drift_events_total", stream=stream, detector="cusum", level=level)
        for stream in ("loss", "inputs", "calibration")
        for level in ("drift", "warning")
    }
    assert {key: count for key, count in drifts.items() if count} == {
        ("loss", "drift"): 2,
        ("calibration", "drift"): 1,
        ("inputs", "warning"): 1,
    }
    assert value(samples, "drift_statistic", stream="loss", detector="cusum") == 1.25
    assert value(samples, "drift_statistic", stream="inputs", detector="cusum") == 0.3
    assert value(samples, "drift_reactions_total", reaction="quicken") == 2
    assert value(samples, "drift_reactions_total", reaction="takeover") == 1
    assert value(samples, "influence_norm", stat="p50") == 2.5
    assert value(samples, "influence_norm", stat="max") == 10
    assert value(samples, "influence_norm", stat="p99") == pytest.approx(np.quantile([1, 2, 3, 10], 0.99))
    assert value(samples, "jacobian_spectral_radius", stat="max") == 0.95
    assert value(samples, "saturated_unit_ratio") == 0.5
    for expert, weight in zip(EXPERTS, (0.1, 0.2, 0.3, 0.4), strict=True):
        assert value(samples, "expert_weight", expert=expert) == pytest.approx(weight)
    # A value on a bound belongs to it (le), and the row that tried nothing is not observed.
    assert value(samples, "gradient_norm_bucket", le="0.01") == 0
    assert value(samples, "gradient_norm_bucket", le="0.03") == 1
    assert value(samples, "gradient_norm_bucket", le="3") == 2
    assert value(samples, "gradient_norm_bucket", le="100") == 2
    assert value(samples, "gradient_norm_bucket", le="+Inf") == 3
    assert value(samples, "gradient_norm_count") == 3
    assert value(samples, "gradient_norm_sum") == pytest.approx(502.03)


def test_non_finite_figures_are_counted_and_kept_out_of_every_mean() -> None:
    """Goal: one NaN must not blind the dashboard. Method: a NaN in each figure beside a good row."""
    nan = math.nan
    result = make_result(
        rows=2,
        prediction=[[[nan]], [[1.0]]],
        settled=True,
        error=[[[nan]], [[2.0]]],
        expert_errors=4.0,
        gradient_norm=[[math.inf], [1.0]],
        updated=True,
        influence_norm=[[nan], [7.0]],
    )
    observed = make_metrics()
    observed.applied(0, Applied(results=[result], reasons={Reason.NOT_FINITE: 3}), 0.0)
    samples = read(observed)
    for where, count in {"event": 3, "prediction": 1, "error": 1, "gradient": 1, "influence": 1}.items():
        assert value(samples, "nonfinite_total", where=where) == count, where
    assert value(samples, "prequential_error", window="1000") == 2
    assert value(samples, "skill_ratio", window="1000") == 0.5
    assert value(samples, "influence_norm", stat="max") == 7
    assert value(samples, "gradient_norm_count") == 1
    assert all(math.isfinite(figure) for figure in samples.values())


def test_a_statistic_of_drift_that_is_not_finite_is_counted_and_kept_out() -> None:
    statistics = [[[math.nan, 9.0, 9.0]], [[0.5, 0.3, 0.1]]]
    observed = make_metrics()
    observed.applied(0, Applied(results=[make_result(rows=2, drift_statistic=statistics)]), 0.0)
    samples = read(observed)
    assert value(samples, "nonfinite_total", where="error") == 1
    for stream, expected in (("loss", 0.5), ("inputs", 0.3), ("calibration", 0.1)):
        assert value(samples, "drift_statistic", stream=stream, detector="cusum") == expected


def test_challengers_are_compared_with_their_models_over_all_series() -> None:
    """Goal: below 1 they are better; the evidence of the best shows; promotions are counted. Method: figures by hand."""
    challenger = Specification(experts=EXPERTS, units=5, lags=4, optimizer="adam")
    observed = Metrics(SPECIFICATION, challenger, clock=lambda: NOW)
    before = read(observed)
    assert value(before, "challenger_loss_ratio", window="1000") == 1.0
    assert (
        value(before, "promotions_total", by="rule") == value(before, "promotions_total", by="command") == 0
    )
    losses = np.array([[2.0, 1.0], [1.0, 0.5], [np.nan, np.nan]])
    seen = Shadow(losses, np.array([0.0, 100.0, 1.0]), {Promotion.RULE: 1, Promotion.COMMAND: 2})
    observed.applied(0, Applied(shadows=[seen]), 0.01)
    observed.series(3, 0, 2, 0)
    samples = read(observed)
    assert value(samples, "challenger_loss_ratio", window="1000") == pytest.approx(0.5)
    assert value(samples, "challenger_evidence_log10", stat="max") == pytest.approx(2.0)
    assert value(samples, "challenger_evidence_log10", stat="p50") == pytest.approx(0.0)
    assert value(samples, "promotions_total", by="rule") == 1
    assert value(samples, "promotions_total", by="command") == 2
    assert value(samples, "series_promoted") == 2
    told = {labels for name, labels in samples if name == "onward_config_info"}
    assert {dict(labels)["role"] for labels in told} == {"model", "challenger"}
    assert {dict(labels)["units"] for labels in told} == {"4", "5"}


def test_figures_of_stability_are_quantiles_over_recent_rows() -> None:
    """Goal: one bad series among many shows. Method: three that are well, and one that is not."""
    observed = make_metrics()
    result = make_result(
        rows=4,
        gradient_norm=[[0.03], [20.0], [500.0], [0.0]],
        updated=[[True], [True], [False], [False]],
        stability=np.array([STABLE, STABLE, STABLE, SHAKY])[:, None],
    )
    observed.applied(0, Applied(results=[result]), 0.0)
    observed.series(4, 1, 0, 0)
    samples = read(observed)
    assert value(samples, "lyapunov_exponent", stat="p50") == -0.1
    assert value(samples, "lyapunov_exponent", stat="max") == 0.05
    assert value(samples, "memory_horizon_events", stat="p50") == pytest.approx(np.log(0.01) / -0.1)
    assert value(samples, "memory_horizon_events", stat="max") == 1e6
    assert value(samples, "update_to_weight_ratio", group="cell", stat="max") == 0.1
    assert value(samples, "dead_unit_ratio") == 0.125
    assert value(samples, "effective_rank", stat="min") == 6
    assert value(samples, "covariance_condition_log10", stat="max") == 3
    assert value(samples, "learning_rate", group="cell") == pytest.approx(0.875 * SPECIFICATION.learning_rate)
    assert value(samples, "weight_norm", group="cell") == 9
    assert value(samples, "weight_norm", group="readout") == 2
    assert value(samples, "series_quarantined") == 1
    # After clipping no norm is over the clip, and what was refused is none.
    assert value(samples, "gradient_applied_norm_count") == 2
    assert value(samples, "gradient_applied_norm_sum") == pytest.approx(0.03 + SPECIFICATION.clip_norm)


def test_without_a_recurrent_expert_the_figures_of_stability_are_zero() -> None:
    observed = make_metrics(Specification(experts=("last_value", "linear")))
    fields = {name: getattr(make_result(), name) for name in StepResult.__dataclass_fields__}
    for name in ("weights", "expert_errors", "expert_predictions"):
        fields[name] = fields[name][..., :2]
    observed.applied(0, Applied(results=[StepResult(**fields)]), 0.0)
    samples = read(observed)
    for name in ("lyapunov_exponent", "memory_horizon_events", "effective_rank"):
        assert value(samples, name, stat="max") == 0
    assert value(samples, "learning_rate", group="cell") == 0


def test_audits_of_the_gradient_are_counted_by_what_they_found() -> None:
    observed = make_metrics()
    assert value(read(observed), "gradient_check_cosine", against="rule") == 1
    good, bad = Audit(True, 1.0, 1e-8, 0.9, 0.3), Audit(True, 0.5, 0.8, 0.7, 0.5)
    approximate = Audit(False, 0.6, 0.7, 0.8, 0.4)
    observed.applied(0, Applied(audits=[good, good, bad, approximate]), 0.0)
    samples = read(observed)
    for outcome, count in (("sound", 2), ("off", 1), ("approximate", 1)):
        assert value(samples, "gradient_checks_total", outcome=outcome) == count
    assert 0.7 < value(samples, "gradient_check_cosine", against="rule") < 0.8
    assert value(samples, "gradient_check_error_ratio", against="in_use") == pytest.approx(0.375, abs=0.02)
