"""Approximate rules beside the exact one: over the recurrent gain, over the age of what is learned from, by cell.

python -m benchmarks.pictures.approximate docs/algorithms/pictures
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.tasks.recipe import Recipe
from models.cells import CELLS
from models.cells.vanilla import RECURRENT_GAIN
from models.protocols import Array, Cell, CreditedRule, LearningRule, State, StepFactors, WindowedRule
from models.rules import RULES
from models.rules.rtrl_step import RtrlStep

UNITS = 16
MODELS = 8
WARM_UP = 1000
"""Steps before anything is compared, in which KeRNL and DNI learn what they have to; the parameters stand still."""
BLOCKS, BLOCK = 8, 100
"""Compared are the gradients of so many stretches of so many losses."""
GAINS = (0.3, 0.6, 0.9, 1.2, 1.5)
SPARSE_GAIN = 1.8
"""Twice a new cell's: of 16 units with three connections each, the spectral radius is then about 0.9 too."""
AGES = 25
LEARNING_STEPS = 5000
LAGS = ((2, 1.0), (5, 0.5))
"""The target is the sum of the inputs of so long ago, times so much."""

APPROXIMATE: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "immediate": ("immediate", {}, "#999999", "-"),
    "eprop": ("eprop", {}, "#d9a441", "-"),
    "rflo": ("rflo", {}, "#d9a441", ":"),
    "snap_1": ("snap_1", {}, "#c8553d", "-"),
    "snap_2": ("snap_2", {}, "#c8553d", ":"),
    "snap_3": ("snap_2", {"order": 3}, "#c8553d", "--"),
    "kernl": ("kernl", {}, "#8a5fa8", "-"),
    "dni": ("dni", {}, "#4fa36b", "-"),
    "bptt_disjoint, T = 10": ("bptt_disjoint", {}, "#222222", "--"),
    "bptt_sliding, T = 3": ("bptt_sliding", {"window": 3}, "#222222", ":"),
    "bptt_sliding, T = 10": ("bptt_sliding", {}, "#222222", "-"),
    "sketched_rtrl, r = 4": ("sketched_rtrl", {}, "#1b6ca8", "-"),
}


def rules_for(cell: Cell) -> dict[str, LearningRule]:
    """Return the rules that take this cell, by label."""
    rules: dict[str, LearningRule] = {}
    for label, (name, options, _, _) in APPROXIMATE.items():
        try:
            rules[label] = RULES[name](cell, **options)
        except ValueError:
            continue
    return rules


def repeated(rule: LearningRule, rows: int = MODELS) -> State:
    """Return the rule's memory of so many new models."""
    return {name: np.repeat(np.asarray(row)[None], rows, axis=0) for name, row in rule.init_memory().items()}


def new_params(cell: Cell, gain: float) -> Array:
    """Return the parameters of MODELS new cells, (B, q, n), a vanilla cell's with another recurrent gain."""
    params = np.stack([cell.init_params(np.random.default_rng(seed)) for seed in range(MODELS)])
    params[:, :UNITS] *= gain / RECURRENT_GAIN
    return params


def learned_params(cell_name: str) -> Array:
    """Return the parameters of MODELS cells that have learned the target by the exact rule, (B, q, n)."""
    learner = Recipe(cell_name, n_units=UNITS).build(1, 1)
    state, rng, first = learner.init_state(range(MODELS)), np.random.default_rng(2), LAGS[-1][0]
    inputs = rng.normal(size=(LEARNING_STEPS + first, MODELS, 1))
    for t in range(first, len(inputs)):
        target = np.zeros((MODELS, 1))
        for lag, weight in LAGS:
            target += weight * inputs[t - lag]
        learner.step(state, inputs[t], target)
    params: Array = state["params"]
    return params


def run(cell: Cell, params: Array, steps: int) -> tuple[list[StepFactors], Array]:
    """Return each step's factors, and the targets, (T, B)."""
    rng = np.random.default_rng(1)
    state = np.repeat(cell.init_state()[None], MODELS, axis=0)
    inputs = rng.normal(size=(steps + LAGS[-1][0], MODELS, 1))
    factors = []
    for x in inputs[LAGS[-1][0] :]:
        factors.append(cell.step(params, state, x))
        state = factors[-1].state
    targets, first = np.zeros((steps, MODELS)), LAGS[-1][0]
    for lag, weight in LAGS:
        targets += weight * inputs[first - lag : first - lag + steps, :, 0]
    return factors, targets


def credits_of(cell: Cell, factors: list[StepFactors], targets: Array) -> Array:
    """Return dL_t/dh_t, (T, B, k, n), for the squared loss under the linear readout that fits best."""
    read, slopes = zip(*(cell.read_out(step.state) for step in factors), strict=True)
    features = np.stack(read, axis=1).reshape(MODELS, len(factors), -1)
    credit = np.empty((len(factors), MODELS, cell.n_parts, cell.n_units))
    for row in range(MODELS):
        weights, *_ = np.linalg.lstsq(features[row], targets[:, row], rcond=None)
        errors = features[row] @ weights - targets[:, row]
        by_part = weights.reshape(read[0].shape[1:])[:, None] * np.stack([slope[row] for slope in slopes])
        credit[:, row] = errors[:, None, None] * by_part.sum(axis=1)
    return credit


