"""Sums over units, by halves, so that the compiler takes several at a time."""

from __future__ import annotations

import numpy as np

from models.kernels.jit import inner
from models.protocols import Array, SingleOrDouble


@inner
def folded(values: Array) -> float:
    """Return the sum of (n,), by halves, so that several are added at a time; the values are used up."""
    count = len(values)
    while count > 1:
        half = count // 2
        kept = count - half
        for i in range(half):
            values[i] += values[kept + i]
        count = kept
    return float(values[0])


@inner
def norm_of(values: SingleOrDouble, by_unit: Array) -> float:
    """Return the Frobenius norm of (.., .., n), summed unit by unit first."""
    n = len(by_unit)
    for i in range(n):
        by_unit[i] = 0.0
    for part in range(values.shape[0]):
        for j in range(values.shape[1]):
            row = values[part, j]
            for i in range(n):
                by_unit[i] += row[i] * row[i]
    return float(np.sqrt(folded(by_unit)))
