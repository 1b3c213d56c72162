"""Seasonal naive: what was one season ago comes again (the season is found by `models.season`).

While no season is known it forecasts the running mean.
"""

from __future__ import annotations

from models.forecast_protocols import Due, Observation
from models.protocols import Array, Fields, State
from models.specification import Specification


class SeasonalNaive:
    """Forecasts y_{t+h-S}."""

    def __init__(self, specification: Specification) -> None:
        """Need nothing of the specification: the season comes with the observation."""

    def init_state(self) -> Fields:
        """Return nothing: the levels of a season are kept by `models.season`."""
        return {}

    def learn(self, state: State, due: Due) -> None:
        """Learn nothing."""

    def forecast(self, state: State, observation: Observation) -> Array:
        """Return the scaled change to last season's level, (B, H)."""
        return observation.seasonal_level
