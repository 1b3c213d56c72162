"""Columns: units that are each an LSTM of one cell and hear nothing of one another."""

from __future__ import annotations

from typing import Final, final

import numpy as np

from models.cells.activations import SATURATED_SLOPE, sigmoid, sigmoid_slope, tanh_slope
from models.protocols import Array, BoolArray, Recurrence, StepFactors

GATES: Final = 4
"""Input, forget and output gate, and the value written: the order of their weights."""
MEMORY_STEPS_MAX: Final = 100.0
"""Longest memory of a new column, in steps: as long as a new Rtu's. Longer ones must be learned."""
GATE_SCALE: Final = 0.5
"""What a new column's gates hear of the inputs, of what the value written hears. A gate that follows the same
input as the value lets one sign in rather than the other: at full weight and few inputs, long memories fill
up and a tenth of new columns is saturated; at half, 1 to 5 in a hundred."""
RECURRENT_SCALE: Final = 0.25
"""Standard deviation of a new column's weights on its own h. Without any, the state Jacobian's radius is the
forget gate's value, below 1; so it is .99 on average, and passes 1 in single steps."""


@final
class Columnar:
    """Columnar LSTM: n scalar LSTMs side by side.

        z_t[i] = [x_t, h_{t-1}[i], 1]                                       (1)
        (a_I, a_F, a_O, a_G)[i] = theta[., i]^T z_t[i],  one weight vector a gate    (2)
        c_t = F c_{t-1} + I G,  I, F = sigmoid(a_I), sigmoid(a_F),  G = tanh(a_G)    (3)
        h_t = O tanh(c_t),  O = sigmoid(a_O)                                (4)

    The state's parts are (c, h), k = 2; the read-out is h. Parameters per unit, q = 4 (m + 2): the gates
    in the order I, F, O, G, each in the order of z. With s = O (1 - tanh(c_t)^2), what a gate does:

        dc/da = (G I (1 - I), c_{t-1} F (1 - F), 0, I (1 - G^2))            (5)
        dh/da = s dc/da + (0, 0, tanh(c_t) O (1 - O), 0)                    (6)
        d(c, h)/d theta[gate, j] = d(c, h)/da_gate z[j]                     (7)
        d(c, h)/dc_{t-1} = (F, s F),  d(c, h)/dh_{t-1} = sum over gates of d(c, h)/da_gate theta[gate, m]    (8)

    The source divides each h by a running deviation before it is read. That is left to the readout here:
    the deviation is itself a function of the parameters, by all of the past, and a gradient that does
    not follow it would not be exact. Recursive least squares, for one, does not mind the scale.

    Args:
        n_inputs: m, at least 1.
        n_units: n, at least 1.

    Cost: O(m n) time per step; the immediate Jacobian is (2, q, n).

    Source: Javed, Shah, Sutton & White (2023), the columnar networks; Hochreiter & Schmidhuber (1997)
    and Gers et al. (2000) for eq. (2) to (4).

    Example:
        >>> import numpy as np
        >>> cell = Columnar(n_inputs=3, n_units=4)
        >>> params = cell.init_params(np.random.default_rng(0))
        >>> factors = cell.step(params[None], cell.init_state()[None], np.ones((1, 3)))
        >>> factors.state.shape, factors.transition.shape, factors.immediate.shape
        ((1, 2, 4), (1, 2, 2, 4), (1, 2, 20, 4))
        >>> features, _ = cell.read_out(factors.state)
        >>> bool(np.array_equal(features[:, 0], factors.state[:, 1]))
        True
    """

    recurrence: Recurrence = "diagonal"

    def __init__(self, *, n_inputs: int, n_units: int) -> None:
        """Set the sizes."""
        if n_inputs < 1 or n_units < 1:
            raise ValueError(f"a cell needs at least one input and one unit, not {n_inputs} and {n_units}")
        self.n_inputs = n_inputs
        self.n_units = n_units
        self.n_parts = 2
        self.n_params_per_unit = GATES * (n_inputs + 2)
        self.n_read_parts = 1

    def init_params(self, rng: np.random.Generator) -> Array:
        """Return new parameters, shape (q, n).

        Weights on the inputs are Gaussian with variance 1/m, the gates' with GATE_SCALE^2 / m, those on
        h with RECURRENT_SCALE^2; the biases are those of `new_biases`.
        """
        n, m = self.n_units, self.n_inputs
        weights = np.empty((GATES, m + 2, n))
        weights[:, :m] = rng.normal(scale=np.sqrt(1.0 / m), size=(GATES, m, n))
        weights[:3, :m] *= GATE_SCALE
        weights[:, m] = rng.normal(scale=RECURRENT_SCALE, size=(GATES, n))
        weights[:, m + 1] = new_biases(rng, n)
        return weights.reshape(self.n_params_per_unit, n)

    def init_state(self) -> Array:
        """Return the state of a new model, zeros of shape (2, n)."""
        return np.zeros((2, self.n_units))

    def step(self, params: Array, state: Array, inputs: Array) -> StepFactors:
        """Advance one step by eq. (3) and (4) and return it with the derivatives (7) and (8).

        Args:
            params: (B, q, n).
            state: (B, 2, n).
            inputs: (B, m).
        """
        weights, advanced, by_gate, forgotten = self._gates(params, state, inputs)
        batch, m = inputs.shape
        transition = np.empty((batch, 2, 2, self.n_units))
        transition[:, :, 0] = forgotten
        transition[:, :, 1] = sum_over_gates(by_gate, weights[:, :, m])  # Eq. (8).
        seen = np.ones((batch, m + 2, self.n_units))  # Eq. (1).
        seen[:, :m] = inputs[:, :, None]
        seen[:, m] = state[:, 1]
        immediate = by_gate[:, :, :, None] * seen[:, None, None]  # Eq. (7).
        return StepFactors(
            state=advanced,
            transition=transition,
            immediate=immediate.reshape(batch, 2, self.n_params_per_unit, self.n_units),
        )

    def input_jacobian(self, params: Array, state: Array, inputs: Array) -> Array:
        """Return d(c, h)/dx of the step, (B, 2, m, n)."""
        weights, _, by_gate, _ = self._gates(params, state, inputs)
        jacobian = np.zeros((inputs.shape[0], 2, self.n_inputs, self.n_units))
        for gate in range(GATES):
            jacobian += by_gate[:, :, gate, None] * weights[:, None, gate, : self.n_inputs]
        return jacobian

    def read_out(self, state: Array) -> tuple[Array, Array]:
        """Return h, (B, 1, n), and its Jacobian to the state, (B, 1, 2, n)."""
        jacobian = np.zeros((state.shape[0], 1, 2, self.n_units))
        jacobian[:, 0, 1] = 1.0
        return state[:, 1:2], jacobian

    def saturated(self, state: Array) -> BoolArray:
        """Say which columns have a factor of h = O tanh(c) at an end, (B, n); see `column_saturated`."""
        return column_saturated(state)

    def _gates(self, params: Array, state: Array, inputs: Array) -> tuple[Array, Array, Array, Array]:
        """Return the weights by gate, (B, 4, m + 2, n), and what `column_step` returns."""
        batch, m = inputs.shape
        weights = params.reshape(batch, GATES, m + 2, self.n_units)
        summed = np.matmul(inputs[:, None, None, :], weights[:, :, :m])[:, :, 0]  # Eq. (2).
        summed += weights[:, :, m] * state[:, None, 1] + weights[:, :, m + 1]
        return weights, *column_step(summed, state[:, 0])


