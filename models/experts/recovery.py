"""What is done about a recurrent expert that is in trouble: rungs four to seven of the reaction ladder.

4. The influence exploded, or the exponent was above 0 for 200 events: the influence begins anew, the learning rate is halved.
5. Weights or forecasts are not finite, or the loss was over five times the baseline's for 100 labels: back to the last good weights.
6. Three rollbacks within `quarantine_span` events: the baseline is published instead, until the expert has been healthy for 1,000 events.
7. A unit silent or saturated for 10,000 events: made anew, with weights of 0 to the readout.

A rollback takes weights alone, of the cell and of the readout: 2 KB beside some 200 of a whole state. State, influence, pending
gradients, moments and the covariance begin anew: any of them may be what went wrong, and all of them come back by themselves.
The weights are good ones if the expert was healthy for 1,000 events before they were taken.

Rows are few here, a thousandth of the events: it is numpy beside a compiled forecaster too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from models.experts import watch
from models.optimizers.rls import PRIOR_VARIANCE, forget_in
from models.plasticity import heard_units
from models.protocols import BoolArray, IntArray, State
from models.stability import effective_rank, frobenius_norm, log_condition, units_correlation

if TYPE_CHECKING:
    from models.experts.recurrent import Recurrent

ACTIONS: Final = (
    "winsorise",
    "clip",
    "skip",
    "reset",
    "roll_back",
    "quarantine",
    "release",
    "renew",
    "restore",
)
"""What guards do to an event or a model, by bit: 1 is the first. The first rung, a rejected event, is the shell's; the last is `models.faults`."""
EVERYDAY: Final = ACTIONS[:3]
"""What is done too often to be told of one by one; their bits are the lowest, so that all that is more is a larger number."""
WINSORISE, CLIP, SKIP, RESET, ROLL_BACK, QUARANTINE, RELEASE, RENEW, RESTORE = (
    1 << i for i in range(len(ACTIONS))
)
ATTEND: Final = 1 << len(ACTIONS)
"""Not an action: somebody has to look. Nobody outside the bank sees it."""

RATE_FACTOR_MIN: Final = 2.0**-10
"""The learning rate is halved no further: a thousandth learns next to nothing, and still recovers."""
HEALTHY_EVENTS: Final = 1000
"""So long without trouble, and weights are good, a halved rate is doubled, a quarantine ends."""


def react(expert: Recurrent, state: State, quarantine_span: int) -> IntArray:
    """Look at rows that asked for it, in place; return what was done, bits of `ACTIONS`, (B,)."""
    counts, figures = state["counts"], state["figures"]
    done = np.zeros(len(counts), dtype=np.int64)
    if expert.shared:  # that a series does not fit what it shares with others is for its mixture to find out
        counts[:, watch.WORSE] = 0
    lost = ~(_finite(state["params"]) & _finite(state["weights"])) | (
        counts[:, watch.WORSE] >= watch.WORSE_LABELS
    )
    chaotic = (counts[:, watch.POSITIVE] >= watch.POSITIVE_EVENTS) & ~lost
    if lost.any():
        _roll_back(expert, state, lost)
        done[lost] |= ROLL_BACK
        third = lost & _too_often(state, lost, quarantine_span)
        done[third & ~state["quarantined"]] |= QUARANTINE
        state["quarantined"] |= third
    if chaotic.any():
        _reset_influence(expert, state, chaotic)
    done[chaotic | (state["reset"] & ~lost)] |= RESET
    if not expert.renews:  # still dead, and looked at again after as long
        state["stuck"][state["stuck"] >= watch.STUCK_EVENTS] = watch.DEAD_EVENTS
    stuck = (state["stuck"] >= watch.STUCK_EVENTS).any(axis=1) & ~lost
    if stuck.any():
        _renew(expert, state, stuck)
        done[stuck] |= RENEW
    trouble = (done & (RESET | ROLL_BACK)) > 0
    counts[trouble, watch.HEALTHY] = 0
    halved = np.maximum(figures[:, watch.RATE_FACTOR] / 2.0, RATE_FACTOR_MIN)
    figures[trouble, watch.RATE_FACTOR] = halved[trouble]
    _look(expert, state, counts[:, watch.EVENTS] % watch.LOOK_EVERY == 0, done)
    return done


