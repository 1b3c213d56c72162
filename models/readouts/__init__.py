"""Readouts: what stands above the recurrent layer. A new one is a file and a line."""

from __future__ import annotations

from collections.abc import Callable

from models.protocols import Readout
from models.readouts.feed_forward import FeedForward
from models.readouts.linear import Linear

READOUTS: dict[str, Callable[..., Readout]] = {
    "linear": Linear,
    "feed_forward": FeedForward,
}
"""Factories by name; each takes the keywords n_features and n_outputs."""
