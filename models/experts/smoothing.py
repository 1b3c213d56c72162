"""Exponential smoothing: the level beneath the noise, by the rate that has been the best.

    e_a = (y_t - l_a) / s_t,  v_a <- v_a + b_t (min(e_a^2, W^2) - v_a)  (1)
    l_a <- l_a + a (y_t - l_a)                                          (2)
    y_{t+h} ~ l_a of the least v_a                                      (3)

Source: Brown (1956); Hyndman & Athanasopoulos, Forecasting: principles and practice (2021), section 8.1, where the rate is found on the whole
past instead. Cost O(H) and a few rates.
"""

from __future__ import annotations

from typing import Final, final

import numpy as np

from models.forecast_protocols import Due, Observation
from models.protocols import Array, Fields, State
from models.scaling import WINSOR_SCALES
from models.specification import Specification

RATES: Final = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7)
"""From a memory of fifty rows to one of hardly two; 1 is the last value."""

SPAN_EVENTS: Final = 300.0
"""Of the errors that the rates are compared by: the best one may change with the world."""


@final
class Smoothing:
    """Forecasts a smoothed level."""

    def __init__(self, specification: Specification) -> None:
        """Take the horizons from the specification."""
        self.n_horizons = len(specification.horizons)

    def init_state(self) -> Fields:
        """Return the levels, raw, and the errors of the rates."""
        return {
            "levels": np.zeros(len(RATES)),
            "errors": np.zeros(len(RATES)),
            "seen": np.zeros((), dtype=np.int64),
        }

    def learn(self, state: State, due: Due) -> None:
        """Learn nothing from labels: each value is the label of the level before."""

    def forecast(self, state: State, observation: Observation) -> Array:
        """Take the newest value and forecast, (B, H)."""
        level, scale, seen = observation.level[:, None], observation.scale[:, None], state["seen"][:, None]
        first = seen == 0
        error = np.clip((level - state["levels"]) / scale, -WINSOR_SCALES, WINSOR_SCALES)
        rate = np.maximum(1.0 / SPAN_EVENTS, 1.0 / np.maximum(seen, 1))
        errors = state["errors"] + rate * (error * error - state["errors"])
        state["errors"] = np.where(first, 0.0, errors)
        smoothed = state["levels"] + np.array(RATES) * (level - state["levels"])
        state["levels"] = np.where(first, level, smoothed)
        state["seen"] = state["seen"] + 1
        best = np.argmin(state["errors"], axis=1)
        chosen = state["levels"][np.arange(len(best)), best]
        return np.repeat(((chosen - observation.level) / observation.scale)[:, None], self.n_horizons, axis=1)
