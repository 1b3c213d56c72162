"""Columns that are born in stages: the newest stage learns, the older ones are frozen and are heard."""

from __future__ import annotations

from typing import Final, final

import numpy as np

from models.cells.columnar import (
    GATE_SCALE,
    GATES,
    RECURRENT_SCALE,
    column_saturated,
    column_step,
    new_biases,
    sum_over_gates,
)
from models.protocols import Array, BoolArray, Recurrence, StepFactors

STAGES: Final = 4
"""Of a cell that is not told how many columns a stage has: three times there is something frozen to build on."""
STAGE_STEPS: Final = 2500
"""Events that a stage learns for: some times the 1,000 that Adam's second moment remembers, and four stages
are through after 10,000."""


@final
class Constructive:
    """Columnar-constructive network: scalar LSTMs in stages, each on top of the frozen ones before it.

        z_t = [x_t, h_{t-1}, 1]                                             (1)
        a_gate[i] = sum over j of M[j, i] theta[gate, j, i] z_t[j]          (2)
        M[j, i] = 1 for inputs, the bias, h of the unit itself and h of every earlier stage, else 0    (3)
        (c_t, h_t)[i] from a as a column's, eq. (3) and (4) of `Columnar`   (4)

    Stage s, `columns_per_stage` units, is born when s * stage_steps steps are done. Until then its state
    is zero. It learns until the next stage is born, the last one without end; then its parameters are
    constants: what they do to the state is no derivative any more, `transition` and `immediate` are zero
    for it, and with them the trace of a rule. So each unit that learns is a function of its own past and
    of constants, and the cell is diagonal: RTRL with one trace per parameter is exact for the loss in
    which frozen columns are constants. An earlier column is heard one step late, through h_{t-1} as the
    unit's own h is: all stages then advance at once, in one product, and nothing waits for a stage below.

    The gradient of a frozen parameter is zero; what an optimizer does to it all the same (a momentum that
    runs out, a decay of weights) it does, and the derivatives are those of the parameters as they are.

    Parts (c, h), k = 2, then one context row: steps done, in each unit, no further than the last birth.
    Parameters per unit, q = 4 (m + n + 1): the gates I, F, O, G, each in the order of z. Where M is 0,
    the parameter is ignored. The read-out is h.

    Args:
        n_inputs: m, at least 1.
        n_units: n, at least 1.
        columns_per_stage: the last stage has what is left; by default ceil(n / STAGES). With 1 this is
            the source's constructive network, with n it is `Columnar`.
        stage_steps: steps between births. Long enough that a stage has learned what it can, since
            afterwards it never will.

    Cost: O(n (m + n)) time per step; the immediate Jacobian is (2, q, n), as large as a dense LSTM's, but
    its trace is the whole influence.

    Source: Javed, Shah, Sutton & White (2023), the columnar-constructive networks; Fahlman & Lebiere
    (1990) for units that are frozen and built upon.

    Example:
        >>> import numpy as np
        >>> cell = Constructive(n_inputs=1, n_units=2, columns_per_stage=1, stage_steps=3)
        >>> params = cell.init_params(np.random.default_rng(0))[None]
        >>> state, alive, learning = cell.init_state()[None], [], []
        >>> for _ in range(5):
        ...     factors = cell.step(params, state, np.ones((1, 1)))
        ...     state = factors.state
        ...     alive.append((state[0, 1] != 0.0).tolist())
        ...     learning.append(factors.immediate.any(axis=(0, 1, 2)).tolist())
        >>> alive[2], learning[2], alive[3], learning[3]
        ([True, False], [True, False], [True, True], [False, True])
    """

    recurrence: Recurrence = "diagonal"

    def __init__(
        self,
        *,
        n_inputs: int,
        n_units: int,
        columns_per_stage: int | None = None,
        stage_steps: int = STAGE_STEPS,
    ) -> None:
        """Set the sizes, and the stages of the units."""
        if n_inputs < 1 or n_units < 1:
            raise ValueError(f"a cell needs at least one input and one unit, not {n_inputs} and {n_units}")
        if columns_per_stage is None:
            columns_per_stage = -(-n_units // STAGES)
        if columns_per_stage < 1 or stage_steps < 1:
            raise ValueError(
                f"a stage needs at least one column and one step, not {columns_per_stage} and {stage_steps}:"
                " for columns that all learn from the start, use Columnar"
            )
        self.n_inputs = n_inputs
        self.n_units = n_units
        self.n_parts = 2
        self.n_params_per_unit = GATES * (n_inputs + n_units + 1)
        self.n_read_parts = 1
        stage = np.arange(n_units) // columns_per_stage
        self.n_stages = int(stage[-1]) + 1
        # The first stage is there whatever the clock says, the last is never frozen.
        self._birth = np.where(stage > 0, stage * float(stage_steps), -np.inf)
        self._end = np.where(stage < stage[-1], (stage + 1) * float(stage_steps), np.inf)
        self._last_birth = float(stage[-1] * stage_steps)
        heard = stage[:, None] < stage[None, :]
        np.fill_diagonal(heard, val=True)
        self._mask = np.ones((n_inputs + n_units + 1, n_units))  # M of eq. (3).
        self._mask[n_inputs : n_inputs + n_units] = heard

    def init_params(self, rng: np.random.Generator) -> Array:
        """Return new parameters, shape (q, n); those that are ignored are zero.

        As a column's, with earlier columns counted as inputs.
        """
        n, m = self.n_units, self.n_inputs
        weights = rng.normal(size=(GATES, m + n + 1, n))
        weights *= np.sqrt(1.0 / (self._mask.sum(axis=0) - 2.0))  # Neither the own h nor the bias.
        weights[:3] *= GATE_SCALE
        own = np.arange(n)
        weights[:, m + own, own] = rng.normal(scale=RECURRENT_SCALE, size=(GATES, n))
        weights[:, -1] = new_biases(rng, n)
        return (weights * self._mask).reshape(self.n_params_per_unit, n)

    def init_state(self) -> Array:
        """Return the state of a new model, zeros of shape (3, n): c, h, steps done."""
        return np.zeros((3, self.n_units))

    def step(self, params: Array, state: Array, inputs: Array) -> StepFactors:
        """Advance one step by eq. (2) and (4) and return it with the derivatives of the stage that learns.

        Args:
            params: (B, q, n).
            state: (B, 3, n).
            inputs: (B, m).
        """
        batch, m = inputs.shape
        n, steps_done = self.n_units, state[:, 2]
        born = steps_done >= self._birth
        learning = (born & (steps_done < self._end)).astype(np.float64)
        seen = np.concatenate((inputs, state[:, 1], np.ones((batch, 1))), axis=1)
        weights = params.reshape(batch, GATES, m + n + 1, n) * self._mask
        summed = np.matmul(seen[:, None, None, :], weights)[:, :, 0]
        advanced, by_gate, forgotten = column_step(summed, state[:, 0])
        by_gate *= learning[:, None, None]
        own = np.arange(n)
        transition = np.empty((batch, 2, 2, n))
        transition[:, :, 0] = forgotten * learning[:, None]
        transition[:, :, 1] = sum_over_gates(by_gate, weights[:, :, m + own, own])
        immediate = by_gate[:, :, :, None] * (seen[:, :, None] * self._mask)[:, None, None]
        clock = np.minimum(steps_done + 1.0, self._last_birth)
        return StepFactors(
            state=np.concatenate((np.where(born[:, None], advanced, 0.0), clock[:, None]), axis=1),
            transition=transition,
            immediate=immediate.reshape(batch, 2, self.n_params_per_unit, n),
        )

    def read_out(self, state: Array) -> tuple[Array, Array]:
        """Return h, (B, 1, n), and its Jacobian to the parts, (B, 1, 2, n)."""
        jacobian = np.zeros((state.shape[0], 1, 2, self.n_units))
        jacobian[:, 0, 1] = 1.0
        return state[:, 1:2], jacobian

    def saturated(self, state: Array) -> BoolArray:
        """Say which columns have a factor of h = O tanh(c) at an end, (B, n); unborn ones have not."""
        return column_saturated(state)
