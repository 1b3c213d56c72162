"""The default forecaster, all of it: what an event costs compiled and in numpy, many series or one, and whether it stays so.

4,096 series in random order, 256 a call; one series, an event a call; and 10^7 events, of which the last 10^5 take turns with the
first 10^5 after warm-up of another bank of the same series, since the pace of a machine changes in the minutes between.
Beside them deep-river's LSTM of 32 units over a window of 10, where it is installed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.kernels import peers
from benchmarks.tasks.plots import figure, save
from benchmarks.tasks.recipe import Goal, at_least, at_most
from models.bank import Bank
from models.specification import PROFILES, from_profile

SERIES, BATCH = 4096, 256
TURNS = 7
MICROSECONDS_GOALS = {"accurate": 40.0, "balanced": 12.0, "fast": 3.0}
"""An event of many series, on a machine of about this kind."""
PEER_GOALS = {"accurate": 20.0, "balanced": 70.0, "fast": 250.0}
"""Times faster than deep-river's LSTM."""
FLAT_EVENTS, FLAT_WINDOW, FLAT_GOAL = 10_000_000, 100_000, 1.05
FLAT_SERIES = 256


class Series:
    """A bank of series that all take random walks, and what an event of them costs."""

    def __init__(self, profile: str, count: int, *, compiled: bool) -> None:
        """Admit the series."""
        self.bank = Bank(from_profile(profile), capacity=count, compiled=compiled)
        self.slots = np.array([self.bank.admit() for _ in range(count)])
        self.values = np.zeros(count)
        self.rng = np.random.default_rng(0)
        self.time = 0.0

    def call(self, size: int) -> float:
        """Take an event of so many series drawn at random; return seconds an event."""
        chosen = self.rng.permutation(len(self.slots))[:size]
        self.values[chosen] += self.rng.normal(size=size)
        self.time += 60.0
        slots, times = self.slots[chosen], np.full(size, self.time)
        values, features = self.values[chosen, None], np.empty((size, 0))
        start = time.perf_counter()
        self.bank.step(slots, times, values, features)
        return (time.perf_counter() - start) / size

    def calls(self, count: int, size: int) -> Callable[[], float]:
        """Return a run of so many calls, which gives their median."""
        return lambda: float(np.median([self.call(size) for _ in range(count)]))


