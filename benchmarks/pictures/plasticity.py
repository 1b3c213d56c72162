"""Rectified units that were shut for good, and how they come back when units are made anew.

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
from models.optimizers import OPTIMIZERS
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


def course(rate: float | None) -> tuple[Array, Array]:
    """Return the error, median over seeds, and the share of units that are silent, block by block."""
    cell = CELLS["vanilla_relu"](n_inputs=1, n_units=UNITS)
    readout = READOUTS["linear"](n_features=features_of(cell), n_outputs=1)
    plasticity = None if rate is None else ContinualBackprop(widths_of(cell, readout), rate=rate)
    update = Descent(OPTIMIZERS["adam"](learning_rate=LEARNING_RATE))
    rule, loss = exact_rule_for(cell), LOSSES["squared"]()
    learner = OnlineLearner(cell, rule, readout, loss, update, plasticity=plasticity)
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


if __name__ == "__main__":
    main()
