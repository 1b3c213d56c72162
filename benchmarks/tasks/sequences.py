"""Sequence to category, and asynchronous sequence to sequence: the two modes in which credit comes late.

Category: the first symbol of a sequence is its class, all others distract, and the loss is taken at the last step
alone. Asynchronous: a whole sequence of symbols is read, then it is emitted in reverse, one symbol a step; the loss
is taken while emitting. Sequences follow one another without end, and each begins with a reset.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tasks.plots import figure, save
from benchmarks.tasks.recipe import Goal, Recipe, Step, at_least, at_most, run
from models.protocols import Array

SEEDS = [0, 1, 2]
SYMBOLS = 3
CATEGORY_LENGTH = 20
READ_LENGTH = 4
STEPS = {"category": 40_000, "reverse": 60_000}
WINDOW = {"category": 10, "reverse": 3}
"""Of the truncated rule: shorter than the way from the symbol to the loss."""
ACCURACY_GOAL = 0.99
TRUNCATED_GOAL = 0.90
"""A learner that cannot learn the dependency stays clearly below: chance is 1/3."""

EXACT = Recipe(
    "lru",
    n_units=16,
    loss="cross_entropy",
    readout="feed_forward",
    optimizer="ekf_node",
    optimizer_options={"adaptive": False, "gate": 100.0},
)


def recipes(name: str) -> dict[str, Recipe]:
    """Return the learners of a task; the truncated ones differ from the exact ones in the rule alone."""
    window = {"window": WINDOW[name]}
    return {
        "LRU 16, EKF, exact RTRL": EXACT,
        f"LRU 16, EKF, backpropagation through {WINDOW[name]} steps": replace(
            EXACT, rule="bptt_sliding", rule_options=window
        ),
        "eLSTM 16, EKF, exact RTRL": replace(EXACT, cell="elstm"),
        "delay line 16, EKF": replace(EXACT, cell="delay_line", cell_options={"taps": 3, "unit_taps": 1}),
    }


def category(steps: int, seeds: list[int]) -> Iterator[Step]:
    """Yield sequences of CATEGORY_LENGTH symbols; the target of the last step is the first symbol."""
    draws = [np.random.default_rng(4000 + seed) for seed in seeds]
    one_hot = np.eye(SYMBOLS)
    first = np.zeros((len(seeds), SYMBOLS))
    for t in range(steps):
        at = t % CATEGORY_LENGTH
        shown = one_hot[[int(rng.integers(SYMBOLS)) for rng in draws]]
        cue = np.zeros_like(shown)
        if at == 0:
            first = cue = shown
        yield Step(
            np.concatenate((cue, shown), axis=1),
            first,
            np.full(len(seeds), at == CATEGORY_LENGTH - 1),
            np.full(len(seeds), at == 0),
        )


def reverse(steps: int, seeds: list[int]) -> Iterator[Step]:
    """Yield READ_LENGTH symbols to read, then as many steps in which they are to be emitted, last first."""
    draws = [np.random.default_rng(5000 + seed) for seed in seeds]
    one_hot = np.eye(SYMBOLS)
    kept: list[Array] = []
    for t in range(steps):
        at = t % (2 * READ_LENGTH)
        reading = at < READ_LENGTH
        shown = np.zeros((len(seeds), SYMBOLS))
        if at == 0:
            kept = []
        if reading:
            shown = one_hot[[int(rng.integers(SYMBOLS)) for rng in draws]]
            kept.append(shown)
        phase = np.full((len(seeds), 1), 0.0 if reading else 1.0)
        target = kept[2 * READ_LENGTH - 1 - at] if not reading else shown
        yield Step(
            np.concatenate((shown, phase), axis=1),
            target,
            np.full(len(seeds), not reading),
            np.full(len(seeds), at == 0),
        )


STREAMS = {"category": category, "reverse": reverse}


def measure(quick: bool) -> dict[str, Any]:
    """Learn both tasks with an exact and with a truncated rule; accuracy over the last tenth."""
    runs = []
    for name, stream in STREAMS.items():
        steps = STEPS[name] // 20 if quick else STEPS[name]
        taken = list(stream(steps, SEEDS))
        targets = np.array([step.target.argmax(axis=1) for step in taken])
        scored = np.array([step.scored for step in taken])
        for learner, recipe in recipes(name).items():
            _, predictions = run(recipe, taken, SEEDS)
            right = (predictions.argmax(axis=2) == targets) & scored
            last = slice(steps - steps // 10, steps)
            accuracy = right[last].sum(axis=0) / scored[last].sum(axis=0)
            blocks = np.array_split(np.arange(steps), 40)
            runs.append(
                {
                    "task": name,
                    "learner": learner,
                    "steps": steps,
                    "accuracy": float(accuracy.mean()),
                    "by_seed": [float(v) for v in accuracy],
                    "course": [float(right[b].sum() / max(scored[b].sum(), 1)) for b in blocks],
                }
            )
            print(f"  {name}, {learner}: {accuracy.mean():.4f}", flush=True)
    return {"runs": runs, "seeds": SEEDS, "goals": _goals(runs)}


def _goals(runs: list[dict[str, Any]]) -> list[Goal]:
    goals = []
    for name in STREAMS:
        own = [r for r in runs if r["task"] == name]
        exact = max((r for r in own if "exact" in r["learner"]), key=lambda r: float(r["accuracy"]))
        goals.append(at_least(f"{name}: {exact['learner']}", exact["accuracy"], ACCURACY_GOAL))
        short = next(r for r in own if "through" in r["learner"])
        goals.append(at_most(f"{name}: {short['learner']} fails", short["accuracy"], TRUNCATED_GOAL))
    return goals


def table(result: dict[str, Any]) -> str:
    """Return the accuracies."""
    rows = [
        f"| {r['task']} | {r['learner']} | {r['steps']} | {100 * r['accuracy']:.2f}% |"
        f" {' '.join(f'{100 * v:.1f}' for v in r['by_seed'])} |"
        for r in result["runs"]
    ]
    head = "| task | learner | steps | right over the last tenth | by seed |\n|---|---|---|---|---|\n"
    return (
        f"\nSequences of {SYMBOLS} symbols, chance one third, {len(SEEDS)} seeds\n\n" + head + "\n".join(rows)
    )


def draw(result: dict[str, Any], folder: Path) -> None:
    """Plot the accuracy over time."""
    canvas, axes = figure(width=11.0, height=3.6, columns=2)
    for axis, name in zip(axes, STREAMS, strict=True):
        for r in result["runs"]:
            if r["task"] == name:
                axis.plot(np.linspace(0, r["steps"], 40), r["course"], label=r["learner"], linewidth=1)
        axis.axhline(1 / SYMBOLS, color="black", linewidth=0.8, linestyle=":")
        axis.set(title=name, xlabel="steps", ylabel="share right")
        axis.legend(fontsize=6)
    save(canvas, folder / "sequences.svg")