def sums(rule: LearningRule, factors: list[StepFactors], credit: Array) -> Array:
    """Return the gradients of the blocks' losses, summed, (BLOCKS, B, q n)."""
    memory, total = repeated(rule), np.zeros((BLOCKS, *credit.shape[1:2], *factors[0].immediate.shape[2:]))
    for t, (step, now) in enumerate(zip(factors, credit, strict=True)):
        rule.advance(memory, step)
        block = (t - WARM_UP) // BLOCK
        if isinstance(rule, WindowedRule):
            rule.take_credit(memory, now)
            gradient, _ = rule.collect(memory)
        else:
            gradient = rule.gradient(memory, now[:, None])[:, 0] if block >= 0 else np.zeros(total.shape[1:])
            if isinstance(rule, CreditedRule):
                rule.take_credit(memory, now)
        if block >= 0:
            total[block] += gradient
    return total.reshape(BLOCKS, MODELS, -1)


def cosines(cell: Cell, params: Array) -> dict[str, float]:
    """Return the cosine of each rule's gradient with the exact one, median over blocks and models."""
    factors, targets = run(cell, params, WARM_UP + BLOCKS * BLOCK)
    credit = credits_of(cell, factors, targets)
    exact = sums(RtrlStep(cell), factors, credit)
    found = {}
    for label, rule in rules_for(cell).items():
        own = sums(rule, factors, credit)
        sizes = np.linalg.norm(own, axis=2) * np.linalg.norm(exact, axis=2)
        found[label] = float(np.median((own * exact).sum(axis=2) / sizes))
    return found


def influence(rule: LearningRule, memory: State, cell: Cell) -> Array:
    """Return what the rule has for dh/dtheta, (B, S q n)."""
    size = cell.n_parts * cell.n_units
    every = np.broadcast_to(np.eye(size), (MODELS, size, size)).reshape(MODELS, size, cell.n_parts, -1)
    flat: Array = rule.gradient(memory, every).reshape(MODELS, -1)
    return flat


def shares_by_age(cell_name: str) -> dict[str, Array]:
    """Return what share of the influence of one step a rule still has, by the steps since, (AGES,) a rule.

    The share is that of the exact influence's own direction: <M, M'> / <M, M>. Means over models.
    """
    cell = CELLS[cell_name](n_inputs=1, n_units=UNITS)
    factors, _ = run(cell, new_params(cell, RECURRENT_GAIN), WARM_UP + AGES)
    rules = {label: rule for label, rule in rules_for(cell).items() if not isinstance(rule, CreditedRule)}
    rules.pop("sketched_rtrl, r = 4")  # It is no sum over the ages.
    shares = {}
    for label, rule in rules.items():
        exact_rule = RtrlStep(cell)
        exact, memory = repeated(exact_rule), repeated(rule)
        if label == "kernl":
            for step in factors[:WARM_UP]:
                rule.advance(memory, step)
            memory["trace"][...] = 0.0
        share = np.empty(AGES)
        for age, step in enumerate(factors[WARM_UP:]):
            alone = step if age == 0 else replace(step, immediate=np.zeros_like(step.immediate))
            exact_rule.advance(exact, alone)
            rule.advance(memory, alone)
            true, own = influence(exact_rule, exact, cell), influence(rule, memory, cell)
            share[age] = ((true * own).sum(axis=1) / (true * true).sum(axis=1)).mean()
        shares[label] = share
    return shares


def line(axes: Axes, x: Array, y: Array, label: str) -> None:
    """Draw one rule's curve in its colour."""
    _, _, colour, style = APPROXIMATE[label]
    axes.plot(x, y, style, color=colour, linewidth=1.3, label=label)


def draw_gains(axes: Axes, cell_name: str) -> None:
    """Draw the cosines over the gain."""
    cell = CELLS[cell_name](n_inputs=1, n_units=UNITS)
    by_gain = [cosines(cell, new_params(cell, gain)) for gain in GAINS]
    for label in by_gain[0]:
        values = [found[label] for found in by_gain]
        line(axes, np.array(GAINS), np.array(values), label)
        shown = ", ".join(f"{gain}: {value:.2f}" for gain, value in zip(GAINS, values, strict=True))
        print(f"{cell_name}, {label}: {shown}")
    axes.set(title=f"cosine with the exact rule, {cell_name}", xlabel="gain", ylim=(-0.1, 1.05))


def draw(folder: Path) -> None:
    """Write approximate.svg, and print its figures."""
    mpl.rcParams.update(
        {"svg.hashsalt": "approximate", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    )
    figure = Figure(figsize=(11.0, 4.2), layout="constrained")
    plain, leaky, ages = figure.subplots(1, 3)
    draw_gains(plain, "vanilla")
    draw_gains(leaky, "vanilla_leaky")
    for label, share in shares_by_age("vanilla_leaky").items():
        line(ages, np.arange(float(AGES)), share, label)
    ages.set(title="share of a step's influence kept, leaky", xlabel="steps since", ylim=(-0.1, 1.05))
    handles, labels = leaky.get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, ncols=5, loc="outside lower center", fontsize=8)
    figure.savefig(folder / "approximate.svg", metadata={"Date": None})
    for cell_name, gain, learned in (
        ("vanilla_sparse", SPARSE_GAIN, False),
        ("gru", RECURRENT_GAIN, False),
        ("lstm", RECURRENT_GAIN, False),
        ("vanilla", RECURRENT_GAIN, True),
        ("vanilla_leaky", RECURRENT_GAIN, True),
        ("gru", RECURRENT_GAIN, True),
    ):
        cell = CELLS[cell_name](n_inputs=1, n_units=UNITS)
        found = cosines(cell, learned_params(cell_name) if learned else new_params(cell, gain))
        print(cell_name, "learned" if learned else "new", {label: round(c, 2) for label, c in found.items()})


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
