"""Accuracy on real series: one pass, no pretraining, one setting for all; one step ahead, and many (`benchmarks.horizons`).

For each series: the mean squared error of the mixture and of each expert, standardised, predicted before the
value was seen. Then the figures that could prove the design wrong: the mixture against the best expert of each
series, without the recurrent expert, with its recurrent weights frozen, and with Adam in the filter's place.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace

import numpy as np

from benchmarks import horizons
from benchmarks.machine import describe
from benchmarks.series import Series, load
from models.bank import Array, Bank
from models.specification import Specification

DEFAULT = Specification()
VARIANTS = {
    "default": DEFAULT,
    "no recurrent expert": replace(
        DEFAULT, experts=tuple(name for name in DEFAULT.experts if name != "recurrent")
    ),
    "frozen recurrent weights": replace(DEFAULT, optimizer="sgd", learning_rate=0.0),
    "recurrent weights by Adam": replace(DEFAULT, optimizer="adam"),
    "stacked": replace(DEFAULT, mixture="stacked"),
}
GOALS = {"ETTh1": 0.210, "ETTh2": 0.335, "nyc_taxi": 0.0234}
"""Of one-step mean squared error: under all published figures without leaked labels, and under recursive least squares."""

RECURRENT_GOAL = 0.97
"""The default's error over that without the recurrent expert, and with its weights frozen: the mean of the data sets, each the
geometric mean of its series."""

ALL, SETS = "all series", "mean of the sets"

RATIO_GOAL = 1.02
"""The mixture's error over its best expert's, on any series."""

CONTRIBUTIONS = ("no recurrent expert", "frozen recurrent weights")
"""Variants that the default has to be better than by RECURRENT_GOAL."""
EXACT = 1e-9
"""A standardised error under this is rounding."""

RATIO_FLOOR = 1e-3
"""A series that is forecast exactly counts as this in the geometric mean: its logarithm has no end."""


@dataclass(frozen=True, slots=True)
class Scored:
    """Standardised mean squared errors of one series."""

    mixture: float
    experts: dict[str, float]

    @property
    def ratio(self) -> float:
        """Return the mixture's error over the best expert's."""
        best = min(self.experts.values())
        return self.mixture / best if best > 0.0 else (1.0 if self.mixture == 0.0 else float("inf"))


def main(arguments: argparse.Namespace) -> int:
    """Run every variant, print the tables, write the JSON; 0 where all goals that apply are met."""
    series = load(arguments.data)
    if arguments.data is None:
        print(
            "only the series that are shipped; for all: --data FOLDER with ett/ and nab/data/ (benchmarks/series.py)"
        )
    if arguments.quick:
        series = [
            replace(s, times=s.times[:2000], values=s.values[:2000], first=400, last=min(2000, s.last))
            for s in series
        ]
    results: dict[str, dict[str, Scored]] = {}
    seconds: dict[str, float] = {}
    for name, specification in VARIANTS.items():
        start = time.perf_counter()
        results[name] = run(specification, series)
        seconds[name] = time.perf_counter() - start
        print(f"{name}: {sum(len(s.values) for s in series)} events in {seconds[name]:.0f} s")
    _print_series(results["default"])
    figures = {name: _figures(scored, series) for name, scored in results.items()}
    _print_variants(figures)
    shares = {
        name: _shares(results["default"], found, series)
        for name, found in results.items()
        if name != "default"
    }
    _print_shares(shares)
    met = True if arguments.quick else _print_goals(figures["default"], shares)
    channels = [one for one in series if one.group in horizons.GOALS]
    ahead = horizons.measure(channels) if channels else {}
    if channels:
        print(horizons.table(ahead))
        for goal in horizons.goals(ahead):
            print(f"{'met   ' if goal['met'] else 'MISSED'} {goal['name']}: {goal['value']:.4g}")
            met = met and (arguments.quick or goal["met"])
    arguments.output.mkdir(parents=True, exist_ok=True)
    target = arguments.output / "accuracy.json"
    target.write_text(
        json.dumps(
            {
                "machine": describe(),
                "seconds": seconds,
                "figures": figures,
                "shares": shares,
                "steps": ahead,
                "series": {
                    variant: {n: {"mixture": s.mixture, **s.experts} for n, s in scored.items()}
                    for variant, scored in results.items()
                },
            },
            indent=1,
        )
    )
    print(f"written: {target}")
    return 0 if met else 1


def run(specification: Specification, series: list[Series]) -> dict[str, Scored]:
    """Return the errors on each series; row t of all series is one micro-batch, as in the worker."""
    bank = Bank(specification, capacity=len(series))
    slots = np.array([bank.admit() for _ in series])
    n_experts = len(specification.experts)
    mixture = np.zeros(len(series))
    experts = np.zeros((len(series), n_experts))
    for row in range(max(len(s.values) for s in series)):
        live = np.array([i for i, s in enumerate(series) if row < len(s.values)])
        result = bank.step(
            slots[live],
            np.array([series[i].times[row] for i in live]),
            np.array([[series[i].values[row]] for i in live]),
            np.empty((len(live), 0)),
        )
        counts = np.array([series[i].first <= row < series[i].last for i in live])
        unit = np.array([series[i].deviation for i in live])
        mixture[live] += np.where(counts, (result.error[:, 0, 0] / unit) ** 2, 0.0)
        experts[live] += np.where(counts[:, None], (result.expert_errors[:, 0, 0] / unit[:, None]) ** 2, 0.0)
    rows = np.array([s.last - s.first for s in series])
    return {
        s.name: Scored(
            mixture[i] / rows[i], dict(zip(specification.experts, experts[i] / rows[i], strict=True))
        )
        for i, s in enumerate(series)
    }


def _figures(scored: dict[str, Scored], series: list[Series]) -> dict[str, float]:
    """Return the mean of each ETT set, nyc_taxi, the mean logarithm over NAB, and the worst ratio."""
    figures: dict[str, float] = {}
    for group in sorted({s.group for s in series} - {"NAB"}):
        figures[group] = float(np.mean([scored[s.name].mixture for s in series if s.group == group]))
    nab = [scored[s.name] for s in series if s.group == "NAB" and scored[s.name].experts["last_value"] > 0.0]
    ratios: Array = np.array([score.mixture / score.experts["last_value"] for score in nab])
    if "nyc_taxi" in scored:
        figures["nyc_taxi"] = scored["nyc_taxi"].mixture
    figures["NAB over last value"] = float(np.exp(np.log(np.maximum(ratios, RATIO_FLOOR)).mean()))
    figures["series over 1.02"] = float(sum(s.ratio > RATIO_GOAL for s in scored.values()))
    figures["worst over best expert"] = max(s.ratio for s in scored.values())
    return figures


def _share(scored: dict[str, Scored], without: dict[str, Scored]) -> float:
    """Return the geometric mean over series of one error over another, but for series that both forecast exactly."""
    pairs = [(scored[name].mixture, other.mixture) for name, other in without.items()]
    logs = [np.log(max(one, EXACT) / max(other, EXACT)) for one, other in pairs]
    return float(np.exp(np.mean([log for log, pair in zip(logs, pairs, strict=True) if max(pair) > EXACT])))


def _shares(scored: dict[str, Scored], without: dict[str, Scored], series: list[Series]) -> dict[str, float]:
    """Return the share of each data set, of all series, and the mean of the sets'."""
    shares = {}
    for group in sorted({one.group for one in series}):
        names = {one.name for one in series if one.group == group}
        shares[group] = _share(scored, {name: without[name] for name in names})
    return shares | {ALL: _share(scored, without), SETS: float(np.mean(list(shares.values())))}


