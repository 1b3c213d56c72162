"""Arrays as compiled functions take them: events in one layout, whatever they came in, and what is worked on in whole lines of memory.

Another layout, or an array that may not be written to, is another type to numba, and would be compiled for anew.
"""

from __future__ import annotations

import math
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from models.protocols import Array, BoolArray, IntArray

LINE_BYTES: Final = 64
"""What memory hands out at a time, and the widest vector has."""

Kind = TypeVar("Kind", bound=np.generic)


def plain(
    slots: IntArray, inputs: Array, targets: Array, scored: BoolArray
) -> tuple[IntArray, Array, Array, BoolArray]:
    """Return the events of a learner's call in the one layout."""
    return laid(slots, np.int64), laid(inputs, np.float64), laid(targets, np.float64), laid(scored, np.bool_)


def laid(array: NDArray[Kind], kind: type[Kind]) -> NDArray[Kind]:
    """Return an array row by row, of a kind, and writable; as it is where it is that, which is quickly seen."""
    flags = array.flags
    if array.dtype == kind and flags.c_contiguous and flags.writeable and flags.aligned:
        return array
    return np.require(array, kind, ["C", "W", "A"])


def aligned(shape: tuple[int, ...], kind: DTypeLike = np.float64) -> NDArray[Any]:
    """Return zeros that begin where a line of memory does, so that no vector of a row of whole lines lies across two.

    numpy's own begin at any sixteenth byte, and a vector across two lines takes twice the time.

    Example:
        >>> aligned((3, 8)).ctypes.data % LINE_BYTES
        0
    """
    size = math.prod(shape) * np.dtype(kind).itemsize
    whole = np.zeros(size + LINE_BYTES, dtype=np.uint8)
    first = -whole.ctypes.data % LINE_BYTES
    return whole[first : first + size].view(kind).reshape(shape)
