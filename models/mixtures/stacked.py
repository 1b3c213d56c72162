"""Stacking: a regression of what the polynomial mixture errs by on what each expert says beside it, as far as it proves itself.

    m = sum_e p_e f_e,  d_e = (f_e - m) / u,  x = u c' d, within BOUND u     (1)  p: the polynomial mixture's weights
    said = m + tau x = sum_e w_e f_e,  w = p + tau (c - (sum c) p)           (2)
    v <- v + (min((y - m)^2, (BOUND u)^2) - v) / SPAN,  u = sqrt(v)          (3)
    c <- c + k e,  e = (y - m) / u - c' d, within BOUND                      (4)  k, P: recursive least squares, `models.optimizers.rls`
    g = x_then (y - m) / u^2                                                 (5)  x_then: x when the forecast was made
    A <- lambda A + g,  B <- lambda B + (x_then / u)^2,  V <- lambda V + g^2 (6)
    tau = (A - DOUBT sqrt(o V)) / B, within [0, 1]                           (7)  o = max(1, h / 2)

The weights w of (2) sum to one and may be negative: experts that err alike are seen through, and a combination beyond all of them is found.
Least squares that begin at c = 0 stay near the mixture until the data say otherwise. A / B is what the correction is to be
multiplied by, by least squares again, of corrections that had not seen their labels; (7) is its lower bound, o what overlap of labels adds to its noise.
So a new series is the polynomial mixture to the bit, and so is one that has nothing to correct: many rows ahead, where labels overlap, a
regression on half a dozen forecasts that are nearly one costs more than it brings on most series.

Outliers: errors, corrections and inputs are bounded in u, inputs by shrinking the whole row, input and error, which keeps (4) linear.

Source: Wolpert (1992), Breiman (1996), for regressing on forecasts that had not seen their labels.
Cost O(H E^2), memory O(H E^2 + sum of horizons).
"""

from __future__ import annotations

from typing import Final, final

import numpy as np

from models.labels import LabelClock
from models.mixtures.polynomial import KEEP, LOSS_SPAN_EVENTS, NEGLIGIBLE, PolynomialWeights
from models.optimizers.rls import PRIOR_VARIANCE, rls_update
from models.protocols import Array, BoolArray, Fields, State

BOUND: Final = 4.0
"""In u: as residuals of the linear experts. What is further out is an outlier, or the forecast after one."""

DOUBT: Final = 2.0
"""Standard errors that the gain has to be told from noise by. With one and a half a real series is over 1.02 of its best expert."""

SUMS: Final = ("product", "power", "noise")
"""Names of A, B and V."""


