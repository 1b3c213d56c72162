"""Gradients that vanish and explode: how much of a state's change is left after k steps, and what clipping saves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tasks.plots import figure, save
from benchmarks.tasks.recipe import Goal, at_least, at_most
from models.cells import CELLS
from models.cells.vanilla import Vanilla
from models.learner import OnlineLearner, features_of
from models.losses import LOSSES
from models.optimizers import OPTIMIZERS, chain, clip_by_global_norm, clip_by_value, clip_by_zscore
from models.protocols import Array, Cell, Optimizer
from models.readouts import READOUTS
from models.rules import exact_rule_for
from models.updates import Descent

SEED = 0
STEPS_BACK = 100
RUNS = 20
GAINS = (0.7, 1.0, 1.5)
"""Spectral radius of the plain cell's recurrent weights, over its value in a new cell, .9."""
UNITS = 16
TASK_STEPS = 6000
DELAY = 3
LEARNING_RATE = 0.2
"""Too large for this task: without a clip a burst of gradients throws the weights away for good."""
BLOWN_UP = 1e3
"""A loss of a target of order one beyond this has diverged."""


@dataclass(frozen=True, slots=True)
class Start:
    """A cell and the factor on its recurrent weights."""

    name: str
    cell: Cell
    gain: float = 1.0


def starts() -> list[Start]:
    """Return the cells whose gradients are followed back."""
    plain = [Start(f"vanilla, radius {0.9 * g:.2f}", Vanilla(n_inputs=1, n_units=UNITS), g) for g in GAINS]
    gated = [Start(name, CELLS[name](n_inputs=1, n_units=UNITS)) for name in ("gru", "lstm", "elstm", "lru")]
    return plain + gated


def norms(start: Start, seed: int) -> Array:
    """Return the spectral norm of dh_t / dh_{t-k} for k = 1 .. STEPS_BACK, along small random inputs."""
    cell, rng = start.cell, np.random.default_rng(seed)
    params = cell.init_params(rng)[None]
    if start.gain != 1.0:
        params[:, : cell.n_units] *= start.gain
    state = cell.init_state()[None]
    size = cell.n_parts * cell.n_units
    product, found = np.eye(size), []
    for step in range(2 * STEPS_BACK):
        factors = cell.step(params, state, 0.3 * rng.normal(size=(1, 1)))
        state = factors.state
        if step >= STEPS_BACK:  # the first half is the transient
            product = _matrix(factors.transition[0]) @ product
            found.append(np.linalg.norm(product, 2))
    return np.array(found)


def _matrix(transition: Array) -> Array:
    """Return one row's transition as a matrix."""
    if transition.ndim == 2:
        return transition
    k, _, n = transition.shape
    full = np.zeros((k, n, k, n))
    units = np.arange(n)
    full[:, units, :, units] = transition.transpose(2, 0, 1)
    return full.reshape(k * n, k * n)


# A clip by z-score follows the row's own norms: it cuts what is out of the ordinary, and cannot save a run in which
# every step is too large. It is shown with the others for that reason.
CLIPS: dict[str, Optimizer | None] = {
    "none": None,
    "norm": clip_by_global_norm(0.3),
    "value": clip_by_value(0.1),
    "z-score": clip_by_zscore(1.0),
}


def course(clip: Optimizer | None, steps: int) -> Array:
    """Return the losses of a plain cell that learns to recall, by exact RTRL and too large a step."""
    cell = CELLS["vanilla"](n_inputs=1, n_units=UNITS)
    sgd = OPTIMIZERS["sgd"](learning_rate=LEARNING_RATE)
    optimizer = chain(last=sgd) if clip is None else chain(clip=clip, last=sgd)
    readout = READOUTS["linear"](n_features=features_of(cell), n_outputs=1)
    learner = OnlineLearner(cell, exact_rule_for(cell), readout, LOSSES["squared"](), Descent(optimizer))
    state, rng = learner.init_state([SEED]), np.random.default_rng(SEED)
    inputs = rng.normal(size=steps + DELAY)
    losses = np.full(steps, np.inf)
    with np.errstate(all="ignore"):  # it is meant to overflow
        for t in range(steps):
            losses[t] = learner.step(state, inputs[t + DELAY].reshape(1, 1), inputs[t].reshape(1, 1)).loss[0]
            if not losses[t] < 1e12:
                losses[t:] = np.inf
                break
    return losses


