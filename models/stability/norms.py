"""Norms of what learning carries, and shares of units: each of B rows, (B, ...) -> (B,)."""

from __future__ import annotations

import numpy as np

from models.protocols import Array, BoolArray


def frobenius_norm(values: Array) -> Array:
    """Return sqrt(sum of squares) of each row, (B, ...) -> (B,); infinite where the squares overflow.

    The gradient norm and, through `LearningRule.memory_norm`, the influence norm.

    Example:
        >>> import numpy as np
        >>> frobenius_norm(np.array([[[3.0, 0.0], [0.0, 4.0]]])).tolist()
        [5.0]
    """
    rows = values.reshape(values.shape[0], -1)
    with np.errstate(over="ignore"):
        norm: Array = np.sqrt(np.sum(rows * rows, axis=1))
    return norm


def saturated_ratio(saturated: BoolArray) -> Array:
    """Return the share of units that are saturated, (B, n) -> (B,).

    Example:
        >>> import numpy as np
        >>> saturated_ratio(np.array([[True, False, False, False]])).tolist()
        [0.25]
    """
    ratio: Array = np.mean(saturated, axis=1, dtype=np.float64)
    return ratio
