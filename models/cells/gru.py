"""The gated recurrent unit: a unit that keeps its state or replaces it."""

from __future__ import annotations

from typing import final

import numpy as np

from models.cells.activations import SATURATED_SLOPE, sigmoid, sigmoid_slope, tanh_slope
from models.protocols import Array, BoolArray, Recurrence, StepFactors


@final
class Gru:
    """Fully connected GRU, with the reset gate behind the recurrent product.

        r = sigmoid(W_r' [h_-, x, 1]),  u = sigmoid(W_u' [h_-, x, 1])       (1)
        v = tanh(A' [x, 1] + r (C' [h_-, 1]))                               (2)
        h = (1 - u) v + u h_-                                               (3)

    Where u is near 1 a unit holds its state, and credit passes through it undiminished. The form that is
    mostly printed is C' (r h_-): there a parameter of r_j acts at once on every unit, and the immediate
    Jacobian has n entries a parameter instead of one. Behind the product, as cuDNN and PyTorch have it,
    a parameter acts at once on its own unit alone.

    One part, k = 1; q = 3 (n + m + 1) + 1: W_r, W_u, then C without its bias, A with it, and C's bias. The
    read-out is h. With a the gates' sums and s = C' [h_-, 1]:

        dh/da_v = (1 - u) (1 - v^2),  dh/da_u = (h_- - v) u (1 - u),  dh/da_r = dh/da_v s r (1 - r)    (4)
        dh/dh_- = diag(u) + dh/da_v r C_h' + dh/da_u W_u,h' + dh/da_r W_r,h'      (5)

    The immediate Jacobian is (4) times h_-, x and 1; for C, dh/da_v r times h_- and 1. `internal` is u.
    There is no `presynaptic`: what C sees passes through r and what A sees does not, so the candidate is not
    of rank one in [h_-, x, 1].

    A unit is saturated where |h| > 0.99. h is a mean of candidates, so they have been at their ends for as
    long as the unit remembers. One that holds is not: its past passes as a whole.

    Args:
        n_inputs: m, at least 1.
        n_units: n, at least 1.

    Cost: O(3 n (n + m)) time per step; the immediate Jacobian is (1, q, n).

    Source: Cho et al. (2014), arXiv 1406.1078; its first version has r behind the product, its third before.

    Example:
        >>> import numpy as np
        >>> cell = Gru(n_inputs=2, n_units=3)
        >>> params = cell.init_params(np.random.default_rng(0))
        >>> factors = cell.step(params[None], cell.init_state()[None], np.ones((1, 2)))
        >>> params.shape, factors.transition.shape, factors.immediate.shape
        ((19, 3), (1, 3, 3), (1, 1, 19, 3))
    """

    recurrence: Recurrence = "dense"

    def __init__(self, *, n_inputs: int, n_units: int) -> None:
        """Set the sizes."""
        if n_inputs < 1 or n_units < 1:
            raise ValueError(f"a cell needs at least one input and one unit, not {n_inputs} and {n_units}")
        self.n_inputs = n_inputs
        self.n_units = n_units
        self.n_parts = 1
        self.n_params_per_unit = 3 * (n_units + n_inputs + 1) + 1
        self.n_read_parts = 1
        # C sees the state and the 1, A the inputs and the 1: products of the third and the fourth gate.
        p, every = n_units + n_inputs + 1, np.arange(4 * (n_units + n_inputs + 1))
        past, drive = every[2 * p : 3 * p], every[3 * p :]
        self._wiring = np.concatenate((every[: 2 * p], past[:n_units], drive[n_units:], past[-1:]))

    def init_params(self, rng: np.random.Generator) -> Array:
        """Return new parameters, (q, n): Gaussian; biases 0.

        The recurrent weights' variance, 1/(4n), keeps the spectral radius of a new cell under 1.
        """
        n, m = self.n_units, self.n_inputs
        gates = np.zeros((3, n + m + 1, n))
        gates[:, :n] = rng.normal(scale=np.sqrt(0.25 / n), size=(3, n, n))
        gates[:, n : n + m] = rng.normal(scale=np.sqrt(0.5 / m), size=(3, m, n))
        return np.concatenate((gates.reshape(-1, n), np.zeros((1, n))))

    def init_state(self) -> Array:
        """Return the state of a new model, zeros of shape (1, n)."""
        return np.zeros((1, self.n_units))

    def step(self, params: Array, state: Array, inputs: Array) -> StepFactors:
        """Advance one step by eq. (1) to (3) and return it with the derivatives (4) and (5)."""
        batch, n = len(inputs), self.n_units
        before = state[:, 0]
        z = np.concatenate((before, inputs, np.ones((batch, 1))), axis=1)
        p = z.shape[1]
        weights = params[:, : 3 * p].reshape(batch, 3, p, n)
        gates = sigmoid(np.matmul(z[:, None, None, :], weights[:, :2])[:, :, 0])
        reset, keep = gates[:, 0], gates[:, 1]
        from_past = np.matmul(before[:, None, :], weights[:, 2, :n])[:, 0] + params[:, -1]
        from_inputs = np.matmul(z[:, None, n:], weights[:, 2, n:])[:, 0]
        candidate = np.tanh(from_inputs + reset * from_past)
        hidden = (1.0 - keep) * candidate + keep * before

        to_candidate = (1.0 - keep) * tanh_slope(candidate)
        of_reset = to_candidate * from_past * sigmoid_slope(reset)
        of_keep = (before - candidate) * sigmoid_slope(keep)
        of_past = to_candidate * reset
        transition = (
            of_reset[:, :, None] * weights[:, 0, :n].swapaxes(1, 2)
            + of_keep[:, :, None] * weights[:, 1, :n].swapaxes(1, 2)
            + of_past[:, :, None] * weights[:, 2, :n].swapaxes(1, 2)
        )
        units = np.arange(n)
        transition[:, units, units] += keep
        immediate = np.empty((batch, 1, self.n_params_per_unit, n))
        immediate[:, 0, :p] = z[:, :, None] * of_reset[:, None]
        immediate[:, 0, p : 2 * p] = z[:, :, None] * of_keep[:, None]
        immediate[:, 0, 2 * p : 2 * p + n] = before[:, :, None] * of_past[:, None]
        immediate[:, 0, 2 * p + n : 3 * p] = z[:, n:, None] * to_candidate[:, None]
        immediate[:, 0, -1] = of_past
        return StepFactors(
            state=hidden[:, None],
            transition=transition,
            immediate=immediate,
            internal=keep[:, None, None],
            presynaptic=z,
            sensitivity=np.stack((of_reset, of_keep, of_past, to_candidate), axis=1)[:, None],
            wiring=self._wiring,
        )

    def read_out(self, state: Array) -> tuple[Array, Array]:
        """Return the state itself, (B, 1, n), and ones, (B, 1, 1, n)."""
        return state, np.ones((state.shape[0], 1, 1, self.n_units))

    def saturated(self, state: Array) -> BoolArray:
        """Say which units stand where a candidate could stand only with hardly any slope left, (B, n)."""
        return tanh_slope(state[:, 0]) < SATURATED_SLOPE
