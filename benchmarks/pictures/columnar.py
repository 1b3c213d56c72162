"""Columns that all learn from the start beside columns that are born in stages, and what moves in each stage.

python -m benchmarks.pictures.columnar docs/algorithms/pictures
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from benchmarks.tasks.recipe import Recipe
from models.protocols import Array

STEPS = 10_000
STAGE_STEPS = 2500
UNITS = 16
STAGES = 4
SEEDS = (0, 1, 2, 3)
DELAYS = {2: 1.0, 5: 0.5}
"""What is to be told: the bits of two and of five steps ago, with these weights."""
SPAN = 250
"""Steps over which what is drawn is averaged."""


def delayed_bits(steps: int, seed: int) -> tuple[Array, Array]:
    """Return random bits, (T,), and the weighted sum of earlier ones scaled to variance one, (T,)."""
    reach = max(DELAYS)
    bits = np.random.default_rng(seed).choice(np.array([-1.0, 1.0]), size=steps + reach)
    target = sum(weight * bits[reach - delay : steps + reach - delay] for delay, weight in DELAYS.items())
    return bits[reach:], np.asarray(target / np.sqrt(sum(weight**2 for weight in DELAYS.values())))


def learn(recipe: Recipe) -> tuple[Array, Array]:
    """Return mean losses over the variance, (T,), and how far each unit's parameters moved, (T, n)."""
    learner = recipe.build(1, 1)
    state = learner.init_state(SEEDS)
    data = [delayed_bits(STEPS, seed) for seed in SEEDS]
    errors, moved = np.empty(STEPS), np.empty((STEPS, recipe.n_units))
    for t in range(STEPS):
        before = state["params"]
        inputs, target = (np.array([series[at][t] for series in data])[:, None] for at in (0, 1))
        outcome = learner.step(state, inputs, target)
        errors[t] = ((outcome.prediction - target) ** 2).mean()
        moved[t] = np.sqrt(((state["params"] - before) ** 2).sum(axis=1).mean(axis=0))
    return errors, moved


def smoothed(values: Array) -> Array:
    """Return means over SPAN steps."""
    means: Array = values.reshape(-1, SPAN, *values.shape[1:]).mean(axis=1)
    return means


def draw(folder: Path) -> None:
    """Write columnar.svg, and print the last errors."""
    mpl.rcParams.update(
        {"svg.hashsalt": "columnar", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    )
    figure = Figure(figsize=(9.0, 3.4), layout="constrained")
    errors, speeds = figure.subplots(1, 2)
    growing = Recipe(
        "constructive", n_units=UNITS, learning_rate=0.01, cell_options={"stage_steps": STAGE_STEPS}
    )
    recipes = {
        f"columnar, {UNITS} from the start": (
            Recipe("columnar", n_units=UNITS, learning_rate=0.01),
            "#1b6ca8",
        ),
        f"columnar, {UNITS // STAGES}": (
            Recipe("columnar", n_units=UNITS // STAGES, learning_rate=0.01),
            "#999999",
        ),
        f"constructive, {STAGES} stages of {UNITS // STAGES}": (growing, "#c8553d"),
    }
    middles = np.arange(STEPS // SPAN) * SPAN + SPAN / 2
    moved = np.empty(0)
    for label, (recipe, colour) in recipes.items():
        losses, moved = learn(recipe)
        errors.semilogy(middles, smoothed(losses), color=colour, label=label)
        print(f"{label}: {losses[-1000:].mean():.3f} over the last 1,000 steps")
    per_stage = smoothed(moved).reshape(len(middles), STAGES, -1).mean(axis=2)
    for stage in range(STAGES):
        speed = np.where(per_stage[:, stage] > 0.0, per_stage[:, stage], np.nan)
        speeds.semilogy(
            middles, speed, color=mpl.colormaps["copper"](stage / STAGES), label=f"stage {stage + 1}"
        )
    for axes in (errors, speeds):
        for birth in range(1, STAGES):
            axes.axvline(birth * STAGE_STEPS, color="black", linewidth=0.6, linestyle=":")
        axes.set(xlabel="step (dotted: a stage is born, the one before is frozen)")
    errors.set(title="squared error over the variance", ylim=(0.05, 1.2))
    errors.set_yticks([0.1, 0.2, 0.5, 1.0], ["0.1", "0.2", "0.5", "1"])
    errors.minorticks_off()
    errors.legend(frameon=False, fontsize=8)
    speeds.set(title="how far a unit's parameters move in a step", ylim=(1e-4, 0.1))
    speeds.legend(frameon=False, fontsize=8, ncols=2)
    figure.savefig(folder / "columnar.svg", metadata={"Date": None})


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
