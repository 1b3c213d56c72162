"""Networks with delays: how far back they see, and a plant identified with its outputs observed or the network's own.

python -m benchmarks.pictures.delay docs/algorithms/pictures
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.tasks.recipe import Recipe
from models.cells.narx import Narx
from models.optimizers.adam import Adam
from models.protocols import Array, State
from models.rules import exact_rule_for

LAGS = (0, 2, 4, 7, 8, 10, 11, 13)
RECALL_STEPS = 5000
LAST = 1000
RECALLING = {
    "feedforward": (Recipe("feedforward", n_units=8), "#999999"),
    "delay_line, 8 + 1 taps": (Recipe("delay_line", n_units=8, cell_options={"unit_taps": 1}), "#d9a441"),
    "delay_line, 8 + 4 taps": (Recipe("delay_line", n_units=8), "#c8553d"),
    "vanilla": (Recipe("vanilla", n_units=8), "#4fa36b"),
    "rtu": (Recipe("rtu", n_units=8), "#1b6ca8"),
}

UNITS = 8
DELAYS = {"taps": 1, "feedback_taps": 2}
SEEDS = (0, 1, 2, 3)
LEARNING_STEPS = 15_000
NOISES = (0.0, 0.2)
"""Deviations of what is added to an observed output; the plant's own output has one of 0.41."""
OBSERVED_RATE, OWN_RATE = 0.01, 0.0003
"""Adam's first step sizes, which fall to zero. What is fed back carries a step on: it has to be the smaller one."""
FREE_RATES = (0.001, 0.01)
HORIZON = 40
STARTS = 400


def recall_error(recipe: Recipe, lag: int) -> float:
    """Return the squared error of telling a random bit of so many steps ago, mean of the seeds; chance is 1."""
    bits = np.random.default_rng(1).choice(np.array([-1.0, 1.0]), size=RECALL_STEPS + lag)
    learner = recipe.build(1, 1)
    state = learner.init_state(SEEDS)
    rows = (len(SEEDS), 1)
    errors = np.empty(RECALL_STEPS)
    for t in range(RECALL_STEPS):
        target = np.full(rows, bits[t])
        prediction = learner.step(state, np.full(rows, bits[t + lag]), target).prediction
        errors[t] = ((prediction - target) ** 2).mean()
    return float(errors[-LAST:].mean())


def plant(steps: int, seed: int) -> tuple[Array, Array]:
    """Return inputs u and outputs y, (T,) each, of  y_t = 0.3 y_{t-1} + 0.6 y_{t-2} + 0.3 sin(pi u_t)."""
    inputs = np.random.default_rng(seed).uniform(-1.0, 1.0, size=steps)
    outputs = np.zeros(steps + 2)
    for t, u in enumerate(inputs):
        outputs[t + 2] = 0.3 * outputs[t + 1] + 0.6 * outputs[t] + 0.3 * np.sin(np.pi * u)
    return inputs, outputs[2:]


def repeated(fields: State) -> State:
    """Return so many rows as there are seeds."""
    return {name: np.repeat(np.asarray(row)[None], len(SEEDS), axis=0) for name, row in fields.items()}


def new_params() -> Array:
    """Return the parameters of a new network a seed, (B, q, n); both forms have the same."""
    cell = Narx(n_inputs=1, n_units=UNITS, feedback="own", **DELAYS)
    return np.stack([cell.init_params(np.random.default_rng(seed)) for seed in SEEDS])


def identify(params: Array, noise: float, rate: float, *, own: bool) -> Array:
    """Return the parameters after LEARNING_STEPS of the plant, (B, q, n): the output is the sum of contributions."""
    cell = Narx(n_inputs=1 if own else 2, n_units=UNITS, feedback="own" if own else "observed", **DELAYS)
    rule, adam = exact_rule_for(cell), Adam(learning_rate=rate)
    memory, moments = repeated(rule.init_memory()), repeated(adam.init_state(params.shape[1:]))
    state = np.repeat(cell.init_state()[None], len(SEEDS), axis=0)
    inputs, outputs = plant(LEARNING_STEPS, seed=99)
    outputs = outputs + noise * np.random.default_rng(98).normal(size=LEARNING_STEPS)
    every = np.ones(len(SEEDS), dtype=np.bool_)
    for t in range(1, LEARNING_STEPS):
        seen = np.array([inputs[t], outputs[t - 1]])[: cell.n_inputs]
        factors = cell.step(params, state, np.repeat(seen[None], len(SEEDS), axis=0))
        state = factors.state
        rule.advance(memory, factors)
        credit = np.zeros((len(SEEDS), 1, cell.n_parts, UNITS))
        credit[:, 0, 0] = (state[:, 0].sum(axis=1) - outputs[t])[:, None]
        gradient = rule.gradient(memory, credit)[:, 0]
        adam.learning_rate = rate * (1.0 - t / LEARNING_STEPS)
        params = params + adam.update(moments, gradient, every, params)[0]
    return params


