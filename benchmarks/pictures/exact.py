"""Exact rules: memory over the length, time over the units, and how stale a gradient carried forward is.

python -m benchmarks.pictures.exact docs/algorithms/pictures
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.tasks.recipe import Recipe
from models.cells import CELLS
from models.cells.vanilla import RECURRENT_GAIN
from models.protocols import Array, Cell, LearningRule, State
from models.rules import RULES, exact_rule_for
from models.updates import part

INPUTS = 2
LENGTHS = (8, 16, 64, 256, 1024, 4096)
MEMORY_UNITS = 32
SIZES = (4, 8, 16, 32, 64, 128)
SEQUENCE = 100
"""Steps of a sequence whose gradient is taken at its end, or at each step, by backpropagation."""
REPEATS = 9
"""The least of so many timings counts."""

UNITS = 16
MODELS = 8
STEPS = 800
LOOKED_AT = 100
"""At each so many steps the gradient is compared."""
RATES = (1e-4, 1e-3, 1e-2, 3e-2, 1e-1)


def repeated(rule: LearningRule, rows: int) -> State:
    """Return the rule's memory of so many new models."""
    return {name: np.repeat(np.asarray(row)[None], rows, axis=0) for name, row in rule.init_memory().items()}


def bytes_held(cell_name: str, rule_name: str, length: int) -> int:
    """Return the size of a rule's memory after so many steps."""
    cell = CELLS[cell_name](n_inputs=INPUTS, n_units=MEMORY_UNITS)
    rule = RULES[rule_name](cell)
    memory = repeated(rule, 1)
    if rule.cost.grows:
        params, state = cell.init_params(np.random.default_rng(0))[None], cell.init_state()[None]
        for _ in range(length):
            factors = cell.step(params, state, np.ones((1, INPUTS)))
            state = factors.state
            rule.advance(memory, factors)
    return sum(field.nbytes for field in memory.values())


def seconds(cell: Cell, rule: LearningRule, steps: int, *, every: bool) -> float:
    """Return the time of one step with its gradient, or of a sequence's with one at its end, over its length."""
    rng = np.random.default_rng(0)
    params, inputs = cell.init_params(rng)[None], rng.normal(size=(steps, 1, INPUTS))
    credit = np.ones((1, 1, cell.n_parts, cell.n_units))
    taken = []
    for _ in range(REPEATS):
        state, memory = cell.init_state()[None], repeated(rule, 1)
        start = time.perf_counter()
        for x in inputs:
            factors = cell.step(params, state, x)
            state = factors.state
            rule.advance(memory, factors)
            if every:
                rule.gradient(memory, credit)
        if not every:
            rule.gradient(memory, credit)
        taken.append((time.perf_counter() - start) / steps)
    return min(taken)


def derivative(learner_state: State, cell: Cell, rule: LearningRule, memory: State, state: Array) -> Array:
    """Return the derivative of the output to the cell's parameters, (B, q n)."""
    read, slope = cell.read_out(state)
    weights = learner_state["readout.0"][:, 0, : read.shape[1] * cell.n_units].reshape(read.shape)
    credit = (weights[:, :, None] * slope).sum(axis=1)
    flat: Array = rule.gradient(memory, credit[:, None])[:, 0].reshape(len(state), -1)
    return flat


def staleness(cell_name: str, rate: float, gain: float, drive: float, optimizer: str) -> float:
    """Return the cosine of the derivative carried forward with the one recomputed, median over models and times.

    Recomputed: the whole past is run again under the parameters of now. The task is to tell the sum of the
    inputs of two and, half as much, of five steps ago; `gain` is that of a vanilla cell's recurrent weights,
    `drive` multiplies its input weights.
    """
    learner = Recipe(cell_name, n_units=UNITS, optimizer=optimizer, learning_rate=rate).build(1, 1)
    cell, state, rng = learner.cell, learner.init_state(range(MODELS)), np.random.default_rng(0)
    if cell.recurrence == "dense":
        state["params"][:, :UNITS] *= gain / RECURRENT_GAIN
        state["params"][:, UNITS] *= drive
    first = state["state"] + 0.3 * rng.normal(size=state["state"].shape)
    state["state"] = first.copy()
    inputs = rng.normal(size=(STEPS + 5, MODELS, 1))
    cosines = []
    for t in range(STEPS):
        learner.step(state, inputs[t + 5], inputs[t + 3] + 0.5 * inputs[t])
        if (t + 1) % LOOKED_AT:
            continue
        carried = derivative(state, cell, learner.rule, part(state, "memory"), state["state"])
        rule, again = exact_rule_for(cell), first.copy()
        memory = repeated(rule, MODELS)
        for x in inputs[5 : t + 6]:
            factors = cell.step(state["params"], again, x)
            again = factors.state
            rule.advance(memory, factors)
        true = derivative(state, cell, rule, memory, again)
        sizes = np.linalg.norm(carried, axis=1) * np.linalg.norm(true, axis=1)
        cosines.append((carried * true).sum(axis=1) / sizes)
    return float(np.median(cosines))


