"""Optimizers, and transforms of gradients that chain before them. A new one is a file and a line."""

from __future__ import annotations

from collections.abc import Callable

from models.optimizers.adam import Adam
from models.optimizers.chain import Chain, chain
from models.optimizers.sgd import Sgd
from models.optimizers.transforms import clip_by_global_norm, finite_guard
from models.protocols import Optimizer

__all__ = ["OPTIMIZERS", "Adam", "Chain", "Sgd", "chain", "clip_by_global_norm", "finite_guard"]

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adam": Adam,
    "sgd": Sgd,
}
"""Factories by name; each takes the keyword learning_rate."""