def measure(quick: bool) -> dict[str, Any]:
    """Measure all profiles, by turns with the peer."""
    runs: dict[str, Callable[[], float]] = {}
    for profile in PROFILES:
        many = Series(profile, 512 if quick else SERIES, compiled=True)
        for _ in range(6 * len(many.slots) // BATCH):  # labels are due, and memory is touched
            many.call(BATCH)
        if many.bank.compiled:
            runs[f"{profile}, compiled"] = many.calls(32, BATCH)
            runs[f"{profile}, compiled, one"] = Series(profile, 1, compiled=True).calls(64, 1)
        runs[f"{profile}, numpy"] = Series(profile, 512, compiled=False).calls(1, BATCH)
        runs[f"{profile}, numpy, one"] = Series(profile, 1, compiled=False).calls(8, 1)
    if peers.has_deep_river():
        runs["deep-river LSTM32, window 10"] = peers.deep_river_lstm()
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(1 + (2 if quick else TURNS)):  # the first turn warms up
        for name, run in runs.items():
            taken[name].append(run())
    microseconds = {name: 1e6 * float(np.median(values[1:])) for name, values in taken.items()}
    for name, value in microseconds.items():
        print(f"  {name}: {value:.2f} us", flush=True)
    flat = [measure_flat(profile, FLAT_EVENTS // (50 if quick else 1)) for profile in ("accurate", "fast")]
    sizes = {profile: Bank(from_profile(profile)).bytes_per_series() for profile in PROFILES}
    return {
        "microseconds": microseconds,
        "flat": flat,
        "bytes": sizes,
        "peers": peers.versions(),
        "goals": _goals(microseconds, flat),
    }


def measure_flat(profile: str, events: int) -> dict[str, Any]:
    """Return what events cost, and the process held, at the start of a long run and at its end."""
    old, young = (Series(profile, FLAT_SERIES, compiled=True) for _ in range(2))
    window = FLAT_WINDOW // FLAT_SERIES
    for _ in range(window):
        young.call(FLAT_SERIES)
    costs: list[float] = []
    resident = {}
    for call in range(events // FLAT_SERIES - window):
        costs.append(old.call(FLAT_SERIES))
        if call == 2 * window:
            resident["first"] = resident_bytes()
    pairs = np.array([(young.call(FLAT_SERIES), old.call(FLAT_SERIES)) for _ in range(window)])
    resident["last"] = resident_bytes()
    costs += pairs[:, 1].tolist()
    by_window = [
        1e6 * float(np.median(part)) for part in np.array_split(np.array(costs), len(costs) // window)
    ]
    first, last = (1e6 * pairs).T
    ratio = float(np.median(last) / np.median(first))
    print(f"  {profile}, {events:.0e} events: last over first {ratio:.3f}", flush=True)
    return {
        "profile": profile,
        "events": events,
        "first": float(np.median(first)),
        "last": float(np.median(last)),
        "resident": resident,
        "microseconds": by_window,
    }


def resident_bytes() -> int:
    """Return what this process holds in memory now."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


def _goals(taken: dict[str, float], flat: list[dict[str, Any]]) -> list[Goal]:
    goals: list[Goal] = []
    peer = taken.get("deep-river LSTM32, window 10")
    for profile, bar in MICROSECONDS_GOALS.items():
        compiled = taken.get(f"{profile}, compiled")
        if compiled is None:
            continue
        name = f"{profile}: microseconds an event, {SERIES} series"
        goals.append(peers.at_pace(name, compiled, bar, peer))
        if peer is not None:
            goals.append(
                at_least(f"{profile}: times faster than deep-river", peer / compiled, PEER_GOALS[profile])
            )
    for run in flat:
        name = f"{run['profile']}: the last 1e5 of {run['events']:.0e} events over the first"
        goals.append(at_most(name + ", time", run["last"] / run["first"], FLAT_GOAL))
        resident = run["resident"]
        goals.append(at_most(name + ", memory", resident["last"] / resident["first"], FLAT_GOAL))
    return goals


def table(result: dict[str, Any]) -> str:
    """Return microseconds by profile."""
    taken = result["microseconds"]
    columns = ("compiled", "numpy", "compiled, one", "numpy, one")
    lines = [
        f"\nThe default forecaster, microseconds an event: {SERIES} series at random, {BATCH} a call; and one series, an event a call\n",
        f"| profile | {' | '.join(columns)} | KB a series |",
        "|---" * (len(columns) + 2) + "|",
    ]
    for profile, size in result["bytes"].items():
        figures = [taken.get(f"{profile}, {column}") for column in columns]
        told = " | ".join("" if value is None else f"{value:.1f}" for value in figures)
        lines.append(f"| {profile} | {told} | {size / 1e3:.1f} |")
    peer = taken.get("deep-river LSTM32, window 10")
    lines.append(
        "\ndeep-river is not installed: left out"
        if peer is None
        else f"\ndeep-river {result['peers']['deep_river']}, LSTM of 32 units, window 10: {peer:.0f}"
    )
    for run in result["flat"]:
        resident = run["resident"]
        lines.append(
            f"{run['profile']}, {run['events']:.0e} events of {FLAT_SERIES} series: {run['first']:.2f} us first, {run['last']:.2f} last;"
            f" {resident['first'] / 1e6:.0f} MB, {resident['last'] / 1e6:.0f} MB"
        )
    return "\n".join(lines)


def draw(result: dict[str, Any], folder: Path) -> None:
    """Plot the cost of an event along the long run."""
    canvas, axes = figure(width=8.0, height=3.4)
    for run in result["flat"]:
        at = np.linspace(0.0, run["events"], len(run["microseconds"]))
        axes.plot(at, run["microseconds"], linewidth=1, label=run["profile"])
    axes.set(xlabel="events", ylabel="microseconds an event", ylim=(0.0, None))
    axes.legend(fontsize=7)
    save(canvas, folder / "kernels-forecaster.svg")
