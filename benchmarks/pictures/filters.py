"""What learns from derivatives and errors apart: error against labels, without outliers and with.

python -m benchmarks.pictures.filters docs/algorithms/pictures
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tasks.plots import figure, save
from benchmarks.tasks.recipe import Recipe, Step, run
from models.optimizers import JACOBIAN_OPTIMIZERS
from models.protocols import Array

SEEDS = [0, 1, 2, 3]
STEPS = 3000
NOISE = 0.1
OUTLIERS, OUTLIER_SIZE = 0.005, 20.0
BLOCKS = 30


def signal(seed: int) -> tuple[Array, Array]:
    """Return white inputs and what they were two and, half as much, five steps ago."""
    inputs = np.random.default_rng(seed).normal(size=STEPS + 5)
    return inputs[5:], inputs[3:-2] + 0.5 * inputs[:-5]


def stream(outliers: float) -> Iterator[Step]:
    """Yield inputs and noisy targets, a row a seed; some targets are far off."""
    rng = np.random.default_rng(100)
    inputs, targets = (np.stack(part, axis=1) for part in zip(*map(signal, SEEDS), strict=True))
    wrong = rng.random(targets.shape) < outliers
    sign = rng.choice(np.array([-1.0, 1.0]), targets.shape)
    seen = targets + NOISE * rng.normal(size=targets.shape) + np.where(wrong, OUTLIER_SIZE * sign, 0.0)
    for t in range(STEPS):
        yield Step(inputs[t, :, None], seen[t, :, None])


def course(optimizer: str, outliers: float) -> Array:
    """Return the squared error to the targets without noise, over their variance, in blocks of labels."""
    rate: dict[str, Any] = {"learning_rate": 0.01} if optimizer == "adam" else {}
    recipe = Recipe("rtu", n_units=8, optimizer=optimizer, **rate)
    _, predictions = run(recipe, stream(outliers), SEEDS)
    true = np.stack([signal(seed)[1] for seed in SEEDS], axis=1)
    squared = (predictions[:, :, 0] - true) ** 2 / 1.25
    blocks: Array = np.median(squared.reshape(BLOCKS, -1, len(SEEDS)).mean(axis=1), axis=1)
    return blocks


def main() -> None:
    """Draw into the folder that the command line names, and print the figures of the page's table."""
    canvas, axes = figure(width=10.0, height=3.8, columns=2)
    labels = (np.arange(BLOCKS) + 0.5) * STEPS / BLOCKS
    for axis, outliers in zip(axes, (0.0, OUTLIERS), strict=True):
        for name in (*JACOBIAN_OPTIMIZERS, "adam"):
            errors = course(name, outliers)
            print(f"{outliers:g} {name}: after 500 {errors[4]:.3f}, last {errors[-5:].mean():.4f}")
            axis.semilogy(labels, errors, linewidth=1, label=name)
        axis.set(xlabel="labels", ylabel="error over variance", ylim=(1e-3, 30.0))
        axis.set_title("no outliers" if outliers == 0.0 else "one label in 200 off by 20")
    axes[0].legend(fontsize=7)
    save(canvas, Path(sys.argv[1]) / "filters.svg")


if __name__ == "__main__":
    main()
