"""The linear expert: recursive least squares on the last increments, the level, the season and the time.

    phi_t = [d_t .. d_{t-L+1}, y_t - mean, features, 1, calendar, seasonal changes],  y_{t+h} - y_t ~ s_t w_h' phi_t

One weight vector a horizon, each learned from its own labels as they arrive; one covariance, since what the horizons see is the same.
Several of different lags and forgetting stand in the mixture side by side: which is best differs between series, and changes.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from models.calendar import N_CALENDAR
from models.forecast_protocols import Due, Observation
from models.optimizers.rls import FORGETTING, PRIOR_VARIANCE, rls_correct, rls_gain
from models.protocols import Array, Fields, IntArray, State
from models.season import CYCLES
from models.specification import Specification

SEASON_HORIZONS_MAX: Final = 4
"""Horizons whose seasonal changes are inputs: all share one covariance, so each sees those of the others. An expert of few inputs has those of
the first alone: what it forgets soon it cannot learn well."""

HASTY_FORGETTING: Final = 0.99
"""While the expert is quickened: a memory of 100 rows. That is more process noise: what is unsure grows by a hundredth a row."""

QUICK_LAGS: Final = 24
QUICK_FORGETTING: Final = 0.999
"""A memory of 1,000 rows, for which few weights are enough to learn."""

LONG_FACTOR: Final = 2
LONG_FORGETTING: Final = 0.9999
"""A memory of 10,000 rows, which is enough to learn many weights."""


class Linear:
    """Recursive least squares on lags. Time O(F^2 + H F), memory O(F^2 + (H + longest horizon) F), F = lags + features + 12 to 18."""

    def __init__(
        self,
        specification: Specification,
        *,
        lags: int | None = None,
        forgetting: float = FORGETTING,
        season_max: int = SEASON_HORIZONS_MAX,
        shared: tuple[str, ...] = (),
        joint: bool = False,
    ) -> None:
        """Take horizons, lags and the number of features from the specification; `season_max` is of horizons."""
        self.shared = shared
        self.n_others = specification.n_others if joint else 0
        self.lags = specification.lags if lags is None else lags
        self.forgetting = forgetting
        self.n_horizons = len(specification.horizons)
        self.n_rows = specification.horizons[-1]
        self.season_at = season_horizons(self.n_horizons, season_max)
        self.n_inputs = self.lags + n_beside(specification, self.season_at) + self.n_others

    def init_state(self) -> Fields:
        """Return an expert that forecasts no change."""
        return {"lags": np.zeros(self.lags)} | init_readout(self.n_horizons, self.n_rows, self.n_inputs)

    def learn(self, state: State, due: Due) -> None:
        """Take the labels that are due into the weights."""
        learn_readout(state, due)

    def forecast(self, state: State, observation: Observation) -> Array:
        """Shift the newest increment in and forecast, (B, H)."""
        state["lags"] = np.concatenate((observation.increment[:, None], state["lags"][:, :-1]), axis=1)
        inputs = linear_inputs(state["lags"], observation, self.season_at, self.n_others)
        return forecast_readout(state, inputs, observation, self.forgetting)


def quick(specification: Specification) -> Linear:
    """Return the expert of few lags that forgets soon."""
    return Linear(
        specification, lags=min(specification.lags, QUICK_LAGS), forgetting=QUICK_FORGETTING, season_max=1
    )


def long(specification: Specification) -> Linear:
    """Return the expert of many lags that forgets late."""
    return Linear(specification, lags=LONG_FACTOR * specification.lags, forgetting=LONG_FORGETTING)


def joint(specification: Specification) -> Linear:
    """Return the expert that sees the other targets too."""
    return Linear(specification, joint=True)


def pooled(specification: Specification) -> Linear:
    """Return the expert of few lags whose weights a group of series shares; it forgets late, for a row of each series is a row."""
    return Linear(
        specification,
        lags=min(specification.lags, QUICK_LAGS),
        forgetting=LONG_FORGETTING,
        season_max=1,
        shared=("weights", "covariance"),
    )


def season_horizons(n_horizons: int, count_max: int = SEASON_HORIZONS_MAX) -> IntArray:
    """Return which horizons' seasonal changes are inputs: the first, the last, and what lies evenly between.

    Example:
        >>> season_horizons(2).tolist(), season_horizons(48).tolist(), season_horizons(48, 1).tolist()
        ([0, 1], [0, 16, 31, 47], [0])
    """
    count = min(n_horizons, count_max)
    return np.rint(np.linspace(0, n_horizons - 1, count)).astype(np.int64)


def n_beside(specification: Specification, season_at: IntArray) -> int:
    """Return the inputs beside lags: the deviation, features, the constant, the calendar, and the seasonal changes."""
    return 2 + specification.n_inputs + N_CALENDAR + len(CYCLES) * len(season_at)


def linear_inputs(lags: Array, observation: Observation, season_at: IntArray, n_others: int = 0) -> Array:
    """Return phi, (B, F); the last are as many of the other targets' increments."""
    return np.concatenate(
        (
            lags,
            observation.deviation[:, None],
            observation.features,
            np.ones((len(lags), 1)),
            observation.calendar,
            observation.seasonal_change[:, season_at].reshape(len(lags), -1),
            observation.others[:, :n_others],
        ),
        axis=1,
    )


def init_readout(n_horizons: int, n_rows: int, n_inputs: int) -> Fields:
    """Return the fields of a readout by least squares: weights of zeros, and a ring of what labels to come will need."""
    return {
        "weights": np.zeros((n_horizons, n_inputs)),
        "covariance": PRIOR_VARIANCE * np.eye(n_inputs),
        "inputs": np.zeros((n_rows, n_inputs)),
        "gain": np.zeros((n_rows, n_inputs)),
    }


def learn_readout(state: State, due: Due) -> None:
    """Take the labels that are due into a readout's weights, in place."""
    rows = np.arange(len(due.origin))[:, None]
    gain, inputs = state["gain"][rows, due.origin], state["inputs"][rows, due.origin]
    state["weights"] = rls_correct(state["weights"], gain, inputs, due.target, due.bound, due.valid)


def forecast_readout(state: State, inputs: Array, observation: Observation, forgetting: float) -> Array:
    """Return w_h' phi of inputs (B, F), (B, H), and keep what their labels will need, in place."""
    rows = np.arange(len(inputs))
    forgets = np.where(observation.hasty, min(forgetting, HASTY_FORGETTING), forgetting)
    gain, state["covariance"] = rls_gain(state["covariance"], inputs, forgets)
    state["inputs"][rows, observation.row] = inputs
    state["gain"][rows, observation.row] = gain
    forecast: Array = (state["weights"] * inputs[:, None]).sum(axis=-1)
    return forecast