def new_biases(rng: np.random.Generator, n_units: int) -> Array:
    """Return the gates' biases of new columns, (4, n).

    The forget gate's, log(T - 1), makes a memory of T steps, F = 1 - 1/T. log T is spread evenly over
    2 to MEMORY_STEPS_MAX: stratified, one draw in each of n equal strata, since n independent draws
    leave gaps when units are few. The input gate's keeps the variance of c at that of what is written,
    I^2 = 1 - F^2, as an Rtu's gamma does. The other two are 0.

    Source: Tallec & Ollivier (2018) for log(T - 1).
    """
    share = (rng.permutation(n_units) + rng.random(n_units)) / n_units
    steps = 2.0 * (MEMORY_STEPS_MAX / 2.0) ** share
    kept = 1.0 - 1.0 / steps
    written = np.sqrt(1.0 - kept * kept)
    biases = np.zeros((GATES, n_units))
    biases[0] = np.log(written / (1.0 - written))
    biases[1] = np.log(steps - 1.0)
    return biases


def column_step(summed: Array, cell: Array) -> tuple[Array, Array, Array]:
    """Advance columns whose gates are given by their sums.

    Args:
        summed: a of eq. (2) of `Columnar`, (B, 4, n).
        cell: c_{t-1}, (B, n).

    Returns:
        the state (c, h), (B, 2, n); its derivatives to the sums, eq. (5) and (6), (B, 2, 4, n); its
        derivative to c_{t-1}, eq. (8), (B, 2, n).
    """
    gates = sigmoid(summed[:, :3])
    write, keep, show = gates[:, 0], gates[:, 1], gates[:, 2]
    value = np.tanh(summed[:, 3])
    advanced = keep * cell + write * value
    squashed = np.tanh(advanced)
    slopes = sigmoid_slope(gates)
    passed = show * tanh_slope(squashed)  # s of eq. (6).
    by_gate = np.zeros((summed.shape[0], 2, GATES, summed.shape[2]))
    by_gate[:, 0, 0] = value * slopes[:, 0]
    by_gate[:, 0, 1] = cell * slopes[:, 1]
    by_gate[:, 0, 3] = write * tanh_slope(value)
    by_gate[:, 1] = passed[:, None] * by_gate[:, 0]
    by_gate[:, 1, 2] = squashed * slopes[:, 2]
    state = np.stack((advanced, show * squashed), axis=1)
    return state, by_gate, np.stack((keep, passed * keep), axis=1)


def sum_over_gates(by_gate: Array, weights: Array) -> Array:
    """Return the sum over gates of (B, 2, 4, n) by weights (B, 4, n): (B, 2, n)."""
    summed = by_gate[:, :, 0] * weights[:, None, 0]
    for gate in range(1, GATES):
        summed += by_gate[:, :, gate] * weights[:, None, gate]
    return summed


def column_saturated(state: Array) -> BoolArray:
    """Say which columns have a factor of h = O tanh(c) at an end, (B, n).

    The output gate is not kept, but c and h tell it: O = h / tanh(c). Where c is 0, they do not, and the
    column is not called saturated: so it is at the start, and at inputs of zero.
    """
    squashed = np.tanh(state[:, 0])
    told = squashed != 0.0
    show = np.where(told, state[:, 1] / np.where(told, squashed, 1.0), 0.5)
    # At most 1/4, and less than 0 where a state was set by hand to what no gate can make.
    gate_ended = 4.0 * sigmoid_slope(show) < SATURATED_SLOPE
    return gate_ended | (tanh_slope(squashed) < SATURATED_SLOPE)