def _print_shares(shares: dict[str, dict[str, float]]) -> None:
    print("\nThe default's error over that of the variant, geometric means over a set's series")
    columns = list(next(iter(shares.values())))
    print(f"{'':28}" + "".join(f"{column:>20}" for column in columns))
    for name, row in shares.items():
        print(f"{name:28}" + "".join(f"{row[column]:20.4f}" for column in columns))


def _print_series(scored: dict[str, Scored]) -> None:
    names = list(next(iter(scored.values())).experts)
    print(f"\n{'series':40}{'mixture':>12}" + "".join(f"{name:>12}" for name in names) + f"{'over best':>11}")
    for name, score in scored.items():
        cells = "".join(f"{score.experts[expert]:12.4g}" for expert in names)
        print(f"{name:40}{score.mixture:12.4g}{cells}{score.ratio:11.3f}")


def _print_variants(figures: dict[str, dict[str, float]]) -> None:
    columns = list(figures["default"])
    print(f"\n{'variant':28}" + "".join(f"{column:>24}" for column in columns))
    for name, row in figures.items():
        print(f"{name:28}" + "".join(f"{row[column]:24.4g}" for column in columns))


def _print_goals(figures: dict[str, float], shares: dict[str, dict[str, float]]) -> bool:
    print()
    checks = [(name, figures[name], goal) for name, goal in GOALS.items() if name in figures]
    checks.append(("worst over best expert", figures["worst over best expert"], RATIO_GOAL))
    checks += [(f"error over {name}, {SETS}", shares[name][SETS], RECURRENT_GOAL) for name in CONTRIBUTIONS]
    for name, value, goal in checks:
        print(f"{'met   ' if value <= goal else 'MISSED'} {name}: {value:.4g}, goal at most {goal}")
    return all(value <= goal for _, value, goal in checks)
