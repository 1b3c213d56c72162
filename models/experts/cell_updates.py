"""How a label moves the recurrent expert's weights: down the gradient, or by a filter.

Both work on d f_h / d theta, which was taken when the forecast was made and kept until its label came.
"""

from __future__ import annotations

from typing import Final, Protocol, final

import numpy as np

from models.forecast_protocols import Due
from models.optimizers import (
    JACOBIAN_OPTIMIZERS,
    OPTIMIZERS,
    Chain,
    Ekf,
    chain,
    clip_by_global_norm,
    finite_guard,
)
from models.protocols import Array, BoolArray, Fields, JacobianOptimizer, State
from models.specification import Specification
from models.stability import frobenius_norm
from models.tables import entry

SKIP_CLIPS: Final = 10.0
"""A gradient over this many times the clipping norm is no direction to go in: it is skipped."""


KALMAN_FILTERS: Final = ("ekf_joint", "ekf_node")
"""Of `JACOBIAN_OPTIMIZERS`, those that take a process noise and a gate."""

PROCESS_NOISE: Final = 1e-5
"""Weights may drift by .3 in 10,000 events, so that a world that changes is followed."""

GATE: Final = 3.0
"""In robust deviations. Residuals are winsorised before, at four of their root mean squares."""


class CellUpdate(Protocol):
    """Moves a cell's weights by labels.

    Attributes:
        n_kept: of how many horizons, from the shortest on, the gradients are kept.
        n_slots: rows of the ring in which they are.
        shape: of the weights, (q, n).
    """

    n_kept: int
    n_slots: int
    shape: tuple[int, int]

    def init_state(self) -> Fields:
        """Return the state of a new model."""
        ...

    def learn(
        self, state: State, due: Due, jacobian: Array, params: Array
    ) -> tuple[Array, dict[str, Array | BoolArray]]:
        """Return what to add to the weights by the labels that are due, and figures.

        Args:
            state: as `init_state`, batched, in place.
            due: the labels.
            jacobian: d f_h / d theta of the first `n_kept` horizons, (B, n_kept, q, n).
            params: theta, (B, q, n).

        Returns:
            update (B, q, n); "gradient_norm", "updated" and "clipped" of `models.step_result.StepResult`, (B,) each.
        """
        ...

    def forget(self, state: State, params: BoolArray) -> None:
        """Make what is known of some weights, (B, q, n), that of new ones, in place."""
        ...


@final
class ByGradient:
    """Down the gradient of half the sum of all due squared errors, bounded, by one of `OPTIMIZERS`."""

    def __init__(self, specification: Specification, shape: tuple[int, int]) -> None:
        """Take the optimizer of the specification, for weights of this shape (q, n)."""
        self.shape = shape
        self.n_kept, self.n_slots = len(specification.horizons), sum(specification.horizons)
        self.chain: Chain = chain(
            guard=finite_guard(SKIP_CLIPS * specification.clip_norm),
            clip=clip_by_global_norm(specification.clip_norm),
            last=entry(OPTIMIZERS, specification.optimizer, "optimizer")(
                learning_rate=specification.learning_rate
            ),
        )

    def init_state(self) -> Fields:
        """Return the optimizer's state."""
        return self.chain.init_state(self.shape)

    def learn(
        self, state: State, due: Due, jacobian: Array, params: Array
    ) -> tuple[Array, dict[str, Array | BoolArray]]:
        """Take all horizons' labels as one step."""
        gradient = np.zeros_like(params)
        for j in range(self.n_kept):  # in this order, so that the sum is the same to the bit
            gradient -= due.residual[:, j, None, None] * jacobian[:, j]
        labelled: BoolArray = np.any(due.valid, axis=1)
        update, moved = self.chain.update(state, gradient, labelled, params)
        norm = frobenius_norm(gradient)
        return update, {
            "gradient_norm": np.where(labelled & np.isfinite(norm), norm, 0.0),
            "updated": moved,
            "clipped": moved & state["clip.clipped"],
        }

    def forget(self, state: State, params: BoolArray) -> None:
        """Begin the moments of some weights anew."""
        for name, fresh in self.init_state().items():
            if fresh.shape == self.shape:
                np.copyto(state[name], fresh, where=params)


@final
class ByFilter:
    """By one of `JACOBIAN_OPTIMIZERS` on the shortest horizon's error.

    The shortest tells most of what the state should hold, and its errors are nearest to the independent ones that a filter
    takes them for; and a filter takes its outputs one after the other, each at the cost of P. The readouts of all horizons learn as ever.
    """

    n_kept = 1

    def __init__(self, specification: Specification, shape: tuple[int, int], process_noise: float) -> None:
        """Take the optimizer of the specification, for weights of this shape (q, n)."""
        self.n_slots = specification.horizons[0]
        self.shape = shape
        factory = entry(JACOBIAN_OPTIMIZERS, specification.optimizer, "optimizer")
        kalman = (
            {"process_noise": process_noise, "gate": GATE}
            if specification.optimizer in KALMAN_FILTERS
            else {}
        )
        self.filter: JacobianOptimizer = factory(**kalman)

    def init_state(self) -> Fields:
        """Return the filter's state, of groups of one unit's weights."""
        return self.filter.init_state((self.shape[::-1],))

    def learn(
        self, state: State, due: Due, jacobian: Array, params: Array
    ) -> tuple[Array, dict[str, Array | BoolArray]]:
        """Take the shortest horizon's label."""
        error, active = due.residual[:, :1], due.valid[:, 0]
        slope = np.swapaxes(jacobian, 2, 3)  # unit by unit
        gated = (
            np.abs(error[:, 0]) > self.filter.bound(state)
            if isinstance(self.filter, Ekf)
            else np.zeros(len(error), np.bool_)
        )
        (update,), moved = self.filter.update(state, (slope,), error, np.ones_like(error), active)
        norm = frobenius_norm(error[:, 0, None, None] * jacobian[:, 0])
        return np.swapaxes(update, 1, 2), {
            "gradient_norm": np.where(active & np.isfinite(norm), norm, 0.0),
            "updated": moved,
            "clipped": moved & gated,
        }

    def forget(self, state: State, params: BoolArray) -> None:
        """Give some weights the prior's variance and no covariance."""
        self.filter.forget(state, (np.swapaxes(params, 1, 2),))


def step_size(specification: Specification) -> float:
    """Return the learning rate that guards halve: of a filter, which has none, the 1 that its updates are multiplied by.

    Example:
        >>> step_size(Specification(optimizer="adam")), step_size(Specification(optimizer="ekf_joint"))
        (0.003, 1.0)
    """
    return 1.0 if specification.optimizer in JACOBIAN_OPTIMIZERS else specification.learning_rate


def cell_update_for(
    specification: Specification, shape: tuple[int, int], process_noise: float = PROCESS_NOISE
) -> CellUpdate:
    """Return what moves the weights, by the optimizer's name; the process noise is a Kalman filter's.

    Raises:
        ValueError: no such optimizer.
    """
    if specification.optimizer in JACOBIAN_OPTIMIZERS:
        return ByFilter(specification, shape, process_noise)
    if specification.optimizer not in OPTIMIZERS:
        known = ", ".join((*OPTIMIZERS, *JACOBIAN_OPTIMIZERS))
        raise ValueError(f"optimizer: one of {known}, not {specification.optimizer!r}")
    return ByGradient(specification, shape)
