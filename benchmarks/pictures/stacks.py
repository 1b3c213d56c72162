"""What passes between layers over time: where it stands in the influence matrix, and what is lost without it.

python -m benchmarks.pictures.stacks docs/algorithms/pictures
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.tasks.recipe import Recipe
from models.cells.rtu import Rtu
from models.cells.stack import Stack
from models.protocols import Array, Cell, LearningRule, State
from models.rules.layerwise import Layerwise
from models.rules.rtrl_layers import RtrlLayers

SHOWN_WIDTH = 4
WARM_UP = 200
"""Steps before anything is measured, so that the longest memories are filled."""

MODELS = 16
MEASURED = 100
RADII = (0.01, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
"""|lambda| of the second layer: a memory of 1 to 50 steps."""

LEARNING_STEPS = 16_000
DELAY = 5
UNITS = 16
SEEDS = (0, 1, 2, 3)
SPAN = 500
"""Steps over which a learning curve is averaged."""


def repeated(rule: LearningRule, rows: int) -> State:
    """Return the rule's memory of so many new models."""
    return {name: np.repeat(np.asarray(row)[None], rows, axis=0) for name, row in rule.init_memory().items()}


def influence_of_two_layers() -> Array:
    """Return the size of the influence after WARM_UP steps: states by layer and unit, used parameters so too."""
    width = SHOWN_WIDTH
    cell = Stack(layer=Rtu, n_inputs=1, n_units=2 * width)
    rng, rule = np.random.default_rng(0), RtrlLayers(cell)
    params, state, memory = cell.init_params(rng)[None], cell.init_state()[None], repeated(rule, 1)
    for _ in range(WARM_UP):
        factors = cell.step(params, state, rng.normal(size=(1, 1)))
        state = factors.state
        rule.advance(memory, factors)
    size = cell.n_parts * cell.n_units
    units = np.eye(size).reshape(1, size, cell.n_parts, cell.n_units)
    influence = rule.gradient(memory, units)[0].reshape(cell.n_parts, cell.n_units, -1, cell.n_units)
    by_unit = influence.transpose(1, 0, 3, 2).reshape(size, cell.n_units, -1)
    used = Rtu(n_inputs=1, n_units=width).n_params_per_unit
    first, second = by_unit[:, :width, :used], by_unit[:, width:]
    blocks: Array = np.abs(np.concatenate((first.reshape(size, -1), second.reshape(size, -1)), axis=1))
    return blocks


def error_below(radius: float, *, both: bool) -> tuple[float, float]:
    """Return the relative error of the layerwise gradient of layer 1, and its cosine with the exact one.

    Means over models and steps, for white inputs and white credit on the read-out of both layers, or of
    the second alone.
    """
    cell: Cell = Stack(layer=Rtu, n_inputs=3, n_units=16)
    rules: tuple[LearningRule, LearningRule] = (RtrlLayers(cell), Layerwise(cell))
    rng = np.random.default_rng(0)
    params = np.stack([cell.init_params(rng) for _ in range(MODELS)])
    params[:, 0, 8:] = np.log(-np.log(radius))
    state = np.zeros((MODELS, 2, 16))
    memories = [repeated(rule, MODELS) for rule in rules]
    errors, cosines = [], []
    for at in range(WARM_UP + MEASURED):
        factors = cell.step(params, state, rng.normal(size=(MODELS, 3)))
        state = factors.state
        read, slope = cell.read_out(state)
        credit = (rng.normal(size=read.shape)[:, :, None] * slope).sum(axis=1)
        credit[..., :8] *= both
        gradients = []
        for rule, memory in zip(rules, memories, strict=True):
            rule.advance(memory, factors)
            gradients.append(rule.gradient(memory, credit[:, None])[:, 0, :, :8].reshape(MODELS, -1))
        if at >= WARM_UP:
            exact, approximate = gradients
            size = np.linalg.norm(exact, axis=1)
            errors.append(np.linalg.norm(approximate - exact, axis=1) / size)
            cosines.append((approximate * exact).sum(axis=1) / size / np.linalg.norm(approximate, axis=1))
    return float(np.mean(errors)), float(np.mean(cosines))


def late_products(steps: int, seed: int) -> tuple[Array, Array]:
    """Return random bits beside a constant, (T, 2), and the product of those DELAY and DELAY + 1 steps ago, (T,)."""
    reach = DELAY + 1
    bits = np.random.default_rng(seed).choice(np.array([-1.0, 1.0]), size=steps + reach)
    inputs = np.stack((bits[reach:], np.ones(steps)), axis=1)
    return inputs, bits[1 : steps + 1] * bits[:steps]


