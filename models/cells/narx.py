"""NARX: memory by delayed inputs and outputs, the outputs observed or the network's own."""

from __future__ import annotations

from typing import Final, Literal, final

import numpy as np

from models.cells.activations import SATURATED_SLOPE, tanh_slope
from models.cells.context import n_context_rows, read_context, with_context
from models.protocols import Array, BoolArray, Recurrence, StepFactors

TAPS: Final = 4
"""Inputs seen, the present one included."""
FEEDBACK_TAPS: Final = 3
"""Outputs fed back: enough for a plant of third order."""
LOOP_GAIN: Final = 0.5
"""How much of a change of the output a new network may return to it at most, over all taps: under 1."""


@final
class Narx:
    """Nonlinear autoregressive network with exogenous inputs.

        f_i = tanh(W_i' [x_t .. x_{t-taps+1}] + U_i' [y_{t-1} .. y_{t-K}] + b_i)        (1)
        s_i = v_i f_i,  output  yhat_t = sum_i s_i                          (2)

    Series-parallel (feedback="observed"): the last input of a step is the newest output that was
    observed, and y are observed outputs. Nothing recurs, the gradient is that of a feed-forward network.
    Free-running (feedback="own"): all inputs are exogenous and y_{t-a} = yhat_{t-a}; the exact gradient is

        G_t = df/dtheta + sum_a (df/dy_{t-a}) G_{t-a}                       (3)

    For Eq. (3) the state holds the units' contributions s_i, by delay: parts a = 0 .. K-1, so that every
    parameter acts at once on its own unit, and the Jacobian from any unit's s at delay a-1 to unit i is
    v_i f'_i U_ia. Both forms have the same parameters, q = taps m + K + 2: W, U, b, v (m without the
    observed output); what was learned in the first can run in the second.

    Args:
        n_inputs: inputs of a step; in the series-parallel form the last one is the observed output.
        n_units: n.
        taps: inputs seen by a unit, at least 1.
        feedback_taps: K, at least 1.
        feedback: where the fed-back outputs come from.

    Cost: O(n q) time per step; free-running, the step engine's K^2 n^3 q more.

    Source: Narendra & Parthasarathy (1990) for the two forms; Lin, Horne, Tino & Giles (1996).

    Example:
        >>> import numpy as np
        >>> cell = Narx(n_inputs=1, n_units=3, feedback="own")
        >>> params = cell.init_params(np.random.default_rng(0))[None]
        >>> factors = cell.step(params, cell.init_state()[None], np.ones((1, 1)))
        >>> cell.recurrence, factors.transition.shape, factors.immediate.shape
        ('dense', (1, 9, 9), (1, 3, 9, 3))
    """

    def __init__(
        self,
        *,
        n_inputs: int,
        n_units: int,
        taps: int = TAPS,
        feedback_taps: int = FEEDBACK_TAPS,
        feedback: Literal["observed", "own"] = "own",
    ) -> None:
        """Set the sizes, the delays and the form."""
        if n_inputs < 1 or n_units < 1:
            raise ValueError(f"a cell needs at least one input and one unit, not {n_inputs} and {n_units}")
        if taps < 1 or feedback_taps < 1:
            raise ValueError(f"taps, feedback_taps: at least one each, not {taps} and {feedback_taps}")
        if feedback not in ("observed", "own"):
            raise ValueError(f"feedback: observed or own, not {feedback!r}")
        self._own = feedback == "own"
        self.recurrence: Recurrence = "dense" if self._own else "none"
        self.n_inputs = n_inputs
        self.n_units = n_units
        self.n_parts = feedback_taps if self._own else 1
        self.n_read_parts = 1
        self._n_exogenous = n_inputs if self._own else n_inputs - 1
        self._taps, self._feedback_taps = taps, feedback_taps
        self._n_window = taps * self._n_exogenous
        self.n_params_per_unit = self._n_window + feedback_taps + 2
        self._n_kept = self._n_window - self._n_exogenous
        self._n_observed = 0 if self._own else feedback_taps - 1

    def init_params(self, rng: np.random.Generator) -> Array:
        """Return new parameters, (q, n); the loop's gain sum |v_i U_ia| is at most LOOP_GAIN."""
        n, window, taps = self.n_units, self._n_window, self._feedback_taps
        params = np.zeros((self.n_params_per_unit, n))
        if window:
            params[:window] = rng.normal(scale=np.sqrt(1.0 / window), size=(window, n))
        params[window : window + taps] = rng.uniform(-1.0, 1.0, size=(taps, n))
        params[-1] = rng.choice([-1.0, 1.0], size=n) * LOOP_GAIN / np.sqrt(n)
        if self._own:
            gain = np.abs(params[window : window + taps] * params[-1]).sum()
            params[window : window + taps] *= min(1.0, LOOP_GAIN / gain)
        return params

    def init_state(self) -> Array:
        """Return the state of a new model: zeros, (k + c, n)."""
        rows = n_context_rows(self._n_kept + self._n_observed, self.n_units)
        return np.zeros((self.n_parts + rows, self.n_units))

    def step(self, params: Array, state: Array, inputs: Array) -> StepFactors:
        """Advance one step by eq. (1) and (2) and return it with its derivatives."""
        batch, n, k = len(inputs), self.n_units, self.n_parts
        kept = read_context(state, k, self._n_kept + self._n_observed)
        window = np.concatenate((inputs[:, : self._n_exogenous], kept[:, : self._n_kept]), axis=1)
        if self._own:
            outputs = state[:, :k].sum(axis=2)
        else:
            outputs = np.concatenate((inputs[:, -1:], kept[:, self._n_kept :]), axis=1)
        seen = np.concatenate((window, outputs, np.ones((batch, 1))), axis=1)
        gain = params[:, -1]
        hidden = np.tanh(np.matmul(seen[:, None, :], params[:, :-1])[:, 0])
        passed = gain * tanh_slope(hidden)
        immediate = np.zeros((batch, k, self.n_params_per_unit, n))
        immediate[:, 0, :-1] = seen[:, :, None] * passed[:, None, :]
        immediate[:, 0, -1] = hidden
        now = (gain * hidden)[:, None]
        context = np.concatenate((window[:, : self._n_kept], outputs[:, : self._n_observed]), axis=1)
        if not self._own:
            transition = np.zeros((batch, 1, 1, n))
            return StepFactors(state=with_context(now, context), transition=transition, immediate=immediate)
        feedback = params[:, self._n_window : self._n_window + k]
        dense = np.zeros((batch, k, n, k, n))
        dense[:, 0] = (passed[:, None] * feedback).swapaxes(1, 2)[..., None]
        units = np.arange(n)
        for part in range(1, k):
            dense[:, part, units, part - 1, units] = 1.0
        parts = np.concatenate((now, state[:, : k - 1]), axis=1)
        return StepFactors(
            state=with_context(parts, context),
            transition=dense.reshape(batch, k * n, k * n),
            immediate=immediate,
        )

    def read_out(self, state: Array) -> tuple[Array, Array]:
        """Return the contributions s, (B, 1, n), whose sum is the output, and their Jacobian."""
        jacobian = np.zeros((len(state), 1, self.n_parts, self.n_units))
        jacobian[:, 0, 0] = 1.0
        return state[:, :1], jacobian

    def saturated(self, state: Array) -> BoolArray:
        """Say which units contribute nearly all that a new unit's gain allows, (B, n).

        The state alone does not tell tanh from its gain; a contribution over that of a saturated new
        unit is taken for saturation.
        """
        bound = LOOP_GAIN / np.sqrt(self.n_units)
        return tanh_slope(np.minimum(np.abs(state[:, 0]) / bound, 1.0)) < SATURATED_SLOPE
