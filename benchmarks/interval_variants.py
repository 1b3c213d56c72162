"""Other intervals, to compare with the library's on the same residuals: each gives what it would have told, row by row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from models.bank import Array
from models.intervals import ACROSS, STEP, Interval
from models.protocols import BoolArray, Fields, State

Levels = tuple[float, ...]
Variant = Callable[[Array, BoolArray, int, Levels], Array]
"""Of errors (T, S) of S series, whether each is one to learn from, how many rows ahead, and levels: quantiles (T, S, 2 L)."""

STEPS = ((0.01, 0.006), (0.035, 0.02), (0.12, 0.07))
LOSS_KEEP, LOSS_RATE, LOSS_MAX = 0.998, 1.0, 20.0
"""Of the weights by loss: over some 500 events, and sharp enough that one step of three has most of the weight."""

SUM_KEEP, SUM_STEP = 0.999, 1e-4
"""Of the integral: over some thousand labels, and of its weights tried the one with the smallest deviation."""


class Integral(Interval):
    """With a step in proportion to the sum of the misses so far too (Angelopoulos, Candes & Tibshirani 2023)."""

    def init_state(self) -> Fields:
        """Return a new interval."""
        return {**super().init_state(), "sum": np.zeros((self.n_horizons, len(self.missed)))}

    def learn(self, state: State, residual: Array, beyond: BoolArray, valid: BoolArray) -> None:
        """Take the residuals of the forecasts that are due."""
        super().learn(state, residual, beyond, valid)
        due = valid[..., None]
        state["sum"] = np.where(due, SUM_KEEP * state["sum"] + (beyond - self.missed), state["sum"])
        moved = np.sort(state["quantile"] + SUM_STEP * self.side * state["sum"], axis=-1)
        state["quantile"] = np.where(due, moved, state["quantile"])


def tracked(make: type[Interval] = Interval, *, anew: bool = False, **changed: Any) -> Variant:
    """Return an interval of this make with what is changed in it; `anew` compares with what would be told when the label comes."""

    def told(errors: Array, known: BoolArray, ahead: int, levels: Levels) -> Array:
        return _run(make((ahead,), levels, **changed), errors, known, ahead, anew)

    return told


def symmetric(errors: Array, known: BoolArray, ahead: int, levels: Levels) -> Array:
    """One half-width a level, by the quantile of |error|."""
    # The upper quantile of the level (2 level - 1) is the one of the share `level`.
    interval = Interval((ahead,), tuple(2.0 * level - 1.0 for level in levels), steps=(STEP + ACROSS, 0.0))
    upper = _run(interval, np.abs(errors), known, ahead)[..., len(levels) :]
    return np.concatenate((-upper[..., ::-1], upper), axis=-1)


def aggregated(errors: Array, known: BoolArray, ahead: int, levels: Levels) -> Array:
    """Several steps, each quantile their mean weighted by the exponential of the recent pinball loss (Gibbs & Candes 2024)."""
    each = np.stack(
        [_run(Interval((ahead,), levels, steps=steps), errors, known, ahead) for steps in STEPS], axis=-1
    )
    shares = np.array([*((1.0 - level) / 2.0 for level in levels[::-1]), *((1.0 + v) / 2.0 for v in levels)])
    off = errors[..., None, None] - each
    size = np.maximum(np.abs(each).mean(axis=(2, 3), keepdims=True), 1e-12)
    losses = np.maximum(shares[:, None] * off, (shares[:, None] - 1.0) * off) / size
    total, told = np.zeros(each.shape[1:]), np.empty(each.shape[:-1])
    for row in range(len(errors)):
        if row >= ahead:
            due = known[row - ahead][:, None, None]
            total = np.where(due, LOSS_KEEP * total + np.minimum(losses[row - ahead], LOSS_MAX), total)
        weights = np.exp(-LOSS_RATE * (total - total.min(axis=-1, keepdims=True)))
        told[row] = np.sort((weights * each[row]).sum(axis=-1) / weights.sum(axis=-1), axis=-1)
    return told


def _run(interval: Interval, errors: Array, known: BoolArray, ahead: int, anew: bool = False) -> Array:
    """Return what the interval told for each error, (T, S, 2 L); the error of a row's forecast comes `ahead` rows later."""
    n_series = errors.shape[1]
    state = {name: np.repeat(value[None], n_series, axis=0) for name, value in interval.init_state().items()}
    told = np.zeros((*errors.shape, len(interval.missed)))
    for row in range(len(errors)):
        if row >= ahead:
            error = errors[row - ahead][:, None]
            then = interval.quantiles(state) if anew else told[row - ahead][:, None]
            beyond = interval.beyond(error, then)
            interval.learn(state, error, beyond, known[row - ahead][:, None])
        told[row] = np.where(known[row][:, None], interval.quantiles(state)[:, 0], 0.0)
    return told


VARIANTS: dict[str, Variant] = {
    "as it is": tracked(),
    "steps a fifth": tracked(steps=(0.014, 0.008)),
    "steps half": tracked(steps=(0.035, 0.02)),
    "steps twice": tracked(steps=(0.14, 0.08)),
    "0.06, each side by itself": tracked(steps=(0.06, 0.0)),
    "0.11, each side by itself": tracked(steps=(0.11, 0.0)),
    "0.06, each side, no spread": tracked(steps=(0.06, 0.0), share=0.0),
    "unit without spread": tracked(share=0.0),
    "unit half spread": tracked(share=0.5),
    "unit of 10 events, a third spread": tracked(span=10.0, share=1.0 / 3.0),
    "with an integral of the misses": tracked(Integral),
    "misses of what is told now": tracked(anew=True),
    "one half-width": symmetric,
    "steps weighted by their loss": aggregated,
}
