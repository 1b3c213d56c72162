"""The simple recurrent network: eigenvalues of new cells, how far credit reaches at which gain, and what is learned.

python -m benchmarks.pictures.vanilla docs/algorithms/pictures
python -m benchmarks.pictures.vanilla docs/algorithms/pictures --table
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.tasks.recipe import Recipe
from models.cells import CELLS
from models.cells.vanilla import RECURRENT_GAIN, Vanilla
from models.protocols import Array

UNITS = 32
MODELS = 8
WARM_UP = 200
"""Steps before anything is measured, so that the state is where the inputs take it."""
SPAN = 60
RATE_STEPS = 300
GAINS = (0.5, 0.7, 0.9, 1.0, 1.2, 1.5, 2.0, 2.5, 3.0)
SHOWN_GAINS = {0.9: "#1b6ca8", 1.2: "#4fa36b", 2.0: "#d9a441", 3.0: "#c8553d"}
COLOURS = {"tanh": "#1b6ca8", "sigmoid": "#4fa36b", "relu": "#c8553d"}

Activation = Literal["tanh", "sigmoid", "relu"]
ACTIVATIONS: tuple[Activation, ...] = ("tanh", "sigmoid", "relu")

LEARNING_STEPS = 8000
LAST = 1000
SEEDS = tuple(range(8))
LEARNING_UNITS = 8
RECIPES = {
    name: Recipe(name, n_units=LEARNING_UNITS)
    for name in ("vanilla", "vanilla_sigmoid", "vanilla_relu", "vanilla_sparse", "vanilla_leaky")
} | {"vanilla_leaky, a = 0.05": Recipe("vanilla_leaky", n_units=LEARNING_UNITS, cell_options={"leak": 0.05})}


def log_norms(activation: Activation, gain: float, *, driven: bool, steps: int) -> Array:
    """Return log |dh_{t+k}/dh_t|, the spectral norm, for k = 1 to `steps`, mean of MODELS cells, (steps,).

    The recurrent weights are a new cell's, scaled so that their gain is this one in place of RECURRENT_GAIN.
    """
    cell = Vanilla(n_inputs=1, n_units=UNITS, activation=activation)
    params = np.stack([cell.init_params(np.random.default_rng(seed)) for seed in range(MODELS)])
    params[:, :UNITS] *= gain / RECURRENT_GAIN
    if activation == "sigmoid":
        params[:, -1] = -0.5 * params[:, :UNITS].sum(axis=1)
    rng = np.random.default_rng(0)
    state = np.repeat(cell.init_state()[None], MODELS, axis=0)
    state = state + np.abs(0.1 * rng.normal(size=state.shape))
    product = np.repeat(np.eye(UNITS)[None], MODELS, axis=0)
    logs, total = np.empty(steps), np.zeros(MODELS)
    for at in range(-WARM_UP, steps):
        factors = cell.step(params, state, driven * rng.normal(size=(MODELS, 1)))
        state = factors.state
        if at >= 0:
            product = np.matmul(factors.transition, product)
            size = np.maximum(np.linalg.norm(product, 2, axis=(1, 2)), 1e-300)
            product /= size[:, None, None]
            total += np.log(size)
            logs[at] = total.mean()
    return logs


def eigenvalues(cell_name: str, *, driven: bool) -> Array:
    """Return the eigenvalues of a new cell's state Jacobian, complex, at rest or after inputs."""
    cell, rng = CELLS[cell_name](n_inputs=1, n_units=UNITS), np.random.default_rng(0)
    params, state = cell.init_params(rng)[None], cell.init_state()[None]
    for _ in range(WARM_UP if driven else 0):
        state = cell.step(params, state, rng.normal(size=(1, 1))).state
    factors = cell.step(params, state, driven * rng.normal(size=(1, 1)))
    values: Array = np.linalg.eigvals(factors.transition[0])
    return values


def draw_eigenvalues(axes: Axes) -> None:
    """Draw the unit circle and the eigenvalues of three cells."""
    turn = np.linspace(0.0, 2.0 * np.pi, 200)
    axes.plot(np.cos(turn), np.sin(turn), color="#999999", linewidth=0.8)
    for name, driven, colour, filled in (
        ("vanilla", False, "#1b6ca8", "full"),
        ("vanilla", True, "#1b6ca8", "none"),
        ("vanilla_leaky", False, "#c8553d", "full"),
        ("vanilla_sparse", False, "#4fa36b", "full"),
    ):
        values = eigenvalues(name, driven=driven)
        label = name.removeprefix("vanilla_") + (", driven" if driven else "")
        radius = np.abs(values).max()
        print(f"{label}: spectral radius {radius:.2f}")
        axes.plot(
            values.real, values.imag, ".", color=colour, label=label, markersize=5, fillstyle=filled, mew=0.7
        )
    axes.set(aspect="equal", xlim=(-1.05, 1.05), ylim=(-1.5, 1.05), xticks=[], yticks=[])
    axes.set(title="eigenvalues of new cells")
    axes.spines[:].set_visible(False)
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="lower center", handletextpad=0.2, columnspacing=1.0)


