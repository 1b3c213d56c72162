"""The report's data: what the page shows, as a tree for JSON. No figure in it is anything but finite or null."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

from models.specification import DRIFT_STREAMS
from service.observe.catalog import NAIVE
from service.tools.learners import Learners
from service.tools.report.buckets import Array, Buckets
from service.tools.report.recorder import History, Layout, Recorder
from service.tools.score import BASELINE, Score
from service.tools.tables import Table

PROMOTIONS_MAX = 20
"""Promotions of a series that are listed."""
OVERVIEW_MAX = 200
"""Series of the list of all: the worst, if there are more."""
VALUE_DIGITS = 5
"""Values are written to so many digits of their series' range: a hundredth of a pixel."""
DECIMALS_MAX = 15


@dataclass(frozen=True, slots=True)
class File:
    """What became of one file's rows."""

    label: str
    used: int
    skipped: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, table: Table, used: int) -> File:
        """Take it from a table that has been read."""
        reasons = [
            {"reason": reason, "count": one.count, "first_line": one.first_line}
            for reason, one in table.skipped.items()
        ]
        return cls(table.source.label, used, reasons)


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for, as the page's head says it."""

    command: str
    profile: str
    standardised: bool
    warmups: dict[str, int]
    """Rows of each series, by name, that are not scored."""


def document(
    asked: Asked, learners: Learners, files: Sequence[File], score: Score, recorder: Recorder
) -> dict[str, Any]:
    """Return all that the page shows."""
    summary, specification = score.summary(0.0), learners.specification
    layout = recorder.layout
    series = []
    for (index, target), history in recorder.histories.items():
        deviation = score.deviation(index, target)
        series.append(
            {
                "name": history.name,
                "rows": history.points.rows,
                "end": round(1000.0 * history.last_time),
                "warmup": asked.warmups.get(history.name, 0),
                # What charts divide errors by; where there is no deviation they are in raw units.
                "unit": deviation if asked.standardised and deviation > 0.0 else 1.0,
                "scores": summary["series"][history.name],
                "points": _points(history.points, layout),
                "figures": _figures(history.figures, layout),
                "promotions": [
                    {"row": one.row, "time": one.time, "place": one.place, "evidence": one.evidence}
                    for one in learners.promotions
                    if one.series == history.name
                ][:PROMOTIONS_MAX],
                "moments": [_finite(one._asdict()) for one in history.moments],
            }
        )
    return {
        "version": version("onward"),
        "command": asked.command,
        "files": [asdict(file) for file in files],
        "events": summary["events"],
        "model": {
            "profile": asked.profile,
            "version": specification.version(),
            "specification": asdict(specification),
        },
        "makes": list(learners.places),
        "challenger": _challenger(learners),
        "standardised": asked.standardised,
        "experts": list(specification.experts),
        "naive": [name for name in specification.experts if name in NAIVE],
        "baseline": BASELINE,
        "levels": list(specification.level_names),
        # What is drawn is the widest interval.
        "level": specification.interval_levels[-1],
        "horizons": list(layout.horizons),
        "horizons_all": list(specification.horizons),
        "series_all": len(summary["series"]),
        "overview": _overview(summary["series"], recorder.histories.values(), str(specification.horizons[0])),
        "series": series,
    }


def skill(scores: dict[str, Any]) -> float | None:
    """Return 1 - mse / mse of the last value, None where there is nothing to be better at."""
    baseline = scores["experts"].get(BASELINE, {}).get("mse")
    return 1.0 - scores["mse"] / baseline if baseline and scores["mse"] is not None else None


def _overview(scores: dict[str, Any], histories: Iterable[History], first: str) -> list[dict[str, Any]]:
    """Return a line for each series, at the first horizon."""
    shown = {history.name: place for place, history in enumerate(histories)}
    lines = [
        {
            "name": name,
            "shown": shown.get(name),
            "events": one["events"],
            "mse": one["horizons"][first]["mse"],
            "mae": one["horizons"][first]["mae"],
            "skill": skill(one["horizons"][first]),
            "coverage": one["horizons"][first]["coverage"],
        }
        for name, one in scores.items()
    ]
    if len(lines) > OVERVIEW_MAX:
        lines.sort(key=lambda line: math.inf if line["skill"] is None else line["skill"])
    return lines[:OVERVIEW_MAX]


