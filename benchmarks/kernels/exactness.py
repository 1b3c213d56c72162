"""Whether what is timed is what it says: the compiled block engines against the step engine over 10^5 updated events.

And what an influence in single precision is off by, over 10^6, and what models cost in accuracy that are kept in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.kernels import diagonal
from benchmarks.kernels.dense import INPUTS, bank
from benchmarks.tasks.plots import figure, save
from benchmarks.tasks.recipe import at_most
from models.learner_bank import LearnerBank
from models.precision import Precision

UNITS, EVENTS, CALL = 16, 100_000, 1000
GOAL = 1e-12
ENGINES = ("rtrl_block", "rtrl_block_smooth")
SINGLE_EVENTS, SINGLE_GOAL = 1_000_000, 2e-6
KEPT_CELLS, KEPT_UPDATES = ("elstm", "rtu"), ("sgd", "adam")
KEPT_GOAL = 1.01
"""The loss of a model kept in single precision over that of one in double, in the last tenth of the events."""


def measure(quick: bool) -> dict[str, Any]:
    """Run all engines over the same events and keep how far predictions are apart."""
    events = EVENTS // (20 if quick else 1)
    rng = np.random.default_rng(0)
    step = bank("vanilla", UNITS, "rtrl_step", compiled=False)
    others = {name: bank("vanilla", UNITS, name, compiled=True) for name in ENGINES}
    slots = np.zeros(CALL, dtype=np.int64)
    apart: dict[str, list[float]] = {name: [] for name in ENGINES}
    inputs = np.zeros((0, INPUTS))
    for _ in range(events // CALL):
        inputs = np.concatenate((inputs[-2:], rng.normal(size=(CALL, INPUTS))))[-CALL - 2 :]
        targets = np.roll(inputs[:, :1], 2, axis=0)[-CALL:]
        expected = step.consume(slots, inputs[-CALL:], targets).prediction
        for name, made in others.items():
            found = made.consume(slots, inputs[-CALL:], targets).prediction
            apart[name].append(float(np.sqrt(np.mean((found - expected) ** 2))))
    worst = {name: max(values) for name, values in apart.items()}
    long = SINGLE_EVENTS // (20 if quick else 1)
    single = single_precision(long)
    kept = {
        f"{cell_name} {update_name}": kept_in_single(cell_name, update_name, long)
        for update_name in KEPT_UPDATES
        for cell_name in KEPT_CELLS
    }
    return {
        "events": events,
        "apart": apart,
        "single": single,
        "kept": kept,
        "goals": [
            *[
                at_most(
                    f"{name}: loss of a model in single precision over double, late",
                    losses[0] / losses[1],
                    KEPT_GOAL,
                )
                for name, losses in kept.items()
            ],
            at_most("an influence in single precision, relative error, 1e6 events", max(single), SINGLE_GOAL),
            *[
                at_most(
                    f"{name}: predictions apart from the step engine's, rms, {events} events", value, GOAL
                )
                for name, value in worst.items()
            ],
        ],
    }


def single_precision(events: int) -> list[float]:
    """Return by how much an influence in single precision is off, relative to its norm, at ten places of a stream."""
    rng = np.random.default_rng(1)
    single = bank("vanilla", UNITS, "rtrl_block", compiled=True, precision="float32")
    double = bank("vanilla", UNITS, "rtrl_block", compiled=True)
    slots, off = np.zeros(CALL, dtype=np.int64), []
    for call in range(events // CALL):
        inputs = rng.normal(size=(CALL, INPUTS))
        targets = np.roll(inputs[:, :1], 2, axis=0)
        for made in (single, double):
            made.consume(slots, inputs, targets)
        if (call + 1) % (events // CALL // 10) == 0:
            one, other = (made.snapshot(0)["memory.influence"] for made in (single, double))
            off.append(float(np.linalg.norm(one - other) / np.linalg.norm(other)))
    return off


def kept_in_single(cell_name: str, update_name: str, events: int) -> tuple[float, float]:
    """Return the mean loss in the last tenth of a stream of a model kept in single precision, and of one in double.

    It is to tell the input of two steps ago, without noise, so that the loss goes on falling and small steps count.
    """
    rng, slots = np.random.default_rng(2), np.zeros(CALL, dtype=np.int64)
    precisions: tuple[Precision, Precision] = ("float32", "float64")
    banks = [
        LearnerBank(diagonal.learner(cell_name, update_name, precision), capacity=1)
        for precision in precisions
    ]
    late: list[list[float]] = [[], []]
    for made in banks:
        made.admit()
    for call in range(events // CALL):
        inputs = rng.normal(size=(CALL, INPUTS))
        targets = np.roll(inputs[:, :1], 2, axis=0)
        for made, losses in zip(banks, late, strict=True):
            loss = made.consume(slots, inputs, targets).loss
            if call >= 0.9 * (events // CALL):
                losses.append(float(loss[2:].mean()))  # the first two tell of the call's end
    return float(np.mean(late[0])), float(np.mean(late[1]))


def table(result: dict[str, Any]) -> str:
    """Return the last and the largest difference."""
    lines = [
        f"\nA vanilla cell of {UNITS} units, {result['events']} events with an update each: rms difference of predictions\n",
        "| engine | first 1000 | last 1000 | largest |\n|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {values[0]:.1e} | {values[-1]:.1e} | {max(values):.1e} |"
        for name, values in result["apart"].items()
    ]
    lines.append(
        f"\nAn influence in single precision is off by {result['single'][0]:.1e} after a tenth of the events, {result['single'][-1]:.1e} after all"
    )
    lines += [
        "\nThe late loss of models kept in single precision, and in double\n",
        "| model | single | double | ratio |\n|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {single:.6f} | {double:.6f} | {single / double:.4f} |"
        for name, (single, double) in result["kept"].items()
    ]
    return "\n".join(lines)


def draw(result: dict[str, Any], folder: Path) -> None:
    """Plot the differences along the stream."""
    canvas, axes = figure(width=7.0, height=3.2)
    for name, values in result["apart"].items():
        axes.semilogy(
            np.arange(1, len(values) + 1) * CALL, np.maximum(values, 1e-18), linewidth=0.8, label=name
        )
    axes.set(xlabel="events", ylabel="rms difference of predictions")
    axes.legend(fontsize=7)
    save(canvas, folder / "kernels-exactness.svg")
