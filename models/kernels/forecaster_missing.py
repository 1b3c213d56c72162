"""What stands in for a missing value, and what is said before there was any."""

from __future__ import annotations

import numpy as np

from models.kernels.forecaster_experts import forgets, readout_settle
from models.kernels.forecaster_mixture import polynomial_combine
from models.kernels.forecaster_parts import Constants, Experts, Places
from models.kernels.forecaster_trust import drawn
from models.kernels.forecaster_updates import FILTER, filter_settle
from models.kernels.forecaster_work import Sizes, Work, experts_at
from models.kernels.jit import inner
from models.protocols import Array, IntArray


@inner
def expected(f: Array, i: IntArray, at: Places, horizons: IntArray) -> float:
    """Twin of `Forecaster._expected`: return what stands in for a missing value."""
    count = i[at.clock_count]
    if count < horizons[0]:
        return float(f[at.scale_level])
    slot = count % horizons[0]
    return float(f[at.pending_level + slot] + f[at.pending_scale + slot] * f[at.pending_mixed + slot])


@inner
def say_nothing(
    f: Array, at: Places, size: Sizes, c: Constants, horizons: IntArray, row: Array, w: Work
) -> None:
    """Tell of a target that never had a value: no forecast, the weights of a new model, and figures of 0."""
    n_horizons, n_experts, first_expert = size.horizons, size.experts, experts_at(size)
    for j in range(n_horizons):
        row[j] = np.nan
    for j in range(2 * n_horizons, first_expert + n_horizons * n_experts):
        row[j] = np.nan
    weights_at = first_expert + n_horizons * n_experts
    for e in range(n_experts):
        w.of_horizon[e] = 0.0
    for h in range(n_horizons):
        weights = row[weights_at + h * n_experts : weights_at + (h + 1) * n_experts]
        whole = polynomial_combine(f, at, c, h, w.of_horizon, weights)
        if size.naive >= 0:
            drawn(f, at, h, horizons[h], size.naive, w.of_horizon, whole, weights)
    row[first_expert + 3 * n_horizons * n_experts + 1] = 1.0


@inner
def settle_covariances(
    f: Array,
    i: IntArray,
    at: Places,
    of: Experts,
    size: Sizes,
    c: Constants,
    denominators: Array,
    root: Array,
    ahead: Array,
    far: bool,
) -> None:
    """Take a target's inputs at this event, and what it taught a filter, into the covariances; nothing where it never had a value.

    The covariances in the next series' record, `ahead`, are asked for where models are far.
    """
    if i[at.scale_seen] == 0:
        return
    row = (i[at.clock_count] - 1) % size.rows
    for e in range(size.experts):
        if of.inputs[e] > 0:
            readout_settle(f, of, e, forgets(i, at, of, e, c), row, c, denominators, ahead, far)
    if size.descent == FILTER:
        filter_settle(f, at, size, c, root, ahead, far)