@final
class StackedWeights:
    """Weights of the experts, one set a horizon, that may be negative. A new series follows the first expert.

    `combine` keeps the correction in rings of its own, so it is called once a row, and after `learn` of that row.

    Example:
        >>> import numpy as np
        >>> mixture = StackedWeights(horizons=(1,), n_experts=2)
        >>> state = {name: row[None] for name, row in mixture.init_state().items()}
        >>> rng, valid = np.random.default_rng(0), np.array([[True]])
        >>> for target in rng.normal(
        ...     size=(600, 1, 1)
        ... ):  # one errs twice as much as the other: 2 a - b is right
        ...     off = rng.normal(size=(1, 1, 1))
        ...     said, weights = mixture.combine(state, target[..., None] + off * [1.0, 2.0])
        ...     mixture.learn(
        ...         state, forecasts=target[..., None] + off * [1.0, 2.0], target=target, valid=valid
        ...     )
        >>> weights.round().tolist()
        [[[2.0, -1.0]]]
    """

    def __init__(self, horizons: tuple[int, ...], n_experts: int, prior: Array | None = None) -> None:
        """Take the horizons, in rows, the number of experts, and what each counts beforehand, (E,), by default one."""
        self.n_experts = n_experts
        self.hull, self.clock = PolynomialWeights(horizons, n_experts, prior), LabelClock(horizons)
        self.overlap = np.maximum(1.0, np.array(horizons) / 2.0)

    def init_state(self) -> Fields:
        """Return the polynomial mixture's state, and no correction. "weights" are p, "effective" those that were last told, w."""
        hull, n_horizons, n = self.hull.init_state(), len(self.overlap), self.n_experts
        return {
            **hull,
            "effective": hull["weights"].copy(),
            "coefficients": np.zeros((n_horizons, n)),
            "uncertainty": np.tile(PRIOR_VARIANCE * np.eye(n), (n_horizons, 1, 1)),
            **{name: np.zeros(n_horizons) for name in ("square", *SUMS)},
            "correction": np.zeros(self.clock.n_slots),
            **self.clock.init_state(),
        }

    def combine(self, state: State, forecasts: Array) -> tuple[Array, Array]:
        """Return the mixed forecast (B, H) and the weights (B, H, E), and count the row, in place. forecasts is (B, H, E)."""
        mixed, hull = self.hull.combine(state, forecasts)
        coefficients = np.where(np.abs(state["coefficients"]) < NEGLIGIBLE, 0.0, state["coefficients"])
        raw = (coefficients * (forecasts - mixed[..., None])).sum(axis=-1)
        raw = np.where(np.isfinite(raw), raw, 0.0)
        bound, size = BOUND * np.sqrt(state["square"]), np.abs(raw)
        factor = np.where(size > bound, bound / np.where(size > bound, size, 1.0), 1.0)
        correction = factor * raw
        rows, (slot, _) = np.arange(len(forecasts))[:, None], self.clock.due(state)
        state["correction"][rows, slot] = correction
        self.clock.tick(state)
        share = self._share(state)
        said = np.where(share > 0.0, mixed + share * correction, mixed)
        pull = (share * factor)[..., None]
        weights = hull + pull * (coefficients - coefficients.sum(axis=-1, keepdims=True) * hull)  # Eq. (2)
        state["effective"] = np.where(pull > 0.0, weights, hull)
        return said, state["effective"].copy()

    def learn(self, state: State, *, forecasts: Array, target: Array, valid: BoolArray) -> None:
        """Take the labels that are due into the weights, in place.

        Args:
            state: as `init_state`, batched.
            forecasts: of the experts for the labels, scaled, (B, H, E); those of horizon h were combined h rows ago.
            target: the labels, scaled, (B, H).
            valid: where a label is due; elsewhere nothing changes, (B, H).
        """
        mixed, _ = self.hull.combine(state, forecasts)
        off, square = target - mixed, state["square"]
        unit = np.where(square > 0.0, np.sqrt(square), 1.0)
        scaled = off / unit
        inputs = (forecasts - mixed[..., None]) / unit[..., None]
        largest = np.abs(inputs).max(axis=-1)
        then = self._told(state) / unit
        sound = np.isfinite(largest) & np.isfinite(scaled) & np.isfinite(then)
        known = valid & (square > 0.0) & sound
        self._prove(state, np.clip(then, -BOUND, BOUND), np.clip(scaled, -BOUND, BOUND), known)
        inputs = np.where(known[..., None], inputs, 0.0)
        residual = np.clip(scaled - (state["coefficients"] * inputs).sum(axis=-1), -BOUND, BOUND)
        shrink = BOUND / np.where(known & (largest > BOUND), largest, BOUND)
        state["coefficients"], state["uncertainty"] = rls_update(
            state["coefficients"],
            state["uncertainty"],
            shrink[..., None] * inputs,
            shrink * residual,
            known,
        )  # Eq. (4)
        self.hull.learn(state, forecasts=forecasts, target=target, valid=valid)
        within = np.where(square > 0.0, np.minimum(off * off, BOUND * BOUND * square), off * off)
        rate = np.maximum(1.0 / LOSS_SPAN_EVENTS, 1.0 / np.maximum(state["seen"], 1))
        due = valid & np.isfinite(within)
        state["square"] = np.where(due, square + rate * (within - square), square)  # Eq. (3)

    def _told(self, state: State) -> Array:
        """Return the corrections that the labels settle, (B, H)."""
        slot, _ = self.clock.due(state)
        told: Array = state["correction"][np.arange(len(slot))[:, None], slot]
        return told

    def _prove(self, state: State, then: Array, scaled: Array, known: BoolArray) -> None:
        """Take into the sums of eq. (6) what corrections were worth, in place."""
        gain = then * scaled  # Eq. (5)
        for name, term in zip(SUMS, (gain, then * then, gain * gain), strict=True):
            state[name] = np.where(known, KEEP * state[name] + term, state[name])

    def _share(self, state: State) -> Array:
        """Return tau of eq. (7), (B, H)."""
        sure, power = state["product"] - DOUBT * np.sqrt(self.overlap * state["noise"]), state["power"]
        proven = (sure > 0.0) & (power > 0.0)
        return np.where(proven, np.minimum(sure / np.where(proven, power, 1.0), 1.0), 0.0)
