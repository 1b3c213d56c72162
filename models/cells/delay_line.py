"""The time-delay neural network: memory by delays alone, of the inputs and of the units."""

from __future__ import annotations

from typing import Final, final

import numpy as np

from models.cells.activations import SATURATED_SLOPE, tanh_slope
from models.cells.context import n_context_rows, read_context, with_context
from models.protocols import Array, BoolArray, Recurrence, StepFactors

TAPS: Final = 8
"""Inputs that a unit sees, the present one included."""
UNIT_TAPS: Final = 4
"""Delays at which the read-out sees a unit. With TAPS the output reaches 7 + 3 = 10 steps back."""


@final
class DelayLine:
    """Units over a tapped delay line, read at several delays themselves (TDNN).

        h_t = tanh(sum_d W_d' x_{t-d} + b),  d = 0 .. taps - 1              (1)
        read-out: h_t, h_{t-1}, .. h_{t-unit_taps+1}                        (2)

    A unit at delay a has the same weights as at delay 0, so what it detects is found wherever in the
    window it stands: weights are shared across delays, as in a convolution. Nothing is fed back: the
    output reaches taps + unit_taps - 2 steps back and not one further. With both 1 this is the
    feed-forward network, which sees the present input alone.

    Parts: h at each delay, k = unit_taps; the state Jacobian is the shift from delay to delay, so the trace rule
    is exact (recurrence "diagonal", or "none" with one delay). Context rows hold the past inputs. q = taps m + 1: W_0, W_1, .., b.

    Args:
        n_inputs: m, at least 1.
        n_units: n, at least 1.
        taps: inputs seen by a unit, at least 1.
        unit_taps: delays of a unit seen by the read-out, at least 1.

    Cost: O(taps m n) time per step; the immediate Jacobian is (unit_taps, q, n).

    Source: Waibel et al. (1989).

    Example:
        >>> import numpy as np
        >>> cell = DelayLine(n_inputs=1, n_units=2, taps=3, unit_taps=2)
        >>> params = cell.init_params(np.random.default_rng(0))[None]
        >>> state, alive = cell.init_state()[None], []
        >>> for x in (1.0, 0.0, 0.0, 0.0, 0.0):
        ...     state = cell.step(params, state, np.full((1, 1), x)).state
        ...     alive.append(bool(cell.read_out(state)[0].any()))
        >>> alive  # the impulse is seen for taps + unit_taps - 1 steps
        [True, True, True, True, False]
    """

    def __init__(self, *, n_inputs: int, n_units: int, taps: int = TAPS, unit_taps: int = UNIT_TAPS) -> None:
        """Set the sizes and the delays."""
        if n_inputs < 1 or n_units < 1:
            raise ValueError(f"a cell needs at least one input and one unit, not {n_inputs} and {n_units}")
        if taps < 1 or unit_taps < 1:
            raise ValueError(f"taps, unit_taps: at least one each is needed, not {taps} and {unit_taps}")
        self.recurrence: Recurrence = "diagonal" if unit_taps > 1 else "none"
        self.n_inputs = n_inputs
        self.n_units = n_units
        self.n_parts = unit_taps
        self.n_params_per_unit = taps * n_inputs + 1
        self.n_read_parts = unit_taps
        self._n_kept = (taps - 1) * n_inputs

    def init_params(self, rng: np.random.Generator) -> Array:
        """Return new parameters, (q, n): Gaussian with variance 1/(taps m); the bias 0."""
        params = np.zeros((self.n_params_per_unit, self.n_units))
        n_seen = self.n_params_per_unit - 1
        params[:-1] = rng.normal(scale=np.sqrt(1.0 / n_seen), size=(n_seen, self.n_units))
        return params

    def init_state(self) -> Array:
        """Return the state of a new model: zeros, (k + c, n)."""
        return np.zeros((self.n_parts + n_context_rows(self._n_kept, self.n_units), self.n_units))

    def step(self, params: Array, state: Array, inputs: Array) -> StepFactors:
        """Advance one step by eq. (1) and return it with its derivatives."""
        batch, k, n = len(inputs), self.n_parts, self.n_units
        window = np.concatenate((inputs, read_context(state, k, self._n_kept)), axis=1)
        seen = np.concatenate((window, np.ones((batch, 1))), axis=1)
        hidden = np.tanh(np.matmul(seen[:, None, :], params)[:, 0])
        parts = np.concatenate((hidden[:, None], state[:, : k - 1]), axis=1)
        transition = np.zeros((batch, k, k, n))
        later = np.arange(1, k)
        transition[:, later, later - 1] = 1.0
        immediate = np.zeros((batch, k, self.n_params_per_unit, n))
        immediate[:, 0] = seen[:, :, None] * tanh_slope(hidden)[:, None, :]
        return StepFactors(
            state=with_context(parts, window[:, : self._n_kept]), transition=transition, immediate=immediate
        )

    def read_out(self, state: Array) -> tuple[Array, Array]:
        """Return eq. (2), (B, k, n), and its Jacobian to the parts, (B, k, k, n)."""
        k = self.n_parts
        jacobian = np.zeros((len(state), k, k, self.n_units))
        jacobian[:, np.arange(k), np.arange(k)] = 1.0
        return state[:, :k], jacobian

    def saturated(self, state: Array) -> BoolArray:
        """Say which units have hardly any slope left at the present step, (B, n)."""
        return tanh_slope(state[:, 0]) < SATURATED_SLOPE
