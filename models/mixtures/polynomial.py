"""Polynomially weighted averages with a rate for each expert (ML-Poly), on the gradient of the loss.

    r_e = 2 (m - y) (m - f_e) / v                    (1)  m: the mixed forecast, v: its running loss
    R_e <- lambda R_e + r_e,  V_e <- lambda V_e + r_e^2   (2)
    w_e proportional to p_e max(R_e + c sqrt(V_e), 0) / V_e   (3)

Eq. (1) is the slope of the loss towards expert e, so the weights compete with the best convex
combination, not with the best expert alone. An expert whose regret R is clearly negative has weight 0. The term in c keeps the weight
of experts whose regret is within its own noise; without it a single wild event leaves one expert alone. The
prior p keeps several experts of one kind from counting as many.

Source: Gaillard, Stoltz & van Erven (2014), "A second-order bound with excess losses", for c = 0.
Cost O(H E).
"""

from __future__ import annotations

from typing import final

import numpy as np

from models.protocols import Array, BoolArray, Fields, State

KEEP = 1.0 - 1.0 / 10_000.0
"""Of regrets, per label: weights may change with the world, over some thousand rows."""

OPTIMISM = 0.7
"""c of Eq. (3). From .5 to .8 the worst series of the benchmark stays within 1.02 of its best expert."""

LOSS_SPAN_EVENTS = 500.0
"""Of the running loss that makes regrets scale-free."""

REGRET_MAX = 30.0
"""Regrets are bounded by this many running losses: one event must not outweigh thousands."""

NEGLIGIBLE = 0.01
"""Smaller weights are left out of the forecast, so that an expert that is never wrong is followed exactly."""


@final
class PolynomialWeights:
    """Weights of the experts, one set a horizon. A new series follows the first expert.

    Example:
        >>> import numpy as np
        >>> mixture = PolynomialWeights(horizons=(1,), n_experts=2)
        >>> state = {name: row[None] for name, row in mixture.init_state().items()}
        >>> forecasts, valid = np.array([[[0.0, 1.0]]]), np.array([[True]])
        >>> for _ in range(3):  # the second expert is right
        ...     mixture.learn(state, forecasts=forecasts, target=np.array([[1.0]]), valid=valid)
        >>> mixture.combine(state, forecasts)[0].tolist()
        [[1.0]]
    """

    def __init__(self, horizons: tuple[int, ...], n_experts: int, prior: Array | None = None) -> None:
        """Take the horizons, the number of experts, and what each counts beforehand, (E,), by default one."""
        self.n_horizons, self.n_experts = len(horizons), n_experts
        self.prior = np.ones(n_experts) if prior is None else prior

    def init_state(self) -> Fields:
        """Return no regrets, and all weight on the first expert (the last value, by default)."""
        weights = np.zeros((self.n_horizons, self.n_experts))
        weights[:, 0] = 1.0
        return {
            "weights": weights,
            "regret": np.zeros_like(weights),
            "variation": np.zeros_like(weights),
            "loss": np.zeros(self.n_horizons),
            "seen": np.zeros(self.n_horizons, dtype=np.int64),
        }

    def combine(self, state: State, forecasts: Array) -> tuple[Array, Array]:
        """Return the mixed forecast (B, H) and the weights (B, H, E). forecasts is (B, H, E)."""
        weights = np.where(state["weights"] < NEGLIGIBLE, 0.0, state["weights"])
        weights = weights / weights.sum(axis=-1, keepdims=True)
        return (weights * forecasts).sum(axis=-1), weights

    def learn(self, state: State, *, forecasts: Array, target: Array, valid: BoolArray) -> None:
        """Take the labels that are due into the weights, in place.

        The regrets are against what today's weights would have forecast: for one step ahead that is
        what was forecast, but for the negligible weights; for more steps it is the fairer question.

        Args:
            state: as `init_state`, batched.
            forecasts: of the experts for the labels, scaled, (B, H, E).
            target: the labels, scaled, (B, H).
            valid: where a label is due; elsewhere nothing changes, (B, H).
        """
        mixed = (state["weights"] * forecasts).sum(axis=-1)
        error = mixed - target
        seen = state["seen"] + valid
        rate = np.maximum(1.0 / LOSS_SPAN_EVENTS, 1.0 / np.maximum(seen, 1))
        loss = state["loss"] + rate * (error * error - state["loss"])
        known = valid & np.isfinite(loss)
        unit = np.where(known & (loss > 0.0), loss, 1.0)
        slope = 2.0 * error[..., None] * (mixed[..., None] - forecasts) / unit[..., None]  # Eq. (1)
        slope = np.clip(np.where(known[..., None], slope, 0.0), -REGRET_MAX, REGRET_MAX)
        regret = KEEP * state["regret"] + slope  # Eq. (2)
        variation = KEEP * state["variation"] + slope * slope
        hopeful = self.prior * np.maximum(regret + OPTIMISM * np.sqrt(variation), 0.0)
        raw = np.where(variation > 0.0, hopeful / np.where(variation > 0.0, variation, 1.0), 0.0)  # Eq. (3)
        total = raw.sum(axis=-1, keepdims=True)
        change = known[..., None] & (total > 0.0)
        state["weights"] = np.where(change, raw / np.where(total > 0.0, total, 1.0), state["weights"])
        state["regret"] = np.where(known[..., None], regret, state["regret"])
        state["variation"] = np.where(known[..., None], variation, state["variation"])
        state["loss"] = np.where(known, loss, state["loss"])
        state["seen"] = seen
