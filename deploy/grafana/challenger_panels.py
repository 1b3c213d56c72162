"""The row of the challengers on the dashboard "Onward"; docs/CHALLENGER.md says what each figure means. `dashboard.py` draws it."""

from __future__ import annotations

from panels import Panel, latest

ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "Champion and challenger",
        (
            Panel(
                title="Challengers that answer",
                tells="Series in which the challenger of the settings has been promoted.",
                queries=(("sum (onward_series_promoted)", ""),),
                width=4,
                single=True,
            ),
            Panel(
                title="Error of the challengers over the models'",
                tells="Shortest horizon; below 1 the challengers are better, and without any it is 1.",
                queries=(latest("challenger_loss_ratio", "window", of="avg", legend="{{window}} forecasts"),),
                width=8,
            ),
            Panel(
                title="Evidence for what is in the shadow",
                tells="log10 over recent rows, 0 at the beginning of a trial; at -log10 of challenger.alpha it is promoted.",
                queries=(latest("challenger_evidence_log10"),),
                width=6,
            ),
            Panel(
                title="Promotions an hour",
                tells="By the sequential test, and by command.",
                queries=(("sum by (by) (increase(onward_promotions_total[1h]))", "{{by}}"),),
                width=6,
            ),
        ),
    ),
)
