"""Optimizers, and transforms of gradients that chain before them. A new one is a file and a line."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from models.optimizers.adam import Adam
from models.optimizers.autostep import Autostep
from models.optimizers.chain import Chain, chain
from models.optimizers.ekf import Ekf
from models.optimizers.intentional import Intentional
from models.optimizers.momentum import Momentum
from models.optimizers.obgd import Obgd
from models.optimizers.recursive_least_squares import Rls
from models.optimizers.rmsprop import RmsProp
from models.optimizers.sgd import Sgd
from models.optimizers.transforms import (
    clip_by_global_norm,
    clip_by_value,
    clip_by_zscore,
    finite_guard,
)
from models.optimizers.weight_decay import AdamW
from models.protocols import JacobianOptimizer, Optimizer

__all__ = [
    "CLIPS",
    "JACOBIAN_OPTIMIZERS",
    "OPTIMIZERS",
    "Adam",
    "Chain",
    "Ekf",
    "Sgd",
    "chain",
    "clip_by_global_norm",
    "clip_by_value",
    "clip_by_zscore",
    "finite_guard",
]

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adam": Adam,
    "adamw": AdamW,
    "rmsprop": RmsProp,
    "momentum": Momentum,
    "sgd": Sgd,
}
"""Of gradients. Factories by name; each takes the keyword learning_rate."""

JACOBIAN_OPTIMIZERS: dict[str, Callable[..., JacobianOptimizer]] = {
    "ekf_joint": Ekf,
    "ekf_node": partial(Ekf, decoupled=True),
    "rls": Rls,
    "obgd": Obgd,
    "autostep": Autostep,
    "intentional": Intentional,
}
"""Of the outputs' derivatives and errors. Factories by name; every argument has a default."""

CLIPS: dict[str, Callable[[float], Optimizer]] = {
    "norm": clip_by_global_norm,
    "value": clip_by_value,
    "z_score": clip_by_zscore,
}
"""Transforms that bound a gradient, by name; each takes its bound."""
