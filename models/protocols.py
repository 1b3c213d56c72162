"""The numeric core's protocols: what a cell, a rule, an optimizer, an expert and a detector must offer.

Conventions that hold in the whole of `models`:

- Everything is batched over series. `B` is the number of rows in a micro-batch, and each row is one
  model (one target of one series). The batch axis comes first, the unit axis last.
- A `State` maps field names to arrays of shape `(B, ...)`. It is a gathered copy of the slabs of
  `models.bank`: a component overwrites it in place, and the bank writes it back only when the whole
  micro-batch has succeeded, so that a failure leaves every series as it was.
- A component says what one row of its state is by `init_state()`, which returns the row of a new
  model, without the batch axis. All that it needs to go on is in there, so a snapshot is complete.
- A row's results depend on that row alone, to the bit. So no reduction runs over the batch axis, and
  no `einsum` (its inner loop depends on the batch's size): use `np.matmul` and element-wise operations.

Shapes use these letters: B rows, n units, k parts of a unit's state (1 for a vanilla unit, 2 for a
complex one or for an LSTM's cell and output), q parameters per unit, m inputs, H horizons, E experts,
F exogenous features. Parameters are stored as `(q, n)`; flattened, `theta[j * n + i]` is unit i's j-th.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
Fields = dict[str, npt.NDArray[Any]]
"""One row of a component's state, by field name; without the batch axis."""
State = dict[str, npt.NDArray[Any]]
"""A component's state for a micro-batch, by field name; arrays of shape (B, ...)."""


@dataclass(frozen=True, slots=True)
class StepFactors:
    """One step of a cell and its one-step derivatives, from which every gradient rule is built.

    Attributes:
        state: the new state, shape (B, k, n).
        transition: the state Jacobian J = dh_t/dh_{t-1}. Diagonal cells: (B, k, k, n), entry
            [b, a, c, i] = d state[a, i] / d previous[c, i]. Dense cells: (B, k*n, k*n), part-major.
        immediate: the immediate Jacobian, shape (B, k, q, n): entry [b, a, j, i] is
            d state[a, i] / d theta[j, i] with the previous state held fixed. A parameter acts at
            once on its own unit only, so nothing else of the immediate Jacobian is non-zero.
    """

    state: Array
    transition: Array
    immediate: Array


class Cell(Protocol):
    """A recurrent cell: one step forward, with the factors of its derivative."""

    recurrence: Literal["dense", "diagonal"]
    n_inputs: int
    n_units: int
    n_parts: int
    n_params_per_unit: int
    n_read_parts: int

    def init_params(self, rng: np.random.Generator) -> Array:
        """Return the parameters of a new model, shape (q, n)."""
        ...

    def init_state(self) -> Array:
        """Return the state of a new model, shape (k, n)."""
        ...

    def step(self, params: Array, state: Array, inputs: Array) -> StepFactors:
        """Advance one step. params (B, q, n), state (B, k, n), inputs (B, m)."""
        ...

    def read_out(self, state: Array) -> tuple[Array, Array]:
        """Return what layers above see, (B, r, n), and its Jacobian to the state, (B, r, k, n)."""
        ...

    def saturated(self, state: Array) -> BoolArray:
        """Say which units are saturated, shape (B, n)."""
        ...


class LearningRule(Protocol):
    """Carries what the gradient needs from step to step; exact says whether it is the true gradient."""

    exact: bool

    def init_memory(self) -> Fields:
        """Return the memory of a new model."""
        ...

    def advance(self, memory: State, factors: StepFactors) -> None:
        """Take one step of the cell into the memory, in place."""
        ...

    def gradient(self, memory: State, credit: Array) -> Array:
        """Return credit @ dh/dtheta for C credits at once: (B, C, k, n) -> (B, C, q, n)."""
        ...

    def memory_norm(self, memory: State) -> Array:
        """Return the Frobenius norm of the influence (or of what stands for it), shape (B,)."""
        ...


