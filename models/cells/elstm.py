"""The element-wise LSTM: gates that see the unit's own past alone, so that RTRL is exact at the step's cost."""

from __future__ import annotations

from typing import Final, final

import numpy as np

from models.cells.activations import SATURATED_SLOPE, sigmoid, sigmoid_slope, tanh_slope
from models.protocols import Array, BoolArray, Recurrence, StepFactors

FORGET_BIAS: Final = 1.0
"""A new gate keeps .73 of the state: a memory of some steps. Longer ones are learned."""


@final
class Elstm:
    """Element-wise LSTM: real, diagonal, gated.

        v = tanh(W' x + w_v h_- + b_v),  f = sigmoid(F' x + w_f h_- + b_f)  (1)
        h = f h_- + (1 - f) v                                               (2)
        dh/dh_- = f + a w_v + g w_f,  a = (1 - f)(1 - v^2),  g = (h_- - v) f (1 - f)      (3)
        dh/dW = a x,  dh/dw_v = a h_-,  dh/db_v = a;  with g for F, w_f, b_f      (4)

    One part, k = 1; q = 2 (m + 2): W, w_v, b_v, F, w_f, b_f. The read-out is h.

    A GRU without a reset gate whose recurrent matrices are diagonal. It can hold and forget by what it sees
    and by what it is; being real it has no phase, so it cannot turn as a complex unit does.

    A unit is saturated where |h| > 0.99. h is a mean of candidates, so they have been at their ends for as
    long as the unit remembers. One that holds is not: its past passes as a whole.

    Args:
        n_inputs: m, at least 1.
        n_units: n, at least 1.

    Cost: O(m n) time per step; the immediate Jacobian is (1, q, n).

    Source: Irie, Gopalakrishnan & Schmidhuber (2024), "Exploring the promise and limits of real-time
    recurrent learning".

    Example:
        >>> import numpy as np
        >>> cell = Elstm(n_inputs=2, n_units=3)
        >>> params = cell.init_params(np.random.default_rng(0))
        >>> cell.step(params[None], cell.init_state()[None], np.ones((1, 2))).immediate.shape
        (1, 1, 8, 3)
    """

    recurrence: Recurrence = "diagonal"

    def __init__(self, *, n_inputs: int, n_units: int) -> None:
        """Set the sizes."""
        if n_inputs < 1 or n_units < 1:
            raise ValueError(f"a cell needs at least one input and one unit, not {n_inputs} and {n_units}")
        self.n_inputs = n_inputs
        self.n_units = n_units
        self.n_parts = 1
        self.n_params_per_unit = 2 * (n_inputs + 2)
        self.n_read_parts = 1

    def init_params(self, rng: np.random.Generator) -> Array:
        """Return new parameters, (q, n): inputs' weights Gaussian with variance 1/m, recurrent ones 0."""
        n, m = self.n_units, self.n_inputs
        params = np.zeros((2, m + 2, n))
        params[:, :m] = rng.normal(scale=np.sqrt(1.0 / m), size=(2, m, n))
        params[1, -1] = FORGET_BIAS
        return params.reshape(-1, n)

    def init_state(self) -> Array:
        """Return the state of a new model, zeros of shape (1, n)."""
        return np.zeros((1, self.n_units))

    def step(self, params: Array, state: Array, inputs: Array) -> StepFactors:
        """Advance one step by eq. (1) and (2) and return it with the derivatives (3) and (4)."""
        batch, m = inputs.shape
        before = state[:, 0]
        weights = params.reshape(batch, 2, m + 2, self.n_units)
        summed = (
            np.matmul(inputs[:, None, None, :], weights[:, :, :m])[:, :, 0]
            + weights[:, :, m] * before[:, None]
            + weights[:, :, m + 1]
        )
        candidate, forget = np.tanh(summed[:, 0]), sigmoid(summed[:, 1])
        hidden = forget * before + (1.0 - forget) * candidate
        slopes = np.stack(
            ((1.0 - forget) * tanh_slope(candidate), (before - candidate) * sigmoid_slope(forget)), axis=1
        )
        transition = forget + slopes[:, 0] * weights[:, 0, m] + slopes[:, 1] * weights[:, 1, m]
        seen = np.empty((batch, m + 2, self.n_units))
        seen[:, :m] = inputs[:, :, None]
        seen[:, m] = before
        seen[:, m + 1] = 1.0
        immediate = slopes[:, :, None] * seen[:, None]
        return StepFactors(
            state=hidden[:, None],
            transition=transition[:, None, None],
            immediate=immediate.reshape(batch, 1, self.n_params_per_unit, self.n_units),
        )

    def input_jacobian(self, params: Array, state: Array, inputs: Array) -> Array:
        """Return dh/dx of the step, a W + g F, (B, 1, m, n)."""
        batch, m = inputs.shape
        by_gate = (batch, 2, m + 2, self.n_units)
        slopes = self.step(params, state, inputs).immediate.reshape(by_gate)[:, :, -1:]  # dh/db: a and g
        terms = slopes * params.reshape(by_gate)[:, :, :m]
        jacobian: Array = terms[:, :1] + terms[:, 1:]
        return jacobian

    def read_out(self, state: Array) -> tuple[Array, Array]:
        """Return the state itself, (B, 1, n), and ones, (B, 1, 1, n)."""
        return state, np.ones((state.shape[0], 1, 1, self.n_units))

    def saturated(self, state: Array) -> BoolArray:
        """Say which units stand where a candidate could stand only with hardly any slope left, (B, n)."""
        return tanh_slope(state[:, 0]) < SATURATED_SLOPE
