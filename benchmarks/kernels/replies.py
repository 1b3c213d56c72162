"""How long a reply takes, event by event, and how fast a process starts: what the mean of a stream does not show.

One dense model, an event a call. The step engine is even and slow; the block engine is fast but for the event after a full
block, which waits for its fold; `rtrl_block_smooth` folds a share at each event.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from os import environ
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.kernels import peers
from benchmarks.kernels.dense import INPUTS, bank
from benchmarks.tasks.plots import figure, save
from benchmarks.tasks.recipe import Goal, at_most
from models.kernels import COMPILES

UNITS = 64
ENGINES = ("rtrl_step", "rtrl_block", "rtrl_block_smooth")
EVENTS, TURNS = 320, 5
"""Ten blocks of 32 a turn."""
STARTS = 3
"""Of a new process, with its cache empty and then filled."""
TAIL_GOAL, MEDIAN_GOAL = 3.0, 0.6
WARM_GOAL, COLD_GOAL = 1.0, 5.0
START = """
import time
import numpy as np
from models.bank import Bank
from models.specification import Specification
bank = Bank(Specification())
start = time.perf_counter()
bank.warm()
print(time.perf_counter() - start)
"""


def measure(quick: bool) -> dict[str, Any]:
    """Take turns; then start processes without a cache and with one."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(EVENTS, INPUTS))
    targets = np.roll(inputs[:, :1], 2, axis=0)
    replies: dict[str, list[float]] = {name: [] for name in ENGINES}
    banks = {name: bank("vanilla", UNITS, name, compiled=True) for name in ENGINES}
    slot = np.zeros(1, dtype=np.int64)
    for turn in range(2 if quick else TURNS + 1):
        for name, made in banks.items():
            for event in range(EVENTS):
                start = time.perf_counter()
                made.consume(slot, inputs[event : event + 1], targets[event : event + 1])
                taken = time.perf_counter() - start
                if turn > 0:  # the first warms up, and compiles
                    replies[name].append(1e6 * taken)
    pace = peers.deep_river_lstm() if peers.has_deep_river() else None
    waits: dict[str, list[float]] = {}
    paces: list[float] = []
    if COMPILES:
        for _ in range(1 if quick else STARTS):
            with tempfile.TemporaryDirectory() as folder:
                for name in ("cold", "warm"):
                    waits.setdefault(name, []).append(start_seconds(folder))
                    paces += [] if pace is None else [1e6 * pace() for _ in range(5)]
    starts = {name: float(np.median(values)) for name, values in waits.items()}
    peer = float(np.median(paces)) if paces else None
    quantiles = {
        name: {q: float(np.quantile(values, float(q))) for q in ("0.5", "0.9", "0.99", "1.0")}
        for name, values in replies.items()
    }
    return {
        "quantiles": quantiles,
        "course": {name: values[:EVENTS] for name, values in replies.items()},
        "start": starts,
        "goals": _goals(quantiles, starts, peer),
    }


def start_seconds(folder: str) -> float:
    """Return what the default forecaster's kernel takes to be ready in a new process, with its cache in a folder."""
    env = environ | {"NUMBA_CACHE_DIR": folder}
    done = subprocess.run([sys.executable, "-c", START], env=env, check=True, capture_output=True, text=True)
    return float(done.stdout)


def _goals(
    quantiles: dict[str, dict[str, float]], starts: dict[str, float], peer: float | None
) -> list[Goal]:
    smooth, step = quantiles["rtrl_block_smooth"], quantiles["rtrl_step"]
    goals = [
        at_most(
            f"vanilla {UNITS}, smooth: the 99th percentile over the median",
            smooth["0.99"] / smooth["0.5"],
            TAIL_GOAL,
        ),
        at_most(
            f"vanilla {UNITS}, smooth: the median over the step engine's",
            smooth["0.5"] / step["0.5"],
            MEDIAN_GOAL,
        ),
    ]
    for name, limit in (("warm", WARM_GOAL), ("cold", COLD_GOAL)):
        if name in starts:
            told = f"seconds until the default forecaster is compiled, {name}"
            goals.append(peers.at_pace(told, starts[name], limit, peer))
    return goals


def table(result: dict[str, Any]) -> str:
    """Return quantiles by engine."""
    lines = [
        f"\nA vanilla cell of {UNITS} units, an event a call: microseconds\n",
        "| engine | median | 90% | 99% | longest |\n|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {' | '.join(f'{value:.0f}' for value in own.values())} |"
        for name, own in result["quantiles"].items()
    ]
    if result["start"]:
        lines.append(
            "\nUntil the default forecaster is compiled: "
            + ", ".join(f"{name} {value:.2f} s" for name, value in result["start"].items())
        )
    return "\n".join(lines)


def draw(result: dict[str, Any], folder: Path) -> None:
    """Plot the replies one by one."""
    canvas, axes = figure(width=8.0, height=3.4)
    for name, values in result["course"].items():
        axes.semilogy(values, linewidth=0.8, label=name)
    axes.set(xlabel="event", ylabel="microseconds to the reply")
    axes.legend(fontsize=7)
    save(canvas, folder / "kernels-replies.svg")
