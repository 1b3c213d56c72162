"""Rectified units that were shut for good, and how they come back when units are made anew; and a long stream of changing tasks.

python -m benchmarks.pictures.plasticity docs/algorithms/pictures
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from benchmarks.tasks.plots import figure, save
from models.cells import CELLS
from models.learner import OnlineLearner, features_of
from models.losses import LOSSES
from models.optimizers import OPTIMIZERS, chain, clip_by_global_norm
from models.plasticity import ContinualBackprop, widths_of
from models.protocols import Array
from models.readouts import READOUTS
from models.rules import exact_rule_for
from models.updates import Descent

SEEDS = [0, 1, 2, 3]
UNITS = 8
STEPS, SHUT_AT, BLOCK = 8000, 2000, 200
LEARNING_RATE = 0.01
SHUT_BIAS = -100.0
RATES = {"without": None, "rate 0.0003": 3e-4, "rate 0.001": 1e-3}
TASKS, TASK_STEPS, TASK_SEEDS = 150, 400, 6
TASK_SHIFT, TASK_SCALE = 2.0, 0.7
"""Of the inputs' new mean, and of the logarithm of their new size, at each task: in deviations."""
TASK_RATES = {"without": None, "rate 0.0001": 1e-4, "rate 0.0003": 3e-4}


def changing(rate: float | None) -> tuple[Array, Array]:
    """Return the error over the second half of each task, median over seeds, and the share of units that stay silent in it.

    To tell the last input, with its sign turned or not; at each task it comes with another mean and size.
    """
    learner = _learner(rate, clip=True)
    state = learner.init_state(range(TASK_SEEDS))
    rng, shape = np.random.default_rng(1), (TASK_SEEDS, 1)
    errors, silent = np.zeros((TASKS, TASK_SEEDS)), np.zeros(TASKS)
    for task in range(TASKS):
        size, mean = np.exp(TASK_SCALE * rng.normal(size=shape)), TASK_SHIFT * rng.normal(size=shape)
        sign, inputs = rng.choice([-1.0, 1.0], size=shape), rng.normal(size=(TASK_STEPS + 1, *shape))
        heard = np.zeros((TASK_SEEDS, UNITS), dtype=np.bool_)
        for t in range(TASK_STEPS):
            outcome = learner.step(state, size * inputs[t + 1] + mean, sign * inputs[t])
            if t >= TASK_STEPS // 2:
                errors[task] += 2.0 * outcome.loss / (TASK_STEPS - TASK_STEPS // 2)
            heard |= state["state"][:, 0] > 0.0
        silent[task] = 1.0 - heard.mean()
    return np.median(errors, axis=1), silent


def _learner(rate: float | None, *, clip: bool) -> OnlineLearner:
    """Return a learner of rectified units that are made anew at a rate."""
    cell = CELLS["vanilla_relu"](n_inputs=1, n_units=UNITS)
    readout = READOUTS["linear"](n_features=features_of(cell), n_outputs=1)
    plasticity = None if rate is None else ContinualBackprop(widths_of(cell, readout), rate=rate)
    last = OPTIMIZERS["adam"](learning_rate=LEARNING_RATE)
    update = Descent(chain(clip=clip_by_global_norm(1.0), last=last) if clip else last)
    return OnlineLearner(
        cell, exact_rule_for(cell), readout, LOSSES["squared"](), update, plasticity=plasticity
    )


def course(rate: float | None) -> tuple[Array, Array]:
    """Return the error, median over seeds, and the share of units that are silent, block by block."""
    learner = _learner(rate, clip=False)
    state = learner.init_state(SEEDS)
    inputs = np.random.default_rng(0).normal(size=(STEPS + 1, len(SEEDS), 1))
    errors, open_ = np.zeros((STEPS, len(SEEDS))), np.zeros((STEPS, len(SEEDS), UNITS), dtype=np.bool_)
    for t in range(STEPS):
        if t == SHUT_AT:
            state["params"][:, -1] = SHUT_BIAS
        errors[t] = 2.0 * learner.step(state, inputs[t + 1], inputs[t]).loss
        open_[t] = state["state"][:, 0] > 0.0
    by_block = np.median(errors.reshape(-1, BLOCK, len(SEEDS)).mean(axis=1), axis=1)
    silent = 1.0 - open_.reshape(-1, BLOCK, len(SEEDS), UNITS).any(axis=1).mean(axis=(1, 2))
    return by_block, silent


def draw_tasks(folder: Path) -> None:
    """Draw the stream of tasks."""
    canvas, (left, right) = figure(width=10.0, height=3.6, columns=2)
    kernel = np.ones(10) / 10.0
    for name, rate in TASK_RATES.items():
        errors, silent = changing(rate)
        print(
            f"tasks, {name}: first twenty {errors[:20].mean():.3f}, last thirty {errors[-30:].mean():.3f},"
            f" silent in the last thirty {silent[-30:].mean():.2f}"
        )
        left.semilogy(np.convolve(errors, kernel, mode="valid"), linewidth=1, label=name)
        right.plot(silent, linewidth=1, label=name)
    left.set(
        xlabel="task", ylabel="error over variance", title="a long stream of changing tasks, mean of ten"
    )
    right.set(xlabel="task", ylabel="share", title="units that stay silent", ylim=(-0.02, 1.05))
    left.legend(fontsize=7)
    save(canvas, folder / "plasticity-tasks.svg")


def main() -> None:
    """Draw into the folder that the command line names, and print the figures of the page."""
    canvas, (left, right) = figure(width=10.0, height=3.6, columns=2)
    steps = (np.arange(STEPS // BLOCK) + 0.5) * BLOCK
    for name, rate in RATES.items():
        errors, silent = course(rate)
        before = errors[: SHUT_AT // BLOCK][-3:].mean()
        print(
            f"{name}: before {before:.3f}, last {errors[-5:].mean():.3f}, silent at the end {silent[-5:].mean():.2f}"
        )
        left.semilogy(steps, errors, linewidth=1, label=name)
        right.plot(steps, silent, linewidth=1, label=name)
    left.set(xlabel="steps", ylabel="error over variance", title="recall of the last input")
    right.set(xlabel="steps", ylabel="share", title="units that stay silent", ylim=(-0.02, 1.05))
    left.legend(fontsize=7)
    save(canvas, Path(sys.argv[1]) / "plasticity.svg")
    draw_tasks(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
