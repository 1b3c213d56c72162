"""Truncated backpropagation, compiled by the same compiler: what exact RTRL has to be compared with fairly.

At each event the last WINDOW steps are run again from a state of zero under the weights in force, the loss at the last is
carried back through all of them, and the weights take an SGD step: what `benchmarks.kernels.peers.torch_truncated` does.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from models.kernels.arrays import aligned
from models.kernels.dense_cells import weighed
from models.kernels.jit import jit
from models.protocols import Array


class Room(NamedTuple):
    """Room for a window of z, (W, n + m + 1), and of states, (W, n), a gradient, and vectors of n."""

    z: Array
    states: Array
    gradient: Array
    slope: Array
    credit: Array
    drive: Array


def room_for(params: Array, window: int) -> Room:
    """Return room for parameters (n + m + 1, n) and a window."""
    p, n = params.shape
    return Room(aligned((window, p)), aligned((window, n)), aligned((p, n)), *aligned((3, n)))


@jit
def truncated_events(
    params: Array, readout: Array, inputs: Array, targets: Array, window: int, rate: float, room: Room
) -> None:
    """Learn from the events from the window's length on; params (n + m + 1, n) and readout (n + 1,) in place."""
    n, m = params.shape[1], inputs.shape[1]
    z, states, gradient, slope, credit, drive = room
    for event in range(window, len(inputs) + 1):
        for step in range(window):
            row = z[step]
            for i in range(n):
                row[i] = states[step - 1, i] if step > 0 else 0.0
            for i in range(m):
                row[n + i] = inputs[event - window + step, i]
            row[n + m] = 1.0
            weighed(row, params, 0, drive)
            for i in range(n):
                states[step, i] = np.tanh(drive[i])
        error = readout[n] - targets[event - 1]
        for i in range(n):
            error += readout[i] * states[window - 1, i]
        for j in range(n + m + 1):
            for i in range(n):
                gradient[j, i] = 0.0
        for i in range(n):
            credit[i] = error * readout[i]
        for step in range(window - 1, -1, -1):
            for i in range(n):
                slope[i] = credit[i] * (1.0 - states[step, i] * states[step, i])
            for j in range(n + m + 1):
                factor, row = z[step, j], gradient[j]
                for i in range(n):
                    row[i] += factor * slope[i]
            for u in range(n):
                total, row = 0.0, params[u]
                for i in range(n):
                    total += row[i] * slope[i]
                credit[u] = total
        for i in range(n):
            readout[i] -= rate * error * states[window - 1, i]
        readout[n] -= rate * error
        for j in range(n + m + 1):
            for i in range(n):
                params[j, i] -= rate * gradient[j, i]
