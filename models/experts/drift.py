"""Drift: the series goes on as it went on in the mean.

    m <- m + a_t (d_t - m),  a_t = max(1 / SPAN, 1 / t)               (1)
    y_{t+h} - y_t ~ h m                                              (2)

with d the winsorised increments. Where the plain mean is taken, as in the classic, one drift of long ago would be carried for ever.
Source: Hyndman & Athanasopoulos, Forecasting: principles and practice (2021), section 5.2. Cost O(H).
"""

from __future__ import annotations

from typing import Final, final

import numpy as np

from models.forecast_protocols import Due, Observation
from models.protocols import Array, Fields, State
from models.specification import Specification

SPAN_EVENTS: Final = 1000.0
"""As that of the scale: a drift that lasts is one of some hundred rows at least."""


@final
class Drift:
    """Forecasts the mean increment, h times over."""

    def __init__(self, specification: Specification) -> None:
        """Take the horizons from the specification."""
        self.horizons = np.array(specification.horizons, dtype=np.float64)

    def init_state(self) -> Fields:
        """Return no drift, in raw units, and no increment seen."""
        return {"mean": np.zeros(()), "seen": np.zeros((), dtype=np.int64)}

    def learn(self, state: State, due: Due) -> None:
        """Learn nothing from labels: increments come with the observation."""

    def forecast(self, state: State, observation: Observation) -> Array:
        """Take the newest increment and forecast, (B, H)."""
        state["seen"] = state["seen"] + 1
        rate = np.maximum(1.0 / SPAN_EVENTS, 1.0 / state["seen"])
        increment = observation.increment * observation.scale
        state["mean"] = state["mean"] + rate * (increment - state["mean"])
        forecast: Array = (state["mean"] / observation.scale)[:, None] * self.horizons
        return forecast
