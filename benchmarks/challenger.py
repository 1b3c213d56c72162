"""`python -m benchmarks challenger`: on real series, when a challenger is promoted, and whether one that is no better ever is.

Two banks take each event, as `service.stream.duel` has them, and the test with its defaults is asked after each. Pairs: a
challenger that should win, one that may, and one that is the model itself but for the seed of its weights.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np

from benchmarks.series import Series, load
from models.bank import Array, Bank
from models.sequential import SequentialTest
from models.specification import Specification, from_profile
from service.settings import ChallengerSettings

PAIRS: dict[str, tuple[Specification, Specification]] = {
    "last value, then `fast`": (from_profile("fast", experts=("last_value",)), from_profile("fast")),
    "`fast`, then `accurate`": (from_profile("fast"), from_profile("accurate")),
    "`accurate`, then another seed": (from_profile("accurate"), from_profile("accurate", seed=1)),
}
ROWS, QUICK_ROWS = 10_000, 300
RULE = ChallengerSettings()


def main(arguments: argparse.Namespace) -> int:
    """Measure, print the table, and write the JSON."""
    rows = QUICK_ROWS if arguments.quick else ROWS
    found = [
        {"pair": name, "series": series.name, **measure(series, pair, rows)}
        for name, pair in PAIRS.items()
        for series in load(arguments.data)
    ]
    print("| pair | series | rows | error of the challenger over the model's | changes of place, at rows |")
    print("|---|---|---:|---:|---|")
    for one in found:
        changes = ", ".join(f"{row:,}" for row in one["promoted"]) or "none"
        print(f"| {one['pair']} | {one['series']} | {one['rows']:,} | {one['ratio']:.3f} | {changes} |")
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "challenger.json").write_text(json.dumps(found, indent=1) + "\n")
    return 0


def measure(series: Series, pair: tuple[Specification, Specification], most: int) -> dict[str, Any]:
    """Return the ratio of the losses over all rows, and the rows at which the places were changed."""
    test = SequentialTest(margin=RULE.margin, alpha=RULE.alpha, window=RULE.window)
    state = {name: value[None].copy() for name, value in test.init_state().items()}
    banks = [Bank(make, capacity=1) for make in pair]
    slot, nothing = np.array([bank.admit() for bank in banks][:1]), np.empty((1, 0))
    champion, promoted, totals = 0, [], np.zeros(2)
    values = series.values[:most]
    for row, (time, value) in enumerate(zip(series.times, values, strict=False)):
        results = [bank.step(slot, np.array([time]), np.array([[value]]), nothing) for bank in banks]
        losses: list[Array] = [np.abs(one.error[:, 0, 0]) / results[0].scale[:, 0] for one in results]
        verdict = test.update(state, losses[champion], losses[1 - champion], results[0].settled[:, 0, 0])
        totals += np.concatenate(losses)
        if verdict.better[0]:
            champion = 1 - champion
            promoted.append(row)
    return {"rows": len(values), "ratio": float(totals[1] / totals[0]), "promoted": promoted}
