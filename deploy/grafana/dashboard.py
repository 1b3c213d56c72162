"""Write the dashboards for Grafana from the tables in `panels.py` and its like: a dashboard is a line in `BOARDS`.

    python3 deploy/tools.py python deploy/grafana/dashboard.py [FOLDER]

The SDK knows Grafana's own format. A test draws each dashboard anew and compares it with its file, and runs every query
against a real Prometheus that has scraped a real worker.
"""

from __future__ import annotations

import itertools
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import challenger_panels
import panels
import stability_panels
from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as choices
from grafana_foundation_sdk.models import dashboard as models
from panels import Panel

OUTPUT = Path(__file__).resolve().parent / "dashboards"
# As provisioning/datasources names it.
SOURCE = models.DataSourceRef(type_val="prometheus", uid="prometheus")
STAT_HEIGHT, GRAPH_HEIGHT = 4, 8


def build(panel: Panel) -> stat.Panel | timeseries.Panel:
    """Return the SDK's builder of a panel."""
    built: stat.Panel | timeseries.Panel
    if panel.single:
        built = stat.Panel().height(STAT_HEIGHT).graph_mode(choices.BigValueGraphMode.AREA)
        built.color_mode(choices.BigValueColorMode.VALUE)
        built.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    else:
        built = _graph(panel)
    built.title(panel.title).description(panel.tells).datasource(SOURCE).span(panel.width).unit(panel.unit)
    for place, (expression, legend) in enumerate(panel.queries):
        query = prometheus.Dataquery().expr(expression).ref_id(chr(ord("A") + place)).range()
        built.with_target(query.datasource(SOURCE).legend_format(legend or "__auto"))
    low, high = panel.limits
    if low is not None:
        built.min(low)
    if high is not None:
        built.max(high)
    steps = _steps(panel)
    built.thresholds(dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps))
    return built


def _graph(panel: Panel) -> timeseries.Panel:
    graph = timeseries.Panel().height(GRAPH_HEIGHT).line_width(1).fill_opacity(60 if panel.stacked else 8)
    graph.show_points(choices.VisibilityMode.NEVER)
    graph.tooltip(
        common.VizTooltipOptions().mode(choices.TooltipDisplayMode.MULTI).sort(choices.SortOrder.DESCENDING)
    )
    graph.legend(
        common.VizLegendOptions()
        .show_legend(True)
        .display_mode(choices.LegendDisplayMode.LIST)
        .placement(choices.LegendPlacement.BOTTOM)
    )
    if panel.stacked:
        graph.stacking(common.StackingConfig().mode(choices.StackingMode.NORMAL).group("A"))
    if panel.log_scale:
        graph.scale_distribution(common.ScaleDistributionConfig().type(choices.ScaleDistribution.LOG).log(10))
    if len(_steps(panel)) > 1:
        style = common.GraphThresholdsStyleConfig().mode(choices.GraphThresholdsStyleMode.DASHED)
        graph.thresholds_style(style)
    return graph


def _steps(panel: Panel) -> list[models.Threshold]:
    if panel.red_below is not None:
        return [
            models.Threshold(color="red", value=None),
            models.Threshold(color="green", value=panel.red_below),
        ]
    if panel.red_from is not None:
        return [
            models.Threshold(color="green", value=None),
            models.Threshold(color="red", value=panel.red_from),
        ]
    return [models.Threshold(color="green", value=None)]


@dataclass(frozen=True)
class Board:
    """A dashboard: its number in Grafana, its title, what it says it is for, and its rows of panels."""

    uid: str
    title: str
    tells: str
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]


BOARDS = {
    "onward.json": Board(
        "onward",
        "Onward",
        "Online learning over streams: the stream, the forecasts, drift and gradient stability.",
        panels.ROWS + challenger_panels.ROWS,
    ),
    "drift.json": Board(
        "onward-drift",
        "Onward: drift",
        "Whether the world changes, what is done about it, and what the forecasts make of it.",
        tuple(row for row in panels.ROWS if row[0] in {"Drift", "Forecast quality"})[::-1]
        + challenger_panels.ROWS,
    ),
    "stability.json": Board(
        "onward-stability",
        "Onward: gradient stability",
        "Whether the recurrent experts learn in a stable way, and what guards do where they do not.",
        stability_panels.ROWS,
    ),
}


def draw(board: Board) -> str:
    """Return a dashboard as Grafana reads it."""
    drawn = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.tells)
        .tags(["onward"])
        .readonly()
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .time("now-30m", "now")
        .refresh("10s")
    )
    number = itertools.count(1)
    for title, row in board.rows:
        drawn.with_row(dashboard.Row(title).id(next(number)))
        for panel in row:
            drawn.with_panel(build(panel).id(next(number)))
    return json.dumps(drawn.build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def main(arguments: list[str]) -> None:
    """Write the dashboards to the folder that the arguments name, or to their place."""
    folder = Path(arguments[0]) if arguments else OUTPUT
    for name, board in BOARDS.items():
        (folder / name).write_text(draw(board), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
