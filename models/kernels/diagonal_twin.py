"""The twin of a learner with a diagonal cell and its traces: recognises it, and drives the compiled event loops."""

from __future__ import annotations

from typing import Final, final

import numpy as np

from models.cells.elstm import Elstm
from models.cells.lru import Lru
from models.cells.rtu import Rtu
from models.kernels import diagonal, diagonal_cells, diagonal_filter, diagonal_updates
from models.kernels.arrays import plain
from models.kernels.descent import LIMITS, Descending, descending
from models.kernels.fetching import are_far
from models.learner import OnlineLearner
from models.losses.squared import Squared
from models.optimizers.ekf import Ekf
from models.optimizers.obgd import Obgd
from models.optimizers.recursive_least_squares import Rls
from models.protocols import Array, BoolArray, IntArray, JacobianOptimizer, State
from models.readouts.linear import Linear
from models.rules.rtrl_trace import RtrlTrace
from models.updates import Filter

CELL_KINDS: Final[dict[type, int]] = {
    Elstm: diagonal_cells.ELSTM,
    Rtu: diagonal_cells.RTU,
    Lru: diagonal_cells.LRU,
}


def diagonal_twin(learner: OnlineLearner) -> DescentTwin | FilterTwin | None:
    """Return the twin of a learner: eLSTM, RTU or LRU, `rtrl_trace`, linear readout, squared loss; SGD, Adam or a filter."""
    kind, update = CELL_KINDS.get(type(learner.cell)), learner.update
    if kind is None or type(learner.rule) is not RtrlTrace or learner.see_inputs or learner.renews:
        return None
    if type(learner.readout) is not Linear or type(learner.loss) is not Squared:
        return None
    cell = learner.cell
    size = diagonal.Sizes(
        cell.n_units,
        cell.n_parts,
        cell.n_params_per_unit,
        learner.readout.n_outputs,
        cell.n_inputs,
        learner.rule.precision,
    )
    if descent := descending(update):
        return DescentTwin(kind, descent, size)
    if type(update) is Filter and (constants := filter_constants(update.optimizer)):
        return FilterTwin(kind, *constants, size)
    return None


@final
class DescentTwin:
    """Down the gradient, by SGD or Adam."""

    def __init__(self, kind: int, descent: Descending, size: diagonal.Sizes) -> None:
        """Take what the event loop needs to know."""
        self._kind, self._descent, self._limits = kind, descent, np.array(LIMITS)
        self._room = diagonal.room_for(size)

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
            self._descent.kind,
            self._descent.rates,
            self._limits,
            slabs["params"],
            slabs["state"],
            slabs["readout.0"],
            slabs["memory.trace"],
            self._descent.moments(slabs, "cell", slabs["params"]),
            self._descent.moments(slabs, "readout", slabs["readout.0"]),
            are_far(slabs),
            *plain(slots, inputs, targets, scored),
            prediction,
            loss,
            self._room,
        )


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

    def __init__(self, kind: int, optimizer: int, constants: tuple[float, ...], size: diagonal.Sizes) -> None:
        """Take what the event loop needs to know."""
        self._kind, self._optimizer = kind, optimizer
        self._constants, self._limits = np.array(constants), np.array(LIMITS)
        self._room = diagonal_filter.room_for(size)

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
            are_far(slabs),
            *plain(slots, inputs, targets, scored),
            prediction,
            loss,
            self._room,
        )
