"""Filters of a model's derivatives, compiled: overshooting-bounded steps, the extended Kalman filter, recursive least squares.

The arithmetic is that of `models.optimizers.obgd`, `.ekf`, `.rls` and `.innovations` for noise of 1. Derivatives of an output
stand in one vector of N: the cell's, unit by unit, then the readout's, output by output. A covariance is blocks of P,
(groups, size, size) each, which lie one behind the other along that vector; P is symmetric, so that its rows are its columns.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from models.kernels.fetching import fetch
from models.kernels.jit import inner
from models.kernels.reductions import folded
from models.optimizers.ekf import NORMAL_FROM_MEDIAN, WARM_UP
from models.optimizers.innovations import LARGEST
from models.optimizers.rls import TRACE_CEILING
from models.protocols import Array, IntArray

OBGD: Final = 0
EKF: Final = 1
RLS: Final = 2


@inner
def is_data(jacobian: Array, error: Array) -> bool:
    """Say whether derivatives, (o, N), and errors, (o,), can be learned from, see `whitened`."""
    odd, size = 0, jacobian.shape[1]
    for j in range(len(error)):
        odd += 0 if abs(error[j]) <= LARGEST else 1
        row = jacobian[j]
        for a in range(size):
            odd += 0 if abs(row[a]) <= LARGEST else 1
    return odd == 0


@inner
def product(one: Array, other: Array, room: Array) -> float:
    """Return the inner product of two vectors, (N,)."""
    for a in range(len(one)):
        room[a] = one[a] * other[a]
    return folded(room)


@inner
def gains(covariance: Array, slope: Array, first: int, gain: Array) -> None:
    """Write P h of the groups whose place in the vectors begins at `first`."""
    groups, size = covariance.shape[:2]
    for g in range(groups):
        at = first + g * size
        block, own = covariance[g], gain[at : at + size]
        for a in range(size):
            own[a] = 0.0
        for b in range(size):
            weight, row = slope[at + b], block[b]
            for a in range(size):
                own[a] += weight * row[a]


@inner
def narrowed(covariance: Array, first: int, root: Array, ahead: Array, far: bool) -> None:
    """Take a vector's product with itself from P, eq. (3) of `Ekf`; `ahead` is a later event's P, to be asked for where models are far."""
    groups, size = covariance.shape[:2]
    for g in range(groups):
        at = first + g * size
        block, own = covariance[g], root[at : at + size]
        for b in range(size):
            weight, row = own[b], block[b]
            fetch(ahead[g, b], far)
            for a in range(size):
                row[a] -= weight * own[a]


@inner
def widened(covariance: Array, process_noise: float, trace_max: float) -> None:
    """Add the process noise where there is room, eq. (4) of `Ekf`."""
    groups, size = covariance.shape[:2]
    for g in range(groups):
        total = 0.0
        for a in range(size):
            total += covariance[g, a, a]
        if total / size < trace_max:
            for a in range(size):
                covariance[g, a, a] += process_noise


@inner
def scaled(
    error: Array, slot: int, median: Array, variance: Array, count: IntArray, gate: float, memory: float
) -> None:
    """Cut a model's errors down by the gate, and take them into its median, variance and count: `Ekf`."""
    n_outputs = len(error)
    count[slot] += 1
    labels, magnitude, mean_square = count[slot], 0.0, 0.0
    for j in range(n_outputs):
        magnitude += abs(error[j])
    magnitude /= n_outputs
    middle = max(magnitude, 1e-6) if labels == 1 else median[slot]
    bound = gate * NORMAL_FROM_MEDIAN * middle if labels > WARM_UP else np.inf
    for j in range(n_outputs):
        error[j] = min(max(error[j], -bound), bound)
        mean_square += error[j] * error[j]
    mean_square /= n_outputs
    pace = max(1.0 / labels, 0.5 / memory)
    median[slot] = max(middle * np.exp(pace if magnitude > middle else -pace), 1e-12)
    before = mean_square if labels == 1 else variance[slot]
    variance[slot] = max(before + max(1.0 / labels, 1.0 / memory) * (mean_square - before), 1e-20)


@inner
def kalman(
    jacobian: Array,
    error: Array,
    level: float,
    process_noise: float,
    trace_max: float,
    of_cell: Array,
    of_readout: Array,
    gain: Array,
    room: Array,
    update: Array,
    ahead_of_cell: Array,
    ahead_of_readout: Array,
    far: bool,
) -> None:
    """Write what eq. (1) to (4) of `Ekf` add, (N,); P of a model in place, in two blocks, of which the second may be empty.

    A later event's P, `ahead`, is asked for where models are far.
    """
    first = of_cell.shape[0] * of_cell.shape[1]
    for a in range(len(update)):
        update[a] = 0.0
    for j in range(len(error)):
        slope = jacobian[j]
        surprise = error[j] - product(slope, update, room)
        gains(of_cell, slope, 0, gain)
        gains(of_readout, slope, first, gain)
        total = level + product(slope, gain, room)
        share, deviation = surprise / total, np.sqrt(total)
        for a in range(len(update)):
            update[a] += gain[a] * share
        for a in range(len(update)):
            gain[a] /= deviation
        narrowed(of_cell, 0, gain, ahead_of_cell, far and j == 0)
        narrowed(of_readout, first, gain, ahead_of_readout, far and j == 0)
    widened(of_cell, process_noise, trace_max)
    widened(of_readout, process_noise, trace_max)


@inner
def least_squares(
    slope: Array,
    error: float,
    forgetting: float,
    covariance: Array,
    first: int,
    gain: Array,
    update: Array,
    ahead: Array,
    far: bool,
) -> None:
    """Add what eq. (1) of `Rls` gives for one output, group by group; P of a model's block in place; `ahead` as for `narrowed`."""
    groups, size = covariance.shape[:2]
    for g in range(groups):
        at = first + g * size
        block, h, own = covariance[g], slope[at : at + size], gain[at : at + size]
        heard, power, trace = 0, 0.0, 0.0
        for a in range(size):
            heard += 0 if h[a] == 0.0 else 1
        if heard == 0:
            continue
        for a in range(size):
            own[a] = 0.0
        for b in range(size):
            weight, row = h[b], block[b]
            for a in range(size):
                own[a] += weight * row[a]
        for a in range(size):
            power += own[a] * h[a]
            trace += block[a, a]
        total = forgetting + power
        if not (np.isfinite(total) and total > 0.0):
            continue
        share, deviation = error / total, np.sqrt(total)
        growth = 1.0 / forgetting if trace < TRACE_CEILING * size else 1.0
        for a in range(size):
            update[at + a] += own[a] * share
            own[a] /= deviation
        for b in range(size):
            weight, row = own[b], block[b]
            fetch(ahead[g, b], far)
            for a in range(size):
                row[a] = (row[a] - weight * own[a]) * growth


@inner
def bounded_steps(
    jacobian: Array, error: Array, learning_rate: float, kappa: float, room: Array, update: Array
) -> None:
    """Write the sum over outputs of eq. (1) of `Obgd`, (N,)."""
    n_outputs = len(error)
    for a in range(len(update)):
        update[a] = 0.0
    for j in range(n_outputs):
        slope = jacobian[j]
        for a in range(len(update)):
            room[a] = abs(slope[a])
        overshoot = learning_rate * kappa * max(abs(error[j]), 1.0) * folded(room)
        step = learning_rate * error[j] / max(overshoot, 1.0) / n_outputs
        for a in range(len(update)):
            update[a] += step * slope[a]
