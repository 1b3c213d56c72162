"""Sequence to category, and asynchronous sequence to sequence: the two modes in which credit comes late.

Category: the first symbol of a sequence is its class, all others distract, and the loss is taken at the last step
alone. Asynchronous: symbols are read, others that distract come and go, then the first ones are emitted in reverse, one a
step; the loss is taken while emitting. Sequences follow one another without end, and each begins with a reset.
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
SYMBOLS = 3
CATEGORY_LENGTH = 20
READ_LENGTH, WAIT = 2, 6
STEPS = {"category": 40_000, "reverse": 60_000}
WINDOW = {"category": 5, "reverse": 4}
"""Of the truncated rule: shorter than the way from the symbol to the loss."""
ACCURACY_GOAL = 0.99
TRUNCATED_GOAL = 0.80
"""A learner that cannot learn the dependency stays clearly below: chance is 1/3."""

EXACT = Recipe(
    "vanilla",
    n_units=12,
    loss="cross_entropy",
    readout="feed_forward",
    optimizer="ekf_node",
    optimizer_options={"adaptive": False, "gate": 100.0},
)


def recipes(name: str) -> dict[str, Recipe]:
    """Return the learners of a task; the truncated ones differ from the exact ones in the rule alone."""
    window = {"window": WINDOW[name]}
    # An LRU's modes, as they are drawn, hold what was long ago: little is left for a recurrent gradient to learn.
    modes = replace(EXACT, cell="lru", n_units=16)
    back = f"backpropagation through {WINDOW[name]} steps"
    return {
        "vanilla 12, exact RTRL": EXACT,
        f"vanilla 12, {back}": replace(EXACT, rule="bptt_sliding", rule_options=window),
        "LRU 16, exact RTRL": modes,
        f"LRU 16, {back}": replace(modes, rule="bptt_sliding", rule_options=window),
        "delay line 16": replace(
            EXACT, cell="delay_line", n_units=16, cell_options={"taps": 3, "unit_taps": 1}
        ),
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
    """Yield READ_LENGTH symbols to read, WAIT others that do not count, then steps in which the first ones are emitted.

    Last first. Flags tell reading from waiting from emitting; nothing is shown while emitting.
    """
    draws = [np.random.default_rng(5000 + seed) for seed in seeds]
    one_hot = np.eye(SYMBOLS)
    kept: list[Array] = []
    for t in range(steps):
        at = t % (2 * READ_LENGTH + WAIT)
        reading, emitting = at < READ_LENGTH, at >= READ_LENGTH + WAIT
        shown = np.zeros((len(seeds), SYMBOLS))
        if at == 0:
            kept = []
        if not emitting:
            shown = one_hot[[int(rng.integers(SYMBOLS)) for rng in draws]]
        if reading:
            kept.append(shown)
        flags = np.tile([1.0 * reading, 1.0 * emitting], (len(seeds), 1))
        target = kept[2 * READ_LENGTH + WAIT - 1 - at] if emitting else shown
        yield Step(
            np.concatenate((shown, flags), axis=1),
            target,
            np.full(len(seeds), emitting),
            np.full(len(seeds), at == 0),
        )


STREAMS = {"category": category, "reverse": reverse}


def measure_one(job: tuple[str, str, int]) -> dict[str, Any]:
    """Learn a task with a learner; accuracy over the last tenth, predicted before it was seen."""
    name, learner, steps = job
    taken = list(STREAMS[name](steps, SEEDS))
    targets = np.array([step.target.argmax(axis=1) for step in taken])
    scored = np.array([step.scored for step in taken])
    _, predictions = run(recipes(name)[learner], taken, SEEDS)
    right = (predictions.argmax(axis=2) == targets) & scored
    last = slice(steps - steps // 10, steps)
    accuracy = right[last].sum(axis=0) / scored[last].sum(axis=0)
    blocks = np.array_split(np.arange(steps), 40)
    return {
        "told": f"{name}, {learner}: {accuracy.mean():.4f}",
        "task": name,
        "learner": learner,
        "steps": steps,
        "accuracy": float(accuracy.mean()),
        "by_seed": [float(v) for v in accuracy],
        "course": [float(right[b].sum() / max(scored[b].sum(), 1)) for b in blocks],
    }


def measure(quick: bool) -> dict[str, Any]:
    """Learn both tasks by exact and by truncated rules."""
    jobs = [
        (name, learner, STEPS[name] // 20 if quick else STEPS[name])
        for name in STREAMS
        for learner in recipes(name)
    ]
    runs = in_parallel(measure_one, jobs)
    return {"runs": runs, "seeds": SEEDS, "goals": _goals(runs)}


def _goals(runs: list[dict[str, Any]]) -> list[Goal]:
    goals = []
    for name in STREAMS:
        own = [r for r in runs if r["task"] == name]
        exact = next(r for r in own if "exact" in r["learner"])
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