def _look(expert: Recurrent, state: State, rows: BoolArray, done: IntArray) -> None:
    """Compute what is dear; and where all has been well for long, keep the weights and let go of restraints."""
    if not rows.any():
        return
    figures, covariance = state["figures"], state["covariance"][rows]
    condition = log_condition(covariance)
    figures[rows, watch.LOG_CONDITION] = condition
    seen = units_correlation(covariance, expert.n_read, condition)
    figures[rows, watch.EFFECTIVE_RANK] = effective_rank(seen)
    figures[rows, watch.WEIGHT_NORM] = frobenius_norm(state["params"][rows])
    figures[rows, watch.READOUT_NORM] = frobenius_norm(state["weights"][rows])
    well = rows & (state["counts"][:, watch.HEALTHY] >= HEALTHY_EVENTS)
    for name in ("params", "weights"):
        state[f"good.{name}"][well] = state[name][well]
    figures[well, watch.RATE_FACTOR] = np.minimum(2.0 * figures[well, watch.RATE_FACTOR], 1.0)
    done[well & state["quarantined"]] |= RELEASE
    state["quarantined"] &= ~well


def _roll_back(expert: Recurrent, state: State, rows: BoolArray) -> None:
    """Go back to the last good weights; all else that learning carries begins anew."""
    for name in ("params", "weights"):
        state[name][rows] = state[f"good.{name}"][rows]
    for name in ("jacobian", "gain", "losses"):
        state[name][rows] = 0.0
    state["covariance"][rows] = PRIOR_VARIANCE * np.eye(state["covariance"].shape[1])
    state["state"][rows] = expert.cell.init_state()
    state["stuck"][rows] = 0
    for name, row in expert.cell_update.init_state().items():
        state[f"optimizer.{name}"][rows] = row
    for place in (watch.LABELS, watch.WORSE):
        state["counts"][rows, place] = 0
    _reset_influence(expert, state, rows)


def _too_often(state: State, rows: BoolArray, span: int) -> BoolArray:
    """Note a rollback in some rows; return in which the last `ROLLBACKS` lie within so many events, (B,)."""
    events = state["counts"][:, watch.EVENTS]
    noted = np.concatenate((state["rollbacks"][:, 1:], events[:, None]), axis=1)
    state["rollbacks"] = np.where(rows[:, None], noted, state["rollbacks"])
    oldest = state["rollbacks"][:, 0]
    often: BoolArray = (oldest >= 0) & (events - oldest <= span)
    return often


def _reset_influence(expert: Recurrent, state: State, rows: BoolArray) -> None:
    """Begin the influence and the exponent's recent mean anew."""
    expert.forget_influence(state, rows)
    state["tangent"][rows] = expert.lyapunov.start
    state["figures"][rows, watch.LYAPUNOV] = 0.0
    state["counts"][rows, watch.POSITIVE] = 0


def _renew(expert: Recurrent, state: State, rows: BoolArray) -> None:
    """Make the unit anew that was stuck the longest, in each of some rows; draws are by seed and count of such units."""
    cell, n = expert.cell, expert.cell.n_units
    units = np.zeros_like(state["stuck"], dtype=np.bool_)
    units[np.flatnonzero(rows), np.argmax(state["stuck"][rows], axis=1)] = True
    state["renewed"] += rows
    changed = np.repeat(units[:, None], expert.cell.n_params_per_unit, axis=1)
    for row in np.flatnonzero(rows):
        rng = np.random.default_rng((expert.seed, int(state["renewed"][row])))
        np.copyto(state["params"][row], cell.init_params(rng), where=changed[row])
    heard = heard_units(cell)
    if heard is not None:
        others = (units[:, heard] & (heard >= 0))[:, :, None] & ~units[:, None]
        state["params"][others] = 0.0
        changed |= others
    np.copyto(state["state"][:, : cell.n_parts], cell.init_state()[: cell.n_parts], where=units[:, None])
    expert.forget_units(state, units)
    np.copyto(state["jacobian"], 0.0, where=changed[:, None])
    expert.forget_params(state, changed)
    read = np.zeros(state["weights"].shape[::2], dtype=np.bool_)
    read[:, : expert.n_read] = np.tile(units, (1, expert.n_read // n))
    for name in ("weights", "inputs", "gain"):
        np.copyto(state[name], 0.0, where=read[:, None])
    forget_in(state["covariance"], read, PRIOR_VARIANCE)
    state["stuck"][units] = 0


def _finite(values: np.ndarray) -> BoolArray:
    """Say in which rows all is finite, (B,)."""
    finite: BoolArray = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    return finite
