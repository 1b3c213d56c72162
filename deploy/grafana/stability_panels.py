"""The panels of the dashboard "Onward: gradient stability"; docs/STABILITY.md says what each figure means. `dashboard.py` draws them.

Quantiles are over the recent rows of all series of a worker, and the largest of all workers is shown: one bad series shows in "max".
"""

from __future__ import annotations

from panels import Panel, quantiles, rate

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
            Panel(
                title="Clipped now",
                tells="Share of the updates whose gradient was clipped.",
                queries=((f"{rate('gradient_clipped_total')} / {rate('updates_total')}", ""),),
                unit="percentunit",
                width=4,
                single=True,
                red_from=0.2,
            ),
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
                queries=(("max by (stat) (onward_lyapunov_exponent)", "{{stat}}"),),
                red_from=0.0,
                width=12,
            ),
            Panel(
                title="Horizon of memory",
                tells="Events after which a hundredth is left of a change of the state.",
                queries=(("max by (stat) (onward_memory_horizon_events)", "{{stat}}"),),
                log_scale=True,
                width=12,
            ),
            Panel(
                title="Spectral radius, by series",
                tells="Of the state Jacobian at one step: over 1 for long is what the exponent then says.",
                queries=(("max by (stat) (onward_jacobian_spectral_radius)", "{{stat}}"),),
                limits=(0.0, None),
                red_from=1.0,
                width=12,
            ),
            Panel(
                title="Influence norm, by series",
                tells="Of dh/dtheta: the sum of all that the past did to the state. It begins anew at 1e6.",
                queries=(("max by (stat) (onward_influence_norm)", "{{stat}}"),),
                log_scale=True,
                width=12,
            ),
        ),
    ),
    (
        "Gradients and updates",
        (
            Panel(
                title="Gradient before clipping",
                tells="Norm, of each update that was tried.",
                queries=quantiles("gradient_norm", 0.5, 0.9, 0.99),
                log_scale=True,
            ),
            Panel(
                title="Gradient after clipping",
                tells="Norm, of each update that was made; the clip is `model.clip_norm`.",
                queries=quantiles("gradient_applied_norm", 0.5, 0.9, 0.99),
                log_scale=True,
            ),
            Panel(
                title="Clipped and refused",
                tells="Shares of the updates: clipped from one clip on, refused from ten on.",
                queries=(
                    (f"{rate('gradient_clipped_total')} / {rate('updates_total')}", "clipped"),
                    ("sum (job:onward_gradient_skipped:ratio_rate15m)", "refused"),
                ),
                unit="percentunit",
                limits=(0.0, 1.0),
                red_from=0.2,
            ),
            Panel(
                title="Update over weights",
                tells="Size of an update over the size of the weights: 1e-3 is usual, 1e-1 throws away what was learned.",
                queries=(("max by (stat) (onward_update_to_weight_ratio)", "{{stat}}"),),
                log_scale=True,
            ),
            Panel(
                title="Learning rate",
                tells="Mean over recent rows: below `model.learning_rate` where guards halved it.",
                queries=(("avg by (group) (onward_learning_rate)", "{{group}}"),),
            ),
            Panel(
                title="Weight norm",
                tells="Mean over recent rows, of the cell and of the readout.",
                queries=(("avg by (group) (onward_weight_norm)", "{{group}}"),),
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
                queries=(("min by (stat) (onward_effective_rank)", "{{stat}}"),),
                limits=(0.0, None),
            ),
            Panel(
                title="Condition of P",
                tells="log10, of the readout's covariance: from 8 on half of the digits are lost.",
                queries=(("max by (stat) (onward_covariance_condition_log10)", "{{stat}}"),),
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
                queries=(("sum by (outcome) (onward_gradient_checks_total)", "{{outcome}}"),),
            ),
            Panel(
                title="Gradient against finite differences",
                tells="Mean relative distance: by the rule alone it is rounding; in use, what is older than the audit and what moved on the way.",
                queries=(("max by (against) (onward_gradient_check_error_ratio)", "{{against}}"),),
                log_scale=True,
            ),
            Panel(
                title="Cosine with finite differences",
                tells="Mean: 1 is the same direction.",
                queries=(("min by (against) (onward_gradient_check_cosine)", "{{against}}"),),
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
