"""Step sizes that follow the error at hand: ObGD, intentional updates, Autostep.

Errors and derivatives are those of the loss with its noise taken off, see `innovations`.
"""

from __future__ import annotations

from typing import Final, final

import numpy as np

from models.optimizers.innovations import whitened
from models.protocols import Array, Blocks, BoolArray, Fields, State

EPSILON: Final = 1e-12
"""Keeps a division finite where all derivatives are zero."""


@final
class Obgd:
    """Overshooting-bounded gradient descent: the largest step that cannot overshoot.

        e_j = do_j/dtheta,  step_j = learning_rate delta_j e_j / max(1, M_j)       (1)
        M_j = learning_rate kappa max(|delta_j|, 1) |e_j|_1                 (2)

    With several outputs each has a bound of its own, over their number, so that all together hold it.
    Needs no tuning: the learning rate is 1. Where no derivative is over one in magnitude, an output moves by at most a share
    1 / kappa of its error; larger ones, of features that are not scaled, can overshoot.

    No state. Cost: O(o P) time.

    Args:
        learning_rate: 1, of which (2) leaves what is safe.
        kappa: over how much the step must fall short of overshooting; the paper's 2.

    Source: Elsayed, Vasan & Mahmood (2024), eq. 5-8; its eligibility trace is that of the rule here.

    Example:
        >>> import numpy as np
        >>> (update,), _ = Obgd().update(
        ...     {}, (np.ones((1, 1, 1, 2)),), np.ones((1, 1)), np.ones((1, 1)), np.array([True])
        ... )
        >>> update.tolist()  # the error of 1 falls by 2 x .25, half of it
        [[[0.25, 0.25]]]
    """

    def __init__(self, *, learning_rate: float = 1.0, kappa: float = 2.0) -> None:
        """Set the step size and the bound."""
        if not kappa > 0.0:
            raise ValueError(f"kappa: a positive number is needed, not {kappa}")
        self.learning_rate = learning_rate
        self.kappa = kappa

    def init_state(self, shapes: tuple[tuple[int, int], ...]) -> Fields:
        """Return no state."""
        return {}

    def update(
        self, state: State, jacobian: Blocks, error: Array, noise: Array, active: BoolArray
    ) -> tuple[Blocks, BoolArray]:
        """Return the sum of eq. (1) over outputs."""
        jacobian, error, rows = whitened(jacobian, error, noise, active)
        batch, n_outputs = error.shape
        size = np.zeros((batch, n_outputs))
        for block in jacobian:
            size += np.abs(block).reshape(batch, n_outputs, -1).sum(axis=2)
        overshoot = self.learning_rate * self.kappa * np.maximum(np.abs(error), 1.0) * size
        step = self.learning_rate * error / np.maximum(overshoot, 1.0) / n_outputs
        return _along(step, jacobian), rows

    def forget(self, state: State, params: tuple[BoolArray, ...]) -> None:
        """Forget nothing: nothing is kept."""


@final
class Intentional:
    """Intentional updates: each step takes away a chosen share of the present error.

        update = share e_j J_j / (|J_j|^2 + epsilon), outputs one after the other      (1)

    Normalised least mean squares with the Jacobian in place of the inputs. e_j is what the outputs before
    have left. An output that no parameter moves is left as it is.

    No state. Cost: O(o P) time.

    Args:
        share: of the error taken away at once. .1 averages over some ten labels; 1 is all of it, noise included.
        epsilon: least squared norm of derivatives that are worth a full step.

    Source: Nagumo & Noda (1967) for the normalisation.

    Example:
        >>> import numpy as np
        >>> (update,), _ = Intentional(share=1.0, epsilon=0.0).update(
        ...     {}, (np.full((1, 1, 1, 2), 2.0),), np.ones((1, 1)), np.ones((1, 1)), np.array([True])
        ... )
        >>> np.round(update, 9).tolist()
        [[[0.25, 0.25]]]
    """

    def __init__(self, *, share: float = 0.1, epsilon: float = 1e-2) -> None:
        """Set the share."""
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"share: between 0 and 1, not {share}")
        self.share = share
        self.epsilon = epsilon

    def init_state(self, shapes: tuple[tuple[int, int], ...]) -> Fields:
        """Return no state."""
        return {}

    def update(
        self, state: State, jacobian: Blocks, error: Array, noise: Array, active: BoolArray
    ) -> tuple[Blocks, BoolArray]:
        """Return eq. (1)."""
        jacobian, error, rows = whitened(jacobian, error, noise, active)
        updates = [np.zeros((len(error), *block.shape[2:])) for block in jacobian]
        for j in range(error.shape[1]):
            left = error[:, j]
            power = np.full(len(error), self.epsilon + EPSILON)
            for block, update in zip(jacobian, updates, strict=True):
                left = left - self._dot(block[:, j], update)
                power = power + self._dot(block[:, j], block[:, j])
            for at, block in enumerate(jacobian):
                updates[at] += (self.share * left / power)[:, None, None] * block[:, j]
        return tuple(updates), rows

    def forget(self, state: State, params: tuple[BoolArray, ...]) -> None:
        """Forget nothing: nothing is kept."""

    @staticmethod
    def _dot(one: Array, other: Array) -> Array:
        product: Array = (one * other).reshape(len(one), -1).sum(axis=1)
        return product


