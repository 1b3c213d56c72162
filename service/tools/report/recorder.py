"""What the report keeps of a replay while it runs: of each series and target two tables in buckets, and the oddest rows.

The `points` are what is drawn against the values, as fine as memory allows. The `figures` are what is drawn over time
of errors, weights, drift and gradients; a few thousand points say all of that. Memory is bounded whatever the replay's
length and number of series: so many numbers for each of the two tables, shared by the series of which they are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from models.bank import GUARD_ACTIONS, GUARD_EVERYDAY, StepResult
from models.specification import DRIFT_STREAMS, Specification
from service.stream.duel import Judged
from service.tools.report.buckets import Array, Buckets

SERIES_MAX = 24
"""Series and targets with charts: as many as one looks through by hand."""
HORIZONS_MAX = 8
"""Horizons with charts; of more, so many evenly spread ones with the first and the last."""
POINT_CELLS, FIGURE_CELLS = 1_000_000, 400_000
"""Numbers in the tables of all series: at some nine bytes each, both are under the page's largest size."""
FIGURES_MAX = 4096
"""Buckets of the figures of a series: more than twice a screen's pixels across."""
BUCKETS_MIN = 64
MOMENTS_MAX = 20
FLUSH_ROWS = 256
"""Rows that wait for each other: taken in one by one, they would cost as much as learning from them."""

SCALARS = (
    "anomaly_score",
    "scale",
    "gradient_norm",
    "clipped",
    "skipped",
    "updated",
    "influence_norm",
    "spectral_radius",
    "saturated_ratio",
)
PER_STREAM = ("drift", "drift_statistic")
PER_HORIZON = ("prediction", "lower", "upper", "settled", "covered", "error")
PER_EXPERT = ("expert_errors", "weights")
"""Fields of `StepResult`, by their axes."""
DRIFTS, STATISTICS = ([f"{name}.{stream}" for stream in DRIFT_STREAMS] for name in PER_STREAM)


DUEL = ("evidence", "answers", "promoted")
"""Where two makes learn: log10 of the evidence, whether the challenger answers, whether something was promoted."""
EVIDENCE_MIN = 1e-6
"""Far below 1 the evidence says no more than that a trial is lost."""
GUARD_MARKED = sum(1 << bit for bit, name in enumerate(GUARD_ACTIONS) if name not in GUARD_EVERYDAY)


class Moment(NamedTuple):
    """A row with a high anomaly score. `predicted` and the interval are those made for it one horizon before."""

    row: int
    time: str
    value: float
    predicted: float
    lower: float
    upper: float
    anomaly_score: float
    error_scales: float
    """|error| in units of the running scale of one-step increments."""


class Round(NamedTuple):
    """One micro-batch: the series' indices, times as text and in seconds (B,), values (B, K), and what the bank said."""

    series: Sequence[int]
    time_texts: Sequence[str]
    times: Array
    values: Array
    result: StepResult
    judged: Judged | None = None
    """Where two makes learn, what each of them said."""


