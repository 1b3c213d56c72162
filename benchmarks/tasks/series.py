"""One-step forecasts of Henon's map, a laser, sunspots and a switching process: one pass, one setting for all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tasks.parallel import in_parallel
from benchmarks.tasks.plots import figure, save
from benchmarks.tasks.recipe import Goal, Recipe, Step, at_most, run
from models.protocols import Array

GOALS = {"henon": 0.0002, "laser": 0.0035, "sunspot": 0.113, "switch": 0.0054}
"""Of the normalised mean squared error over the last fifth."""

SCORED_SHARE = 0.2
LEARN_FROM = 10
"""Values seen before the running scale is worth learning in."""
INPUT_MAX = 6.0
TARGET_MAX = 10.0
SWITCH_SEEDS = (0, 1, 2, 3, 4)
"""What the noise leaves differs much between draws, from .0029 to .0074: the goal is for the mean of five."""

LINEAR = Recipe(
    "lru",
    n_units=16,
    readout="feed_forward",
    readout_options={"n_hidden": 8},
    optimizer="ekf_joint",
)
BY_UNIT = replace(LINEAR, optimizer="ekf_node")
PLAIN = replace(LINEAR, readout="linear", readout_options={})
RECIPES = {
    "LRU16, feed-forward readout, EKF": LINEAR,
    "LRU16, feed-forward readout, EKF by unit": BY_UNIT,
    "LRU16, feed-forward readout, EKF by unit, frozen recurrent weights": replace(BY_UNIT, rule="frozen"),
    "LRU16, feed-forward readout, EKF by unit, immediate derivative": replace(BY_UNIT, rule="immediate"),
    "RTU16, linear readout, EKF": replace(PLAIN, cell="rtu"),
    "eLSTM16, linear readout, EKF": replace(PLAIN, cell="elstm"),
    "dense12, linear readout, EKF": replace(PLAIN, cell="vanilla", n_units=12),
    "delay line 16, feed-forward readout, EKF by unit": replace(BY_UNIT, cell="delay_line"),
    "RTU32, linear readout, Adam": Recipe("rtu", n_units=32, learning_rate=3e-3),
}
GOAL_LEARNERS = ("RTU16, linear readout, EKF", "LRU16, feed-forward readout, EKF")
"""Two whose linear recurrence is learned by a joint filter; each has one setting for all series."""


@dataclass(frozen=True, slots=True)
class Series:
    """A series, with the least normalised error that its own noise allows."""

    name: str
    values: Array
    floor: float = 0.0


def all_series(data: Path | None) -> list[Series]:
    """Return the series; laser and sunspots only where `data`/series has them."""
    found = [Series("henon", henon(10_000))]
    for name in ("laser", "sunspot"):
        path = data / "series" / f"{name}.txt" if data is not None else None
        if path is not None and path.exists():
            found.append(Series(name, np.loadtxt(path)))
    for seed in SWITCH_SEEDS:
        values = switching(seed)
        found.append(Series(f"switch {seed}", values, floor=0.01 / float(np.var(values))))
    return found


def henon(steps: int) -> Array:
    """Return x' = 1 - 1.4 x^2 + y, y' = .3 x from (0, 0), without noise."""
    values, x, y = np.zeros(steps), 0.0, 0.0
    for t in range(steps):
        x, y = 1.0 - 1.4 * x * x + y, 0.3 * x
        values[t] = x
    return values


def switching(seed: int, outliers: float = 0.0) -> Array:
    """Return 10,000 values of an autoregression of second order whose frequency and decay change three times.

    x_t = 2 r cos(f) x_{t-1} - r^2 x_{t-2} + .1 N(0, 1) + c; a share `outliers` of what is observed is off by
    20 standard deviations of the series.
    """
    rng = np.random.default_rng(seed)
    values, before, last = [], 0.0, 0.0
    for frequency, radius, constant in (
        (0.25, 0.995, 0.0),
        (0.6, 0.98, 0.0),
        (1.1, 0.99, 0.5),
        (0.4, 0.97, 0.0),
    ):
        for _ in range(2500):
            value = 2 * radius * np.cos(frequency) * last - radius**2 * before + 0.1 * rng.normal() + constant
            before, last = last, value
            values.append(value)
    series = np.array(values)
    hit = rng.random(len(series)) < outliers
    spikes: Array = series + np.where(hit, 20.0 * series.std() * rng.choice([-1.0, 1.0], len(series)), 0.0)
    return spikes


def running_scale(values: Array) -> tuple[Array, Array]:
    """Return mean and standard deviation of the values up to and with each."""
    count = np.arange(1, len(values) + 1)
    mean = np.cumsum(values) / count
    variance = np.cumsum(values * values) / count - mean * mean
    return mean, np.sqrt(np.maximum(variance, 1e-12))


def stream(values: Array, rows: int) -> Iterator[Step]:
    """Yield each value, standardised by what was seen so far, and the next one as its target."""
    mean, scale = running_scale(values)
    for t in range(len(values) - 1):
        now = np.clip((values[t] - mean[t]) / scale[t], -INPUT_MAX, INPUT_MAX)
        then = np.clip((values[t + 1] - mean[t]) / scale[t], -TARGET_MAX, TARGET_MAX)
        yield Step(np.tile([now, 1.0], (rows, 1)), np.full((rows, 1), then), np.full(rows, t >= LEARN_FROM))


def errors(recipe: Recipe, values: Array, seeds: list[int]) -> Array:
    """Return the prequential squared errors in the series' own units, (T - 1, seeds)."""
    mean, scale = running_scale(values)
    _, predictions = run(recipe, stream(values, len(seeds)), seeds)
    forecasts = mean[:-1, None] + scale[:-1, None] * predictions[:, :, 0]
    squared: Array = (forecasts - values[1:, None]) ** 2
    return squared


