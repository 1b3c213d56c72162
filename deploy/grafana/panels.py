"""The panels of the dashboard "Onward": what is shown, and by which query. `dashboard.py` draws them.

Everything is over all workers, for they share the stream; only what is a process' own is shown by instance.
"""

from __future__ import annotations

from dataclasses import dataclass

RATE = "$__rate_interval"
"""The span of a rate, which Grafana replaces by four scrape intervals or what a pixel stands for, if that is more."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A panel: what it is called, what it tells, its queries as (expression, legend), and its unit in Grafana's words."""

    title: str
    tells: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    width: int = 8
    single: bool = False
    stacked: bool = False
    log_scale: bool = False
    limits: tuple[float | None, float | None] = (None, None)
    red_from: float | None = None
    red_below: float | None = None


def rate(metric: str, by: str = "") -> str:
    """Return the query for a counter's rate, summed over workers."""
    grouped = f"sum by ({by})" if by else "sum"
    return f"{grouped} (rate(onward_{metric}[{RATE}]))"


def quantiles(metric: str, *levels: float) -> tuple[tuple[str, str], ...]:
    """Return the queries for quantiles of a histogram, over all workers."""
    return tuple(
        (f"histogram_quantile({level:g}, {rate(f'{metric}_bucket', 'le')})", f"p{100 * level:g}")
        for level in levels
    )


def latest(metric: str, by: str = "stat", of: str = "max", legend: str = "") -> tuple[str, str]:
    """Return the query for a metric as it is now, over all workers by some labels, and its legend: the labels, or another one."""
    labels = " ".join(f"{{{{{label}}}}}" for label in by.split(", "))
    return f"{of} by ({by}) (onward_{metric})", legend or labels


