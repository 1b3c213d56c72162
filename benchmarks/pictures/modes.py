"""The three sequence modes as marks on a stream, drawn from the streams themselves.

python -m benchmarks.pictures.modes docs/algorithms/pictures
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from models.modes import Event, asynchronous, endless, sequence_to_category, synchronous

COLOURS = ("#d6e6f2", "#f6dfd8", "#dcead9")
LOSS, INK, PALE = "#c8553d", "#333333", "#888888"


def named(letter: str, length: int) -> tuple[np.ndarray, list[str]]:
    """Return numbers to stand for the steps of a sequence, (T, 1), from 1, and their names."""
    return np.arange(1.0, length + 1.0)[:, None], [f"${letter}_{at}$" for at in range(1, length + 1)]


def arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    style = {"arrowstyle": "-|>", "mutation_scale": 7, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0}
    axis.add_patch(FancyArrowPatch(start, end, color=colour, **style))  # type: ignore[arg-type]


def row(axis: Axes, events: Sequence[Event], names: Sequence[str], height: float, letter: str = "y") -> None:
    """Draw one row's stream: a box a step, what comes in below, where a loss is taken above."""
    sequence = -1
    targets = 0
    for at, (event, name) in enumerate(zip(events, names, strict=True)):
        if event.reset:
            sequence, targets = sequence + 1, 0
            axis.plot([at - 0.5] * 2, [height - 0.62, height + 0.62], color=INK, linewidth=2.2)
        else:
            arrow(axis, (at - 0.68, height), (at - 0.32, height), INK)
        box = FancyBboxPatch(
            (at - 0.28, height - 0.26), 0.56, 0.52, boxstyle="round,pad=0.04", linewidth=0.8, edgecolor=INK
        )
        box.set_facecolor(COLOURS[sequence % len(COLOURS)])
        axis.add_patch(box)
        axis.text(at, height, "h", ha="center", va="center", style="italic")
        arrow(axis, (at, height - 0.6), (at, height - 0.3), PALE)
        axis.text(at, height - 0.66, name, ha="center", va="top", color=INK)
        if event.scored:
            targets += 1
            arrow(axis, (at, height + 0.3), (at, height + 0.6), LOSS)
            label = f"L(${letter}_{targets}$)" if letter == "y" else f"L(${letter}$)"
            axis.text(at, height + 0.64, label, ha="center", va="bottom", color=LOSS)


def streams() -> list[tuple[str, list[list[Event]], list[list[str]], str]]:
    """Return each panel's title, its rows of events and the names of what comes in."""
    x3, n3 = named("x", 3)
    x4, n4 = named("x", 4)
    x5, n5 = named("x", 5)
    y2, _ = named("y", 2)
    category = [*sequence_to_category(x5, [1.0]), *sequence_to_category(x3, [1.0])]
    synchronously = [*synchronous(x5, x5), *synchronous(x3, x3)]
    x2 = x3[:2]
    transduced = [*asynchronous(x3, y2, forced=True), *asynchronous(x2, y2[:1], forced=True)]
    emitting = ["go", "go, $y_1$"]
    batches = list(
        endless(
            [
                [sequence_to_category(x3, [1.0]), sequence_to_category(x5, [1.0])],
                [
                    sequence_to_category(x4, [1.0]),
                    sequence_to_category(x2, [1.0]),
                    sequence_to_category(x4, [1.0]),
                ],
            ]
        )
    )
    rows = [
        [Event(b.inputs[at], b.target[at], bool(b.scored[at]), bool(b.reset[at])) for b in batches]
        for at in (0, 1)
    ]
    return [
        ("sequence to category", [category], [[*n5, *n3]], "c"),
        ("synchronous sequence to sequence", [synchronously], [[*n5, *n3]], "y"),
        (
            "asynchronous sequence to sequence, with the previous target as an input",
            [transduced],
            [[*n3, *emitting, *n3[:2], "go"]],
            "y",
        ),
        (
            "two rows of a micro-batch, in sequences of other lengths",
            rows,
            [[*n3, *n5], [*n4, *n3[:2], *n4[:2]]],
            "c",
        ),
    ]


def draw(folder: Path) -> None:
    """Write modes.svg."""
    mpl.rcParams.update({"svg.hashsalt": "modes", "font.size": 9})
    panels = streams()
    figure = Figure(figsize=(7.6, 8.6), layout="constrained")
    heights = [len(rows) for _, rows, _, _ in panels]
    axes = figure.subplots(len(panels), 1, height_ratios=heights)
    for axis, (title, rows, names, letter) in zip(axes, panels, strict=True):
        for at, (events, own) in enumerate(zip(rows, names, strict=True)):
            row(axis, events, own, -2.1 * at, letter)
        axis.set(xlim=(-0.7, 7.7), ylim=(-2.1 * (len(rows) - 1) - 1.0, 1.0))
        axis.set_title(title, fontsize=9.5, loc="left")
        axis.axis("off")
    figure.savefig(folder / "modes.svg", metadata={"Date": None})


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