@final
class Autostep:
    """Autostep: a step size for each parameter, learned, and normalised so that nothing needs tuning.

        d = delta phi h                                                     (1)
        v <- max(|d|, v + alpha phi^2 (|d| - v) / tau)                      (2)
        alpha <- alpha exp(mu d / v)                                        (3)
        M = max(sum alpha phi^2, 1),  alpha <- alpha / M                    (4)
        step = alpha delta phi,  h <- h (1 - alpha phi^2) + alpha delta phi     (5)

    phi is the derivative of the output, which for a linear one is its feature. h remembers the recent steps: where
    they agree with the present one, alpha grows. Several outputs are taken one after the other.

    State: "step_size.<block>" alpha, "recent.<block>" h, "scale.<block>" v. Cost: O(o P) time, 3 P memory.

    Args:
        mu: of the step sizes' logarithms; the paper's .01.
        tau: events over which v is averaged; the paper's 10^4.
        first: alpha of a new model.

    Source: Mahmood, Sutton, Degris & Pilarski (2012), table 1.
    """

    def __init__(self, *, mu: float = 0.01, tau: float = 1e4, first: float = 0.01) -> None:
        """Set the constants."""
        if not (first > 0.0 and tau >= 1.0 and mu >= 0.0):
            raise ValueError(f"first must be positive, tau at least 1, mu at least 0: {first}, {tau}, {mu}")
        self.mu = mu
        self.tau = tau
        self.first = first

    def init_state(self, shapes: tuple[tuple[int, int], ...]) -> Fields:
        """Return equal step sizes."""
        fields: Fields = {}
        for at, shape in enumerate(shapes):
            fields[f"step_size.{at}"] = np.full(shape, self.first)
            fields[f"recent.{at}"] = np.zeros(shape)
            fields[f"scale.{at}"] = np.zeros(shape)
        return fields

    def update(
        self, state: State, jacobian: Blocks, error: Array, noise: Array, active: BoolArray
    ) -> tuple[Blocks, BoolArray]:
        """Return the sum of eq. (5) over outputs, after the step sizes were learned."""
        jacobian, error, rows = whitened(jacobian, error, noise, active)
        there = rows[:, None, None]
        updates = [np.zeros((len(error), *block.shape[2:])) for block in jacobian]
        for j in range(error.shape[1]):
            delta = error[:, j, None, None]
            total = np.zeros(len(error))
            for at, block in enumerate(jacobian):
                total += self._adapted(state, at, block[:, j], delta, there)
            shrink = 1.0 / np.maximum(total, 1.0)[:, None, None]
            for at, block in enumerate(jacobian):
                phi = block[:, j]
                size = np.where(there, state[f"step_size.{at}"] * shrink, state[f"step_size.{at}"])
                state[f"step_size.{at}"] = size
                step = size * delta * phi
                recent = state[f"recent.{at}"] * np.where(there, 1.0 - size * phi * phi, 1.0) + step
                state[f"recent.{at}"] = recent
                updates[at] += step
        return tuple(updates), rows

    def forget(self, state: State, params: tuple[BoolArray, ...]) -> None:
        """Put the parameters' step sizes back to the first ones."""
        fresh = self.init_state(tuple((block.shape[1], block.shape[2]) for block in params))
        for at, block in enumerate(params):
            for name in ("step_size", "recent", "scale"):
                np.copyto(state[f"{name}.{at}"], fresh[f"{name}.{at}"], where=block)

    def _adapted(self, state: State, at: int, phi: Array, delta: Array, there: BoolArray) -> Array:
        """Learn a block's step sizes by eq. (1) to (3); return its share of the sum in (4), (B,)."""
        size, scale = state[f"step_size.{at}"], state[f"scale.{at}"]
        power = phi * phi
        along = delta * phi * state[f"recent.{at}"]
        grown = np.maximum(np.abs(along), scale + size * power * (np.abs(along) - scale) / self.tau)
        scale = np.where(there, grown, scale)
        factor = np.exp(self.mu * along / np.where(scale > 0.0, scale, 1.0))
        state[f"scale.{at}"] = scale
        state[f"step_size.{at}"] = np.where(there, size * factor, size)
        share: Array = (state[f"step_size.{at}"] * power).reshape(len(phi), -1).sum(axis=1)
        return share


def _along(step: Array, jacobian: Blocks) -> Blocks:
    """Return sum over outputs of step (B, o) times each block (B, o, groups, size)."""
    updates = []
    for block in jacobian:
        update = step[:, 0, None, None] * block[:, 0]
        for j in range(1, step.shape[1]):
            update = update + step[:, j, None, None] * block[:, j]
        updates.append(update)
    return tuple(updates)
