"""`python -m benchmarks pooled`: what a new series has of a pool that other series of its group have learned in.

The series of a set are cut into pieces of PIECE rows. Pieces come a few at a time, each as a new series that no one has seen; the first half of them
teach the pool, and the other half are scored. So is the default, whose series learn by themselves. All channels of a set are one group.
"""

from __future__ import annotations

import argparse
import json
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
MAKES: Final = {
    "default": Specification(),
    "and `linear_pooled`": Specification(experts=(*OWN, "linear_pooled")),
    "`recurrent_pooled` for `recurrent`": Specification(experts=(*OWN[:-1], "recurrent_pooled")),
    "profile `pooled`": from_profile("pooled"),
    "pooled alone": Specification(experts=("last_value", "linear_pooled", "recurrent_pooled")),
}


def main(arguments: argparse.Namespace) -> int:
    """Measure, print the table, and write the JSON."""
    length = QUICK_PIECE if arguments.quick else PIECE
    spans = [(first, min(last, length)) for first, last in SPANS if first < length]
    found: dict[str, dict[str, list[float]]] = {}
    for group, members in groupby(load(arguments.data), key=lambda one: one.group):
        pieces = cut(list(members), length)
        if len(pieces) < 2 * TOGETHER:
            continue
        scored = slice(len(pieces) // 2, None)
        errors = {name: run(make, pieces)[scored] for name, make in MAKES.items()}
        print(f"\n{group}: {len(pieces)} pieces, {len(pieces[scored])} of them scored\n")
        print("| error over the default's, rows | " + " | ".join(f"{a} to {b}" for a, b in spans) + " |")
        print("|---|" + "---:|" * len(spans))
        for name, own in errors.items():
            means = [ratio(own[:, first:last], errors["default"][:, first:last]) for first, last in spans]
            print(f"| {name} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")
            found.setdefault(group, {})[name] = means
    arguments.output.mkdir(parents=True, exist_ok=True)
    told = {"machine": describe(), "rows": spans, "ratios": found}
    (arguments.output / "pooled.json").write_text(json.dumps(told, indent=1) + "\n")
    return 0


def cut(members: list[Series], length: int) -> list[tuple[Array, Array]]:
    """Return times and values of pieces, in the order of their first rows, those that never move left out."""
    pieces = []
    for first in range(0, max(len(one.values) for one in members) - length + 1, length):
        for one in members:
            values = one.values[first : first + length]
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


def ratio(own: Array, other: Array) -> float:
    """Return the geometric mean over pieces of the ratio of mean errors, of those that are not without error."""
    means = own.mean(axis=1), other.mean(axis=1)
    moved = (means[0] > 0.0) & (means[1] > 0.0)
    return float(np.exp(np.log(means[0][moved] / means[1][moved]).mean()))
