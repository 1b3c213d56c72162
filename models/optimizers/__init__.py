"""Optimizers, and transforms of gradients that chain before them. A new one is a file and a line."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from models.optimizers.adam import Adam
from models.optimizers.chain import Chain, chain
from models.optimizers.ekf import Ekf
from models.optimizers.sgd import Sgd
from models.optimizers.transforms import clip_by_global_norm, finite_guard
from models.protocols import JacobianOptimizer, Optimizer

__all__ = [
    "JACOBIAN_OPTIMIZERS",
    "OPTIMIZERS",
    "Adam",
    "Chain",
    "Ekf",
    "Sgd",
    "chain",
    "clip_by_global_norm",
    "finite_guard",
]

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adam": Adam,
    "sgd": Sgd,
}
"""Factories by name; each takes the keyword learning_rate."""

JACOBIAN_OPTIMIZERS: dict[str, Callable[..., JacobianOptimizer]] = {
    "ekf_joint": Ekf,
    "ekf_node": partial(Ekf, decoupled=True),
}
"""Factories by name; every argument has a default."""
