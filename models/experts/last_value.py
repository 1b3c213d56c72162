"""The last value: what is now stays. The baseline of all baselines."""

from __future__ import annotations

import numpy as np

from models.forecast_protocols import Due, Observation
from models.protocols import Array, Fields, State
from models.specification import Specification


class LastValue:
    """Forecasts no change."""

    def __init__(self, specification: Specification) -> None:
        """Take the horizons from the specification."""
        self.n_horizons = len(specification.horizons)

    def init_state(self) -> Fields:
        """Return nothing: there is nothing to keep."""
        return {}

    def learn(self, state: State, due: Due) -> None:
        """Learn nothing."""

    def forecast(self, state: State, observation: Observation) -> Array:
        """Return zeros, (B, H)."""
        return np.zeros((len(observation.level), self.n_horizons))