class Optimizer(Protocol):
    """Turns gradients into updates; transforms of gradients have the same form, so that they chain.

    A row takes part only where `active`: no label is due in the others, and to them no step is made at
    all, not even a step of zeros, which would let moments decay and go on moving the parameters.
    """

    def init_state(self, shape: tuple[int, ...]) -> Fields:
        """Return the state for parameters of this shape."""
        ...

    def update(self, state: State, gradient: Array, active: BoolArray) -> tuple[Array, BoolArray]:
        """Return what to add to the parameters and the rows that it moves, (B, *shape) and (B,).

        A row that is not active keeps its state, and its update is zero. The rows returned are those
        of `active` less the ones that a guard refused; a chain hands them on, so that nothing behind
        the guard is changed by a refused gradient.
        """
        ...


@dataclass(frozen=True, slots=True)
class Observation:
    """What an expert may see when it forecasts: this event and what was kept of the past.

    Everything is scale-free: values are divided by the model's running scale of increments, so that
    an expert forecasts a change in units of `scale`, and a forecast of 0 is the last value.

    Attributes:
        level: the target's value at this event, raw units, (B,).
        scale: the running scale of one-step increments, raw units, positive, (B,).
        increment: (value - previous value) / scale, winsorised, (B,); 0 at a series' first event.
        deviation: (value - running mean) / scale, winsorised, (B,).
        seasonal_level: what stood one season before the forecast's time, relative to this event's
            value, scaled, (B, H); while no season is known, the running mean instead.
        seasonal_change: how the series went on one season and one week of seasons ago, scaled and
            winsorised, (B, H, 2).
        features: exogenous features, standardised and winsorised, (B, F).
        slot: where in the rings of `models.labels` this event's forecasts are kept, (B, H).
    """

    level: Array
    scale: Array
    increment: Array
    deviation: Array
    seasonal_level: Array
    seasonal_change: Array
    features: Array
    slot: IntArray


@dataclass(frozen=True, slots=True)
class Due:
    """Labels that arrived with this event, one column per horizon.

    Attributes:
        valid: whether horizon j's label is due and there was a scale when the forecast was made, (B, H).
        slot: the ring position at which what that forecast's gradient needs was kept, (B, H).
        target: the change that came, (y_{t+h} - y_t) / scale_t, in the scale of the row at which the
            forecast was made, (B, H); 0 where not valid.
        residual: target - this expert's forecast, winsorised, (B, H); 0 where not valid.
    """

    valid: BoolArray
    slot: IntArray
    target: Array
    residual: Array


class Expert(Protocol):
    """A forecaster. `learn` sees only labels that have arrived; `forecast` sees no label at all."""

    def init_state(self) -> Fields:
        """Return the state of a new model."""
        ...

    def learn(self, state: State, due: Due) -> None:
        """Learn from the labels that are due, in place."""
        ...

    def forecast(self, state: State, observation: Observation) -> Array:
        """Advance by one event and forecast the scaled change for every horizon, (B, H)."""
        ...


@runtime_checkable
class RecurrentExpert(Protocol):
    """What an expert offers beside the above if it has a recurrent state: one that has these two is asked."""

    def reset_memory(self, state: State) -> None:
        """Start the recurrent state anew after a gap, in place; keep what was learned."""
        ...

    def figures(self, state: State, labelled: BoolArray) -> dict[str, Any]:
        """Return the gradient figures of `models.forecaster.StepResult`, (B,) each, of this event."""
        ...


class Mixture(Protocol):
    """Makes one forecast of the experts', by weights that it learns."""

    def init_state(self) -> Fields:
        """Return the weights of a new model."""
        ...

    def combine(self, state: State, forecasts: Array) -> tuple[Array, Array]:
        """Return the mixed forecast (B, H) and the weights (B, H, E) of forecasts (B, H, E)."""
        ...

    def learn(self, state: State, *, forecasts: Array, target: Array, valid: BoolArray) -> None:
        """Learn from the labels that are due, (B, H), in place."""
        ...


class DriftDetector(Protocol):
    """Watches a stream of values for a change in its mean."""

    def init_state(self) -> Fields:
        """Return the state of a new detector."""
        ...

    def update(self, state: State, value: Array, valid: BoolArray) -> BoolArray:
        """Take one value a row, in place, where valid; return where a change is signalled, (B,)."""
        ...

    def statistic(self, state: State) -> Array:
        """Return the detector's statistic in units of its threshold, (B,); 1 is the threshold."""
        ...
