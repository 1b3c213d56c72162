"""Diagonal cells: where a new cell's eigenvalues lie, what a unit does with an impulse, and what is learned.

python -m benchmarks.pictures.diagonal docs/algorithms/pictures
python -m benchmarks.pictures.diagonal docs/algorithms/pictures --table
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.pictures.gated import hold
from benchmarks.tasks.recipe import Recipe, Step
from models.cells import CELLS
from models.protocols import Array

UNITS = 32
STEPS = 300
SPAN = 60
COLOURS = {
    "lru": "#222222",
    "rtu": "#1b6ca8",
    "rtu_nonlinear": "#4fa36b",
    "elstm": "#c8553d",
    "mingru": "#d9a441",
}

LEARNING_STEPS = 10_000
LEARNING_UNITS = 8
SEEDS = tuple(range(8))
DELAYS = (3, 10)
LAST = 1000


def real_eigenvalues(cell_name: str) -> Array:
    """Return dh_t/dh_{t-1} of a new real cell's units over STEPS random inputs, (T, n)."""
    cell, rng = CELLS[cell_name](n_inputs=1, n_units=UNITS), np.random.default_rng(0)
    params, state = cell.init_params(rng)[None], cell.init_state()[None]
    eigenvalues = np.empty((STEPS, UNITS))
    for t in range(STEPS):
        factors = cell.step(params, state, rng.normal(size=(1, 1)))
        state, eigenvalues[t] = factors.state, factors.transition[0, 0, 0]
    return eigenvalues


def complex_eigenvalues() -> tuple[Array, Array]:
    """Return real and imaginary parts of a new complex cell's eigenvalues, (n,) each; rtu, lru alike."""
    cell = CELLS["rtu"](n_inputs=1, n_units=UNITS)
    params = cell.init_params(np.random.default_rng(0))
    transition = cell.step(params[None], cell.init_state()[None], np.zeros((1, 1))).transition[0]
    return transition[0, 0], transition[1, 0]


def response(cell_name: str, params: Array, size: float) -> Array:
    """Return what one unit reads out after an impulse, over its size, (SPAN,)."""
    cell = CELLS[cell_name](n_inputs=1, n_units=1)
    state, read = cell.init_state()[None], np.empty(SPAN)
    for t in range(SPAN):
        state = cell.step(params[None], state, np.full((1, 1), size if t == 0 else 0.0)).state
        read[t] = cell.read_out(state)[0][0, 0, 0] / size
    return read


def unit_params(cell_name: str) -> Array:
    """Return weights of one unit with a memory of 20 steps, and in complex cells a period of 15, (q, 1)."""
    rate, phase, steps = np.log(1.0 / 20.0), np.log(2.0 * np.pi / 15.0), np.log(19.0)
    gain = np.log(np.sqrt(-np.expm1(-2.0 / 20.0)))
    return np.array(
        {
            "rtu": [rate, phase, 1.0, 0.0],
            "rtu_nonlinear": [rate, phase, 1.0, 0.0],
            "lru": [rate, phase, gain, 1.0, 0.0],
            "elstm": [1.0, 0.0, 0.0, 0.0, 0.0, steps],
            "mingru": [0.0, -steps, 1.0, 0.0],
        }[cell_name]
    )[:, None]


def draw_impulses(axes: Axes, size: float) -> None:
    """Draw all cells' responses to an impulse of this size, each over its height at the impulse."""
    for name, colour in COLOURS.items():
        read = response(name, unit_params(name), size)
        style = "--" if name in ("lru", "mingru") else "-"
        axes.plot(read / read[0], color=colour, linestyle=style, linewidth=1.2, label=name)
    axes.axhline(0.0, color="#999999", linewidth=0.6)
    axes.set(ylim=(-1.1, 1.1))


def draw(folder: Path) -> None:
    """Write diagonal.svg."""
    mpl.rcParams.update(
        {"svg.hashsalt": "diagonal", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    )
    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    grid = figure.add_gridspec(6, 2, width_ratios=(1.0, 1.5), height_ratios=(4, 4, 4, 4, 1.6, 1.6))
    disc = figure.add_subplot(grid[:4, 0])
    turn = np.linspace(0.0, 2.0 * np.pi, 200)
    disc.plot(np.cos(turn), np.sin(turn), color="#999999", linewidth=0.8)
    real, imaginary = complex_eigenvalues()
    disc.plot(real, imaginary, ".", color=COLOURS["rtu"])
    disc.plot(real, -imaginary, ".", color=COLOURS["rtu"], markerfacecolor="none")
    disc.set(
        aspect="equal",
        xlim=(-1.3, 1.3),
        ylim=(-1.1, 1.1),
        title="eigenvalues of new cells",
        xticks=[],
        yticks=[],
    )
    disc.set_ylabel("rtu, lru")
    disc.spines[:].set_visible(False)
    for row, name in ((4, "elstm"), (5, "mingru")):
        strip = figure.add_subplot(grid[row, 0])
        strip.hist(real_eigenvalues(name).ravel(), bins=np.linspace(-1, 1, 81).tolist(), color=COLOURS[name])
        strip.set(xlim=(-1.3, 1.3), yticks=[], xticks=[-1, 0, 1] if name == "mingru" else [])
        strip.set_ylabel(name, rotation=0, ha="right", va="center")
        strip.spines["left"].set_visible(False)
    small, large = figure.add_subplot(grid[:3, 1]), figure.add_subplot(grid[3:, 1])
    draw_impulses(small, 0.1)
    small.set(title="read out after an impulse of 0.1 (above) and of 10 (below)", xticklabels=[])
    small.legend(ncols=5, frameon=False, fontsize=8, loc="upper right", columnspacing=1.0, handlelength=1.5)
    draw_impulses(large, 10.0)
    large.set(xlabel="step")
    figure.savefig(folder / "diagonal.svg", metadata={"Date": None})


def recall(delay: int) -> Iterator[Step]:
    """Yield the task to tell a random bit of `delay` steps ago, for all seeds."""
    bits = np.random.default_rng(1).choice(np.array([-1.0, 1.0]), size=LEARNING_STEPS + delay)
    rows = (len(SEEDS), 1)
    for t in range(LEARNING_STEPS):
        yield Step(np.full(rows, bits[t + delay]), np.full(rows, bits[t]))


def last_errors(cell_name: str, stream: Iterator[Step]) -> Array:
    """Return each seed's mean squared error over the LAST steps; that of forecasting 0 is 1."""
    steps = list(stream)
    recipe = Recipe(cell=cell_name, n_units=LEARNING_UNITS, learning_rate=0.003)
    learner = recipe.build(steps[0].inputs.shape[1], 1)
    state = learner.init_state(SEEDS)
    errors = np.empty((len(steps), len(SEEDS)))
    for t, step in enumerate(steps):
        prediction = learner.step(state, step.inputs, step.target).prediction
        errors[t] = ((prediction - step.target) ** 2)[:, 0]
    means: Array = errors[-LAST:].mean(axis=0)
    return means


def table() -> None:
    """Print the errors of cells on recalling and on holding: the median of the seeds, and the worst."""
    for name in (*COLOURS, "vanilla", "gru", "lstm"):
        streams = (*(recall(delay) for delay in DELAYS), hold(LEARNING_STEPS, len(SEEDS)))
        errors = [last_errors(name, stream) for stream in streams]
        print(name, " | ".join(f"{np.median(error):.4f} ({error.max():.3f})" for error in errors))


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
    if "--table" in sys.argv:
        table()