def draw_norms(axes: Axes) -> None:
    """Draw how a tanh cell's Jacobian over k steps shrinks or grows, by gain."""
    for gain, colour in SHOWN_GAINS.items():
        for driven in (True, False):
            logs = log_norms("tanh", gain, driven=driven, steps=SPAN)
            norms = np.exp(np.concatenate(([0.0], logs)))
            style = "-" if driven else "--"
            axes.semilogy(norms, style, color=colour, linewidth=1.2, label=f"{gain:g}" if driven else None)
    axes.set(title="|dh$_{t+k}$/dh$_t$|, tanh, by gain", xlabel="k; dashed: no inputs", ylim=(1e-8, 1e8))
    axes.legend(frameon=False, fontsize=8, ncols=4, loc="upper left", columnspacing=1.0, handlelength=1.2)


def draw_rates(axes: Axes) -> None:
    """Draw growth a step over the gain for each activation."""
    for activation in ACTIVATIONS:
        for driven in (True, False):
            rates = np.exp(
                [
                    log_norms(activation, gain, driven=driven, steps=RATE_STEPS)[-1] / RATE_STEPS
                    for gain in GAINS
                ]
            )
            style = "-" if driven else "--"
            label = activation if driven else None
            axes.plot(GAINS, rates, style, color=COLOURS[activation], linewidth=1.2, label=label)
            shown = ", ".join(f"{gain:g}: {rate:.2f}" for gain, rate in zip(GAINS, rates, strict=True))
            print(f"growth a step, {activation}, {'driven' if driven else 'no inputs'}: {shown}")
    axes.axhline(1.0, color="#999999", linewidth=0.8)
    axes.set(title="growth a step over the gain", xlabel="gain; dashed: no inputs", ylim=(0.3, 2.2))
    axes.legend(frameon=False, fontsize=8)


def draw(folder: Path) -> None:
    """Write vanilla.svg, and print its figures."""
    mpl.rcParams.update(
        {"svg.hashsalt": "vanilla", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    )
    figure = Figure(figsize=(10.0, 3.3), layout="constrained")
    disc, norms, rates = figure.subplots(1, 3)
    draw_eigenvalues(disc)
    draw_norms(norms)
    draw_rates(rates)
    figure.savefig(folder / "vanilla.svg", metadata={"Date": None})


def streams() -> Iterator[tuple[str, Array, Array]]:
    """Yield each task's name, inputs and targets, (T,); the variance of a target is 1."""
    rng = np.random.default_rng(3)
    bits = rng.choice(np.array([-1.0, 1.0]), size=LEARNING_STEPS + 3)
    yield "recall 3", bits[3:], bits[:-3]
    yield "product", bits[3:], bits[2:-1] * bits[1:-2]
    pulses = np.where(rng.random(LEARNING_STEPS) < 0.1, bits[3:], 0.0)
    pulses[0] = 1.0
    last = np.maximum.accumulate(np.where(pulses != 0.0, np.arange(LEARNING_STEPS), 0))
    yield "flip-flop", pulses, pulses[last]
    noise, mean = rng.normal(size=LEARNING_STEPS), np.zeros(LEARNING_STEPS)
    for t in range(1, LEARNING_STEPS):
        mean[t] = 0.95 * mean[t - 1] + np.sqrt(1.0 - 0.95**2) * noise[t]
    yield "slow mean", noise, mean


def table() -> None:
    """Print the errors of the cells on the tasks: the median of the seeds, and the worst."""
    tasks = list(streams())
    print("|".join(name for name, _, _ in tasks))
    for name, recipe in RECIPES.items():
        shown = []
        for _, inputs, targets in tasks:
            learner = recipe.build(1, 1)
            state, errors = learner.init_state(SEEDS), np.empty((LEARNING_STEPS, len(SEEDS)))
            for t in range(LEARNING_STEPS):
                x, y = np.full((len(SEEDS), 1), inputs[t]), np.full((len(SEEDS), 1), targets[t])
                errors[t] = ((learner.step(state, x, y).prediction - y) ** 2)[:, 0]
            last = errors[-LAST:].mean(axis=0)
            shown.append(f"{np.median(last):.4f} ({last.max():.3f})")
        print(f"| {name} | " + " | ".join(shown) + " |", flush=True)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
    if "--table" in sys.argv:
        table()
