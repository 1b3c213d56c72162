"""`python -m benchmarks together`: what series have of one another, by pooled and by joint experts.

Pooled: the series of a set are cut into pieces of PIECE rows. Pieces come a few at a time, each as a new series that no one has seen; the first half of them
teach the pool, and the other half are scored. So is the default, whose series learn by themselves. All channels of a set are one group.

Joint: the channels of a set that has several are targets of one series, scored as `python -m benchmarks accuracy` scores them.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from itertools import groupby
from typing import Final

import numpy as np

from benchmarks.machine import describe
from benchmarks.series import Series, load
from models.bank import Array, Bank
from models.specification import Specification, from_profile

PIECE, QUICK_PIECE = 1000, 100
TOGETHER: Final = 7
"""Pieces that come at once."""
SPANS: Final = ((3, 30), (30, 100), (100, 300), (300, PIECE))

OWN: Final = Specification().experts
JOINT_MAKES: Final = {
    "default": Specification(),
    "and `linear_joint`": Specification(experts=(*OWN, "linear_joint")),
    "`joint`: all see the others": Specification(joint=True),
}
HORIZONS: Final = (1, 24, 48)
QUICK_ROWS: Final = 60
POOLED_MAKES: Final = {
    "default": Specification(),
    "profile `pooled`: and `linear_pooled`": from_profile("pooled"),
    "`recurrent_pooled` for `recurrent`": Specification(experts=(*OWN[:-1], "recurrent_pooled")),
    "both pooled ones for `recurrent`": Specification(
        experts=(*OWN[:-1], "linear_pooled", "recurrent_pooled")
    ),
    "pooled alone": Specification(experts=("last_value", "linear_pooled", "recurrent_pooled")),
}


def main(arguments: argparse.Namespace) -> int:
    """Measure, print the tables, and write the JSON."""
    groups = {name: list(some) for name, some in groupby(load(arguments.data), key=lambda one: one.group)}
    length = QUICK_PIECE if arguments.quick else PIECE
    spans = [(first, min(last, length)) for first, last in SPANS if first < length]
    told = {
        "machine": describe(),
        "rows": spans,
        "pooled": pooled(groups, length, spans),
        "joint": joint(groups, QUICK_ROWS if arguments.quick else None),
    }
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "together.json").write_text(json.dumps(told, indent=1) + "\n")
    return 0


def joint(groups: dict[str, list[Series]], most: int | None) -> dict[str, dict[str, list[float]]]:
    """Print and return the standardised squared error at each horizon, of sets whose series have the same times."""
    found: dict[str, dict[str, list[float]]] = {}
    for group, members in groups.items():
        times = members[0].times
        if len(members) < 2 or not all(np.array_equal(one.times, times) for one in members):
            continue
        print(f"\n{group}: {len(members)} targets\n")
        print("| mean squared error, rows ahead | " + " | ".join(map(str, HORIZONS)) + " |", flush=True)
        print("|---|" + "---:|" * len(HORIZONS))
        for name, make in JOINT_MAKES.items():
            errors = as_targets(make, members, most)
            print(f"| {name} | " + " | ".join(f"{error:.4f}" for error in errors) + " |", flush=True)
            found.setdefault(group, {})[name] = errors
    return found


def as_targets(make: Specification, members: list[Series], most: int | None) -> list[float]:
    """Return the mean over targets of the standardised squared error, of all horizons up to each of HORIZONS as the published figures have it."""
    names = tuple(str(place) for place in range(len(members)))
    bank = Bank(replace(make, targets=names, horizons=tuple(range(1, HORIZONS[-1] + 1))), capacity=1)
    slot, nothing = np.array([bank.admit()]), np.empty((1, 0))
    values = np.stack([one.values for one in members], axis=1)[:most]
    unit = np.array([one.deviation for one in members])[:, None]
    total, count = np.zeros(HORIZONS[-1]), np.zeros(HORIZONS[-1])
    for row, (time, value) in enumerate(zip(members[0].times, values, strict=False)):
        told = bank.step(slot, np.array([time]), value[None], nothing)
        if most or members[0].first <= row < members[0].last:
            total += ((told.error[0] / unit) ** 2).mean(axis=0)
            count += told.settled[0].all(axis=0)
    by_horizon = total / np.maximum(count, 1.0)
    return [float(by_horizon[:horizon].mean()) for horizon in HORIZONS]


def pooled(
    groups: dict[str, list[Series]], length: int, spans: list[tuple[int, int]]
) -> dict[str, dict[str, list[float]]]:
    """Print and return the error over the default's, in spans of a piece's rows."""
    found: dict[str, dict[str, list[float]]] = {}
    for group, members in groups.items():
        pieces = cut(members, length)
        if len(pieces) < 2 * TOGETHER:
            continue
        scored = slice(len(pieces) // 2, None)
        errors = {name: run(make, pieces)[scored] for name, make in POOLED_MAKES.items()}
        print(f"\n{group}: {len(pieces)} pieces, {len(pieces[scored])} of them scored\n")
        print("| error over the default's, rows | " + " | ".join(f"{a} to {b}" for a, b in spans) + " |")
        print("|---|" + "---:|" * len(spans))
        for name, own in errors.items():
            means = [
                float(own[:, first:last].sum() / errors["default"][:, first:last].sum())
                for first, last in spans
            ]
            print(f"| {name} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |", flush=True)
            found.setdefault(group, {})[name] = means
    return found


def cut(members: list[Series], length: int) -> list[tuple[Array, Array]]:
    """Return times and values, in deviations of their series, of pieces in the order of their first rows; without those that never move."""
    pieces = []
    for first in range(0, max(len(one.values) for one in members) - length + 1, length):
        for one in members:
            values = one.values[first : first + length] / one.deviation
            if len(values) == length and np.ptp(values) > 0.0:
                pieces.append((one.times[first : first + length], values))
    return pieces


def run(make: Specification, pieces: list[tuple[Array, Array]]) -> Array:
    """Return the absolute errors of the shortest horizon, (pieces, rows), 0 where there was no forecast; pieces come a few at a time."""
    bank = Bank(make, capacity=TOGETHER + 1)
    pool = bank.admit()
    errors = np.zeros((len(pieces), len(pieces[0][1])))
    for start in range(0, len(pieces), TOGETHER):
        some = pieces[start : start + TOGETHER]
        slots = np.array([bank.admit() for _ in some])
        pools, nothing = np.full(len(some), pool), np.empty((len(some), 0))
        for row in range(errors.shape[1]):
            times = np.array([piece[0][row] for piece in some])
            values = np.array([[piece[1][row]] for piece in some])
            told = bank.step(slots, times, values, nothing, pools)
            errors[start : start + len(some), row] = np.abs(told.error[:, 0, 0])
        for slot in slots.tolist():
            bank.release(slot)
    return errors
