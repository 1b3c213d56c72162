"""Past inputs in a state: the context rows of the protocol, a tapped delay line packed into rows of n."""

from __future__ import annotations

import numpy as np

from models.protocols import Array


def n_context_rows(n_values: int, n_units: int) -> int:
    """Return how many rows of n units hold so many values.

    Example:
        >>> n_context_rows(5, 4), n_context_rows(0, 4)
        (2, 0)
    """
    return -(-n_values // n_units)


def read_context(state: Array, n_parts: int, n_values: int) -> Array:
    """Return the values that stand in the rows behind the parts, (B, n_values), newest first."""
    batch = len(state)
    return state[:, n_parts:].reshape(batch, -1)[:, :n_values]


def with_context(parts: Array, values: Array) -> Array:
    """Return the parts (B, k, n) with the values (B, v) behind them, (B, k + c, n)."""
    batch, _, n = parts.shape
    rows = np.zeros((batch, n_context_rows(values.shape[1], n) * n))
    rows[:, : values.shape[1]] = values
    return np.concatenate((parts, rows.reshape(batch, -1, n)), axis=1)