def learn(recipe: Recipe) -> Array:
    """Return the squared errors of each seed's model, (T, seeds)."""
    learner = recipe.build(2, 1)
    state = learner.init_state(SEEDS)
    data = [late_products(LEARNING_STEPS, seed) for seed in SEEDS]
    errors = np.empty((LEARNING_STEPS, len(SEEDS)))
    for t in range(LEARNING_STEPS):
        inputs, target = np.stack([x[t] for x, _ in data]), np.array([[y[t]] for _, y in data])
        errors[t] = ((learner.step(state, inputs, target).prediction - target) ** 2)[:, 0]
    return errors


def draw_influence(axes: Axes) -> None:
    """Draw the influence matrix of a small stack."""
    influence = influence_of_two_layers()
    half, first = len(influence) // 2, SHOWN_WIDTH * Rtu(n_inputs=1, n_units=1).n_params_per_unit
    shown = np.where(influence > 0.0, np.log10(np.maximum(influence, 1e-3)), np.nan)
    axes.imshow(shown, aspect="auto", cmap="viridis", vmin=-3, vmax=1, interpolation="nearest")
    axes.axhline(half - 0.5, color="black", linewidth=0.8)
    axes.axvline(first - 0.5, color="black", linewidth=0.8)
    axes.set_xticks([first / 2, first + (influence.shape[1] - first) / 2], ["layer 1", "layer 2"])
    axes.set_yticks([half / 2, half + half / 2], ["layer 1", "layer 2"], rotation=90, va="center")
    axes.tick_params(length=0)
    axes.set(title="|dh/dθ|; white is zero", xlabel="parameters", ylabel="states")
    axes.spines[:].set_visible(True)


def draw(folder: Path) -> None:
    """Write stacks.svg, and print its figures."""
    mpl.rcParams.update(
        {"svg.hashsalt": "stacks", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    )
    figure = Figure(figsize=(10.0, 3.2), layout="constrained")
    matrix, errors, curves = figure.subplots(1, 3)
    draw_influence(matrix)

    memories = 1.0 / (1.0 - np.array(RADII))
    for both, label, colour in ((False, "of layer 2", "#c8553d"), (True, "of both layers", "#1b6ca8")):
        lost = [error_below(radius, both=both) for radius in RADII]
        errors.semilogx(memories, [error for error, _ in lost], color=colour, marker=".", label=label)
        for radius, (error, cosine) in zip(RADII, lost, strict=True):
            print(f"|lambda| {radius}, readout {label}: relative error {error:.2f}, cosine {cosine:.2f}")
    errors.set(
        title="error of layerwise, gradient of layer 1",
        xlabel="memory of layer 2, steps",
        ylim=(0.0, 1.05),
        xticks=[1, 2, 5, 10, 20, 50],
        xticklabels=["1", "2", "5", "10", "20", "50"],
    )
    errors.minorticks_off()
    errors.legend(frameon=False, fontsize=8, title="credit on the read-out", title_fontsize=8)

    exact = Recipe("rtu_stack", n_units=UNITS, learning_rate=0.01)
    for label, recipe, colour in (
        ("one layer", Recipe("rtu", n_units=UNITS, learning_rate=0.01), "#999999"),
        ("two, layerwise", Recipe("rtu_stack", "layerwise", n_units=UNITS, learning_rate=0.01), "#1b6ca8"),
        ("two, exact", exact, "#c8553d"),
    ):
        losses = learn(recipe).reshape(-1, SPAN, len(SEEDS)).mean(axis=1)
        steps = (np.arange(len(losses)) + 0.5) * SPAN
        curves.plot(steps, losses, color=colour, linewidth=0.8, label=[label] + ["_"] * (len(SEEDS) - 1))
        last = losses[-4:].mean(axis=0)
        print(f"{label}: {last.mean():.2f} over the last {4 * SPAN} steps; by seed {last.round(2).tolist()}")
    curves.set(
        title=f"x$_{{t-{DELAY}}}$ x$_{{t-{DELAY + 1}}}$ of random bits, four seeds",
        xlabel="step",
        ylabel="squared error",
        ylim=(0.0, 1.6),
        xticks=range(0, LEARNING_STEPS, 5000),
    )
    curves.legend(frameon=False, fontsize=8, loc="lower left")
    figure.savefig(folder / "stacks.svg", metadata={"Date": None})


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
