"""Challengers for one row of the records: twin of `models.drift.challenger` but for birth and takeover, which are seldom and in numpy.

Their fields lie as the experts' do, elsewhere: `of` and `at` here are those of the challengers.
"""

from __future__ import annotations

from models.kernels.forecaster_experts import is_hasty, readout_forecast
from models.kernels.forecaster_missing import settle_covariances
from models.kernels.forecaster_parts import Constants, Experts, Places, clipped
from models.kernels.forecaster_updates import expert_learn
from models.kernels.forecaster_work import Sizes, Work
from models.kernels.jit import inner
from models.protocols import Array, BoolArray, IntArray


@inner
def challengers_learn(
    f: Array,
    i: IntArray,
    g: BoolArray,
    at: Places,
    of: Experts,
    size: Sizes,
    c: Constants,
    root: Array,
    w: Work,
) -> None:
    """Twin of `Challengers.learn`."""
    if not size.challengers or i[at.challenge_age] == 0:
        return
    judged = w.known[0] and i[at.challenge_age] > size.first
    if judged:
        i[at.challenge_judged] += 1
    rate = max(1.0 / c.challenge_judged, 1.0 / max(i[at.challenge_judged], 1))
    for e in range(size.experts):
        if of.inputs[e] == 0:
            continue
        for h in range(size.horizons):
            w.own[h] = 0.0
            if w.known[h]:
                pending = f[at.challenge_pending + w.slots[h] * size.experts + e]
                w.own[h] = clipped(w.target[h] - pending, w.bounds[e, h])
        if judged:
            for which in range(2):
                error = w.residuals[e, 0] if which == 0 else w.own[0]
                place = at.challenge_loss + which * size.experts + e
                f[place] += rate * (error * error - f[place])
        expert_learn(f, i, g, at, of, e, size, c, w.own, root, w)


@inner
def challengers_forecast(
    f: Array,
    i: IntArray,
    g: BoolArray,
    at: Places,
    of: Experts,
    size: Sizes,
    c: Constants,
    increment: float,
    steady: tuple[float, float, float],
    denominators: Array,
    w: Work,
) -> None:
    """Twin of `Challengers.forecast`."""
    if not size.challengers or i[at.challenge_age] == 0:
        return
    row = (i[at.clock_count] - 1) % size.rows
    for e in range(size.experts):
        if of.inputs[e] == 0:
            continue
        readout_forecast(f, i, g, at, of, e, size, c, increment, steady, row, denominators, w)
        for h in range(size.horizons):
            f[at.challenge_pending + w.slots[h] * size.experts + e] = w.own[h]


@inner
def end_event(
    f: Array,
    i: IntArray,
    at: Places,
    at_born: Places,
    born: Experts,
    size: Sizes,
    c: Constants,
    denominators: Array,
    root: Array,
    ahead: Array,
    far: bool,
) -> bool:
    """Twin of `Reaction.end_event`, behind what challengers take into their covariances: return whether `react` has to be called.

    `ahead` as for `settle_covariances`.
    """
    if i[at.scale_seen] == 0:
        return False
    asked = False
    if size.challengers and i[at.challenge_age] > 0:
        settle_covariances(f, i, at_born, born, size, c, denominators, root, ahead, far)
        i[at.challenge_age] += 1
        asked = i[at.challenge_age] > c.challenge_events
        for e in range(size.experts):
            better = f[at.challenge_loss + size.experts + e] < c.challenge_better * f[at.challenge_loss + e]
            asked = asked or (better and i[at.challenge_judged] >= c.challenge_judged)
    if is_hasty(i, at):
        i[at.quicken_left] -= 1
    return bool(asked)
