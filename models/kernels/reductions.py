"""Sums over units, several at a time: without fast mathematics one sum would wait for each of its numbers."""

from __future__ import annotations

import numpy as np

from models.kernels.jit import inner
from models.protocols import Array, SingleOrDouble


@inner
def folded(values: Array) -> float:
    """Return the sum of (n,), as four sums beside each other, none of which waits for another."""
    count = len(values)
    fours = count - count % 4
    first = second = third = fourth = 0.0
    for i in range(0, fours, 4):
        first += values[i]
        second += values[i + 1]
        third += values[i + 2]
        fourth += values[i + 3]
    for i in range(fours, count):
        first += values[i]
    return float((first + second) + (third + fourth))


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
