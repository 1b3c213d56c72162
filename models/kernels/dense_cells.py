"""One step of a dense cell and its factors, compiled: twins of `models.cells.vanilla`, `gru` and `lstm`."""

from __future__ import annotations

import numpy as np

from models.kernels.dense_products import add_weighed
from models.kernels.jit import inner
from models.protocols import Array, SingleOrDouble


@inner
def squash(value: float) -> float:
    """Return the sigmoid, as `models.cells.activations` has it."""
    return float(0.5 * (1.0 + np.tanh(0.5 * value)))


@inner
def weighed(z: Array, params: Array, first: int, summed: Array) -> None:
    """Put sum over j of z[j] params[first + j] into `summed`, (n,)."""
    for i in range(len(summed)):
        summed[i] = 0.0
    add_weighed(z, params[first : first + len(z)], summed)


@inner
def vanilla_step(
    params: Array, state: Array, z: Array, transition: SingleOrDouble, sensitivity: Array, work: Array
) -> None:
    """Advance a tanh cell; write its factors, see `models.cells.vanilla`."""
    n = state.shape[1]
    weighed(z, params, 0, work[0])
    for i in range(n):
        state[0, i] = np.tanh(work[0, i])
        sensitivity[0, 0, i] = 1.0 - state[0, i] * state[0, i]
    slope, fours = sensitivity[0, 0], n - n % 4
    for i in range(0, fours, 4):  # since one entry of each row of the weights is as far away as four of them
        one, two, three, four = transition[i], transition[i + 1], transition[i + 2], transition[i + 3]
        for u in range(n):
            one[u], two[u] = slope[i] * params[u, i], slope[i + 1] * params[u, i + 1]
            three[u], four[u] = slope[i + 2] * params[u, i + 2], slope[i + 3] * params[u, i + 3]
    for i in range(fours, n):
        for u in range(n):
            transition[i, u] = slope[i] * params[u, i]


@inner
def gru_step(
    params: Array, state: Array, z: Array, transition: SingleOrDouble, sensitivity: Array, work: Array
) -> None:
    """Advance a GRU; write its factors, see `models.cells.gru`."""
    n, p = state.shape[1], len(z)
    weighed(z, params, 0, work[0])
    weighed(z, params, p, work[1])
    weighed(z[:n], params, 2 * p, work[2])
    weighed(z[n:], params, 2 * p + n, work[3])
    for i in range(n):
        reset, keep = squash(work[0, i]), squash(work[1, i])
        past = work[2, i] + params[3 * p, i]
        candidate = np.tanh(work[3, i] + reset * past)
        before = state[0, i]
        to_candidate = (1.0 - keep) * (1.0 - candidate * candidate)
        sensitivity[0, 0, i] = to_candidate * past * (reset * (1.0 - reset))
        sensitivity[0, 1, i] = (before - candidate) * (keep * (1.0 - keep))
        sensitivity[0, 2, i] = to_candidate * reset
        sensitivity[0, 3, i] = to_candidate
        state[0, i] = (1.0 - keep) * candidate + keep * before
        work[4, i] = keep
    for i in range(n):
        of_reset, of_keep, of_past = sensitivity[0, 0, i], sensitivity[0, 1, i], sensitivity[0, 2, i]
        for u in range(n):
            transition[i, u] = (
                of_reset * params[u, i] + of_keep * params[p + u, i] + of_past * params[2 * p + u, i]
            )
        transition[i, i] += work[4, i]


@inner
def lstm_step(
    params: Array, state: Array, z: Array, transition: SingleOrDouble, sensitivity: Array, work: Array
) -> None:
    """Advance an LSTM; write its factors, see `models.cells.lstm`."""
    n, p = state.shape[1], len(z)
    for gate in range(4):
        weighed(z, params, gate * p, work[gate])
    for s in range(len(transition)):
        for u in range(len(transition)):
            transition[s, u] = 0.0
    for i in range(n):
        entry, forget, output = squash(work[0, i]), squash(work[1, i]), squash(work[2, i])
        candidate, before = np.tanh(work[3, i]), state[0, i]
        cell = forget * before + entry * candidate
        squashed = np.tanh(cell)
        passed = output * (1.0 - squashed * squashed)
        sensitivity[0, 0, i] = candidate * (entry * (1.0 - entry))
        sensitivity[0, 1, i] = before * (forget * (1.0 - forget))
        sensitivity[0, 2, i] = 0.0
        sensitivity[0, 3, i] = entry * (1.0 - candidate * candidate)
        for gate in range(4):
            sensitivity[1, gate, i] = passed * sensitivity[0, gate, i]
        sensitivity[1, 2, i] = squashed * (output * (1.0 - output))
        state[0, i], state[1, i] = cell, output * squashed
        transition[i, i] = forget
        transition[n + i, i] = passed * forget
    for part in range(2):
        for i in range(n):
            for gate in range(4):
                slope, first = sensitivity[part, gate, i], gate * p
                for u in range(n):
                    transition[part * n + i, n + u] += slope * params[first + u, i]
