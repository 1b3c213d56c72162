"""How the experts' forecasts become one. A new mixture is one file here and one line in `MIXTURES`."""

from __future__ import annotations

from collections.abc import Callable

from models.forecast_protocols import Mixture
from models.mixtures.exponential import ExponentialWeights
from models.mixtures.polynomial import PolynomialWeights
from models.mixtures.stacked import StackedWeights

MIXTURES: dict[str, Callable[..., Mixture]] = {
    "polynomial": PolynomialWeights,
    "exponential": ExponentialWeights,
    "stacked": StackedWeights,
}
"""Factories by name; each takes the horizons and the number of experts, and may take `prior`, what each expert counts beforehand."""
