"""The twin of a learner with a diagonal cell and its traces: recognises it, and drives the compiled event loops."""

from __future__ import annotations

from typing import Final, TypeVar, final

import numpy as np
from numpy.typing import NDArray

from models.cells.elstm import Elstm
from models.cells.lru import Lru
from models.cells.rtu import Rtu
from models.kernels import dense, diagonal, diagonal_cells, diagonal_filter, diagonal_updates
from models.learner import OnlineLearner
from models.losses.squared import ERROR_MAX, Squared
from models.optimizers.adam import Adam
from models.optimizers.ekf import Ekf
from models.optimizers.obgd import Obgd
from models.optimizers.recursive_least_squares import Rls
from models.optimizers.sgd import Sgd
from models.protocols import Array, BoolArray, IntArray, JacobianOptimizer, State
from models.readouts.linear import Linear
from models.rules.rtrl_trace import RtrlTrace
from models.updates import GRADIENT_USUAL, INFLUENCE_MAX, Descent, Filter

CELL_KINDS: Final[dict[type, int]] = {
    Elstm: diagonal_cells.ELSTM,
    Rtu: diagonal_cells.RTU,
    Lru: diagonal_cells.LRU,
}
Kind = TypeVar("Kind", bound=np.generic)
LIMITS: Final = (GRADIENT_USUAL, INFLUENCE_MAX, ERROR_MAX)


def diagonal_twin(learner: OnlineLearner) -> DescentTwin | FilterTwin | None:
    """Return the twin of a learner: eLSTM, RTU or LRU, `rtrl_trace`, linear readout, squared loss; SGD, Adam or a filter."""
    kind, update = CELL_KINDS.get(type(learner.cell)), learner.update
    if kind is None or type(learner.rule) is not RtrlTrace or learner.see_inputs or learner.renews:
        return None
    if type(learner.readout) is not Linear or type(learner.loss) is not Squared:
        return None
    if type(update) is Descent and type(update.optimizer) in (Sgd, Adam):
        return DescentTwin(kind, update)
    if type(update) is Filter:
        constants = filter_constants(update.optimizer)
        return None if constants is None else FilterTwin(kind, *constants)
    return None


@final
class DescentTwin:
    """Down the gradient, by SGD or Adam."""

    def __init__(self, kind: int, update: Descent) -> None:
        """Take what the event loop needs to know."""
        self._kind, self._limits, optimizer = kind, np.array(LIMITS), update.optimizer
        self._optimizer, rates = dense.SGD, (0.0, 0.0, 0.0, 0.0)
        if isinstance(optimizer, Adam):
            self._optimizer = dense.ADAM
            rates = (optimizer.learning_rate, optimizer.beta1, optimizer.beta2, optimizer.epsilon)
        elif isinstance(optimizer, Sgd):
            rates = (optimizer.learning_rate, 0.0, 0.0, 0.0)
        self._constants = np.array(rates)
        self._unread = np.zeros(0, dtype=np.int64)

    def __call__(
        self,
        slabs: State,
        slots: IntArray,
        inputs: Array,
        targets: Array,
        scored: BoolArray,
        prediction: Array,
        loss: Array,
    ) -> None:
        """Take events in their order."""
        diagonal.descent_events(
            self._kind,
            self._optimizer,
            self._constants,
            self._limits,
            slabs["params"],
            slabs["state"],
            slabs["readout.0"],
            slabs["memory.trace"],
            self._moments(slabs, "cell", slabs["params"]),
            self._moments(slabs, "readout", slabs["readout.0"]),
            *plain(slots, inputs, targets, scored),
            prediction,
            loss,
        )

    def _moments(self, slabs: State, name: str, like: Array) -> tuple[Array, Array, IntArray]:
        """Return Adam's moments and count of the cell's or the readout's parameters; for SGD what nobody reads."""
        if self._optimizer == dense.ADAM:
            return (
                slabs[f"update.{name}.first_moment"].reshape(like.shape),
                slabs[f"update.{name}.second_moment"].reshape(like.shape),
                slabs[f"update.{name}.update_count"],
            )
        return like, like, self._uncounted(len(like))

    def _uncounted(self, capacity: int) -> IntArray:
        """Return counts that nobody reads, made once for a capacity."""
        if len(self._unread) != capacity:
            self._unread = np.zeros(capacity, dtype=np.int64)
        return self._unread


def filter_constants(optimizer: JacobianOptimizer) -> tuple[int, tuple[float, ...]] | None:
    """Return which of the compiled filters an optimizer is, and its constants; None for another."""
    if type(optimizer) is Obgd:
        return diagonal_updates.OBGD, (optimizer.learning_rate, optimizer.kappa)
    if type(optimizer) is Ekf:
        scales = (optimizer.gate, optimizer.memory, float(optimizer.adaptive))
        return diagonal_updates.EKF, (optimizer.process_noise, optimizer.trace_max, *scales)
    if type(optimizer) is Rls:
        return diagonal_updates.RLS, (optimizer.forgetting,)
    return None


@final
class FilterTwin:
    """By an overshooting-bounded step, an extended Kalman filter, joint or by unit, or recursive least squares."""

    def __init__(self, kind: int, optimizer: int, constants: tuple[float, ...]) -> None:
        """Take what the event loop needs to know."""
        self._kind, self._optimizer = kind, optimizer
        self._constants, self._limits = np.array(constants), np.array(LIMITS)

    def __call__(
        self,
        slabs: State,
        slots: IntArray,
        inputs: Array,
        targets: Array,
        scored: BoolArray,
        prediction: Array,
        loss: Array,
    ) -> None:
        """Take events in their order."""
        capacity = len(slabs["params"])
        none, no_count = np.zeros((capacity, 0, 0, 0)), np.zeros(0, dtype=np.int64)
        no_scale = np.zeros(0)
        diagonal_filter.filter_events(
            self._kind,
            self._optimizer,
            self._constants,
            self._limits,
            slabs["params"],
            slabs["state"],
            slabs["readout.0"],
            slabs["memory.trace"],
            slabs.get("update.covariance.0", none),
            slabs.get("update.covariance.1", none),
            (
                slabs.get("update.median", no_scale),
                slabs.get("update.variance", no_scale),
                slabs.get("update.label_count", no_count),
            ),
            *plain(slots, inputs, targets, scored),
            prediction,
            loss,
        )


def plain(
    slots: IntArray, inputs: Array, targets: Array, scored: BoolArray
) -> tuple[IntArray, Array, Array, BoolArray]:
    """Return events in the one layout that is compiled, whatever they came in."""
    return laid(slots, np.int64), laid(inputs, np.float64), laid(targets, np.float64), laid(scored, np.bool_)


def laid(array: NDArray[Kind], kind: type[Kind]) -> NDArray[Kind]:
    """Return an array row by row, of a kind, and writable; as it is where it is that, which is quickly seen."""
    flags = array.flags
    if array.dtype == kind and flags.c_contiguous and flags.writeable and flags.aligned:
        return array
    return np.require(array, kind, ["C", "W", "A"])