class Layout:
    """Where each figure stands in a row that is taken in, and which columns the two tables have."""

    def __init__(self, specification: Specification, makes: Sequence[str] = ()) -> None:
        self.makes = tuple(makes)
        horizons, n_experts = specification.horizons, len(specification.experts)
        spread = np.linspace(0, len(horizons) - 1, min(len(horizons), HORIZONS_MAX))
        self.kept = np.unique(np.rint(spread).astype(np.int64))
        self.horizons = tuple(horizons[at] for at in self.kept)
        self.n_experts = n_experts
        names = ["time", "value", *SCALARS, "guard", *(DUEL if makes else ())]
        names += [f"{name}.{stream}" for name in PER_STREAM for stream in DRIFT_STREAMS]
        names += [f"{name}.{h}" for name in PER_HORIZON for h in self.horizons]
        names += [
            f"{name}.{h}.{expert}"
            for name in PER_EXPERT
            for h in self.horizons
            for expert in range(n_experts)
        ]
        names += [f"make_errors.{h}.{make}" for make in self.makes for h in self.horizons]
        self.place = {name: at for at, name in enumerate(names)}

    def rows(self, rounds: Sequence[Round]) -> Array:
        """Return the rows of some rounds, one below the other, as (rows, K, C) with the columns of `place`."""
        values = np.concatenate([one.values for one in rounds])
        shape = values.shape

        def field(name: str) -> Array:
            whole: Array = np.concatenate([getattr(one.result, name) for one in rounds])
            return (
                whole[..., -1] if name == "covered" else whole
            )  # of the widest interval, as lower and upper

        times = np.concatenate([one.times for one in rounds])
        parts = [np.broadcast_to(times[:, None, None], (*shape, 1)), values[..., None]]
        parts += [field(name)[..., None] for name in SCALARS]
        parts += [((field("guard").astype(np.int64) & GUARD_MARKED) > 0)[..., None]]
        judged = [one.judged for one in rounds if one.judged is not None]
        if self.makes:
            parts += [np.broadcast_to(one[:, None, None], (*shape, 1)) for one in _duel(judged)]
        parts += [field(name) for name in PER_STREAM]
        parts += [field(name)[..., self.kept] for name in PER_HORIZON]
        parts += [field(name)[..., self.kept, :].reshape(*shape, -1) for name in PER_EXPERT]
        for make in range(len(self.makes)):
            parts.append(np.concatenate([one.results[make].error[..., self.kept] for one in judged]))
        return np.concatenate(parts, axis=-1, dtype=np.float64)

    def points(self) -> Buckets:
        """Return an empty table of points."""
        low = [f"{name}.{h}" for name in ("predicted_low", "lower") for h in self.horizons]
        high = [f"{name}.{h}" for name in ("predicted_high", "upper") for h in self.horizons]
        return Buckets(
            {
                "first": ["time"],
                "low": ["value_low", *low],
                "high": ["value_high", "anomaly_score", *high],
                "total": ["drift", "guard", *(["promoted"] if self.makes else [])],
            }
        )

    def figures(self) -> Buckets:
        """Return an empty table of figures."""
        totals = [f"{name}.{h}" for name in ("n", "covered", "width", "absolute") for h in self.horizons]
        totals += [
            f"{name}.{h}.{expert}"
            for name in ("absolute", "weight")
            for h in self.horizons
            for expert in range(self.n_experts)
        ]
        totals += [f"absolute.{h}.{make}" for make in self.makes for h in self.horizons]
        if self.makes:
            totals += ["answers"]
        high = [
            *STATISTICS,
            *(["evidence"] if self.makes else []),
            "gradient_norm",
            "influence_norm",
            "spectral_radius",
            "saturated_ratio",
        ]
        return Buckets({"high": high, "total": [*DRIFTS, "clipped", "skipped", "updated", *totals]})


def _duel(judged: Sequence[Judged]) -> list[Array]:
    """Return the columns of DUEL."""
    evidence = np.concatenate([one.evidence for one in judged])
    answers = np.concatenate([one.champion for one in judged]).astype(np.float64)
    promoted = np.concatenate([one.by_rule for one in judged]).astype(np.float64)
    return [np.log10(np.maximum(evidence, EVIDENCE_MIN)), answers, promoted]