def measure(quick: bool) -> dict[str, Any]:
    """Follow gradients back in new cells, and learn with each clip."""
    runs = RUNS // 10 if quick else RUNS
    steps = TASK_STEPS // 20 if quick else TASK_STEPS
    back = {
        s.name: np.exp(np.mean([np.log(norms(s, i) + 1e-300) for i in range(runs)], axis=0)) for s in starts()
    }
    courses = {name: course(clip, steps) for name, clip in CLIPS.items()}
    last = {name: float(np.median(losses[-steps // 10 :])) for name, losses in courses.items()}
    worst = {name: float(losses.max()) for name, losses in courses.items()}
    saved = max(last["norm"], last["value"])
    goals: list[Goal] = [
        at_least("without clipping, the largest loss", worst["none"], BLOWN_UP),
        at_most(
            "clipped by norm or by value, the median loss of the last tenth (variance of the target: 1)",
            saved,
            0.25,
        ),
        at_most(
            "vanilla below radius 1: what is left after 100 steps",
            float(back["vanilla, radius 0.63"][-1]),
            1e-3,
        ),
        at_least(
            "vanilla above radius 1: what is left after 100 steps",
            float(back["vanilla, radius 1.35"][-1]),
            1.0,
        ),
    ]
    return {
        "back": {name: [float(v) for v in values] for name, values in back.items()},
        "courses": {
            name: [float(min(v, 1e12)) for v in losses[:: max(steps // 300, 1)]]
            for name, losses in courses.items()
        },
        "last": last,
        "worst": {name: min(v, 1e308) for name, v in worst.items()},
        "steps": steps,
        "goals": goals,
    }


def table(result: dict[str, Any]) -> str:
    """Return what is left of a gradient, and the losses by clip."""
    lines = [
        "\nNorm of dh_t / dh_(t-k), geometric mean over random inputs\n",
        "| cell | k = 10 | k = 30 | k = 100 |",
        "|---|---|---|---|",
    ]
    lines += [f"| {name} | {v[9]:.1e} | {v[29]:.1e} | {v[99]:.1e} |" for name, v in result["back"].items()]
    lines += [
        "\nRecall by SGD with too large a step, exact RTRL\n",
        "| clip | median loss of the last tenth | largest loss |",
        "|---|---|---|",
    ]
    lines += [
        f"| {name} | {result['last'][name]:.3g} | {result['worst'][name]:.3g} |" for name in result["last"]
    ]
    return "\n".join(lines)


def draw(result: dict[str, Any], folder: Path) -> None:
    """Plot both."""
    canvas, axes = figure(width=11.0, height=3.8, columns=2)
    for name, values in result["back"].items():
        axes[0].semilogy(np.arange(1, STEPS_BACK + 1), values, label=name, linewidth=1)
    axes[0].set(
        xlabel="steps back, k", ylabel="norm of dh_t / dh_(t-k)", title="vanish or explode", ylim=(1e-12, 1e8)
    )
    axes[0].legend(fontsize=6)
    for name, losses in result["courses"].items():
        axes[1].semilogy(
            np.linspace(0, result["steps"], len(losses)), losses, label=f"clip: {name}", linewidth=0.8
        )
    axes[1].set(xlabel="steps", ylabel="squared error / 2", title="the same run, clipped and not")
    axes[1].legend(fontsize=6)
    save(canvas, folder / "gradients.svg")
