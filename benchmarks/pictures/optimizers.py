"""Step sizes of first-order optimizers, and what clips do to a burst.

python -m benchmarks.pictures.optimizers docs/algorithms/pictures
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.tasks.plots import figure, save
from benchmarks.tasks.recipe import Recipe, Step, run
from models.optimizers import CLIPS, OPTIMIZERS
from models.protocols import Array

SEEDS = [0, 1, 2]
STEPS, SCORED = 3000, 500
DELAY = 3
RATES = {
    "sgd": (0.003, 0.01, 0.03, 0.1, 0.3),
    "momentum": (0.0003, 0.001, 0.003, 0.01, 0.03),
    "rmsprop": (0.0003, 0.001, 0.003, 0.01, 0.03),
    "adam": (0.0003, 0.001, 0.003, 0.01, 0.03),
    "adamw": (0.0003, 0.001, 0.003, 0.01, 0.03),
}
BOUNDS = {"norm": 1.0, "value": 0.5, "z_score": 2.5}
GRADIENTS, BURST = 120, slice(80, 90)


def recall(seeds: list[int]) -> Iterator[Step]:
    """Yield white inputs, and that of DELAY steps ago to be told."""
    values = np.stack([np.random.default_rng(seed).normal(size=STEPS + DELAY) for seed in seeds], axis=1)
    for t in range(STEPS):
        yield Step(values[t + DELAY, :, None], values[t, :, None])


def last_error(name: str, rate: float) -> float:
    """Return the squared error of the last steps over the target's variance, which is 1; at most 3."""
    recipe = Recipe("rtu", n_units=8, optimizer=name, learning_rate=rate, clip_norm=float("inf"))
    losses, _ = run(recipe, recall(SEEDS), SEEDS)
    return float(min(2.0 * np.nan_to_num(losses[-SCORED:], nan=1e9).mean(), 3.0))


def clipped() -> dict[str, Array]:
    """Return norms of gradients with a burst, as they are and as each clip lets them pass."""
    rng = np.random.default_rng(0)
    norms = np.exp(0.4 * rng.normal(size=GRADIENTS)) * 0.4
    norms[BURST] *= 30.0
    courses = {"as it is": norms}
    for name, bound in BOUNDS.items():
        clip = CLIPS[name](bound)
        state = {field: np.asarray(row)[None] for field, row in clip.init_state((2,)).items()}
        passed = []
        for norm in norms:
            gradient = norm * np.array([[0.6, 0.8]])
            passed.append(np.linalg.norm(clip.update(state, gradient, np.array([True]), gradient)[0]))
        courses[f"{name}, {bound:g}"] = np.array(passed)
    return courses


def main() -> None:
    """Draw into the folder that the command line names, and print the figures of the page's table."""
    canvas, (left, right) = figure(width=10.0, height=3.8, columns=2)
    for name in OPTIMIZERS:
        errors = [last_error(name, rate) for rate in RATES[name]]
        print(
            name, ", ".join(f"{rate:g}: {error:.3f}" for rate, error in zip(RATES[name], errors, strict=True))
        )
        left.loglog(RATES[name], errors, marker="o", markersize=3, linewidth=1, label=name)
    left.set(xlabel="learning rate", ylabel="error over variance", title=f"recall of {DELAY} steps ago")
    left.legend(fontsize=7)
    for name, norms in clipped().items():
        right.semilogy(norms, linewidth=1, label=name)
    right.set(xlabel="gradients", ylabel="norm that passes", title="a burst of ten, thirty times as large")
    right.legend(fontsize=7)
    save(canvas, Path(sys.argv[1]) / "optimizers.svg")


if __name__ == "__main__":
    main()
