"""What a fault spoils: which parts of a model have to be put back to what they were before it, if somebody knew when it began and ended?

Some series are copied at the row at which faults begin, once for each fault and each choice of parts. What is put back is the state of that row: of
the scale once the lags are clean, of all else SCALE_BACK rows later. The model's own `models.faults` is off.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Final

import numpy as np

from benchmarks.faults import FAULT, RECOVERY, VALUE_FAULTS, WARM_UP, streams
from benchmarks.machine import describe
from models.bank import Array, Bank
from models.faults import MIXTURE
from models.records import Parts
from models.specification import Specification

SERIES: Final = 24
KINDS: Final = ("outliers", "scale by 1000", "adversary")
"""Of the faults, those after which a model was not what it was."""
SCALE_BACK: Final = 100

READOUTS: Final = ("linear", "linear_quick", "linear_long", "recurrent")
PARTS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "scale": tuple(("scale", field) for field in ("mean", "variance", "spread")),
    "weights": tuple((f"expert.{name}", "weights") for name in READOUTS),
    "mixture": tuple((part, field) for part, names in MIXTURE.items() for field in names),
    "P": tuple((f"expert.{name}", "covariance") for name in READOUTS),
    "cell": (("expert.recurrent", "params"), ("expert.recurrent", "optimizer.covariance.0")),
}
CHOICES: Final = (
    (),
    ("scale",),
    ("weights", "mixture"),
    ("scale", "weights"),
    ("scale", "weights", "mixture"),
    ("scale", "weights", "mixture", "P"),
    ("scale", "weights", "mixture", "P", "cell"),
)


def main(arguments: argparse.Namespace) -> int:
    """Print for each choice and fault the error over the twin's, mean and worst, and write the JSON."""
    start = time.perf_counter()
    values, noise = streams(np.random.default_rng(11), SERIES)
    n_copies = len(KINDS) * len(CHOICES)
    total_series = SERIES * (1 + n_copies)
    bank = Bank(Specification(), capacity=total_series)
    slots = np.array([bank.admit() for _ in range(total_series)])
    states = [bank.layout.views(bank.records_of(slot)) for slot in slots.tolist()]
    made = np.zeros(total_series)
    for row in range(WARM_UP):
        made[:SERIES] = _step(bank, slots[:SERIES], states[:SERIES], row, values[row])
    for at in range(SERIES, total_series):
        bank.restore_records(int(slots[at]), bank.records_of(int(slots[at % SERIES])))
    made = np.tile(made[:SERIES], 1 + n_copies)
    before = [{part: _copied(state[part]) for part in state} for state in states[:SERIES]]
    seen = np.tile(values, (1, 1 + n_copies))
    adversary, places = [], {}
    for place, (kind, choice) in enumerate((kind, choice) for kind in KINDS for choice in CHOICES):
        own = np.arange(SERIES * (1 + place), SERIES * (2 + place))
        places[kind, choice] = own
        rows = slice(WARM_UP, WARM_UP + FAULT)
        rng = np.random.default_rng(KINDS.index(kind))
        seen[rows, own] = VALUE_FAULTS[kind](values[rows], noise, rng)
        if kind == "adversary":
            adversary += own.tolist()
    total = np.zeros(total_series)
    for row in range(WARM_UP, len(values)):
        since = row - WARM_UP - FAULT
        if since < 0:  # as in `benchmarks.faults`
            side = np.where(seen[row, adversary] >= made[adversary], -1.0, 1.0)
            seen[row, adversary] = made[adversary] + side * 8.0 * noise[np.mod(adversary, SERIES)]
        for (_, choice), own in places.items():
            for part in choice:
                if since == (SCALE_BACK if part == "scale" else 2 * SCALE_BACK):
                    for series in own.tolist():
                        for name, field in PARTS[part]:
                            states[series][name][field][...] = before[series % SERIES][name][field]
        told = _step(bank, slots, states, row, seen[row])
        if since >= RECOVERY:
            total += (np.tile(values[row], 1 + n_copies) - made) ** 2
        made = told
    ratios = total / np.tile(total[:SERIES], 1 + n_copies)
    print(
        f"{SERIES} series of each kind in {time.perf_counter() - start:.0f} s; error over the twin's: mean, worst\n"
    )
    print(f"{'put back':44}" + "".join(f"{kind:>18}" for kind in KINDS))
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for choice in CHOICES:
        name = ", ".join(choice) or "nothing"
        found[name] = {
            kind: (float(ratios[places[kind, choice]].mean()), float(ratios[places[kind, choice]].max()))
            for kind in KINDS
        }
        print(f"{name:44}" + "".join(f"{mean:10.3f}{worst:8.3f}" for mean, worst in found[name].values()))
    for horizons in ((1,), tuple(range(1, 49))):
        layout = Bank(Specification(horizons=horizons), capacity=1, compiled=False).layout
        kept = sum(place.size for place in layout.places["fault"].values())
        print(f"{len(horizons)} horizons: the copy is {kept / sum(layout.sizes):.1%} of a model's numbers")
    arguments.output.mkdir(parents=True, exist_ok=True)
    target = arguments.output / "fault_parts.json"
    target.write_text(json.dumps({"machine": describe(), "error over the twin's": found}, indent=1))
    print(f"written: {target}")
    return 0


def _step(bank: Bank, slots: np.ndarray, states: list[Parts], row: int, values: Array) -> Array:
    """Take a row of values, and return what is forecast for the next."""
    for state in states:
        state["fault"]["counts"][...] = 0  # no copy of the model's own ever comes to be judged
    n = len(slots)
    told = bank.step(slots, np.full(n, 3600.0 * row), values[:, None], np.empty((n, 0)))
    forecast: Array = told.prediction[:, 0, 0].copy()
    return forecast


def _copied(fields: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: value.copy() for name, value in fields.items()}
