"""What gates are for: a bit is held until the next one is marked, learned online by exact RTRL.

python -m benchmarks.pictures.gated docs/algorithms/pictures
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from benchmarks.tasks.recipe import Recipe, Step
from models.cells.activations import sigmoid
from models.learner import OnlineLearner
from models.protocols import Array, State

UNITS = 4
STEPS = 8000
SHOWN = 120
MARKED = 0.05
"""Share of steps whose bit is to be held: one in twenty, so that bits are held for 20 steps in the mean."""
SPAN = 40
CELLS = {"vanilla": "#777777", "gru": "#1b6ca8", "lstm": "#c8553d"}


def held_bits(steps: int, seed: int) -> tuple[Array, Array]:
    """Return inputs (T, 2), a random bit and a mark, and targets (T,): the bit that was marked last."""
    rng = np.random.default_rng(seed)
    inputs = np.empty((steps, 2))
    inputs[:, 0] = rng.choice(np.array([-1.0, 1.0]), size=steps)
    inputs[:, 1] = rng.random(steps) < MARKED
    inputs[0, 1] = 1.0
    last_marked = np.maximum.accumulate(np.where(inputs[:, 1] > 0.0, np.arange(steps), 0))
    return inputs, inputs[last_marked, 0]


def hold(steps: int, rows: int, seed: int = 0) -> Iterator[Step]:
    """Yield the task for so many models, all with the same inputs."""
    for x, target in zip(*held_bits(steps, seed), strict=True):
        yield Step(np.repeat(x[None], rows, axis=0), np.full((rows, 1), target))


def untrained(cell_name: str) -> tuple[OnlineLearner, State]:
    """Return a learner and the state of one new model."""
    learner = Recipe(cell=cell_name, n_units=UNITS, learning_rate=0.01).build(2, 1)
    return learner, learner.init_state([0])


def learn(cell_name: str) -> tuple[OnlineLearner, State]:
    """Return a learner and its state after STEPS of the task."""
    learner, state = untrained(cell_name)
    errors = np.empty(STEPS)
    for t, step in enumerate(hold(STEPS, rows=1)):
        prediction = learner.step(state, step.inputs, step.target).prediction
        errors[t] = (prediction[0, 0] - step.target[0, 0]) ** 2
    print(f"{cell_name}: {errors[-1000:].mean():.4f} over the last 1000 steps")
    return learner, state


def keeping_gate(params: Array, before: Array, x: Array) -> Array:
    """Return the units' gate that keeps, (n,): u of a GRU, f of an LSTM; the second in both orders."""
    seen = np.concatenate((before[-1], x, [1.0]))
    width = len(seen)
    return sigmoid(seen @ params[width : 2 * width])


def decay(learner: OnlineLearner, state: State) -> Array:
    """Return |dh_{t+k}/dh_t|, the spectral norm, for k = 0 to SPAN, with a mark at step t and none after it."""
    inputs, _ = held_bits(SPAN + 1, seed=7)
    inputs[:, 1] = 0.0
    inputs[0, 1] = 1.0
    cell, now = learner.cell, state["state"].copy()
    product = np.eye(cell.n_parts * cell.n_units)
    norms = [1.0]
    now = cell.step(state["params"], now, inputs[:1]).state
    for x in inputs[1:]:
        factors = cell.step(state["params"], now, x[None])
        now = factors.state
        product = factors.transition[0] @ product
        norms.append(float(np.linalg.norm(product, 2)))
    return np.array(norms)


def draw(folder: Path) -> None:
    """Write gated.svg."""
    mpl.rcParams.update(
        {"svg.hashsalt": "gated", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    )
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(1.7, 1.0))
    bits, gates, norms = (figure.add_subplot(grid[at]) for at in ((0, 0), (1, 0), (slice(None), 1)))
    inputs, target = held_bits(SHOWN, seed=5)
    marks = np.flatnonzero(inputs[:, 1])
    for name, colour in CELLS.items():
        learner, state = learn(name)
        norms.semilogy(decay(learner, state), color=colour, label=name)
        norms.semilogy(decay(*untrained(name)), color=colour, linewidth=0.8, linestyle="--")
        forecasts, kept = np.empty(SHOWN), np.empty((SHOWN, UNITS))
        for t, x in enumerate(inputs):
            if name != "vanilla":
                kept[t] = keeping_gate(state["params"][0], state["state"][0], x)
            outcome = learner.step(state, x[None], np.zeros((1, 1)), np.array([False]))
            forecasts[t] = outcome.prediction[0, 0]
        bits.plot(forecasts, color=colour, linewidth=1.2, label=name)
        if name != "vanilla":
            busiest = kept[:, np.argmin(kept[marks].mean(axis=0))]
            gates.plot(
                busiest,
                color=colour,
                linewidth=1.2,
                label="u of the GRU" if name == "gru" else "f of the LSTM",
            )
    bits.step(
        np.arange(SHOWN), target, where="mid", color="black", linewidth=0.8, linestyle=":", label="to be told"
    )
    bits.plot(marks, target[marks], "k.", markersize=6)
    bits.set(
        ylabel="told", ylim=(-1.8, 2.6), xticklabels=[], title="a marked bit (dot), held until the next one"
    )
    bits.legend(ncols=4, frameon=False, loc="upper center", fontsize=8)
    gates.plot(marks, np.zeros(len(marks)), "k.", markersize=6)
    gates.set(ylabel="kept", ylim=(-0.05, 1.3), xlabel="step")
    gates.legend(ncols=2, frameon=False, loc="upper center", fontsize=8)
    norms.set(
        title="|dh$_{t+k}$/dh$_t$|, dashed: new models", xlabel="k, steps without a mark", ylim=(1e-6, 30.0)
    )
    norms.legend(frameon=False, loc="lower left", fontsize=8)
    figure.savefig(folder / "gated.svg", metadata={"Date": None})


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
