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
SingleOrDouble = npt.NDArray[np.floating[Any]]
"""What a setting may keep in single precision."""
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
Fields = dict[str, npt.NDArray[Any]]
"""One row of a component's state, by field name; without the batch axis."""
State = dict[str, npt.NDArray[Any]]
"""A component's state for a micro-batch, by field name; arrays of shape (B, ...)."""


Recurrence = Literal["none", "dense", "diagonal", "layered"]
"""None: no unit sees any unit's past; all else as for diagonal, with a transition of zeros. Dense: every unit sees every unit's past. Diagonal: its own alone. Layered: diagonal in each layer, and
the layer above sees the layer below at the same step."""


@dataclass(frozen=True, slots=True)
class StepFactors:
    """One step of a cell and its one-step derivatives, from which every gradient rule is built.

    Attributes:
        state: the new state, shape (B, k + c, n). The c rows behind the k parts are context: past inputs,
            on which no parameter acts; no derivative is taken of them or to them.
        transition: the state Jacobian J = dh_t/dh_{t-1}. Diagonal cells: (B, k, k, n), entry
            [b, a, c, i] = d state[a, i] / d previous[c, i]. Dense cells: (B, k*n, k*n), part-major.
        immediate: the immediate Jacobian, shape (B, k, q, n): entry [b, a, j, i] is
            d state[a, i] / d theta[j, i] with the previous state held fixed. A parameter acts at
            once on its own unit only, so nothing else of the immediate Jacobian is non-zero.
        internal: what of the state Jacobian passes inside a unit and by no recurrent weight, (B, k, k, n)
            like a diagonal cell's transition: the leak, the forget gate's path. Dense cells that have such
            a path give it; diagonal cells do not, since all of theirs is.
        presynaptic: z = [what the units read out at the step before, inputs, 1], (B, p), and
        sensitivity: D, (B, k, G, n), where the immediate Jacobian is of rank one in each of the cell's G
            gates: immediate[a, g * p + j, i] = sensitivity[a, g, i] presynaptic[j], with q = G p.
        wiring: where a gate does not see all of z: which of these G p products each parameter is, (q,).
        upward: layered cells only, (B, L - 1, k * w, k * w): entry [b, l, a * w + s, c * w + u] is
            d state[a, (l + 1) w + s] / d state[c, l w + u] within the same step, for L layers of w units
            one above the other, n = L w. `transition` (of the diagonal form) and `immediate` are then taken
            with the layers below held fixed, so that  dh_t = J dh_{t-1} + I dtheta + K dh_t,  with K the
            upward Jacobian: strictly block-lower.
    """

    state: Array
    transition: Array
    immediate: Array
    internal: Array | None = None
    presynaptic: Array | None = None
    sensitivity: Array | None = None
    wiring: IntArray | None = None
    upward: Array | None = None


class Cell(Protocol):
    """A recurrent cell: one step forward, with the factors of its derivative."""

    recurrence: Recurrence
    n_inputs: int
    n_units: int
    n_parts: int
    n_params_per_unit: int
    n_read_parts: int

    def init_params(self, rng: np.random.Generator) -> Array:
        """Return the parameters of a new model, shape (q, n)."""
        ...

    def init_state(self) -> Array:
        """Return the state of a new model, shape (k + c, n); c = 0 for a cell without context."""
        ...

    def step(self, params: Array, state: Array, inputs: Array) -> StepFactors:
        """Advance one step. params (B, q, n), state (B, k + c, n), inputs (B, m)."""
        ...

    def read_out(self, state: Array) -> tuple[Array, Array]:
        """Return what layers above see, (B, r, n), and its Jacobian to the state, (B, r, k, n)."""
        ...

    def saturated(self, state: Array) -> BoolArray:
        """Say which units are saturated, shape (B, n)."""
        ...


@runtime_checkable
class LayeredCell(Cell, Protocol):
    """A stack of L layers of n / L units each; the layer above sees the layer below at the same step."""

    n_layers: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What a rule costs one row at one step, beside the cell's own step.

    Attributes:
        time: multiply-adds of `advance` and of one `gradient`, to the leading order.
        memory: numbers kept, as many as `init_memory` has.
        grows: the memory grows with every step, so that the rule is for sequences that end.
    """

    time: float
    memory: int
    grows: bool = False


class LearningRule(Protocol):
    """Carries what the gradient needs from step to step.

    Attributes:
        exact: for the cell that it was made for, this is the true gradient under frozen parameters.
        unbiased: the mean over the rule's own random draws is the true gradient; exact rules are.
        cost: time and memory of a step.
    """

    exact: bool
    unbiased: bool
    cost: Cost

    def init_memory(self) -> Fields:
        """Return the memory of a new model."""
        ...

    def advance(self, memory: State, factors: StepFactors) -> None:
        """Take one step of the cell into the memory, in place."""
        ...

    def gradient(self, memory: State, credit: Array) -> Array:
        """Return credit @ dh/dtheta for C credits at once: (B, C, k, n) -> (B, C, q, n)."""
        ...

    def reset(self, memory: State, rows: BoolArray) -> None:
        """Begin a sequence in some rows, (B,), in place: as if no step had been taken.

        What the rule itself has learned stays, and so does the counter of its random draws.
        """
        ...

    def forget_units(self, memory: State, units: BoolArray) -> None:
        """Take units that were made anew, (B, n), out of the influence, in place.

        Their state is a constant and their parameters have done nothing yet: M <- P M P', where P leaves
        out these units' states on the one side and their parameters on the other.
        """
        ...

    def memory_norm(self, memory: State) -> Array:
        """Return the Frobenius norm of the influence (or of what stands for it), shape (B,)."""
        ...


@runtime_checkable
class CreditedRule(Protocol):
    """A rule that learns from the credits themselves: it is shown each step's, after the gradient."""

    def take_credit(self, memory: State, credit: Array) -> None:
        """Take the credit dL_t/dh_t of this step, (B, k, n), zeros where no loss was due, in place."""
        ...


