"""Exponential weights over the experts, with fixed share, per horizon.

    l_e = (target - f_e)^2 / v                      (1)  v: the running loss of the mixture
    L_e <- L_e - eta l_e,  w = softmax(L)           (2)
    w <- (1 - alpha) w + alpha p                    (3)  p: the prior

Sources: Vovk (1990); Herbster & Warmuth (1998) for fixed share.
"""

from __future__ import annotations

from typing import final

import numpy as np

from models.protocols import Array, BoolArray, Fields, State

RATE = 0.5
"""eta: the square loss is 1/2-exp-concave where losses are bounded by one."""

SHARE = 1e-3
"""alpha: the best expert is expected to change every thousand rows."""

LOSS_SPAN_EVENTS = 200.0
"""Of the running loss v."""

LOSS_MAX = 16.0
"""Losses are bounded by this many running losses: one event must not decide."""

NEGLIGIBLE = 0.01
"""Smaller weights are left out of the forecast, so that an expert that is never wrong is followed."""


@final
class ExponentialWeights:
    """Weights of the experts, one set a horizon. The classic, kept to compare with."""

    def __init__(self, horizons: tuple[int, ...], n_experts: int, prior: Array | None = None) -> None:
        """Take the horizons, the number of experts, and what each counts beforehand, (E,), by default the same."""
        self.n_horizons, self.n_experts = len(horizons), n_experts
        own = np.ones(n_experts) if prior is None else prior
        self.prior = own / own.sum()

    def init_state(self) -> Fields:
        """Return the prior."""
        return {
            "weights": np.tile(self.prior, (self.n_horizons, 1)),
            "loss": np.zeros(self.n_horizons),
            "seen": np.zeros(self.n_horizons, dtype=np.int64),
        }

    def combine(self, state: State, forecasts: Array) -> tuple[Array, Array]:
        """Return the mixed forecast (B, H) and the weights used (B, H, E). forecasts is (B, H, E)."""
        weights = np.where(state["weights"] < NEGLIGIBLE, 0.0, state["weights"])
        weights = weights / weights.sum(axis=-1, keepdims=True)
        return (weights * forecasts).sum(axis=-1), weights

    def learn(self, state: State, *, forecasts: Array, target: Array, valid: BoolArray) -> None:
        """Take the labels that are due into the weights, in place."""
        # Bounded, so that a square that overflows does not stay in the running loss for ever.
        own = np.minimum((target - (state["weights"] * forecasts).sum(axis=-1)) ** 2, 1e300)
        seen = state["seen"] + valid
        rate = np.maximum(1.0 / LOSS_SPAN_EVENTS, 1.0 / np.maximum(seen, 1))
        loss = np.where(valid, state["loss"] + rate * (own - state["loss"]), state["loss"])
        scale = np.where(loss > 0.0, loss, 1.0)
        losses = np.minimum((target[..., None] - forecasts) ** 2 / scale[..., None], LOSS_MAX)
        log = np.log(state["weights"]) - RATE * losses
        log = log - log.max(axis=-1, keepdims=True)
        weights = np.exp(log)
        weights = weights / weights.sum(axis=-1, keepdims=True)
        weights = (1.0 - SHARE) * weights + SHARE * self.prior
        state["weights"] = np.where(valid[..., None], weights, state["weights"])
        state["loss"], state["seen"] = loss, seen
