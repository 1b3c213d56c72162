"""Drift detectors on values with mean one, as the forecaster hands them on: false signals where nothing changes, and delays.

Each stationary stream is many series side by side, 10,000 events each, as long as detectors that compare with their past need
to be wrong; each change comes after 500 events that stay. A delay is the median over series of the events up to the first
signal after the change; a series without a signal in 4,000 events is missed. Time is the processor's, of one event of one series in calls of 64.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tasks.plots import figure, save
from models.drift import DETECTORS
from models.drift.adwin import Adwin
from models.drift.ddm import Ddm
from models.drift.eddm import Eddm
from models.drift.kswin import Kswin
from models.drift.watch import VALUE_MAX
from models.forecast_protocols import DriftDetector
from models.protocols import Array, BoolArray, State

Draw = Callable[[np.random.Generator, tuple[int, int]], Array]
MISS_SHARE = 0.05

STATIONARY: dict[str, Draw] = {
    "normal": lambda rng, shape: 1.0 + rng.normal(size=shape),
    "normal residuals": lambda rng, shape: np.minimum(
        np.abs(rng.normal(size=shape)) / np.sqrt(2.0 / np.pi), VALUE_MAX
    ),
    "Laplace residuals": lambda rng, shape: np.minimum(rng.exponential(size=shape), VALUE_MAX),
    "misses": lambda rng, shape: (
        1.0 + ((rng.random(shape) < MISS_SHARE) - MISS_SHARE) / (MISS_SHARE * (1.0 - MISS_SHARE)) ** 0.5
    ),
}
"""Noise with deviation one; sizes of residuals over their mean; misses of an interval that one label in 20 is to miss."""

CHANGES: dict[str, tuple[float, int]] = {
    "0.5": (0.5, 1),
    "1": (1.0, 1),
    "2": (2.0, 1),
    "1 in 1,000 events": (1.0, 1000),
    "1 in 4,000 events": (1.0, 4000),
}
"""Rise in deviations, and over how many events."""

SERIES, ROWS, BEFORE, AFTER = 150, 10_000, 500, 4000
SERIES_OF = {"kswin": 25, "kswin, published": 25}
"""KSWIN sorts its samples at each event and takes several times as long as most, so it has fewer series."""

BATCH, BLOCK, BLOCKS = 64, 64, 31
"""Series of a call that is timed; events of a block, of which ADWIN asks at two; and blocks, of which the median is told."""

PUBLISHED: dict[str, Callable[[], DriftDetector]] = {
    "ddm, published": lambda: Ddm(threshold=3.0, warning=2.0, events_min=30),
    "eddm, published": lambda: Eddm(alpha=0.95, beta=0.9, errors_min=30),
    "kswin, published": lambda: Kswin(alpha=0.005, window=100, newest=30),
    "adwin, asked always": lambda: Adwin(clock=1),
}
"""With the parameters of their papers, where ours are others; and ADWIN without waiting."""


def new(detector: DriftDetector, n_series: int) -> State:
    """Return its state for so many series."""
    return {
        name: np.repeat(np.asarray(value)[None], n_series, axis=0)
        for name, value in detector.init_state().items()
    }


def signals(detector: DriftDetector, values: Array, state: State | None = None) -> BoolArray:
    """Return where it signalled, (T, B); from a state on, in place, or from its first event."""
    n_series = values.shape[1]
    state = new(detector, n_series) if state is None else state
    every, found = np.full(n_series, True), np.zeros(values.shape, dtype=np.bool_)
    for row, value in enumerate(values):
        found[row] = detector.update(state, value, every)
    return found


def microseconds(quick: bool) -> dict[str, float]:
    """Return what an event of one series takes each detector, after 500 events of normal noise: one block of each in turn."""
    rng, blocks = np.random.default_rng(2), 3 if quick else BLOCKS
    detectors = {name: make() for name, make in {**DETECTORS, **PUBLISHED}.items()}
    states = {name: new(detector, BATCH) for name, detector in detectors.items()}
    taken: dict[str, list[float]] = {name: [] for name in detectors}
    for block in range(-1, blocks):
        values = STATIONARY["normal"](rng, (BLOCK if block >= 0 else BEFORE, BATCH))
        for name, detector in detectors.items():
            start = time.process_time()  # what else runs on the machine takes none of it
            signals(detector, values, states[name])
            if block >= 0:
                taken[name].append(1e6 * (time.process_time() - start) / values.size)
    return {name: float(np.median(of_blocks)) for name, of_blocks in taken.items()}


def measure(quick: bool) -> dict[str, Any]:
    """Return for each detector false signals a million events by stream, delays and misses by change, and time."""
    rows, times = {}, microseconds(quick)
    for name, make in {**DETECTORS, **PUBLISHED}.items():
        n_series = SERIES_OF.get(name, SERIES) // (10 if quick else 1)
        shape = ROWS // (5 if quick else 1), n_series
        false = {
            stream: float(signals(make(), draw(np.random.default_rng(0), shape)).mean() * 1e6)
            for stream, draw in STATIONARY.items()
        }
        delays, missed = {}, {}
        for change, (rise, over) in CHANGES.items():
            values = STATIONARY["normal"](np.random.default_rng(1), (BEFORE + AFTER, n_series))
            values[BEFORE:] += rise * np.minimum(np.arange(1, AFTER + 1) / over, 1.0)[:, None]
            after = signals(make(), values)[BEFORE:]
            hit = after.any(axis=0)
            delays[change] = float(np.median(np.where(hit, after.argmax(axis=0) + 1, np.inf)))
            missed[change] = float(1.0 - hit.mean())
        rows[name] = {
            "events": shape[0] * shape[1],
            "false": false,
            "delay": delays,
            "missed": missed,
            "microseconds": times[name],
        }
        print(_line(name, rows[name]), flush=True)
    return {"detectors": rows, "goals": []}


def table(result: dict[str, Any]) -> str:
    """Return the table in Markdown."""
    heads = ["detector", *(f"false: {name}" for name in STATIONARY), *(f"delay: {name}" for name in CHANGES)]
    heads.append("us an event")
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
    return "\n".join(lines + [_line(name, row) for name, row in result["detectors"].items()])


def _line(name: str, row: dict[str, Any]) -> str:
    cells = [f"{row['false'][stream]:.0f}" for stream in STATIONARY]
    for change in CHANGES:
        delay, missed = row["delay"][change], row["missed"][change]
        told = f"{delay:.0f}" if np.isfinite(delay) else "never"
        cells.append(told + (f" ({100 * missed:.0f}% missed)" if missed else ""))
    cells.append(f"{row['microseconds']:.2f}")
    return f"| {name} | " + " | ".join(cells) + " |"


def draw(result: dict[str, Any], folder: Path) -> None:
    """Draw a line a detector: its false signals on each stream, and its delay at each change; further left is better."""
    rows = result["detectors"]
    canvas, (left, right) = figure(width=11.0, height=4.6, columns=2)
    for stream in STATIONARY:
        left.plot(
            [max(row["false"][stream], 0.3) for row in rows.values()], range(len(rows)), "o", label=stream
        )
    for change in CHANGES:
        delays = [min(row["delay"][change], float(AFTER)) for row in rows.values()]
        right.plot(delays, range(len(rows)), "o", label=change)
    for axis, what in (
        (left, "false signals a million events (none: at the left)"),
        (right, "delay in events"),
    ):
        axis.set(xscale="log", xlabel=what, yticks=range(len(rows)), yticklabels=list(rows))
        axis.invert_yaxis()
        axis.grid(True, alpha=0.3)
        axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=8)
    save(canvas, folder / "drift-detectors.svg")