@runtime_checkable
class WindowedRule(CreditedRule, Protocol):
    """A rule whose gradient is ready at the end of a window only, for all credits taken in it."""

    def collect(self, memory: State, ending: BoolArray | None = None) -> tuple[Array, BoolArray]:
        """Return the gradient (B, q, n) of the windows that are due, and which are, (B,); empty those.

        Due are those that are full, and those of the rows that are `ending`, (B,), if anything is in them.
        """
        ...


class Optimizer(Protocol):
    """Turns gradients into updates; transforms of gradients have the same form, so that they chain.

    A row takes part only where `active`: no label is due in the others, and to them no step is made at
    all, not even a step of zeros, which would let moments decay and go on moving the parameters.
    """

    def init_state(self, shape: tuple[int, ...]) -> Fields:
        """Return the state for parameters of this shape."""
        ...

    def update(
        self, state: State, gradient: Array, active: BoolArray, params: Array
    ) -> tuple[Array, BoolArray]:
        """Return what to add to the parameters and the rows that it moves, (B, *shape) and (B,).

        `params` are those that the gradient was taken at, (B, *shape); most optimizers do not look at them.
        A row that is not active keeps its state, and its update is zero. The rows returned are those
        of `active` less the ones that a guard refused; a chain hands them on, so that nothing behind
        the guard is changed by a refused gradient.
        """
        ...


Blocks = tuple[Array, ...]
"""Parameters or derivatives in groups of parameters of one unit: one array (..., groups, size) a layer."""


class JacobianOptimizer(Protocol):
    """Learns from the outputs' derivatives and the error apart, which a gradient has as a product only."""

    def init_state(self, shapes: tuple[tuple[int, int], ...]) -> Fields:
        """Return the state for parameters in blocks of these shapes (groups, size)."""
        ...

    def update(
        self, state: State, jacobian: Blocks, error: Array, noise: Array, active: BoolArray
    ) -> tuple[Blocks, BoolArray]:
        """Return what to add to the parameters, (B, groups, size) a block, and the rows that it moves, (B,).

        Args:
            state: in place.
            jacobian: d mean / d theta for o outputs, blocks of (B, o, groups, size).
            error: target - mean, (B, o).
            noise: relative variance of the target about its mean, (B, o): 1 for a squared loss.
            active: rows that have a label; the others keep their state, and their update is zero.
        """
        ...

    def forget(self, state: State, params: tuple[BoolArray, ...]) -> None:
        """Make what is known of some parameters that of new ones, in place; blocks of (B, groups, size)."""
        ...


class Readout(Protocol):
    """What stands above the recurrent layer: from the cell's read-out to outputs, with its derivatives."""

    n_features: int
    n_outputs: int
    shapes: tuple[tuple[int, int], ...]

    def init_params(self, rng: np.random.Generator) -> tuple[Array, ...]:
        """Return the parameters of a new model in blocks (groups, size)."""
        ...

    def forward(self, params: Blocks, features: Array) -> tuple[Array, Blocks, Array]:
        """Return outputs and derivatives from params, blocks of (B, groups, size), and features (B, F).

        Returns:
            outputs (B, o); d outputs / d params, blocks of (B, o, groups, size); d outputs / d features,
            (B, o, F).
        """
        ...

    def contributions(self, params: Blocks, features: Array) -> tuple[Array, ...]:
        """Return how strongly each unit is heard, (B, units) a layer, the features first, then hidden layers.

        The magnitude of its output times the summed magnitudes of the weights that leave it.
        """
        ...

    def renew(self, params: Blocks, units: tuple[BoolArray, ...], fresh: Blocks) -> tuple[BoolArray, ...]:
        """Make some units of `contributions`' layers new, in place; return which parameters changed, blocks of (B, groups, size).

        What leaves them becomes zero, and of hidden units what comes in that of `fresh` parameters.
        """
        ...


@dataclass(frozen=True, slots=True)
class Innovation:
    """A loss as a filter sees it: a mean that the outputs give, and how the target lies about it.

    Attributes:
        error: target - mean, (B, o), bounded where the loss is robust.
        slope: d mean / d outputs, (B, o, o).
        noise: relative variance of the target about the mean, (B, o).
    """

    error: Array
    slope: Array
    noise: Array


class Loss(Protocol):
    """What a prediction costs, as a function of the readout's outputs; targets are (B, t)."""

    def n_outputs(self, n_targets: int) -> int:
        """Return how many outputs a target of t numbers needs."""
        ...

    def valid(self, target: Array) -> BoolArray:
        """Say which targets can be learned from, (B, t) -> (B,): finite, and of the loss's kind."""
        ...

    def predict(self, outputs: Array) -> Array:
        """Return what is published for these outputs: means, quantiles or probabilities, (B, o)."""
        ...

    def value(self, outputs: Array, target: Array) -> Array:
        """Return the loss, (B,)."""
        ...

    def gradient(self, outputs: Array, target: Array) -> Array:
        """Return d loss / d outputs, (B, o)."""
        ...

    def innovation(self, outputs: Array, target: Array) -> Innovation:
        """Return error, slope and noise for a `JacobianOptimizer`.

        slope' (error / noise) is minus the gradient: a filter goes down the same loss, by its own metric.
        """
        ...
