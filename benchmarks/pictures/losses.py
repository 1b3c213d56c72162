"""The losses and their gradients, over one output.

python -m benchmarks.pictures.losses docs/algorithms/pictures
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models.losses import LOSSES
from models.protocols import Array, Loss

COLOURS = ("#1b6ca8", "#c8553d", "#588157")
REACH = 4.0


def over_one_output(loss: Loss, outputs: Array, target: list[float]) -> tuple[Array, Array]:
    """Return value and derivative over the first output, the others zero."""
    points = np.zeros((len(outputs), loss.n_outputs(len(target))))
    points[:, 0] = outputs
    wanted = np.repeat(np.array([target]), len(outputs), axis=0)
    return loss.value(points, wanted), loss.gradient(points, wanted)[:, 0]


def curve(above: Axes, below: Axes, loss: Loss, target: list[float], label: str, colour: str) -> None:
    outputs = np.linspace(-REACH, REACH, 161)
    value, slope = over_one_output(loss, outputs, target)
    above.plot(outputs, value, color=colour, label=label)
    jumps = np.flatnonzero(np.abs(np.diff(slope)) > 0.09)  # no line is drawn across the kink of a loss
    below.plot(np.insert(outputs, jumps + 1, np.nan), np.insert(slope, jumps + 1, np.nan), color=colour)


def draw(folder: Path) -> None:
    """Write losses.svg."""
    mpl.rcParams.update(
        {"svg.hashsalt": "losses", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    )
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    axes = figure.subplots(2, 4, sharex=True, sharey="row")
    panels = {
        "squared, huber; y = 0": [
            (LOSSES["squared"](), [0.0], "squared"),
            (LOSSES["huber"](), [0.0], "huber, delta 1.345"),
        ],
        "pinball; y = 0": [
            (LOSSES["pinball"](levels=(level,)), [0.0], f"level {level}") for level in (0.1, 0.5, 0.9)
        ],
        "bernoulli": [(LOSSES["bernoulli"](), [y], f"y = {y:g}") for y in (0.0, 0.5, 1.0)],
        "cross_entropy, other outputs 0": [
            (LOSSES["cross_entropy"](), [1.0, 0.0, 0.0], "y = this class"),
            (LOSSES["cross_entropy"](), [0.0, 1.0, 0.0], "y = another class"),
            (LOSSES["cross_entropy"](), [1 / 3, 1 / 3, 1 / 3], "y = 1/3 each"),
        ],
    }
    for (title, curves), above, below in zip(panels.items(), axes[0], axes[1], strict=True):
        for (loss, target, label), colour in zip(curves, COLOURS, strict=False):
            curve(above, below, loss, target, label, colour)
        above.set_title(title, fontsize=9)
        above.legend(frameon=False, fontsize=7.5, loc="upper center")
        below.axhline(0.0, color="#bbbbbb", linewidth=0.7, zorder=0)
        below.set_xlabel("output o")
    axes[0, 0].set(ylabel="loss", ylim=(0.0, 6.5))
    axes[1, 0].set(ylabel="dL / do", ylim=(-2.2, 2.2))
    figure.savefig(folder / "losses.svg", metadata={"Date": None})


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
