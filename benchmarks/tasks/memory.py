"""Backpropagation through time against RTRL: what a sequence of T steps costs in time and in memory."""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tasks.plots import figure, save
from benchmarks.tasks.recipe import Goal, at_most
from models.cells import CELLS
from models.protocols import Array
from models.rules import exact_rule_for
from models.rules.bptt import Bptt

CELL_SIZES = {"vanilla": 8, "rtu": 16}
STEPS = (100, 1_000, 10_000, 100_000, 1_000_000)
BYTES_MAX = 6e9
"""A sequence whose factors would take more is not tried by backpropagation."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one sequence cost."""

    seconds: float
    bytes_held: int
    bytes_peak: int
    gradient: Array


def in_a_process_of_its_own(name: str, rule_name: str, steps: int) -> Cost:
    """Run a sequence where nothing has been allocated before, so that the peak is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(sequence, (name, rule_name, steps))


def sequence(name: str, rule_name: str, steps: int) -> Cost:
    """Run a sequence with a loss at its last step; return time, the rule's memory and the gradient."""
    cell = CELLS[name](n_inputs=1, n_units=CELL_SIZES[name])
    rule = Bptt(cell) if rule_name == "bptt" else exact_rule_for(cell)
    rng = np.random.default_rng(0)
    params, state = cell.init_params(rng)[None], cell.init_state()[None]
    memory = {field: np.asarray(row)[None].copy() for field, row in rule.init_memory().items()}
    before = peak_bytes()
    start = time.perf_counter()
    for _ in range(steps):
        factors = cell.step(params, state, rng.normal(size=(1, 1)))
        state = factors.state
        rule.advance(memory, factors)
    gradient = rule.gradient(memory, np.ones((1, 1, cell.n_parts, cell.n_units)))[0, 0]
    seconds = time.perf_counter() - start
    held = sum(field.nbytes for field in memory.values())
    return Cost(seconds, held, peak_bytes() - before, gradient)


def peak_bytes() -> int:
    """Return the most memory that this process has held; `getrusage` would count its parent's too."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def measure(quick: bool) -> dict[str, Any]:
    """Run all lengths, the two rules by turns."""
    runs: list[dict[str, Any]] = []
    for name, n_units in CELL_SIZES.items():
        a_step = Bptt(CELLS[name](n_inputs=1, n_units=n_units)).cost.time * 8
        off: float | None
        for steps in STEPS[: 2 if quick else None]:
            taken, off = {"rtrl": in_a_process_of_its_own(name, "exact", steps)}, None
            if 2.0 * a_step * steps < BYTES_MAX:
                taken["bptt"] = in_a_process_of_its_own(name, "bptt", steps)
                apart = np.abs(taken["rtrl"].gradient - taken["bptt"].gradient).max()
                off = float(apart / np.abs(taken["rtrl"].gradient).max())
            for rule, cost in taken.items():
                runs.append(
                    {
                        "cell": name,
                        "rule": rule,
                        "steps": steps,
                        "seconds": cost.seconds,
                        "bytes": cost.bytes_held,
                        "peak": cost.bytes_peak,
                        "off": off,
                    }
                )
            print(
                f"  {name}, {steps} steps: {', '.join(f'{r} {c.seconds:.2f} s, {c.bytes_held} bytes' for r, c in taken.items())}",
                flush=True,
            )
    return {"runs": runs, "goals": _goals(runs)}


def _exponent(runs: list[dict[str, Any]], cell: str, rule: str) -> float:
    """Return the slope of log bytes against log steps."""
    own = [r for r in runs if r["cell"] == cell and r["rule"] == rule]
    steps, held = np.log([r["steps"] for r in own]), np.log([r["bytes"] for r in own])
    return float(np.polyfit(steps, held, 1)[0])


def _goals(runs: list[dict[str, Any]]) -> list[Goal]:
    goals: list[Goal] = []
    for cell in CELL_SIZES:
        goals.append(
            at_most(
                f"{cell}: memory of RTRL grows as T to the power", abs(_exponent(runs, cell, "rtrl")), 0.01
            )
        )
        goals.append(
            at_most(
                f"{cell}: memory of BPTT grows as T to the power, off 1",
                abs(_exponent(runs, cell, "bptt") - 1.0),
                0.1,
            )
        )
        goals.append(
            at_most(
                f"{cell}: gradients differ, relative",
                max(r["off"] for r in runs if r["off"] is not None),
                1e-8,
            )
        )
    return goals


def table(result: dict[str, Any]) -> str:
    """Return seconds and bytes by length."""
    lines = [
        "\nA sequence of T steps, loss at the end: time with the cell's step, the rule's own memory, and by how much the peak",
        "of the process grew\n",
        "| cell | T | RTRL s | BPTT s | RTRL bytes | BPTT bytes | RTRL peak MB | BPTT peak MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for cell in CELL_SIZES:
        for steps in STEPS:
            own = {r["rule"]: r for r in result["runs"] if r["cell"] == cell and r["steps"] == steps}
            if own:
                back = own.get(
                    "bptt", {"seconds": float("nan"), "bytes": "over the limit", "peak": float("nan")}
                )
                peaks = [own["rtrl"]["peak"] / 1e6, back["peak"] / 1e6]
                lines.append(
                    f"| {cell} | {steps} | {own['rtrl']['seconds']:.3f} | {back['seconds']:.3f} | {own['rtrl']['bytes']} |"
                    f" {back['bytes']} | {peaks[0]:.1f} | {peaks[1]:.1f} |"
                )
    return "\n".join(lines)


def draw(result: dict[str, Any], folder: Path) -> None:
    """Plot both on log axes."""
    canvas, axes = figure(width=10.0, height=3.8, columns=2)
    for cell in CELL_SIZES:
        for rule in ("rtrl", "bptt"):
            own = [r for r in result["runs"] if r["cell"] == cell and r["rule"] == rule]
            for axis, what in zip(axes, ("bytes", "seconds"), strict=True):
                axis.loglog(
                    [r["steps"] for r in own],
                    [r[what] for r in own],
                    marker="o",
                    linewidth=1,
                    label=f"{cell}, {rule}",
                )
    axes[0].set(xlabel="T, steps", ylabel="bytes kept by the rule")
    axes[1].set(xlabel="T, steps", ylabel="seconds")
    axes[0].legend(fontsize=7)
    save(canvas, folder / "memory.svg")
