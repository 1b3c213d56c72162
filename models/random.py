"""Random numbers by counter: a row's draws depend on its own counter and the seed alone.

A counter in the state is all that a rule with random draws has to keep: the same after a restart, whatever
shares the micro-batch. Each number is splitmix64's mixing of (seed, counter, index), source: Steele, Lea &
Flood (2014).
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from models.protocols import Array, IntArray

GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
FIRST: Final = np.uint64(0xBF58476D1CE4E5B9)
SECOND: Final = np.uint64(0x94D049BB133111EB)
DOUBLE_BITS: Final = 53


def _mixed(value: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return splitmix64's finaliser of unsigned 64-bit numbers; products wrap around."""
    value = (value ^ (value >> np.uint64(30))) * FIRST
    value = (value ^ (value >> np.uint64(27))) * SECOND
    mixed: npt.NDArray[np.uint64] = value ^ (value >> np.uint64(31))
    return mixed


def _bits(counter: IntArray, count: int, seed: int) -> npt.NDArray[np.uint64]:
    """Return (B, count) mixed unsigned 64-bit numbers."""
    start = _mixed(np.array([seed], dtype=np.int64).astype(np.uint64) + GOLDEN)
    row = _mixed(start + counter.astype(np.uint64) * GOLDEN)
    index = np.arange(1, count + 1, dtype=np.uint64) * GOLDEN
    return _mixed(row[:, None] + index)


def uniforms(counter: IntArray, count: int, seed: int) -> Array:
    """Return numbers in [0, 1), (B,) -> (B, count).

    Example:
        >>> import numpy as np
        >>> one, other = uniforms(np.array([5, 6]), 2, seed=0), uniforms(np.array([6]), 2, seed=0)
        >>> bool((one[1] == other[0]).all()), bool((one[0] != one[1]).all())
        (True, True)
    """
    high = (_bits(counter, count, seed) >> np.uint64(64 - DOUBLE_BITS)).astype(np.float64)
    numbers: Array = high * 2.0**-DOUBLE_BITS
    return numbers


def signs(counter: IntArray, count: int, seed: int) -> Array:
    """Return -1 or 1 with equal probability, (B,) -> (B, count).

    Example:
        >>> import numpy as np
        >>> sorted(set(signs(np.array([1]), 64, seed=0).ravel().tolist()))
        [-1.0, 1.0]
    """
    top = (_bits(counter, count, seed) >> np.uint64(63)).astype(np.float64)
    either: Array = 2.0 * top - 1.0
    return either
