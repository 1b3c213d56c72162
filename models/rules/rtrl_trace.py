"""Exact real-time recurrent learning for diagonal cells: one trace per parameter and state part."""

from __future__ import annotations

from typing import final

import numpy as np

from models.precision import Precision, known_precision
from models.protocols import Array, BoolArray, Cell, Cost, Fields, State, StepFactors
from models.rules.products import clear_units, start_anew
from models.stability import frobenius_norm


@final
class RtrlTrace:
    """Exact RTRL where a unit's state depends on its own past alone (the trace engine).

    A parameter of unit i then reaches the state of unit i only, so the influence matrix is one trace
    E[a, j, i] = d h_t[a, i] / d theta[j, i] per part a:

        E_t[a] = sum_c J_t[a, c] E_{t-1}[c] + I_t[a]                        (1)
        g[j, i] = sum_a credit[a, i] E_t[a, j, i]                           (2)

    with J the transition and I the immediate Jacobian. Exact for frozen parameters; with a change of
    the parameters at each step it carries derivatives taken under the parameters of their time.

    Memory: "trace", (k, q, n). Cost: O(k^2 q n) time and O(k q n) memory, that of the step itself.

    Args:
        cell: diagonal.
        precision: of the trace. Each step of "float32" is off by some 6e-8 of it, which add up over the memory of a unit,
            as the root of its steps: keep "float64" where that is thousands, so for |lambda| over .999.

    Source: Zucchet et al. (2023); Elelimy et al. (2024); Williams & Zipser (1989) for the general form.

    Example:
        >>> import numpy as np
        >>> from models.cells.rtu import Rtu
        >>> cell = Rtu(n_inputs=1, n_units=2)
        >>> rule = RtrlTrace(cell)
        >>> params = cell.init_params(np.random.default_rng(0))[None]
        >>> memory = {name: row[None] for name, row in rule.init_memory().items()}
        >>> factors = cell.step(params, cell.init_state()[None], np.ones((1, 1)))
        >>> rule.advance(memory, factors)
        >>> rule.gradient(memory, np.ones((1, 1, 2, 2))).shape
        (1, 1, 4, 2)
    """

    def __init__(self, cell: Cell, *, precision: Precision = "float64") -> None:
        """Take the sizes of the cell.

        Raises:
            ValueError: the cell is not diagonal; says which rule is exact for it. Or no such precision.
        """
        self.precision = known_precision(precision)
        refuse_layered(cell, "rtrl_trace")
        if cell.recurrence not in ("diagonal", "none"):
            raise ValueError(f"rtrl_trace needs a diagonal cell, not a {cell.recurrence} one: use rtrl_step")
        self._shape = (cell.n_parts, cell.n_params_per_unit, cell.n_units)
        n_traces = int(np.prod(self._shape))
        self.exact = self.unbiased = True
        self.cost = Cost(time=float((cell.n_parts + 1) * n_traces), memory=n_traces)

    def init_memory(self) -> Fields:
        """Return the memory of a new model: a trace of zeros, (k, q, n)."""
        return {"trace": np.zeros(self._shape, dtype=self.precision)}

    def advance(self, memory: State, factors: StepFactors) -> None:
        """Take one step of the cell into the trace by eq. (1), in place."""
        trace = memory["trace"]
        advanced = factors.immediate.copy()
        for part in range(self._shape[0]):
            advanced += factors.transition[:, :, part, None, :] * trace[:, None, part]
        trace[...] = advanced

    def gradient(self, memory: State, credit: Array) -> Array:
        """Return eq. (2) for C credits at once: (B, C, k, n) -> (B, C, q, n)."""
        return credit_through_units(memory["trace"], credit)

    def reset(self, memory: State, rows: BoolArray) -> None:
        """Begin a sequence in some rows, in place."""
        start_anew(memory, self.init_memory(), rows)

    def forget_units(self, memory: State, units: BoolArray) -> None:
        """Take units that were made anew out of the trace, in place."""
        clear_units(memory["trace"], units)

    def memory_norm(self, memory: State) -> Array:
        """Return the Frobenius norm of the influence, which is that of the trace, (B,)."""
        return frobenius_norm(memory["trace"])


def refuse_layered(cell: Cell, rule_name: str) -> None:
    """Raise a ValueError for a layered cell, whose upward Jacobian the rule would leave out."""
    if cell.recurrence == "layered":
        raise ValueError(f"{rule_name} does not carry credit from layer to layer: use rtrl_layers")


def credit_through_units(per_unit: Array, credit: Array) -> Array:
    """Return g[b, c, j, i] = sum_a credit[b, c, a, i] per_unit[b, a, j, i].

    Args:
        per_unit: d state[a, i] / d theta[j, i], (B, k, q, n).
        credit: (B, C, k, n).
    """
    gradient = credit[:, :, 0, None, :] * per_unit[:, None, 0]
    for part in range(1, per_unit.shape[1]):
        gradient += credit[:, :, part, None, :] * per_unit[:, None, part]
    return gradient
