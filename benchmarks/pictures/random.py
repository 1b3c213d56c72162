"""Random rules: that the mean of their draws is the gradient, how noisy one draw is, and what is learned in spite of it.

python -m benchmarks.pictures.random docs/algorithms/pictures
"""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.tasks.recipe import Recipe
from models.cells import CELLS
from models.cells.vanilla import RECURRENT_GAIN
from models.protocols import Array, Cell, LearningRule, State, StepFactors
from models.rules import RULES
from models.rules.rtrl_step import RtrlStep

UNITS = 16
STEPS = 40
"""Before the gradient is taken: more than a new cell's memory."""
CREDITS = 16
DRAWS = 2048
CELL_SEEDS, DRAWS_OF_CELL = (0, 1, 2, 3), 48
"""By size and by rank the noise is that of so many new cells, with so many draws each."""
APART = 1_000_000
"""Between the counters of two draws: more than any takes."""
SIZES = (4, 8, 16, 32, 64)
RANKS = (1, 2, 3, 4, 6, 8, 12)

RANDOM: dict[str, tuple[str, dict[str, Any], str]] = {
    "uoro": ("uoro", {}, "#c8553d"),
    "r_kf": ("r_kf", {}, "#d9a441"),
    "kf_rtrl": ("kf_rtrl", {}, "#4fa36b"),
    "optimal_kronecker, r = 2": ("optimal_kronecker", {"rank": 2}, "#8a5fa8"),
    "optimal_kronecker, r = 8": ("optimal_kronecker", {"rank": 8}, "#1b6ca8"),
}
STYLES = {"r_kf": "--"}
"""It lies upon uoro."""

LEARNING_STEPS = 8000
LAST = 1000
SEEDS = tuple(range(8))


def repeated(rule: LearningRule, rows: int) -> State:
    """Return the rule's memory of so many new models, each with draws of its own."""
    memory = {
        name: np.repeat(np.asarray(row)[None], rows, axis=0) for name, row in rule.init_memory().items()
    }
    if "counter" in memory:
        memory["counter"] = APART * np.arange(rows)
    return memory


def same(factors: StepFactors, rows: int) -> StepFactors:
    """Return the factors of one model for so many rows."""
    repeated_fields: dict[str, Any] = {}
    for field in fields(factors):
        value = getattr(factors, field.name)
        batched = value is not None and field.name != "wiring"
        repeated_fields[field.name] = np.repeat(value, rows, axis=0) if batched else value
    return StepFactors(**repeated_fields)


def steps_of(cell: Cell, seed: int = 0, stronger: float = 1.0) -> list[StepFactors]:
    """Return the factors of STEPS of a new cell, its weights on units times `stronger`, under white inputs."""
    rng = np.random.default_rng(seed)
    params, state, factors = cell.init_params(rng)[None], cell.init_state()[None], []
    params[:, : cell.n_units] *= stronger
    for _ in range(STEPS):
        factors.append(cell.step(params, state, rng.normal(size=(1, cell.n_inputs))))
        state = factors[-1].state
    return factors


def gradients(rule: LearningRule, factors: list[StepFactors], draws: int) -> Array:
    """Return the gradients of the last step for CREDITS random credits, (draws, CREDITS q n)."""
    memory = repeated(rule, draws)
    for step in factors:
        rule.advance(memory, same(step, draws))
    k, _, n = factors[-1].immediate.shape[1:]
    credit = np.random.default_rng(1).normal(size=(1, CREDITS, k, n))
    flat: Array = rule.gradient(memory, np.repeat(credit, draws, axis=0)).reshape(draws, -1)
    return flat


def noise(label: str, cell_name: str, n_units: int, stronger: float = 1.0, **options: Any) -> float:
    """Return the root mean square distance of a draw from the gradient, over the gradient's size."""
    name, own, _ = RANDOM[label]
    cell, squares = CELLS[cell_name](n_inputs=1, n_units=n_units), []
    for seed in CELL_SEEDS:
        factors = steps_of(cell, seed, stronger)
        exact = gradients(RtrlStep(cell), factors, 1)
        drawn = gradients(RULES[name](cell, **(own | options)), factors, DRAWS_OF_CELL)
        squares.append(((drawn - exact) ** 2).sum(axis=1).mean() / (exact**2).sum())
    return float(np.sqrt(np.mean(squares)))


