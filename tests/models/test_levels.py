"""Goal: whether a series is forecast by its level or by its last value is decided online, by what its labels say.

Method: series of which the best forecast is known: the mean of noise about a level, the last value of a random walk, and between them what an
autoregression of a root in between forgets; and one that changes from the one to the other.
"""

from __future__ import annotations

import numpy as np
import pytest

from models.protocols import Array
from models.specification import Specification
from tests.models.streams import run_new, univariate

ROWS, SCORED = 3000, 1000
MAKE = Specification(horizons=(1, 12))


def autoregression(root: float, rows: int = ROWS, *, seed: int = 1) -> tuple[Array, Array]:
    """Return a series about a level of 50, and its best forecasts a row and twelve rows ahead."""
    noise = np.random.default_rng(seed).normal(size=rows)
    values = np.zeros(rows)
    for row in range(1, rows):
        values[row] = root * values[row - 1] + noise[row]
    return values + 50.0, np.stack((root * values, root**12 * values), axis=1) + 50.0


def excess(values: Array, best: Array) -> list[float]:
    """Return the squared error over that of the best forecast, at each horizon."""
    told = run_new(MAKE, univariate(values))["prediction"][:, 0, 0]
    found = []
    for place, horizon in enumerate(MAKE.horizons):
        came = values[SCORED + horizon :]
        own, ideal = (forecast[SCORED:-horizon, place] for forecast in (told, best))
        found.append(float(((came - own) ** 2).mean() / ((came - ideal) ** 2).mean()))
    return found


@pytest.mark.parametrize("root", [0.0, 0.5, 0.9, 1.0])
def test_the_forecast_is_near_the_best_whether_that_is_the_level_or_the_last_value(root: float) -> None:
    """The last value's error is twice the mean's on noise, and the mean's is without bound on a walk."""
    near, far = excess(*autoregression(root))
    assert near < 1.06
    assert far < 1.15


def test_a_series_that_becomes_a_walk_is_followed() -> None:
    still, best = autoregression(0.0, 2000)
    walk = still[-1] + np.random.default_rng(2).normal(size=ROWS).cumsum()
    values = np.concatenate((still, walk))
    ideal = np.concatenate((best, np.stack((walk, walk), axis=1)))
    near, far = excess(values[1000:], ideal[1000:])
    assert near < 1.08
    assert far < 1.25
