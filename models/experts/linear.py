"""The linear expert: recursive least squares on the last increments, the level and the season.

    phi_t = [d_t .. d_{t-L+1}, y_t - mean, features, 1, seasonal changes],  y_{t+h} - y_t ~ s_t w_h' phi_t

One weight vector a horizon, each learned from its own labels as they arrive.
"""

from __future__ import annotations

import numpy as np

from models.forecast_protocols import Due, Observation
from models.optimizers.rls import PRIOR_VARIANCE, rls_update
from models.protocols import Array, Fields, State
from models.specification import Specification

BESIDE = 4
"""Inputs beside lags and features: the deviation, the constant, and the two seasonal changes."""


class Linear:
    """Recursive least squares on lags. Time and memory O(H F^2) with F = lags + features + 4."""

    def __init__(self, specification: Specification) -> None:
        """Take horizons, lags and the number of features from the specification."""
        self.lags = specification.lags
        self.n_horizons = len(specification.horizons)
        self.n_slots = sum(specification.horizons)
        self.n_inputs = self.lags + specification.n_inputs + BESIDE

    def init_state(self) -> Fields:
        """Return an expert that forecasts no change."""
        return {
            "lags": np.zeros(self.lags),
            "weights": np.zeros((self.n_horizons, self.n_inputs)),
            "covariance": np.tile(PRIOR_VARIANCE * np.eye(self.n_inputs), (self.n_horizons, 1, 1)),
            "pending": np.zeros((self.n_slots, self.n_inputs)),
        }

    def learn(self, state: State, due: Due) -> None:
        """Take the labels that are due into the weights. Eqs. of `models.optimizers.rls`."""
        rows = np.arange(len(due.slot))[:, None]
        inputs = state["pending"][rows, due.slot]
        state["weights"], state["covariance"] = rls_update(
            state["weights"], state["covariance"], inputs, due.residual, due.valid
        )

    def forecast(self, state: State, observation: Observation) -> Array:
        """Shift the newest increment in and forecast, (B, H)."""
        state["lags"] = np.concatenate((observation.increment[:, None], state["lags"][:, :-1]), axis=1)
        inputs = linear_inputs(state["lags"], observation)
        rows = np.arange(len(inputs))[:, None]
        state["pending"][rows, observation.slot] = inputs
        forecast: Array = (state["weights"] * inputs).sum(axis=-1)
        return forecast


def linear_inputs(lags: Array, observation: Observation) -> Array:
    """Return phi, (B, H, F): it differs between horizons by the seasonal changes alone."""
    n_rows, n_horizons = observation.slot.shape
    shared = np.concatenate(
        (lags, observation.deviation[:, None], observation.features, np.ones((n_rows, 1))), axis=1
    )
    repeated = np.repeat(shared[:, None, :], n_horizons, axis=1)
    return np.concatenate((repeated, observation.seasonal_change), axis=2)
