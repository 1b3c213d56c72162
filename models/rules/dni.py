"""DNI: what the future will charge to this step, predicted."""

from __future__ import annotations

from typing import Final, final

import numpy as np

from models.protocols import Array, BoolArray, Cell, Cost, Fields, State, StepFactors
from models.rules.products import (
    backward,
    clear_states,
    clear_step,
    clear_units,
    handed_down,
    start_anew,
    upward_shape,
)
from models.rules.rtrl_trace import credit_through_units
from models.stability import frobenius_norm

LEARNING_RATE: Final = 0.05
"""Of the predictor's normalised steps: an error is followed within some twenty steps."""
CREDIT_MAX: Final = 10.0
"""Times the present credit's norm, and 1: predicted credit beyond has fed on itself, and is cut down to it."""


@final
class Dni:
    """APPROXIMATE: decoupled neural interfaces: credit from the future by a linear prediction.

        f_t = [h_t, q_t, 1],  c_t = A f_t                                   (1)
        g_t = (q_t + c_t) I_t                                               (2)
        A += rate ((q_{t+1} + c_{t+1}) J_{t+1} - c_t) f_t' / (1 + |f_t|^2)      (3)

    q_t is the present credit dL_t/dh_t, and c_t stands for what all later losses will charge to h_t. Its target
    (3) is bootstrapped from the next step's prediction. q_t in f_t carries the label that the source adds.
    With A = 0, as it begins, this is the immediate derivative.

    Memory: "predictor" A, (S, 2 S + 1); "features" f, "hidden" h, "transition", "immediate"; "seen", whether f is
    of a step that was taken. Cost: O(S^2 + k q n) time and memory.

    Source: Jaderberg et al. (2017); Czarnecki et al. (2017); Marschall, Cho & Savin (2020), section 4.3.2.
    """

    def __init__(self, cell: Cell) -> None:
        """Take the sizes of the cell."""
        self._parts, self._units = cell.n_parts, cell.n_units
        self._params = cell.n_params_per_unit
        size = self._parts * self._units
        self._upward = upward_shape(cell)
        self._transition = (
            (size, size) if cell.recurrence == "dense" else (self._parts, *(self._parts, self._units))
        )
        self.exact = self.unbiased = cell.recurrence == "none"
        n_immediate, n_predictor = size * self._params, size * (2 * size + 1)
        n_transition = int(np.prod(self._transition)) + sum(int(np.prod(s)) for s in self._upward.values())
        self.cost = Cost(
            time=float(3 * n_predictor + n_transition + n_immediate),
            memory=n_predictor + 3 * size + 2 + n_transition + n_immediate,
        )

    def init_memory(self) -> Fields:
        """Return the memory of a new model: a predictor of zero."""
        size = self._parts * self._units
        upward: Fields = {name: np.zeros(shape) for name, shape in self._upward.items()}
        return upward | {
            "predictor": np.zeros((size, 2 * size + 1)),
            "features": np.zeros(2 * size + 1),
            "hidden": np.zeros((self._parts, self._units)),
            "transition": np.zeros(self._transition),
            "immediate": np.zeros((self._parts, self._params, self._units)),
            "seen": np.zeros((), dtype=np.int64),
        }

    def advance(self, memory: State, factors: StepFactors) -> None:
        """Keep the step's state and factors, in place."""
        memory["hidden"][...] = factors.state[:, : self._parts]
        memory["transition"][...] = factors.transition
        memory["immediate"][...] = factors.immediate
        if self._upward:
            memory["upward"][...] = factors.upward

    def gradient(self, memory: State, credit: Array) -> Array:
        """Return eq. (2) for C credits, each with its own prediction: (B, C, k, n) -> (B, C, q, n)."""
        _, ahead = self._predict(memory, credit)
        handed = handed_down(memory.get("upward"), credit + ahead)
        return credit_through_units(memory["immediate"], handed)

    def take_credit(self, memory: State, credit: Array) -> None:
        """Learn the prediction made a step ago by eq. (3), in place."""
        features, ahead = self._predict(memory, credit[:, None])
        handed = handed_down(memory.get("upward"), credit[:, None] + ahead)
        charged = backward(memory["transition"], handed)
        before = memory["features"]
        error = charged.reshape(len(before), -1) - np.matmul(memory["predictor"], before[:, :, None])[:, :, 0]
        step = LEARNING_RATE * memory["seen"] / (1.0 + (before * before).sum(axis=1))
        memory["predictor"] += step[:, None, None] * error[:, :, None] * before[:, None]
        memory["features"][...] = features[:, 0]
        memory["seen"][...] = 1

    def _predict(self, memory: State, credit: Array) -> tuple[Array, Array]:
        """Return f, (B, C, 2 S + 1), and c, (B, C, k, n), cut down where it has fed on itself."""
        batch, count = credit.shape[:2]
        flat = credit.reshape(batch, count, -1)
        hidden = np.repeat(memory["hidden"].reshape(batch, 1, -1), count, axis=1)
        features = np.concatenate((hidden, flat, np.ones((batch, count, 1))), axis=2)
        ahead = np.matmul(features, memory["predictor"].swapaxes(1, 2))
        size = np.sqrt((ahead * ahead).sum(axis=2, keepdims=True))
        bound = CREDIT_MAX * np.maximum(np.sqrt((flat * flat).sum(axis=2, keepdims=True)), 1.0)
        ahead = ahead * np.minimum(1.0, bound / np.maximum(size, bound * 1e-12))
        return features, ahead.reshape(credit.shape)

    def reset(self, memory: State, rows: BoolArray) -> None:
        """Begin a sequence in some rows, in place; the predictor stays."""
        start_anew(memory, self.init_memory(), rows, kept=("predictor",))

    def forget_units(self, memory: State, units: BoolArray) -> None:
        """Predict nothing for units that were made anew, nor from them, in place."""
        size = self._parts * self._units
        predictor = memory["predictor"]
        clear_states(predictor, units, self._parts)
        for first in (0, size):  # what the state told, and what the credit told
            told = predictor[:, :, first : first + size].reshape(len(units), size, self._parts, self._units)
            clear_units(told, units)
            predictor[:, :, first : first + size] = told.reshape(len(units), size, size)
            clear_units(
                memory["features"][:, first : first + size].reshape(len(units), -1, self._units), units
            )
        clear_units(memory["hidden"], units)
        clear_step(memory, units, self._parts)

    def memory_norm(self, memory: State) -> Array:
        """Return the Frobenius norm of the immediate Jacobian, (B,): no influence is carried forward."""
        return frobenius_norm(memory["immediate"])
