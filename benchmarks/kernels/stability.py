"""What the figures of gradient stability and the reaction ladder cost: the compiled forecaster with them and without, by turns.

Without: no exponent, no ratio of update to weights, no saturated, silent or dead units, no losses beside the baseline's, nobody who
looks every thousand events at rank, condition and norms, and no audit of the gradient. The norm of the influence stays in both: it is
the guard's. Pairs of calls on banks of the same series, an event a series, so that what one call finds in the caches the other finds too;
over 2,000 events of each series, so that what happens every thousand events is in the mean.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.kernels.forecaster import Series
from benchmarks.tasks.plots import figure, save
from benchmarks.tasks.recipe import at_most
from models.experts.watch import LOOK_EVERY
from models.specification import PROFILES
from service.settings import Settings

SIZES = {"many": 256, "one": 1}
"""Series of a bank: many, all in each call, and one."""
EVENTS = {"many": 2000, "one": 20_000}
AUDITS = 11
SHARE_GOAL = 0.05


def measure(quick: bool) -> dict[str, Any]:
    """Return microseconds an event with figures and without, by profile and number of series."""
    found, goals = [], []
    for profile in PROFILES:
        audit = None
        for name, count in SIZES.items():
            watched, bare = (Series(profile, count, compiled=True) for _ in range(2))
            if not watched.bank.compiled or not watched.bank.recurrent:
                continue
            bare.bank._kernel.unwatched()  # type: ignore[union-attr]
            events = EVENTS[name] // (10 if quick else 1)
            for _ in range(100):
                watched.call(count)
                bare.call(count)
            pairs = 1e6 * np.array([_pair(watched, bare, count, at) for at in range(events)])
            # What is dear is in the mean alone; medians of pairs leave out what the machine did meanwhile.
            usual = np.median(pairs, axis=0)
            looks = (np.arange(events) + 101) % LOOK_EVERY == 0
            dear = float(np.median(pairs[looks, 0]) - usual[0]) / LOOK_EVERY if looks.any() else 0.0
            audit = _audit(profile) if audit is None else audit
            every = audit / Settings().observe.audit_every
            share = float(np.median(pairs[:, 0] - pairs[:, 1]) + dear + every) / float(usual[1])
            found.append(
                {
                    "profile": profile,
                    "series": count,
                    "with": float(usual[0]),
                    "without": float(usual[1]),
                    "dear": dear,
                    "audit": every,
                    "audit_milliseconds": audit / 1e3,
                    "share": share,
                }
            )
            print(f"  {profile}, {count} series: {usual[1]:.2f} us without, {100 * share:+.1f}%", flush=True)
            if name == "many":
                goals.append(at_most(f"{profile}: the figures' share of an event's time", share, SHARE_GOAL))
    return {"found": found, "goals": goals}


def _audit(profile: str) -> float:
    """Return the microseconds that an audit costs: of the calls that it goes on in, what is over the usual."""
    series, taken = Series(profile, 1, compiled=True), []
    usual = 1e6 * series.calls(200, 1)()
    for _ in range(AUDITS):
        start = time.perf_counter()
        series.bank.begin_audit(int(series.slots[0]))
        spent = 1e6 * (time.perf_counter() - start)
        while not series.bank.audits():
            spent += 1e6 * series.call(1) - usual
        taken.append(spent)
    return float(np.median(taken))


def _pair(watched: Series, bare: Series, count: int, at: int) -> tuple[float, float]:
    """Time one event of each, the first in turn."""
    if at % 2:
        without = bare.call(count)
        return watched.call(count), without
    return watched.call(count), bare.call(count)


def table(result: dict[str, Any]) -> str:
    """Return microseconds by profile and number of series."""
    lines = [
        "\nFigures of gradient stability and the ladder, microseconds an event; the share has what is computed every 1,000 events, and audits at one in 20,000, spread over them\n",
        "| profile | series in a call | without | with | every 1,000 events, spread | audits, spread | an audit, ms | share |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one['profile']} | {one['series']} | {one['without']:.2f} | {one['with']:.2f} | {one['dear']:.2f} | {one['audit']:.2f} | {one['audit_milliseconds']:.1f} | {100 * one['share']:.1f}% |"
        for one in result["found"]
    ]
    return "\n".join(lines)


def draw(result: dict[str, Any], folder: Path) -> None:
    """Plot the share of each."""
    canvas, axes = figure(width=6.0, height=2.6)
    names = [f"{one['profile']}, {one['series']}" for one in result["found"]]
    axes.barh(names, [100 * one["share"] for one in result["found"]])
    axes.axvline(100 * SHARE_GOAL, color="black", linewidth=0.8, linestyle="--")
    axes.set(xlabel="per cent of an event without figures")
    save(canvas, folder / "kernels-stability.svg")
