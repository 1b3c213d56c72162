"""The panels of the dashboard "Onward: gradient stability"; docs/STABILITY.md says what each figure means. `dashboard.py` draws them.

Quantiles are over the recent rows of all series of a worker, and the largest of all workers is shown: one bad series shows in "max".
"""

from __future__ import annotations

from dataclasses import replace

from panels import CLIPPED, GRADIENT_NORM, INFLUENCE_NORM, SPECTRAL_RADIUS, Panel, latest, quantiles, rate

ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "At a glance",
        (
            Panel(
                title="Largest exponent",
                tells="Lyapunov exponent of the worst recent series: above 0 its state is chaotic.",
                queries=(('max (onward_lyapunov_exponent{stat="max"})', ""),),
                width=4,
                single=True,
                red_from=0.0,
            ),
            Panel(
                title="In quarantine",
                tells="Series of which the baseline is published, after three rollbacks.",
                queries=(("sum (onward_series_quarantined)", ""),),
                width=4,
                single=True,
                red_from=1.0,
            ),
            Panel(
                title="Rollbacks in an hour",
                tells="Models that went back to their last good weights.",
                queries=(('sum (increase(onward_guard_actions_total{action="roll_back"}[1h]))', ""),),
                width=4,
                single=True,
                red_from=1.0,
            ),
            replace(CLIPPED, title="Clipped now", width=4, single=True),
            Panel(
                title="Dead units now",
                tells="Mean share of units silent or saturated for 1,000 events.",
                queries=(("avg (onward_dead_unit_ratio)", ""),),
                unit="percentunit",
                width=4,
                single=True,
                red_from=0.25,
            ),
            Panel(
                title="Audits that failed",
                tells="Since the workers started: the gradient was not what finite differences say.",
                queries=(('sum (onward_gradient_checks_total{outcome="off"})', ""),),
                width=4,
                single=True,
                red_from=1.0,
            ),
        ),
    ),
    (
        "Is the state stable",
        (
            Panel(
                title="Lyapunov exponent",
                tells="Mean log growth of a small change of the state over the last 500 events. Below 0 it fades; above, state and influence explode.",
                queries=(latest("lyapunov_exponent"),),
                red_from=0.0,
                width=12,
            ),
            Panel(
                title="Horizon of memory",
                tells="Events after which a hundredth is left of a change of the state.",
                queries=(latest("memory_horizon_events"),),
                log_scale=True,
                width=12,
            ),
            replace(SPECTRAL_RADIUS, width=12),
            replace(INFLUENCE_NORM, width=12),
        ),
    ),
    (
        "Gradients and updates",
        (
            GRADIENT_NORM,
            Panel(
                title="Gradient after clipping",
                tells="Norm, of each update that was made; the clip is `model.clip_norm`.",
                queries=quantiles("gradient_applied_norm", 0.5, 0.9, 0.99),
                log_scale=True,
            ),
            replace(
                CLIPPED,
                title="Clipped and refused",
                tells="Shares of the updates: clipped from one clip on, refused from ten on.",
                queries=(*CLIPPED.queries, ("max (job:onward_gradient_skipped:ratio_rate15m)", "refused")),
            ),
            Panel(
                title="Update over weights",
                tells="Size of an update over the size of the weights: 1e-3 is usual, 1e-1 throws away what was learned.",
                queries=(latest("update_to_weight_ratio"),),
                log_scale=True,
            ),
            Panel(
                title="Learning rate",
                tells="Mean over recent rows: below `model.learning_rate` where guards halved it.",
                queries=(latest("learning_rate", "group", of="avg"),),
            ),
            Panel(
                title="Weight norm",
                tells="Mean over recent rows, of the cell and of the readout.",
                queries=(latest("weight_norm", "group", of="avg"),),
            ),
        ),
    ),
    (
        "Units and readout",
        (
            Panel(
                title="Saturated and dead units",
                tells="Mean shares: saturated at this event; silent or saturated for 1,000 events.",
                queries=(
                    ("avg (onward_saturated_unit_ratio)", "saturated"),
                    ("avg (onward_dead_unit_ratio)", "dead"),
                ),
                unit="percentunit",
                limits=(0.0, 1.0),
            ),
            Panel(
                title="Effective rank",
                tells="Directions that the units' read-outs have, of as many as there are read-outs.",
                queries=(latest("effective_rank", of="min"),),
                limits=(0.0, None),
            ),
            Panel(
                title="Condition of P",
                tells="log10, of the readout's covariance: from 8 on half of the digits are lost.",
                queries=(latest("covariance_condition_log10"),),
                limits=(0.0, None),
                red_from=8.0,
            ),
        ),
    ),
    (
        "Guards and audits",
        (
            Panel(
                title="Actions of guards",
                tells="By rung of the ladder, from a rejected event to a unit made anew.",
                queries=((rate("guard_actions_total", "action"), "{{action}}"),),
                unit="ops",
            ),
            Panel(
                title="Audits of the gradient",
                tells="By what they found; an approximate rule is measured and not blamed.",
                queries=(latest("gradient_checks_total", "outcome", of="sum"),),
            ),
            Panel(
                title="Gradient against finite differences",
                tells="Mean relative distance: by the rule alone it is rounding; in use, what is older than the audit and what moved on the way.",
                queries=(latest("gradient_check_error_ratio", "against"),),
                log_scale=True,
            ),
            Panel(
                title="Cosine with finite differences",
                tells="Mean: 1 is the same direction.",
                queries=(latest("gradient_check_cosine", "against", of="min"),),
                limits=(None, 1.0),
            ),
            Panel(
                title="Series in quarantine",
                tells="Of each worker.",
                queries=(("onward_series_quarantined", "{{instance}}"),),
                limits=(0.0, None),
            ),
            Panel(
                title="Not finite",
                tells="Where NaN or infinity came up; all but `event` is a bug.",
                queries=((rate("nonfinite_total", "where"), "{{where}}"),),
                unit="ops",
            ),
        ),
    ),
)
