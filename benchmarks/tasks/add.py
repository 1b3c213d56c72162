"""Marschall's Add task: what came t1 and t2 steps ago decides the odds, learned by every rule.

    x_t ~ Bernoulli(1/2),  P(y_t = 1) = 1/2 + x_{t-t1} / 2 - x_{t-t2} / 4

Cross-entropy in nats: .6616 for one who knows neither, .5192 for t1 alone, .6277 for t2 alone, .4545 for both. Task:
Marschall, Cho & Savin (2020), section 5.1.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tasks.parallel import in_parallel
from benchmarks.tasks.plots import figure, save
from benchmarks.tasks.recipe import Recipe, Step, at_most, run
from models.protocols import Array

SEEDS = [0, 1, 2]
SCORED_STEPS = 10_000
FLOOR = 0.4545
CHANCE = 0.6616
NEAR = (6, 10, 100_000)
FAR = (15, 25, 60_000)
GOALS = {NEAR: 0.470, FAR: 0.50}

ADAM = Recipe("vanilla", n_units=16, loss="bernoulli", learning_rate=1e-3)
FILTER = {"adaptive": False, "gate": 100.0}
"""The noise of a Bernoulli target is known, and an error of it is no outlier."""
DENSE = replace(ADAM, optimizer="ekf_node", optimizer_options=FILTER)
"""All rules under one optimizer. Under first-order ones (see the rows with Adam) the noise of the task drowns what little
credit comes back from ten steps ago through a new dense cell, whose units the inputs of -1 and 1 nearly saturate: at
learning rates of .0003 to .003, and with SGD, .61 to .64 nats after 40,000 steps."""
BEST = Recipe(
    "lru",
    n_units=16,
    loss="bernoulli",
    readout="feed_forward",
    optimizer="ekf_node",
    optimizer_options=FILTER,
)
BY_RULE = {
    "exact (rtrl_step)": replace(DENSE, rule="exact"),
    "exact (rtrl_step), Adam": ADAM,
    "bptt_sliding, 10 steps": replace(DENSE, rule="bptt_sliding"),
    "bptt_disjoint, 10 steps, Adam": replace(ADAM, rule="bptt_disjoint"),
    "sketched_rtrl, rank 4": replace(DENSE, rule="sketched_rtrl"),
    "optimal_kronecker, 8 terms": replace(DENSE, rule="optimal_kronecker"),
    "kf_rtrl": replace(DENSE, rule="kf_rtrl"),
    "r_kf": replace(DENSE, rule="r_kf"),
    "uoro": replace(DENSE, rule="uoro"),
    "dni, Adam": replace(ADAM, rule="dni"),
    "kernl": replace(DENSE, rule="kernl"),
    "snap_2, sparse cell": replace(DENSE, cell="vanilla_sparse", rule="snap_2"),
    "snap_1": replace(DENSE, rule="snap_1"),
    "rflo, leaky cell": replace(DENSE, cell="vanilla_leaky", rule="rflo"),
    "eprop, leaky cell": replace(DENSE, cell="vanilla_leaky", rule="eprop"),
    "immediate": replace(DENSE, rule="immediate"),
    "immediate, RMSprop": replace(ADAM, rule="immediate", optimizer="rmsprop"),
}
BY_CELL = {
    "LRU16, feed-forward, EKF": BEST,
    "LRU16, linear readout, EKF": replace(BEST, readout="linear"),
    "LRU16, feed-forward, EKF, frozen recurrent weights": replace(BEST, rule="frozen"),
    "LRU16, feed-forward, EKF, immediate rule": replace(BEST, rule="immediate"),
    "dense12, feed-forward, EKF": replace(BEST, cell="vanilla", n_units=12),
    "RTU32, Adam": replace(ADAM, cell="rtu", n_units=32),
    "nonlinear RTU32, Adam": replace(ADAM, cell="rtu_nonlinear", n_units=32),
    "eLSTM32, Adam": replace(ADAM, cell="elstm", n_units=32),
    "GRU16, Adam": replace(ADAM, cell="gru"),
    "delay line 32, reach 10, Adam": replace(ADAM, cell="delay_line", n_units=32, readout="feed_forward"),
}
FAR_NAMES = [
    "LRU16, feed-forward, EKF",
    "RTU32, Adam",
    "nonlinear RTU32, Adam",
    "exact (rtrl_step)",
    "delay line 32, reach 10, Adam",
]
PUBLISHED_CLASSES = {
    "exact": "past, exact",
    "bptt_sliding": "future, truncated",
    "bptt_disjoint": "future, truncated",
    "kf_rtrl": "past, stochastic, closed form",
    "r_kf": "past, stochastic, closed form",
    "uoro": "past, stochastic, closed form",
    "dni": "future, deterministic, numerical",
    "rflo": "past, deterministic, closed form",
    "kernl": "past, deterministic, numerical",
}
"""Marschall, Cho & Savin (2020) find that what rules reach clusters by these classes, table 1. They give what each reaches as
curves in a figure and not as numbers, so no order is repeated here."""


def stream(first: int, second: int, steps: int, seeds: list[int]) -> Iterator[Step]:
    """Yield inputs of -1 and 1 and the targets, one row of its own a seed."""
    draws = [np.random.default_rng(1000 + seed) for seed in seeds]
    x = np.stack([rng.integers(0, 2, steps) for rng in draws], axis=1).astype(np.float64)
    odds = 0.5 + 0.5 * _delayed(x, first) - 0.25 * _delayed(x, second)
    y = (np.stack([rng.random(steps) for rng in draws], axis=1) < odds).astype(np.float64)
    for t in range(steps):
        yield Step(2.0 * x[t, :, None] - 1.0, y[t, :, None])


def _delayed(x: Array, delay: int) -> Array:
    return np.concatenate((np.zeros((delay, x.shape[1])), x[:-delay]))


def measure_one(task: tuple[str, Recipe, tuple[int, int, int], int]) -> dict[str, Any]:
    """Return one recipe's losses: the mean over the last steps, each seed's, and the course over time."""
    name, recipe, (first, second, _), steps = task
    start = time.perf_counter()
    losses, _ = run(recipe, stream(first, second, steps, SEEDS), SEEDS)
    last = losses[-min(SCORED_STEPS, steps // 2) :].mean(axis=0)
    course = losses.mean(axis=1)[: steps // 50 * 50].reshape(50, -1).mean(axis=1)
    seconds = time.perf_counter() - start
    return {
        "told": f"add {first}, {second}, {name}: {last.mean():.4f} nats in {seconds:.0f} s",
        "name": name,
        "delays": [first, second],
        "steps": steps,
        "nats": float(last.mean()),
        "by_seed": [float(v) for v in last],
        "course": [float(v) for v in course],
        "seconds": seconds,
    }


def measure(quick: bool) -> dict[str, Any]:
    """Run every rule and every cell, as many at a time as there are processors."""
    recipes = BY_RULE | BY_CELL
    tasks = [(name, recipe, NEAR, NEAR[2]) for name, recipe in recipes.items()]
    tasks += [(name, recipes[name], FAR, FAR[2]) for name in FAR_NAMES]
    if quick:
        tasks = [(name, recipe, delays, steps // 20) for name, recipe, delays, steps in tasks]
    runs = in_parallel(measure_one, tasks)
    goals = []
    for delays, limit in GOALS.items():
        best = min((r for r in runs if r["delays"] == list(delays[:2])), key=lambda r: float(r["nats"]))
        goals.append(at_most(f"add {delays[0]}, {delays[1]}: {best['name']}", best["nats"], limit))
    return {"runs": runs, "goals": goals, "seeds": SEEDS}


def published(name: str) -> str:
    """Return the published class of a learner's rule; nothing for other cells, and for rules not in the source."""
    if name not in BY_RULE:
        return ""
    return PUBLISHED_CLASSES.get(BY_RULE[name].rule, "")