# In the dashboard of stability too.
GRADIENT_NORM = Panel(
    title="Gradient norm",
    tells="Of each update that was tried, before clipping.",
    queries=quantiles("gradient_norm", 0.5, 0.9, 0.99),
    log_scale=True,
)
CLIPPED = Panel(
    title="Clipped updates",
    tells="Share of the updates whose gradient was clipped; the alert is at 20%.",
    queries=((f"{rate('gradient_clipped_total')} / {rate('updates_total')}", "clipped"),),
    unit="percentunit",
    limits=(0.0, 1.0),
    red_from=0.2,
)
INFLUENCE_NORM = Panel(
    title="Influence norm",
    tells="Of dh/dtheta, which RTRL carries along: the sum of all that the past did to the state. It begins anew at 1e6.",
    queries=(latest("influence_norm"),),
    log_scale=True,
)
SPECTRAL_RADIUS = Panel(
    title="Spectral radius",
    tells="Of the state Jacobian at one step: above 1 for long, the past is no longer forgotten, as the exponent then says.",
    queries=(latest("jacobian_spectral_radius"),),
    limits=(0.0, None),
    red_from=1.0,
)

ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "Now",
        (
            Panel(
                title="Events a second",
                tells="Records taken in by all workers.",
                queries=((rate("events_consumed_total"), ""),),
                unit="short",
                width=4,
                single=True,
            ),
            Panel(
                title="Waiting",
                tells="Records that no worker has read yet.",
                queries=(("sum (onward_consumer_lag_messages)", ""),),
                width=4,
                single=True,
            ),
            Panel(
                title="Age of the newest event",
                tells="By the event's own time; large in a replay of old data.",
                queries=(("time() - max (onward_last_event_timestamp_seconds)", ""),),
                unit="s",
                width=4,
                single=True,
            ),
            Panel(
                title="Skill",
                tells="1 - error / smallest naive error over the last 1,000 forecasts: above 0, the models earn their keep.",
                queries=(('avg (onward_skill_ratio{window="1000"})', ""),),
                unit="percentunit",
                width=4,
                single=True,
                red_below=0.0,
            ),
            Panel(
                title="Series",
                tells="Held in memory by all workers; and pools, where experts share what they learn.",
                queries=(("sum (onward_series)", "series"), ("sum (onward_pools)", "pools")),
                width=4,
                single=True,
            ),
            Panel(
                title="Alerts",
                tells="Firing now; deploy/runbook.md says what to do.",
                queries=(('count (ALERTS{alertname=~"Onward.*", alertstate="firing"}) or vector(0)', ""),),
                width=4,
                single=True,
                red_from=1.0,
            ),
        ),
    ),
    (
        "Stream",
        (
            Panel(
                title="Events by outcome",
                tells="consumed = learned + rejected + duplicate; where the sum is less, an event was lost.",
                queries=(
                    (rate("events_consumed_total"), "consumed"),
                    (rate("events_total", "outcome"), "{{outcome}}"),
                ),
                unit="eps",
            ),
            Panel(
                title="Waiting records by partition",
                tells="What the broker has and no worker has read.",
                queries=(
                    latest("consumer_lag_messages", "partition", of="sum", legend="partition {{partition}}"),
                ),
            ),
            Panel(
                title="Freshness",
                tells="From an event's own time to its having been learned.",
                queries=quantiles("event_lag_seconds", 0.5, 0.99),
                unit="s",
                log_scale=True,
            ),
            Panel(
                title="Dead letters by reason",
                tells="Each is in the dead-letter topic, with its reason.",
                queries=((rate("dead_letters_total", "reason"), "{{reason}}"),),
                unit="eps",
            ),
            Panel(
                title="Forgotten series",
                tells="For a new one where the partition is full, or idle for too long (limits.series_full, limits.series_idle_events).",
                queries=((rate("series_evicted_total", "why"), "{{why}}"),),
                unit="ops",
            ),
            Panel(
                title="Skipped, repeated and missing",
                tells="Duplicates of an event, records read again after a restart, and values, features and rows predicted past.",
                queries=(
                    (rate("duplicates_skipped_total"), "duplicates skipped"),
                    (rate("replayed_events_total"), "replayed"),
                    (rate("predictions_total"), "predictions made"),
                    (rate("missing_total", "what"), "missing {{what}}"),
                ),
                unit="eps",
            ),
            Panel(
                title="Time for a batch",
                tells="To decode, learn and predict one batch of records.",
                queries=quantiles("step_duration_seconds", 0.5, 0.99),
                unit="s",
                log_scale=True,
            ),
        ),
    ),
    (
        "Forecast quality",
        (
            Panel(
                title="Skill by window",
                tells="1 - error / smallest naive error, over the last 1,000 and 100,000 forecasts.",
                queries=(latest("skill_ratio", "window", of="avg", legend="last {{window}}"),),
                unit="percentunit",
                red_below=0.0,
            ),
            Panel(
                title="Error beside the baselines'",
                tells="Mean absolute error of the last 1,000 forecasts, in units of each series' usual change.",
                queries=(
                    ('avg (onward_prequential_error{window="1000"})', "onward"),
                    ('avg by (baseline) (onward_baseline_error{window="1000"})', "{{baseline}}"),
                ),
            ),
            Panel(
                title="Interval coverage",
                tells="Share of labels inside the published interval; the aim is the level in the legend.",
                queries=(latest("interval_coverage_ratio", "level", of="avg", legend="aim {{level}}"),),
                unit="percentunit",
                limits=(0.0, 1.0),
            ),
            Panel(
                title="Expert weights",
                tells="Mean weight of each expert in the published forecast.",
                queries=(latest("expert_weight", "expert", of="avg"),),
                unit="percentunit",
                stacked=True,
                limits=(0.0, 1.0),
                width=16,
            ),
            Panel(
                title="Updates",
                tells="Updates of the recurrent weights.",
                queries=((rate("updates_total"), "updates"),),
                unit="ops",
            ),
        ),
    ),
    (
        "Drift",
        (
            Panel(
                title="Drift statistic",
                tells="The largest of recent events, in units of the detector's threshold: at 1 a drift is signalled.",
                queries=(latest("drift_statistic", "stream, detector"),),
                limits=(0.0, None),
                red_from=1.0,
                width=12,
            ),
            Panel(
                title="Drifts signalled",
                tells="By all series together.",
                queries=((rate("drift_events_total", "stream, level"), "{{stream}} {{level}}"),),
                unit="eps",
                width=6,
            ),
            Panel(
                title="Reactions to drift",
                tells="What was done about drift of the loss, `model.drift_reaction`; a takeover is a challenger's that proved better.",
                queries=((rate("drift_reactions_total", "reaction"), "{{reaction}}"),),
                unit="eps",
                width=6,
            ),
        ),
    ),
    (
        "Gradient stability",
        (
            GRADIENT_NORM,
            CLIPPED,
            INFLUENCE_NORM,
            SPECTRAL_RADIUS,
            Panel(
                title="Saturated units",
                tells="Mean share of units that hardly answer to their input.",
                queries=(("avg (onward_saturated_unit_ratio)", "saturated"),),
                unit="percentunit",
                limits=(0.0, 1.0),
            ),
            Panel(
                title="Guards and non-finite values",
                tells="What the guards did, and where NaN or infinity came up; all but `event` is a bug.",
                queries=(
                    (rate("guard_actions_total", "action"), "{{action}}"),
                    (rate("nonfinite_total", "where"), "not finite: {{where}}"),
                ),
                unit="eps",
            ),
        ),
    ),
    (
        "Checkpoints",
        (
            Panel(
                title="Age of the last checkpoint",
                tells="After a crash, the events since then are read again.",
                queries=(("time() - onward_checkpoint_last_success_timestamp_seconds", "{{instance}}"),),
                unit="s",
            ),
            Panel(
                title="Time to save",
                tells="A checkpoint of one partition.",
                queries=quantiles("checkpoint_duration_seconds", 0.5, 0.99),
                unit="s",
            ),
            Panel(
                title="Size",
                tells="Bytes written by the last checkpoint of each worker.",
                queries=(("onward_checkpoint_size_bytes", "{{instance}}"),),
                unit="bytes",
            ),
            Panel(
                title="Failures",
                tells="Checkpoints that could not be saved.",
                queries=((rate("checkpoint_failures_total", "reason"), "{{reason}}"),),
                unit="ops",
            ),
            Panel(
                title="Restored partitions",
                tells="By what they were restored from, since each worker started.",
                queries=(latest("restore_total", "source", of="sum"),),
            ),
            Panel(
                title="Assignments",
                tells="Of partitions by the consumer group, since each worker started.",
                queries=(("onward_rebalances_total", "{{instance}}"),),
            ),
        ),
    ),
    (
        "Process",
        (
            Panel(
                title="Processor",
                tells="Cores in use by each worker; one is all that a worker takes.",
                queries=((f'rate(process_cpu_seconds_total{{job="onward"}}[{RATE}])', "{{instance}}"),),
                limits=(0.0, None),
            ),
            Panel(
                title="Memory",
                tells="Resident, of each worker.",
                queries=(('process_resident_memory_bytes{job="onward"}', "{{instance}}"),),
                unit="bytes",
                limits=(0.0, None),
            ),
            Panel(
                title="Time since start",
                tells="A saw is a worker that ends again and again.",
                queries=(('time() - process_start_time_seconds{job="onward"}', "{{instance}}"),),
                unit="s",
            ),
            Panel(
                title="Build",
                tells="Workers by what they run.",
                queries=(
                    (
                        "count by (version, python, numpy) (onward_build_info)",
                        "onward {{version}}, Python {{python}}, numpy {{numpy}}",
                    ),
                ),
                width=12,
            ),
            Panel(
                title="Model",
                tells="Workers by the make of their models; more than one line a role is an upgrade under way.",
                queries=(
                    (
                        "count by (role, model_version, cell, units, horizons) (onward_config_info)",
                        "{{role}} {{model_version}}: {{cell}}, {{units}} units, horizons {{horizons}}",
                    ),
                ),
                width=12,
            ),
        ),
    ),
)