def errors_alone(params: Array, noise: float) -> Array:
    """Return the error 1 to HORIZON steps after the last observation, over the plant's deviation, (B, HORIZON).

    The network starts with two observed outputs and goes on by its own, towards the outputs without noise.
    """
    cell = Narx(n_inputs=1, n_units=UNITS, feedback="own", **DELAYS)
    inputs, outputs = plant(10 * STARTS + HORIZON + 20, seed=7)
    seen = outputs + noise * np.random.default_rng(6).normal(size=len(outputs))
    starts = 20 + 10 * np.arange(STARTS)
    errors = np.empty((len(params), HORIZON))
    for row, own in enumerate(params):
        every = np.repeat(own[None], STARTS, axis=0)
        state = np.repeat(
            np.stack((seen[starts], seen[starts - 1]), axis=1)[:, :, None] / UNITS, UNITS, axis=2
        )
        for k in range(HORIZON):
            at = starts + 1 + k
            state = cell.step(every, state, inputs[at][:, None]).state
            errors[row, k] = np.sqrt(((state[:, 0].sum(axis=1) - outputs[at]) ** 2).mean()) / outputs.std()
    return errors


def draw_plant(axes: Axes, noise: float) -> None:
    """Draw the errors of the forms for one noise, and print them."""
    series_parallel = identify(new_params(), noise, OBSERVED_RATE, own=False)
    small, large = FREE_RATES
    for label, params, colour, style in (
        ("series-parallel", series_parallel, "#1b6ca8", "-"),
        ("then free-running", identify(series_parallel, noise, OWN_RATE, own=True), "#c8553d", "-"),
        (f"free-running, {small:g}", identify(new_params(), noise, small, own=True), "#222222", "-"),
        (f"free-running, {large:g}", identify(new_params(), noise, large, own=True), "#222222", ":"),
    ):
        errors = errors_alone(params, noise).mean(axis=0)
        axes.plot(
            np.arange(1, HORIZON + 1), errors, color=colour, linestyle=style, label=label, linewidth=1.3
        )
        shown = ", ".join(f"{k}: {errors[k - 1]:.3f}" for k in (1, 2, 5, 10, HORIZON))
        print(f"noise {noise}, {label}, steps alone {shown}")
    axes.set(
        xlabel="steps on its own outputs",
        ylim=(0.0, 0.75),
        title=f"a plant, observed with noise of {noise:g}",
    )


def draw(folder: Path) -> None:
    """Write delay.svg, and print its figures."""
    mpl.rcParams.update(
        {"svg.hashsalt": "delay", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    )
    figure = Figure(figsize=(10.0, 3.2), layout="constrained")
    recall, clean, noisy = figure.subplots(1, 3)
    for label, (recipe, colour) in RECALLING.items():
        errors = [recall_error(recipe, lag) for lag in LAGS]
        recall.semilogy(LAGS, errors, marker=".", color=colour, label=label, linewidth=1.2)
        print(f"{label}:", ", ".join(f"{lag}: {error:.4f}" for lag, error in zip(LAGS, errors, strict=True)))
    recall.set(title="a random bit of d steps ago", xlabel="d", ylabel="squared error", ylim=(1e-5, 30.0))
    recall.set_xticks(range(0, max(LAGS) + 1, 2))
    recall.legend(frameon=False, fontsize=7.5, loc="upper left", ncols=2, columnspacing=1.0)
    draw_plant(clean, NOISES[0])
    draw_plant(noisy, NOISES[1])
    clean.set(ylabel="error over the plant's deviation")
    clean.legend(frameon=False, fontsize=8)
    figure.savefig(folder / "delay.svg", metadata={"Date": None})


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
