"""Losses: what a prediction costs, as a function of the outputs. A new one is a file and a line."""

from __future__ import annotations

from collections.abc import Callable

from models.losses.bernoulli import Bernoulli
from models.losses.cross_entropy import CrossEntropy
from models.losses.huber import Huber
from models.losses.pinball import Pinball
from models.losses.squared import Squared
from models.protocols import Loss

LOSSES: dict[str, Callable[..., Loss]] = {
    "squared": Squared,
    "huber": Huber,
    "pinball": Pinball,
    "cross_entropy": CrossEntropy,
    "bernoulli": Bernoulli,
}
"""Factories by name; every argument has a default."""
