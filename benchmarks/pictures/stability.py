"""The pictures of docs/STABILITY.md: figures on systems where they are known and on a real series, and the ladder at work.

python -m benchmarks.pictures.stability docs/stability
"""

from __future__ import annotations

import csv
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tasks.plots import figure, save
from models.bank import Bank
from models.cells import CELLS
from models.experts import watch
from models.experts.recovery import ACTIONS, QUARANTINE, RELEASE, ROLL_BACK
from models.protocols import Array
from models.rules import exact_rule_for
from models.specification import Specification
from models.stability import Lyapunov, memory_horizon, unit_radii

SERIES = Path(__file__).parents[2] / "service" / "tools" / "data" / "nyc_taxi.csv"
EXPERT = "expert.recurrent/"
HALF_HOUR = 1800.0


def batched(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a new state of one row."""
    return {name: np.array(value)[None] for name, value in fields.items()}


def course(jacobians: list[Array], parts: int, units: int) -> Array:
    """Return the exponent since the beginning after each step."""
    exponent = Lyapunov(parts, units)
    state, found = batched(exponent.init_state()), []
    for jacobian in jacobians:
        exponent.update(state, jacobian)
        found.append(float(state["lifetime"][0]))
    return np.array(found)


def known_systems(steps: int) -> dict[str, tuple[Array, float]]:
    """Return the online exponents of systems whose exponent is known, and that."""
    x, logistic = 0.1234, []
    a, b, henon = 0.1, 0.1, []
    for _ in range(steps):
        logistic.append(np.full((1, 1, 1, 1), 4.0 - 8.0 * x))
        x = 4.0 * x * (1.0 - x)
        henon.append(np.array([[[-2.8 * a, 1.0], [0.3, 0.0]]]))
        a, b = 1.0 - 1.4 * a * a + b, 0.3 * a
    linear = np.random.default_rng(3).normal(size=(1, 5, 5))
    linear *= 0.8 / np.abs(np.linalg.eigvals(linear)).max()
    return {
        "logistic map, ln 2": (course(logistic, 1, 1), float(np.log(2.0))),
        "Henon's map, 0.419": (course(henon, 1, 2), 0.419),
        "linear map, ln 0.8": (course([linear] * steps, 1, 5), float(np.log(0.8))),
    }


def fading(units: int, steps: int) -> tuple[Array, Array]:
    """Return what is left of a change of each unit of a new default cell after so many steps, and the units' horizons."""
    cell = CELLS["rtu"](n_inputs=2, n_units=units)
    params = cell.init_params(np.random.default_rng(0))[None]
    factors = cell.step(params, np.zeros((1, 2, units)), np.ones((1, 2)))
    radii = unit_radii(factors.transition)[0]
    return radii[None] ** np.arange(steps)[:, None], memory_horizon(np.log(radii))


def gains(gain: float, steps: int) -> tuple[Array, Array]:
    """Return exponent (recent) and influence norm of a tanh cell whose recurrent weights are multiplied, without any guard."""
    cell = CELLS["vanilla"](n_inputs=1, n_units=16)
    rule, rng = exact_rule_for(cell), np.random.default_rng(1)
    params = cell.init_params(np.random.default_rng(0))[None]
    params[:, : cell.n_units] *= gain
    state, memory = cell.init_state()[None], batched(rule.init_memory())
    exponent = Lyapunov(cell.n_parts, cell.n_units)
    watched, found = batched(exponent.init_state()), np.zeros((2, steps))
    for t in range(steps):
        factors = cell.step(params, state, 0.1 * rng.normal(size=(1, 1)))
        rule.advance(memory, factors)
        exponent.update(watched, factors.transition, factors.upward)
        state = factors.state
        found[:, t] = watched["recent"][0], rule.memory_norm(memory)[0]
    return found[0], found[1]


def on_a_series(rows: int, spoil_at: tuple[int, ...] = ()) -> dict[str, Array]:
    """Return what the default model says of a real series, row by row; at some rows its recurrent weights are spoilt."""
    with SERIES.open() as file:
        values = [float(row[1]) for row in list(csv.reader(file))[1:]]
    values = (values * (1 + rows // len(values)))[:rows]
    bank = Bank(replace(Specification(), experts=("last_value", "recurrent")))
    slot = bank.admit()
    told: dict[str, list[Any]] = {name: [] for name in ("stability", "guard", "weights", "error")}
    rng = np.random.default_rng(0)
    for row, value in enumerate(values):
        if row in spoil_at:
            fields = bank.snapshot(slot)
            fields[EXPERT + "weights"] += 3.0 * rng.normal(size=fields[EXPERT + "weights"].shape)
            fields[EXPERT + "covariance"][:] = 0.0  # it is wrong, and certain of it
            bank.restore(slot, fields)
        result = bank.step(
            np.array([slot]), np.array([row * HALF_HOUR]), np.array([[value]]), np.empty((1, 0))
        )
        told["stability"].append(result.stability[0, 0])
        told["guard"].append(result.guard[0, 0])
        told["weights"].append(result.weights[0, 0, 0])
        errors = np.append(result.expert_errors[0, 0, 0], result.error[0, 0, 0]) / result.scale[0, 0]
        told["error"].append(np.abs(errors))
    return {name: np.array(column) for name, column in told.items()}


def draw_figures(folder: Path) -> None:
    """Draw the figures where they are known, and on a real series."""
    canvas, panels = figure(width=10.0, height=6.4, columns=2, rows=2)
    (first, second), (third, fourth) = panels
    for at, (name, (found, known)) in enumerate(known_systems(5000).items()):
        first.plot(np.arange(1, len(found) + 1), found, linewidth=1, color=f"C{at}", label=name)
        first.axhline(known, color=f"C{at}", linewidth=0.8, linestyle="--")
    first.set(xscale="log", xlabel="steps", title="Lyapunov exponent, online", ylim=(-0.6, 1.1))
    first.legend(fontsize=7)
    left, horizons = fading(6, 1500)
    for at, horizon in enumerate(horizons):
        second.plot(left[:, at], linewidth=1, color=f"C{at}")
        second.plot(horizon, 0.01, marker="o", markersize=4, color=f"C{at}")
    second.axhline(0.01, color="black", linewidth=0.8, linestyle="--")
    second.set(
        xlabel="steps", ylabel="left of a change", xscale="log", title="horizon of memory, unit by unit"
    )
    for at, gain in enumerate((0.5, 1.0, 2.0)):
        exponents, norms = gains(gain, 600)
        third.semilogy(
            norms, linewidth=1, color=f"C{at}", label=f"gain {gain:g}: exponent {exponents[-1]:+.2f}"
        )
        print(f"tanh cell, gain {gain:g}: exponent {exponents[-1]:+.3f}, influence {norms[-1]:.3g}")
    third.axhline(1e6, color="black", linewidth=0.8, linestyle="--")
    third.set(xlabel="steps", ylim=(1e-2, 1e14), title="influence norm, and where the guard acts")
    third.legend(fontsize=7, loc="upper left")
    found = on_a_series(10_000)["stability"]
    rows = np.arange(len(found))
    horizon = memory_horizon(found[:, watch.LYAPUNOV])
    fourth.semilogy(rows, horizon, linewidth=1, label="memory, events")
    for place, name in ((watch.EFFECTIVE_RANK, "effective rank"), (watch.LOG_CONDITION, "condition, log10")):
        fourth.semilogy(rows, np.where(found[:, place] > 0, found[:, place], np.nan), linewidth=1, label=name)
        print(f"nyc_taxi, {name}: {found[-1, place]:.2f}")
    print(f"nyc_taxi, memory: {horizon[-1]:.0f} events")
    fourth.set(xlabel="events", title="the default model on nyc_taxi")
    fourth.legend(fontsize=7)
    save(canvas, folder / "figures.svg")


def draw_ladder(folder: Path) -> None:
    """Draw a series whose weights are spoilt three times."""
    spoil_at = (2200, 2700, 3200)
    told = on_a_series(5200, spoil_at)
    guards = told["guard"].astype(np.int64)
    rows = np.arange(len(guards))
    canvas, panels = figure(width=10.0, height=5.0, rows=2)
    above, below = np.ravel(panels)
    kernel = np.ones(48) / 48.0
    for place, name in ((1, "recurrent expert"), (0, "last value"), (2, "published")):
        smooth = np.convolve(told["error"][:, place], kernel, mode="same")
        above.semilogy(rows, smooth, linewidth=1.6 if place == 2 else 0.9, label=name)
    below.plot(rows, told["weights"][:, 1], linewidth=1, label="weight of the recurrent expert")
    below.plot(rows, told["stability"][:, watch.RATE_FACTOR], linewidth=1, label="factor of its updates")
    for bit, style in ((ROLL_BACK, "-"), (QUARANTINE, "-"), (RELEASE, "--")):
        for event in np.flatnonzero(guards & bit):
            for panel in (above, below):
                panel.axvline(event, color="red", linewidth=0.8, linestyle=style)
            print(f"event {event}: {[name for i, name in enumerate(ACTIONS) if guards[event] >> i & 1]}")
    for at in spoil_at:
        above.axvline(at, color="black", linewidth=0.8, linestyle=":")
    above.set(
        xlim=(1500, 5200),
        ylabel="mean error, scales",
        title="spoilt (dotted), rolled back (red), released (dashed)",
    )
    below.set(xlim=(1500, 5200), xlabel="events", ylim=(-0.05, 1.1))
    above.legend(fontsize=7, loc="upper right")
    below.legend(fontsize=7, loc="center right")
    save(canvas, folder / "ladder.svg")


def count_actions() -> None:
    """Print what guards did on the series that are shipped, of the default model one and 24 rows ahead."""
    for path in sorted(SERIES.parent.glob("*.csv")):
        with path.open() as file:
            values = [float(row[1]) for row in list(csv.reader(file))[1:]]
        bank = Bank(replace(Specification(), horizons=(1, 24)))
        slot, counts = np.array([bank.admit()]), dict.fromkeys(ACTIONS, 0)
        for row, value in enumerate(values):
            result = bank.step(slot, np.array([row * HALF_HOUR]), np.array([[value]]), np.empty((1, 0)))
            for place, name in enumerate(ACTIONS):
                counts[name] += int(result.guard[0, 0]) >> place & 1
        print(f"{path.stem}, {len(values)} events: {counts}")


def main() -> None:
    """Draw into the folder that the command line names, and print the figures of the page."""
    folder = Path(sys.argv[1])
    draw_figures(folder)
    draw_ladder(folder)
    count_actions()


if __name__ == "__main__":
    main()