def draw_means(axes: Axes) -> None:
    """Draw the relative error of the mean of N draws over N."""
    cell = CELLS["vanilla"](n_inputs=1, n_units=UNITS)
    factors = steps_of(cell)
    exact = gradients(RtrlStep(cell), factors, 1)
    counts = 2 ** np.arange(0, int(np.log2(DRAWS)) + 1)
    for label, (name, options, colour) in RANDOM.items():
        drawn = gradients(RULES[name](cell, **options), factors, DRAWS)
        errors = []
        for count in counts:
            means = drawn.reshape(-1, count, drawn.shape[1]).mean(axis=1)
            errors.append(np.sqrt(((means - exact) ** 2).sum(axis=1).mean() / (exact**2).sum()))
        axes.loglog(counts, errors, STYLES.get(label, "-"), color=colour, label=label, linewidth=1.3)
        slope = np.polyfit(np.log(counts), np.log(errors), 1)[0]
        print(f"{label}: noise {errors[0]:.2f}, of {counts[-1]} draws {errors[-1]:.4f}, slope {slope:.3f}")
    axes.set(
        title="error of the mean of N draws", xlabel="N", ylabel="over the gradient's size", ylim=(2e-6, 20.0)
    )
    axes.loglog(counts, counts**-0.5, color="#999999", linewidth=0.8, linestyle=":", label="1 / sqrt(N)")
    axes.legend(frameon=False, fontsize=8, loc="lower left")


def draw_sizes(axes: Axes) -> None:
    """Draw the noise of one draw over the number of units."""
    for label, (_, _, colour) in RANDOM.items():
        noises = [noise(label, "vanilla", n_units) for n_units in SIZES]
        axes.loglog(SIZES, noises, STYLES.get(label, "-"), color=colour, marker=".", linewidth=1.3)
        print(f"{label}, by units:", ", ".join(f"{n}: {x:.2f}" for n, x in zip(SIZES, noises, strict=True)))
    axes.set(title="noise of one draw, vanilla", xlabel="units", ylim=(1e-3, 30.0))
    axes.set_xticks(SIZES, [str(size) for size in SIZES])
    axes.minorticks_off()


def draw_ranks(axes: Axes) -> None:
    """Draw the noise of the optimal sum over the number of terms."""
    for label, cell_name, stronger, style in (
        ("vanilla", "vanilla", 1.0, "-"),
        ("gain 1.5", "vanilla", 1.5 / RECURRENT_GAIN, ":"),
        ("lstm", "lstm", 1.0, "--"),
    ):
        noises = [
            noise("optimal_kronecker, r = 8", cell_name, UNITS, stronger=stronger, rank=rank)
            for rank in RANKS
        ]
        axes.semilogy(RANKS, noises, style, color="#1b6ca8", marker=".", linewidth=1.3, label=label)
        print(f"{label}, by rank:", ", ".join(f"{r}: {x:.3f}" for r, x in zip(RANKS, noises, strict=True)))
        for other in ("uoro", "r_kf", "kf_rtrl"):
            print(f"{label}: {other} {noise(other, cell_name, UNITS, stronger=stronger):.2f}")
    axes.set(title="optimal_kronecker, 16 units", xlabel="terms")
    axes.legend(frameon=False, fontsize=8)


def print_learning() -> None:
    """Print what is left of the error on the sum of the inputs of two and, half as much, of five steps ago."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(LEARNING_STEPS + 5, len(SEEDS), 1))
    rules = {label: (name, options) for label, (name, options, _) in RANDOM.items()}
    for label, (name, options) in ({"exact": ("exact", {}), "immediate": ("immediate", {})} | rules).items():
        recipe = Recipe("vanilla", name, n_units=UNITS, learning_rate=0.001, rule_options=options)
        learner = recipe.build(1, 1)
        state, errors = learner.init_state(SEEDS), np.empty((LEARNING_STEPS, len(SEEDS)))
        for t in range(LEARNING_STEPS):
            target = inputs[t + 3] + 0.5 * inputs[t]
            errors[t] = ((learner.step(state, inputs[t + 5], target).prediction - target) ** 2)[:, 0]
        last = errors[-LAST:].mean(axis=0) / 1.25
        print(f"learned by {label}: {np.median(last):.3f}, the worst {last.max():.3f}")


def draw(folder: Path) -> None:
    """Write random.svg, and print its figures."""
    mpl.rcParams.update(
        {"svg.hashsalt": "random", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    )
    figure = Figure(figsize=(10.0, 3.3), layout="constrained")
    means, sizes, ranks = figure.subplots(1, 3)
    draw_means(means)
    draw_sizes(sizes)
    draw_ranks(ranks)
    figure.savefig(folder / "random.svg", metadata={"Date": None})
    print_learning()


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
