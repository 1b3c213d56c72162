"""Figures as SVG, the same bytes for the same numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
mpl.rcParams["svg.hashsalt"] = "onward"
mpl.rcParams["svg.fonttype"] = "none"

from matplotlib import pyplot as plt  # noqa: E402  the back end is chosen first
from matplotlib.figure import Figure  # noqa: E402


def figure(*, width: float = 7.0, height: float = 4.0, columns: int = 1, rows: int = 1) -> tuple[Figure, Any]:
    """Return a figure and its axes."""
    return plt.subplots(rows, columns, figsize=(width, height), layout="constrained")


def save(canvas: Figure, path: Path) -> None:
    """Write and close a figure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(path, metadata={"Date": None})
    plt.close(canvas)
