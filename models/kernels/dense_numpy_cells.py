"""One step of a dense cell and its factors in place, for one model, in few calls of numpy: see `models.cells.vanilla`, `gru` and `lstm`.

A state Jacobian is summed the way the parameters lie, in `work`, and written turned in one go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from models.cells.activations import sigmoid, sigmoid_slope, tanh_slope
from models.cells.lstm import GATES
from models.kernels.dense import GRU, LSTM, VANILLA
from models.protocols import Array, SingleOrDouble

Step = Callable[[Array, Array, Array, SingleOrDouble, Array, Array], None]
"""Advance the state, (k, n), under parameters (q, n) by z, (p,); write transition, (S, S), and sensitivity, (k, G, n); work is (n, n)."""


def vanilla_step(
    params: Array, state: Array, z: Array, transition: SingleOrDouble, sensitivity: Array, work: Array
) -> None:
    """Advance a tanh cell."""
    active, slope = state[0], sensitivity[0, 0]
    np.tanh(z.dot(params), out=active)
    slope[...] = tanh_slope(active)
    np.multiply(params[: len(active)], slope, out=work)
    transition[...] = work.T


def gru_step(
    params: Array, state: Array, z: Array, transition: SingleOrDouble, sensitivity: Array, work: Array
) -> None:
    """Advance a GRU."""
    before, n, p = state[0], state.shape[1], len(z)
    gates = params[: 2 * p].reshape(2, p, n)
    reset, keep = sigmoid(np.matmul(z, gates))
    past = z[:n].dot(params[2 * p : 2 * p + n]) + params[-1]
    candidate = np.tanh(z[n:].dot(params[2 * p + n : -1]) + reset * past)
    of_reset, of_keep, of_past, of_drive = sensitivity[0]
    renewed = 1.0 - keep
    np.multiply(renewed, tanh_slope(candidate), out=of_drive)
    np.multiply(of_drive, reset, out=of_past)
    np.multiply(of_drive * past, sigmoid_slope(reset), out=of_reset)
    np.multiply(before - candidate, keep * renewed, out=of_keep)
    np.multiply(params[:n], of_reset, out=work)
    work += params[p : p + n] * of_keep
    work += params[2 * p : 2 * p + n] * of_past
    work.reshape(-1)[:: n + 1] += keep
    transition[...] = work.T
    before[...] = renewed * candidate + keep * before


def lstm_step(
    params: Array, state: Array, z: Array, transition: SingleOrDouble, sensitivity: Array, work: Array
) -> None:
    """Advance an LSTM."""
    n = state.shape[1]
    weights = params.reshape(GATES, len(z), n)
    summed = np.matmul(z, weights)
    gates, candidate = sigmoid(summed[:3]), np.tanh(summed[3])
    entry, forget, output = gates
    of_entry, of_forget, of_output = sigmoid_slope(gates)
    cell = forget * state[0] + entry * candidate
    squashed = np.tanh(cell)
    passed = output * tanh_slope(squashed)
    of_cell, of_hidden = sensitivity
    np.multiply(candidate, of_entry, out=of_cell[0])
    np.multiply(state[0], of_forget, out=of_cell[1])
    of_cell[2] = 0.0
    np.multiply(entry, tanh_slope(candidate), out=of_cell[3])
    np.multiply(of_cell, passed, out=of_hidden)
    np.multiply(squashed, of_output, out=of_hidden[2])
    np.multiply(weights[0, :n], of_cell[0], out=work)
    work += weights[1, :n] * of_cell[1]
    work += weights[3, :n] * of_cell[3]
    transition[:n, n:] = work.T
    work *= passed
    work += weights[2, :n] * of_hidden[2]
    transition[n:, n:] = work.T
    transition[:, :n] = 0.0
    units = np.arange(n)
    transition[units, units] = forget
    transition[n + units, units] = passed * forget
    state[0] = cell
    np.multiply(output, squashed, out=state[1])


STEPS: Final[dict[int, Step]] = {VANILLA: vanilla_step, GRU: gru_step, LSTM: lstm_step}