def draw_memory(axes: Axes) -> None:
    """Draw what is held over the length of a sequence."""
    for label, cell_name, rule_name, colour, style in (
        ("vanilla, bptt", "vanilla", "bptt", "#c8553d", "-"),
        ("vanilla, rtrl_step", "vanilla", "rtrl_step", "#1b6ca8", "-"),
        ("vanilla, rtrl_block", "vanilla", "rtrl_block", "#222222", "--"),
        ("rtu, bptt", "rtu", "bptt", "#d9a441", "-"),
        ("rtu, rtrl_trace", "rtu", "rtrl_trace", "#4fa36b", "-"),
    ):
        held = [bytes_held(cell_name, rule_name, length) for length in LENGTHS]
        axes.loglog(LENGTHS, held, style, color=colour, label=label, linewidth=1.3)
        print(f"bytes, {label}:", ", ".join(f"{n}: {b}" for n, b in zip(LENGTHS, held, strict=True)))
    axes.set(title=f"bytes held, {MEMORY_UNITS} units", xlabel="steps since the beginning", ylim=(1e3, 3e9))
    axes.legend(frameon=False, fontsize=8, loc="upper left")


def draw_time(axes: Axes) -> None:
    """Draw the time of a step over the number of units."""
    for label, cell_name, rule_name, every, colour, style in (
        ("rtrl_step", "vanilla", "rtrl_step", True, "#1b6ca8", "-"),
        ("rtrl_block", "vanilla", "rtrl_block", True, "#222222", "--"),
        (f"bptt, {SEQUENCE} steps, loss at each", "vanilla", "bptt", True, "#c8553d", "-"),
        ("the same, loss at the end", "vanilla", "bptt", False, "#c8553d", ":"),
        ("rtu, rtrl_trace", "rtu", "rtrl_trace", True, "#4fa36b", "-"),
    ):
        taken = []
        for n_units in SIZES:
            cell = CELLS[cell_name](n_inputs=INPUTS, n_units=n_units)
            # At least two blocks of n / 2 steps; else a few, where a step is long.
            steps = SEQUENCE if rule_name == "bptt" or n_units < 64 else n_units
            if rule_name == "rtrl_step" and n_units == SIZES[-1]:
                steps = 8
            taken.append(1e3 * seconds(cell, RULES[rule_name](cell), steps, every=every))
        axes.loglog(SIZES, taken, style, color=colour, marker=".", label=label, linewidth=1.3)
        print(f"ms, {label}:", ", ".join(f"{n}: {ms:.3f}" for n, ms in zip(SIZES, taken, strict=True)))
    axes.set(title="milliseconds a step", xlabel="units", ylim=(0.02, 5e3))
    axes.set_xticks(SIZES, [str(size) for size in SIZES])
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize=8, loc="upper left")


def draw_staleness(axes: Axes) -> None:
    """Draw the cosine over the step size."""
    for label, cell_name, gain, drive, optimizer, colour, style in (
        ("vanilla, gain 0.9", "vanilla", 0.9, 1.0, "sgd", "#1b6ca8", "-"),
        ("the same, Adam", "vanilla", 0.9, 1.0, "adam", "#1b6ca8", ":"),
        ("gain 1.6", "vanilla", 1.6, 1.0, "sgd", "#d9a441", "-"),
        ("gain 1.1, weak inputs", "vanilla", 1.1, 0.1, "sgd", "#c8553d", "--"),
        ("gain 1.3, weak inputs", "vanilla", 1.3, 0.1, "sgd", "#c8553d", "-"),
        ("rtu", "rtu", 0.0, 1.0, "sgd", "#4fa36b", "-"),
        ("rtu, Adam", "rtu", 0.0, 1.0, "adam", "#4fa36b", ":"),
    ):
        cosines = [staleness(cell_name, rate, gain, drive, optimizer) for rate in RATES]
        axes.semilogx(RATES, cosines, style, color=colour, marker=".", label=label, linewidth=1.3)
        shown = ", ".join(f"{rate:g}: {cosine:.4f}" for rate, cosine in zip(RATES, cosines, strict=True))
        print(f"cosine, {label}: {shown}")
    axes.set(title="cosine with the recomputed gradient", xlabel="step size", ylim=(-0.9, 1.05))
    axes.set_yticks([0.0, 0.5, 1.0])
    axes.legend(frameon=False, fontsize=8, loc="lower left")


def draw(folder: Path) -> None:
    """Write exact.svg, and print its figures."""
    mpl.rcParams.update(
        {"svg.hashsalt": "exact", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    )
    figure = Figure(figsize=(10.0, 3.4), layout="constrained")
    memory, times, stale = figure.subplots(1, 3)
    draw_memory(memory)
    draw_time(times)
    draw_staleness(stale)
    figure.savefig(folder / "exact.svg", metadata={"Date": None})


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