def table(result: dict[str, Any]) -> str:
    """Return the figures as tables, the best first."""
    text = []
    for first, second, _ in (NEAR, FAR):
        rows = sorted(
            (r for r in result["runs"] if r["delays"] == [first, second]), key=lambda r: float(r["nats"])
        )
        text.append(
            f"\nAdd ({first}, {second}), {rows[0]['steps']} steps, mean of {len(SEEDS)} seeds, nats over the last tenth"
        )
        text.append(f"(nothing known {CHANCE}, everything {FLOOR})\n")
        text.append(
            "| learner | nats | by seed | published class of the rule | seconds |\n|---|---|---|---|---|"
        )
        text += [
            f"| {r['name']} | {r['nats']:.4f} | {' '.join(f'{v:.3f}' for v in r['by_seed'])} | {published(r['name'])} |"
            f" {r['seconds']:.0f} |"
            for r in rows
        ]
    return "\n".join(text)


def draw(result: dict[str, Any], folder: Path) -> None:
    """Plot the course of some learners."""
    shown = ["LRU16, feed-forward, EKF", "RTU32, Adam", *list(BY_RULE)]
    canvas, axes = figure(width=9.0, height=5.0)
    for r in result["runs"]:
        if r["delays"] == list(NEAR[:2]) and r["name"] in shown:
            steps = np.linspace(r["steps"] / 50, r["steps"], 50)
            axes.plot(steps, r["course"], label=f"{r['name']} {r['nats']:.3f}", linewidth=1)
    axes.axhline(FLOOR, color="black", linewidth=0.8, linestyle=":")
    axes.axhline(CHANCE, color="black", linewidth=0.8, linestyle=":")
    axes.set(xlabel="steps", ylabel="nats", title="Add (6, 10): exact rules learn both delays")
    axes.legend(fontsize=6, loc="center left", bbox_to_anchor=(1.0, 0.5))
    save(canvas, folder / "add.svg")
