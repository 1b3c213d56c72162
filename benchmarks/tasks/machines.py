"""Finite-state machines learned online: recurrence buys memory that no window has.

Parity since the last reset symbol is a machine of two states: however long ago the reset was, every bit since
counts. The exclusive or of two bits of the past needs them kept and multiplied. Steps are scored where the reset is
beyond every delay line's reach, so that a learner without recurrence can only guess.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tasks.parallel import in_parallel
from benchmarks.tasks.plots import figure, save
from benchmarks.tasks.recipe import Goal, Recipe, Step, at_least, at_most, run
from models.protocols import Array

SEEDS = [0, 1, 2]
RESET_ODDS = 0.02
REACH = 12
"""Bits that must lie between a reset and a step that is scored: more than any delay line here sees."""
XOR_DELAYS = (5, 8)
STEPS = {"parity": 40_000, "xor": 40_000}
ACCURACY_GOAL = 0.99
CHANCE_MARGIN = 0.03
"""How far from one half a guesser may end up: over six standard deviations of 4,000 guesses are .05."""

FILTER = {"adaptive": False, "gate": 100.0}
GRU = Recipe("gru", n_units=16, loss="bernoulli", learning_rate=1e-2)
VANILLA = Recipe("vanilla", n_units=8, loss="bernoulli", optimizer="ekf_joint", optimizer_options=FILTER)
WITHOUT = {
    "feed-forward, 32 units": replace(GRU, cell="feedforward", n_units=32, readout="feed_forward"),
    "delay line, 32 units, too short": replace(
        GRU, cell="delay_line", n_units=32, cell_options={"taps": 3, "unit_taps": 2}, readout="feed_forward"
    ),
}
RECIPES = {
    "parity": {
        "vanilla 8, EKF on exact RTRL": VANILLA,
        "GRU 16, Adam on exact RTRL": GRU,
        "eLSTM 16, feed-forward, EKF on exact RTRL": replace(
            VANILLA, cell="elstm", n_units=16, readout="feed_forward"
        ),
        # Parity is in the state itself: to flip it or not, a step needs no gradient through the steps before it.
        "GRU 16, Adam on the immediate derivative": replace(GRU, rule="immediate"),
        "vanilla 8, EKF, frozen recurrent weights": replace(VANILLA, rule="frozen"),
        **WITHOUT,
    },
    "xor": {
        "LRU 16, feed-forward, EKF on exact RTRL": replace(
            VANILLA, cell="lru", n_units=16, readout="feed_forward"
        ),
        "vanilla 16, feed-forward, EKF on exact RTRL": replace(VANILLA, n_units=16, readout="feed_forward"),
        "vanilla 16, feed-forward, EKF on the immediate derivative": replace(
            VANILLA, n_units=16, rule="immediate", readout="feed_forward"
        ),
        "LRU 16, feed-forward, EKF, frozen recurrent weights": replace(
            VANILLA, cell="lru", n_units=16, rule="frozen", readout="feed_forward"
        ),
        "delay line, 32 units, long enough": replace(
            GRU,
            cell="delay_line",
            n_units=32,
            learning_rate=3e-3,
            cell_options={"taps": 9, "unit_taps": 1},
            readout="feed_forward",
        ),
        **WITHOUT,
    },
}


def parity(steps: int, seeds: list[int]) -> Iterator[Step]:
    """Yield (bit, reset) and the parity of the bits since the last reset."""
    draws = [np.random.default_rng(2000 + seed) for seed in seeds]
    resets = np.stack([rng.random(steps) < RESET_ODDS for rng in draws], axis=1)
    resets[0] = True
    bits = np.where(resets, 0, np.stack([rng.integers(0, 2, steps) for rng in draws], axis=1))
    state, since = np.zeros(len(seeds), dtype=np.int64), np.zeros(len(seeds), dtype=np.int64)
    for t in range(steps):
        state = np.where(resets[t], 0, state ^ bits[t])
        since = np.where(resets[t], 0, since + 1)
        shown = np.where(resets[t], 0.0, 2.0 * bits[t] - 1.0)
        yield Step(np.stack((shown, 1.0 * resets[t]), axis=1), state[:, None].astype(np.float64))


def xor(steps: int, seeds: list[int]) -> Iterator[Step]:
    """Yield a bit and the exclusive or of two earlier ones."""
    draws = [np.random.default_rng(3000 + seed) for seed in seeds]
    bits = np.stack([rng.integers(0, 2, steps) for rng in draws], axis=1)
    one, other = XOR_DELAYS
    for t in range(steps):
        target = bits[t - one] ^ bits[t - other] if t >= other else bits[0] * 0
        yield Step(
            np.asarray(2.0 * bits[t, :, None] - 1.0, dtype=np.float64), target[:, None].astype(np.float64)
        )


STREAMS = {"parity": parity, "xor": xor}


def counted(name: str, steps: int, seeds: list[int]) -> Array:
    """Return which steps count, (T, B): those where a reset is beyond the reach of every delay line."""
    if name != "parity":
        return np.ones((steps, len(seeds)), dtype=np.bool_)
    rows, since = [], np.full(len(seeds), 0)
    for step in parity(steps, seeds):
        since = np.where(step.inputs[:, 1] > 0.0, 0, since + 1)
        rows.append(since > REACH)
    return np.array(rows)


def measure_one(job: tuple[str, str, int]) -> dict[str, Any]:
    """Learn a machine with a learner; accuracy over the last tenth, predicted before it was seen."""
    name, learner, steps = job
    targets = np.array([step.target[:, 0] for step in STREAMS[name](steps, SEEDS)])
    counts = counted(name, steps, SEEDS)
    _, predictions = run(RECIPES[name][learner], STREAMS[name](steps, SEEDS), SEEDS)
    right = ((predictions[:, :, 0] > 0.5) == (targets > 0.5)) & counts
    last = slice(steps - steps // 10, steps)
    accuracy = right[last].sum(axis=0) / counts[last].sum(axis=0)
    blocks = np.array_split(np.arange(steps), 40)
    return {
        "told": f"{name}, {learner}: {accuracy.mean():.4f}",
        "task": name,
        "learner": learner,
        "steps": steps,
        "accuracy": float(accuracy.mean()),
        "by_seed": [float(v) for v in accuracy],
        "course": [float(right[b].sum() / max(counts[b].sum(), 1)) for b in blocks],
    }


def measure(quick: bool) -> dict[str, Any]:
    """Learn each machine with each learner."""
    jobs = [
        (name, learner, STEPS[name] // 20 if quick else STEPS[name])
        for name, recipes in RECIPES.items()
        for learner in recipes
    ]
    runs = in_parallel(measure_one, jobs)
    return {"runs": runs, "seeds": SEEDS, "goals": _goals(runs)}


def _goals(runs: list[dict[str, Any]]) -> list[Goal]:
    goals = []
    for name in RECIPES:
        own = [r for r in runs if r["task"] == name]
        exact = max((r for r in own if "exact" in r["learner"]), key=lambda r: float(r["accuracy"]))
        goals.append(at_least(f"{name}: {exact['learner']}", exact["accuracy"], ACCURACY_GOAL))
        for r in own:
            if r["learner"] in WITHOUT:
                off = abs(r["accuracy"] - 0.5)
                goals.append(at_most(f"{name}: {r['learner']}, off one half", off, CHANCE_MARGIN))
    return goals


def table(result: dict[str, Any]) -> str:
    """Return the accuracies."""
    rows = [
        f"| {r['task']} | {r['learner']} | {100 * r['accuracy']:.2f}% | {' '.join(f'{100 * v:.1f}' for v in r['by_seed'])} |"
        for r in result["runs"]
    ]
    head = "| machine | learner | right over the last tenth | by seed |\n|---|---|---|---|\n"
    return (
        f"\nFinite-state machines, {STEPS['parity']} steps, {len(SEEDS)} seeds\n\n" + head + "\n".join(rows)
    )


def draw(result: dict[str, Any], folder: Path) -> None:
    """Plot the accuracy over time."""
    canvas, axes = figure(width=11.0, height=3.6, columns=2)
    for axis, name in zip(axes, RECIPES, strict=True):
        for r in result["runs"]:
            if r["task"] == name:
                axis.plot(np.linspace(0, r["steps"], 40), r["course"], label=r["learner"], linewidth=1)
        axis.axhline(0.5, color="black", linewidth=0.8, linestyle=":")
        axis.set(title=name, xlabel="steps", ylabel="share right")
        axis.legend(fontsize=6)
    save(canvas, folder / "machines.svg")
