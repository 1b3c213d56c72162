"""Other intervals, to compare with the library's on the same residuals: each gives what it would have told, row by row."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from models.bank import Array
from models.intervals import STEP, Interval
from models.protocols import BoolArray

Levels = tuple[float, ...]
Variant = Callable[[Array, BoolArray, int, Levels], Array]
"""Of errors (T, S) of S series, whether each is one to learn from, how many rows ahead, and levels: quantiles (T, S, 2 L)."""

STEPS = (0.01, 0.03, 0.1)
LOSS_KEEP, LOSS_RATE, LOSS_MAX = 0.998, 1.0, 20.0
"""Of the weights by loss: over some 500 events, and sharp enough that one step of three has most of the weight."""


def tracked(step: float) -> Variant:
    """Return the library's interval with another step."""

    def told(errors: Array, known: BoolArray, ahead: int, levels: Levels) -> Array:
        return _run(Interval((ahead,), levels, step=step), errors, known, ahead)

    return told


def symmetric(errors: Array, known: BoolArray, ahead: int, levels: Levels) -> Array:
    """One half-width a level, by the quantile of |error|."""
    # The upper quantile of the level (2 level - 1) is the one of the share `level`.
    interval = Interval((ahead,), tuple(2.0 * level - 1.0 for level in levels))
    upper = _run(interval, np.abs(errors), known, ahead)[..., len(levels) :]
    return np.concatenate((-upper[..., ::-1], upper), axis=-1)


def aggregated(errors: Array, known: BoolArray, ahead: int, levels: Levels) -> Array:
    """Several steps, each quantile their mean weighted by the exponential of the recent pinball loss (Gibbs & Candes 2024)."""
    each = np.stack(
        [_run(Interval((ahead,), levels, step=step), errors, known, ahead) for step in STEPS], axis=-1
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


def _run(interval: Interval, errors: Array, known: BoolArray, ahead: int) -> Array:
    """Return what the interval told for each error, (T, S, 2 L); the error of a row's forecast comes `ahead` rows later."""
    n_series = errors.shape[1]
    state = {name: np.repeat(value[None], n_series, axis=0) for name, value in interval.init_state().items()}
    told = np.zeros((*errors.shape, len(interval.missed)))
    for row in range(len(errors)):
        if row >= ahead:
            error = errors[row - ahead][:, None]
            beyond = interval.beyond(error, told[row - ahead][:, None])
            interval.learn(state, error, beyond, known[row - ahead][:, None])
        told[row] = np.where(known[row][:, None], interval.quantiles(state)[:, 0], 0.0)
    return told


VARIANTS: dict[str, Variant] = {
    "as it is": tracked(STEP),
    "step 0.01": tracked(0.01),
    "step 0.03": tracked(0.03),
    "step 0.1": tracked(0.1),
    "one half-width": symmetric,
    "steps weighted by their loss": aggregated,
}
