"""What is watched of a recurrent expert at every event, and when somebody has to look at it: the ladder's eyes.

    loss_t = loss + a_t (min(|r_t|, R)^2 - loss),   r_t: error of the shortest horizon, in scales            (1)
    base_t = base + a_t (min(|y_t|, R)^2 - base),   y_t: what came; the error of forecasting no change       (2)
    worse_t = worse + 1 where loss_t > 5 max(base_t, floor), else 0                                         (3)
    stuck_i = stuck_i + 1 where unit i is silent or saturated, else 0                                       (4)

Counts are of the series' own events, so that a replay repeats everything. `recovery` is what is done about it.
Cost: O(n + k^2 n) an event, beside the tangent's step.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from models.protocols import Array, BoolArray, Cell, Fields, State
from models.stability import Lyapunov
from models.stability.lyapunov import averaged

FIGURES: Final = (
    "lyapunov",
    "lyapunov_lifetime",
    "update_ratio",
    "dead_ratio",
    "rate_factor",
    "effective_rank",
    "log_condition",
    "weight_norm",
    "readout_norm",
)
"""Columns of the figures: the first five are of this event, the others of the last event at which they were taken."""
LYAPUNOV, LIFETIME, UPDATE_RATIO, DEAD_RATIO, RATE_FACTOR = range(5)
EFFECTIVE_RANK, LOG_CONDITION, WEIGHT_NORM, READOUT_NORM = range(5, 9)

EVENTS, STEPS, LABELS, HEALTHY, POSITIVE, WORSE = range(6)
"""Places in the counts: events; steps with a finite Jacobian; labels; events since trouble; in a row with an exponent above 0;
labels in a row with a loss far over the baseline's."""
N_COUNTS: Final = 6

LOOK_EVERY: Final = 1000
"""Every so many events of a series what is dear is computed: some 0.5 ms, so half a microsecond an event."""

LOSS_SPAN: Final = 100.0
"""Labels of the means (1) and (2): short, for a rollback must not wait; the floor and the run (3) keep them honest."""
ERROR_MAX: Final = 64.0
"""Errors count up to so many scales: one outlier is not a loss."""
LOSS_RATIO: Final = 5.0
"""A loss of so many times the baseline's is no forecast any more: the ladder's fifth rung."""
HEALTHY_RATIO: Final = 2.0
"""A loss over so many times the baseline's is trouble: the weights are not good ones to go back to."""
BASELINE_FLOOR: Final = 0.1
"""Of the baseline's loss, whose usual size is 1 by the scale's definition: where a series stands still it is 0."""
WORSE_LABELS: Final = 100
"""So many labels in a row, and the expert is rolled back."""
POSITIVE_EVENTS: Final = 200
"""So many events in a row with an exponent above 0, and the influence begins anew."""

SILENT_SHARE: Final = 1e-3
"""A unit is silent where its read-out is less than this share of the loudest unit's."""
DEAD_EVENTS: Final = 1000
"""A unit that was silent or saturated for so many events in a row counts as dead."""
STUCK_EVENTS: Final = 10_000
"""After so many it is made anew: the ladder's seventh rung."""

ROLLBACKS: Final = 3
"""So many rollbacks within `Specification.quarantine_span` events are a quarantine."""


def init_watch(cell: Cell, weights: Array, params: Array) -> Fields:
    """Return what is watched of a new expert; its first weights are the first to go back to."""
    figures = np.zeros(len(FIGURES))
    figures[RATE_FACTOR] = 1.0
    return {
        "figures": figures,
        "tangent": Lyapunov(cell.n_parts, cell.n_units).start,
        "counts": np.zeros(N_COUNTS, dtype=np.int64),
        "stuck": np.zeros(cell.n_units, dtype=np.int64),
        "losses": np.zeros(2),
        "reset": np.zeros((), dtype=np.bool_),
        "quarantined": np.zeros((), dtype=np.bool_),
        "rollbacks": np.full(ROLLBACKS, -1, dtype=np.int64),
        "renewed": np.zeros((), dtype=np.int64),
        "good.params": params.copy(),
        "good.weights": weights.copy(),
    }


def watch_loss(state: State, error: Array, target: Array, valid: BoolArray) -> None:
    """Take a label of the shortest horizon into eq. (1) to (3), in place; (B,) each.

    Args:
        state: of the expert.
        error: target - the expert's forecast, in scales, as it was and not winsorised.
        target: the change that came, in scales.
        valid: where there is a label.
    """
    counts, losses = state["counts"], state["losses"]
    counts[:, LABELS] += valid
    share = np.maximum(1.0 / LOSS_SPAN, 1.0 / np.maximum(counts[:, LABELS], 1))
    for place, value in enumerate((error, target)):
        bounded = np.minimum(np.abs(value), ERROR_MAX)
        mean = losses[:, place]
        losses[:, place] = np.where(valid, mean + share * (bounded * bounded - mean), mean)
    far = losses[:, 0] > LOSS_RATIO * np.maximum(losses[:, 1], BASELINE_FLOOR)
    counts[:, WORSE] = np.where(
        valid, np.where(far & (counts[:, LABELS] >= LOSS_SPAN), counts[:, WORSE] + 1, 0), counts[:, WORSE]
    )


def watch_step(state: State, lyapunov: Lyapunov, transition: Array, upward: Array | None) -> None:
    """Take a step's Jacobian into the exponents, in place; see `Lyapunov`."""
    counts, figures = state["counts"], state["figures"]
    state["tangent"], growth = lyapunov.grown(state["tangent"], transition, upward)
    figures[:, LYAPUNOV], figures[:, LIFETIME], counts[:, STEPS] = averaged(
        figures[:, LYAPUNOV], figures[:, LIFETIME], counts[:, STEPS], growth
    )
    counts[:, POSITIVE] = np.where(figures[:, LYAPUNOV] > 0.0, counts[:, POSITIVE] + 1, 0)


def watch_units(state: State, read: Array, saturated: BoolArray) -> None:
    """Take what the units read out, (B, r, n), and which are saturated, (B, n), into eq. (4), in place."""
    size = np.abs(read).max(axis=1)
    silent = size < SILENT_SHARE * size.max(axis=1, keepdims=True)
    state["stuck"] = np.where(silent | saturated, state["stuck"] + 1, 0)
    dead = state["stuck"] >= DEAD_EVENTS
    state["figures"][:, DEAD_RATIO] = dead.sum(axis=1) / read.shape[2]


def watch_event(state: State) -> BoolArray:
    """Count the event, and return where somebody has to look, (B,): see `recovery`. To be called after the forecast."""
    counts, losses = state["counts"], state["losses"]
    troubled = losses[:, 0] > HEALTHY_RATIO * np.maximum(losses[:, 1], BASELINE_FLOOR)
    counts[:, HEALTHY] = np.where(troubled | state["reset"], 0, counts[:, HEALTHY] + 1)
    counts[:, EVENTS] += 1
    attends: BoolArray = (
        state["reset"]
        | (counts[:, EVENTS] % LOOK_EVERY == 0)
        | (counts[:, POSITIVE] >= POSITIVE_EVENTS)
        | (counts[:, WORSE] >= WORSE_LABELS)
        | (state["stuck"] >= STUCK_EVENTS).any(axis=1)
    )
    return attends


def rate_factor(state: State) -> Array:
    """Return by what the learning rate is multiplied, (B,)."""
    factor: Array = state["figures"][:, RATE_FACTOR]
    return factor
