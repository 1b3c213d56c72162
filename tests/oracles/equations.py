"""What a cell's equations are: plain functions of one model, for automatic differentiation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import autograd.numpy as anp

StepFunction = Callable[[Any, Any, Any], Any]
ReadOutFunction = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class CellOracle:
    """A cell's equations: step(params, state, inputs) -> state (k, n), and read_out(state) -> (r, n)."""

    step: StepFunction
    read_out: ReadOutFunction


def logistic(value: Any) -> Any:
    """Return 1 / (1 + exp(-value))."""
    return 1.0 / (1.0 + anp.exp(-value))


def same(state: Any) -> Any:
    """Return the state as it is."""
    return state
