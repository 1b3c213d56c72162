"""Accuracy of many horizons without leakage, by the published comparisons' protocol: errors averaged over the steps 1 to H.

A forecast made at t for h rows ahead is learned from at t + h and never before. One model forecasts all of 1 to 48 rows.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.series import Series
from benchmarks.tasks.recipe import Goal, at_most
from models.bank import Bank
from models.specification import Specification

AVERAGED = (1, 24, 48)
GOALS = {"ETTh1": (0.210, 0.62, 0.73), "ETTh2": (0.335, 1.62, 2.70)}
"""Better than all published figures without leaked labels, than recursive least squares, and than the last value."""
WHOLE = Specification(horizons=tuple(range(1, AVERAGED[-1] + 1)))
VARIANTS = {
    "default": WHOLE,
    "no recurrent expert": replace(
        WHOLE, experts=tuple(name for name in WHOLE.experts if name != "recurrent")
    ),
    "frozen recurrent weights": replace(WHOLE, optimizer="sgd", learning_rate=0.0),
    "stacked": replace(WHOLE, mixture="stacked"),
}


def measure(series: list[Series]) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Return by variant, set and forecaster the mean squared errors averaged over the steps to each of AVERAGED."""
    return {name: run(specification, series) for name, specification in VARIANTS.items()}


def run(specification: Specification, series: list[Series]) -> dict[str, dict[str, list[float]]]:
    """Return by set and forecaster the errors of one variant; row t of all series is one micro-batch."""
    bank = Bank(specification, capacity=len(series))
    slots = np.array([bank.admit() for _ in series])
    n_horizons, n_experts = len(specification.horizons), len(specification.experts)
    total = np.zeros((len(series), n_horizons, 1 + n_experts))
    unit = np.array([s.deviation for s in series])[:, None, None]
    for row in range(max(s.last for s in series)):
        live = np.array([i for i, s in enumerate(series) if row < s.last])
        result = bank.step(
            slots[live],
            np.array([series[i].times[row] for i in live]),
            np.array([[series[i].values[row]] for i in live]),
            np.empty((len(live), 0)),
        )
        counts = np.array([series[i].first <= row for i in live])[:, None, None]
        errors = np.concatenate((result.error[:, 0, :, None], result.expert_errors[:, 0]), axis=2)
        total[live] += np.where(counts, (errors / unit[live]) ** 2, 0.0)
    mean = total / np.array([s.last - s.first for s in series])[:, None, None]
    found: dict[str, dict[str, list[float]]] = {}
    for group in sorted({s.group for s in series}):
        own = mean[[i for i, s in enumerate(series) if s.group == group]].mean(axis=0)
        found[group] = {
            name: [float(own[:steps, place].mean()) for steps in AVERAGED]
            for place, name in enumerate(("mixture", *specification.experts))
        }
    return found


def table(result: dict[str, dict[str, dict[str, list[float]]]]) -> str:
    """Return the errors of the mixture in each variant, and of each expert."""
    steps = " | ".join(str(step) for step in AVERAGED)
    lines = ["\nMean squared error averaged over the steps 1 to H, standardised\n"]
    for group, own in result["default"].items():
        lines += [f"| {group}, H = | {steps} |", "|---" * (1 + len(AVERAGED)) + "|"]
        rows = {f"**{variant}**": found[group]["mixture"] for variant, found in result.items()}
        rows |= {name: values for name, values in own.items() if name != "mixture"}
        for name, values in rows.items():
            lines.append(f"| {name} | {' | '.join(f'{value:.4f}' for value in values)} |")
        lines.append("")
    return "\n".join(lines)


def goals(result: dict[str, dict[str, dict[str, list[float]]]]) -> list[Goal]:
    """Return what was to be reached."""
    found: list[Goal] = []
    for group, limits in GOALS.items():
        if group in result["default"]:
            reached = result["default"][group]["mixture"]
            for steps, value, limit in zip(AVERAGED, reached, limits, strict=True):
                found.append(at_most(f"{group}, steps 1 to {steps}: mean squared error", value, limit))
    return found