def _points(table: Buckets, layout: Layout) -> dict[str, Any]:
    """Return the points; where a bucket is one row, `high` is left out for it is `low`."""
    low, high = table.column("value_low"), table.column("value_high")
    decimals = _decimals(low, high)
    values: dict[str, Any] = {"low": _round(low, decimals)}
    if table.width > 1:
        values["high"] = _round(high, decimals)
    milliseconds = np.rint(1000.0 * table.column("time")).astype(np.int64)
    steps = np.diff(milliseconds)
    regular = len(steps) > 0 and bool((steps == steps[0]).all())
    horizons = {}
    for h in layout.horizons:
        parts = {"predicted": "predicted_low", "lower": "lower", "upper": "upper"}
        if table.width > 1:
            parts["predicted_high"] = "predicted_high"
        horizons[str(h)] = {
            part: _round(table.column(f"{name}.{h}"), decimals) for part, name in parts.items()
        }
    return {
        "width": table.width,
        "start": int(milliseconds[0]),
        # Milliseconds from each bucket's first row to the next one's; one number where all are equal.
        "steps": int(steps[0]) if regular else steps,
        "anomaly": _round(table.column("anomaly_score"), 4),
        "drift": np.flatnonzero(table.column("drift")),
        "guard": np.flatnonzero(table.column("guard")),
        "promoted": np.flatnonzero(table.column("promoted")) if layout.makes else [],
        **values,
        "horizons": horizons,
    }


def _figures(table: Buckets, layout: Layout) -> dict[str, Any]:
    """Return the figures: means over a bucket's rows or forecasts, highest ones, and counts."""
    rows = table.counts()
    horizons = {}
    for h in layout.horizons:
        n = table.column(f"n.{h}")
        each = np.maximum(n, 1.0)
        horizons[str(h)] = {
            "n": n.astype(np.int64),
            "covered": table.column(f"covered.{h}").astype(np.int64),
            "width": _short(table.column(f"width.{h}") / rows),
            "absolute": _short(table.column(f"absolute.{h}") / each),
            "experts": [
                _short(table.column(f"absolute.{h}.{expert}") / each) for expert in range(layout.n_experts)
            ],
            "weights": [
                _round(table.column(f"weight.{h}.{expert}") / rows, 4) for expert in range(layout.n_experts)
            ],
            "makes": [_short(table.column(f"absolute.{h}.{make}") / each) for make in layout.makes],
        }
    highest = ("gradient_norm", "influence_norm", "spectral_radius", "saturated_ratio")
    return {
        "width": table.width,
        **{name: _short(table.column(name)) for name in highest},
        "drift": {
            stream: {
                "statistic": _short(table.column(f"drift_statistic.{stream}")),
                "signals": _marked(table.column(f"drift.{stream}")),
            }
            for stream in DRIFT_STREAMS
        },
        **{name: _marked(table.column(name)) for name in ("clipped", "skipped")},
        **(_duel(table, rows) if layout.makes else {}),
        "updated": int(table.column("updated").sum()),
        "horizons": horizons,
    }


def _duel(table: Buckets, rows: Array) -> dict[str, Any]:
    return {
        "evidence": _round(table.column("evidence"), 3),
        "answers": _round(table.column("answers") / rows, 3),
    }


def _challenger(learners: Learners) -> dict[str, Any] | None:
    """Return how the challenger differs from the model, and when it is promoted; None where there is none."""
    if not learners.places:
        return None
    own, other = (asdict(make) for make in learners.makes)
    return {
        "version": learners.makes[1].version(),
        "changes": {name: value for name, value in other.items() if value != own[name]},
        "promotion": learners.rule.promotion,
        "margin": learners.rule.margin,
        # In units of the chart: from here on it is promoted.
        "threshold": math.log10(1.0 / learners.rule.alpha),
    }


def _marked(counts: Array) -> list[list[int]]:
    """Return the place and the count of each bucket that has any: few have."""
    return [[int(at), int(counts[at])] for at in np.flatnonzero(counts)]


def _decimals(low: Array, high: Array) -> int | None:
    """Return to how many decimals values are written; None for all, where so many would be beyond the numbers' own."""
    spread = float(high.max() - low.min())
    decimals = VALUE_DIGITS - math.floor(math.log10(spread)) if spread > 0.0 else math.inf
    return int(decimals) if decimals <= DECIMALS_MAX else None


def _round(column: Array, decimals: int | None) -> Array:
    # A column of a table is a view with strides, which JSON's writer does not take.
    return np.ascontiguousarray(column) if decimals is None else np.round(column, decimals)


def _short(column: Array) -> npt.NDArray[np.float32]:
    """Return it in single precision: seven digits, in half the bytes."""
    return np.clip(column, -1e38, 1e38).astype(np.float32)


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }
