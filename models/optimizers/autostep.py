"""Autostep: a learned step size for each parameter."""

from __future__ import annotations

from typing import final

import numpy as np

from models.optimizers.innovations import whitened
from models.protocols import Array, Blocks, BoolArray, Fields, State


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