def normalised(squared: Array, values: Array) -> Array:
    """Return the mean over the last fifth, over the variance of the whole series."""
    first = int((1.0 - SCORED_SHARE) * len(values)) - 1
    nmse: Array = squared[first:].mean(axis=0) / np.var(values)
    return nmse


SEEDS = [0, 1, 2]
OUTLIERS = 0.005


def measure_one(job: tuple[str, Series, list[int]]) -> dict[str, Any]:
    """Forecast a series with a learner."""
    learner, series, seeds = job
    figures = normalised(errors(RECIPES[learner], series.values, seeds), series.values)
    return {
        "told": f"{learner}, {series.name}: {figures.mean():.5f}",
        "learner": learner,
        "series": series.name,
        "nmse": float(figures.mean()),
        "by_seed": [float(v) for v in figures],
        "floor": series.floor,
    }


def measure(quick: bool, data: Path | None) -> dict[str, Any]:
    """Forecast every series with every learner."""
    series, seeds = all_series(data), SEEDS[:1] if quick else SEEDS
    if quick:
        series = [replace(s, values=s.values[:500]) for s in series[: 1 - len(SWITCH_SEEDS)]]
    series.append(Series("switch with outliers", switching(0, OUTLIERS)[: 500 if quick else None]))
    runs = in_parallel(measure_one, [(learner, s, seeds) for learner in RECIPES for s in series])
    measured = {str(r["series"]) for r in runs}
    return {
        "runs": runs,
        "seeds": seeds,
        "goals": [goal for learner in GOAL_LEARNERS for goal in goals_of(runs, learner)],
        "missing": [n for n in GOALS if not any(v.startswith(n) for v in measured)],
    }


def goals_of(runs: list[dict[str, Any]], learner: str) -> list[Goal]:
    """Return what a learner has to reach on all series by its one setting; of the switching ones the mean counts."""
    own = {str(r["series"]): float(str(r["nmse"])) for r in runs if r["learner"] == learner}
    goals: list[Goal] = []
    for name, limit in GOALS.items():
        values = [v for n, v in own.items() if n.startswith(name) and "outliers" not in n]
        if values:
            goals.append(at_most(f"{name}: {learner}", float(np.mean(values)), limit))
    return goals


def table(result: dict[str, Any]) -> str:
    """Return the normalised errors, a line a learner."""
    names = list(dict.fromkeys(r["series"] for r in result["runs"]))
    lines = [
        f"\nSeries, one pass, {len(result['seeds'])} seeds: squared error of the last fifth over the variance\n",
        f"| learner | {' | '.join(names)} |",
        "|---" * (len(names) + 1) + "|",
    ]
    floors = {r["series"]: r["floor"] for r in result["runs"]}
    lines.append(f"| what the noise leaves | {' | '.join(f'{floors[n]:.4f}' for n in names)} |")
    for learner in dict.fromkeys(r["learner"] for r in result["runs"]):
        own = {r["series"]: r["nmse"] for r in result["runs"] if r["learner"] == learner}
        lines.append(f"| {learner} | {' | '.join(f'{own[n]:.5f}' for n in names)} |")
    if result["missing"]:
        lines.append(
            f"\nnot measured, for want of --data FOLDER with series/: {', '.join(result['missing'])}"
        )
    return "\n".join(lines)


def draw(result: dict[str, Any], folder: Path) -> None:
    """Plot the errors by series."""
    names = list(dict.fromkeys(r["series"] for r in result["runs"]))
    canvas, axis = figure(width=8.0, height=4.0)
    for learner in dict.fromkeys(r["learner"] for r in result["runs"]):
        own = {r["series"]: r["nmse"] for r in result["runs"] if r["learner"] == learner}
        axis.semilogy(names, [own[n] for n in names], marker="o", linewidth=0.6, label=learner)
    axis.tick_params(axis="x", rotation=30)
    axis.set(ylabel="normalised squared error", title="one step ahead, one pass, one setting")
    axis.legend(fontsize=6)
    save(canvas, folder / "series.svg")
