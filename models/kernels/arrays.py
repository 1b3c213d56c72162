"""Events as compiled functions take them: in one layout, whatever they came in.

Another layout, or an array that may not be written to, is another type to numba, and would be compiled for anew.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from models.protocols import Array, BoolArray, IntArray

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