class History:
    """One target of one series."""

    def __init__(self, name: str, layout: Layout) -> None:
        self.name = name
        self.points, self.figures = layout.points(), layout.figures()
        self.moments: list[Moment] = []
        self.last_time = 0.0
        self._layout = layout
        # A forecast made at row t is drawn at row t + h; so many rows before the next are needed for it.
        self._before = np.full((layout.horizons[-1], len(layout.place)), np.nan)

    def add(self, time_texts: Sequence[str], block: Array, limits: tuple[int, int]) -> None:
        """Take in the next rows, (n, C) with n >= 1; `limits` are the most points and figures."""
        past = np.concatenate((self._before, block))
        points = self._points(block, past)
        self._keep_moments(time_texts, block, points)
        self.points.add(points, limits[0])
        self.figures.add(self._figures(block), limits[1])
        self._before = past[len(block) :]
        self.last_time = float(block[-1, self._layout.place["time"]])

    def shrink(self, limits: tuple[int, int]) -> None:
        """Hold no more than so many points and figures."""
        self.points.shrink(limits[0])
        self.figures.shrink(limits[1])

    def _points(self, block: Array, past: Array) -> dict[str, Array]:
        place, n = self._layout.place, len(block)
        columns = {name: block[:, place[name]] for name in ("time", "anomaly_score")}
        columns["drift"] = np.maximum.reduce([block[:, place[name]] for name in DRIFTS])
        columns["guard"] = block[:, place["guard"]]
        if self._layout.makes:
            columns["promoted"] = block[:, place["promoted"]]
        columns["value_low"] = columns["value_high"] = block[:, place["value"]]
        for h in self._layout.horizons:
            made = past[len(self._before) - h :][:n]
            columns[f"predicted_low.{h}"] = columns[f"predicted_high.{h}"] = made[:, place[f"prediction.{h}"]]
            for name in ("lower", "upper"):
                columns[f"{name}.{h}"] = made[:, place[f"{name}.{h}"]]
        return columns

    def _figures(self, block: Array) -> dict[str, Array]:
        place = self._layout.place
        columns = {name: block[:, place[name]] for name in (*SCALARS, *DRIFTS, *STATISTICS)}
        for h in self._layout.horizons:
            columns[f"n.{h}"] = block[:, place[f"settled.{h}"]]
            columns[f"covered.{h}"] = block[:, place[f"covered.{h}"]]
            width = block[:, place[f"upper.{h}"]] - block[:, place[f"lower.{h}"]]
            columns[f"width.{h}"] = np.where(np.isnan(width), 0.0, width)  # none before a first value
            columns[f"absolute.{h}"] = np.abs(block[:, place[f"error.{h}"]])
            for expert in range(self._layout.n_experts):
                at = f"{h}.{expert}"
                columns[f"absolute.{at}"] = np.abs(block[:, place[f"expert_errors.{at}"]])
                columns[f"weight.{at}"] = block[:, place[f"weights.{at}"]]
            for make in self._layout.makes:
                columns[f"absolute.{h}.{make}"] = np.abs(block[:, place[f"make_errors.{h}.{make}"]])
        if self._layout.makes:
            columns |= {name: block[:, place[name]] for name in ("evidence", "answers")}
        return columns

    def _keep_moments(self, time_texts: Sequence[str], block: Array, points: dict[str, Array]) -> None:
        """Keep the rows of the highest scores; of equal ones, those with the largest error in scales."""
        place, h = self._layout.place, self._layout.horizons[0]
        score, scale = points["anomaly_score"], block[:, place["scale"]]
        error = np.abs(block[:, place[f"error.{h}"]])
        scales = np.divide(error, scale, out=np.zeros(len(block)), where=scale > 0.0)
        known = np.flatnonzero((score > 0.0) & np.isfinite(points[f"lower.{h}"]))
        best = known[np.lexsort((-scales[known], -score[known]))][:MOMENTS_MAX]
        forecast = [points[f"{name}.{h}"] for name in ("predicted_low", "lower", "upper")]
        columns = (points["value_low"], *forecast, score, scales)
        self.moments += [
            Moment(self.points.rows + int(at), time_texts[at], *(float(column[at]) for column in columns))
            for at in best
        ]
        self.moments.sort(key=lambda one: (-one.anomaly_score, -one.error_scales))
        del self.moments[MOMENTS_MAX:]


class Recorder:
    """The histories of a replay's first series."""

    def __init__(self, specification: Specification, makes: Sequence[str] = ()) -> None:
        self.layout = Layout(specification, makes)
        self.histories: dict[tuple[int, int], History] = {}
        """By the series' index in the score, and the target's place."""
        self._columns = (self.layout.points().n_columns, self.layout.figures().n_columns)
        self._limits = (0, 0)
        self._waiting: list[Round] = []
        self._n_waiting = 0

    def admit(self, index: int, names: Sequence[str]) -> None:
        """Take in a series by the names of its targets, while there is room."""
        for target, name in enumerate(names):
            if len(self.histories) < SERIES_MAX:
                self.histories[index, target] = History(name, self.layout)
        if (index, 0) in self.histories:
            points, figures = (len(self.histories) * columns for columns in self._columns)
            self._limits = (
                max(BUCKETS_MIN, POINT_CELLS // points),
                min(max(BUCKETS_MIN, FIGURE_CELLS // figures), FIGURES_MAX),
            )
            for history in self.histories.values():
                history.shrink(self._limits)

    def add(self, one: Round) -> None:
        """Take in one micro-batch."""
        if any((index, 0) in self.histories for index in one.series):
            self._waiting.append(one)
            self._n_waiting += len(one.series)
            if self._n_waiting >= FLUSH_ROWS:
                self.finish()

    def finish(self) -> None:
        """Take in what waits."""
        if not self._waiting:
            return
        rows = self.layout.rows(self._waiting)
        index = np.concatenate([one.series for one in self._waiting])
        texts = [text for one in self._waiting for text in one.time_texts]
        for (series, target), history in self.histories.items():
            of_it = np.flatnonzero(index == series)
            if len(of_it):
                history.add([texts[at] for at in of_it], rows[of_it, target], self._limits)
        self._waiting, self._n_waiting = [], 0

    @property
    def largest(self) -> int:
        """The most buckets that a table has."""
        tables = [(len(history.points), len(history.figures)) for history in self.histories.values()]
        return max((max(pair) for pair in tables), default=0)

    def thin(self) -> None:
        """Halve what is kept of each series, as far as it goes: the page would be too large."""
        for history in self.histories.values():
            history.shrink(
                (max(2, -(-len(history.points) // 2)), max(2, -(-len(history.figures) // 2))),
            )
