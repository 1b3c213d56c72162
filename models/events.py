"""What events of many series must be for a bank to take them in one call."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.pooling import NONE
from models.protocols import Array, IntArray
from models.specification import Specification

VALUE_ABS_MAX = 1e100
"""Larger inputs are refused: products of them would leave float64's range somewhere in a model's state."""


class NonFiniteError(ValueError):
    """A value that is not finite or far too large came in, or would have gone out. The series concerned are as they were.

    Attributes:
        slots: of the series whose results would not be finite; none where an input was not.
    """

    def __init__(self, message: str, slots: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.slots = tuple(slots)


def check_events(
    specification: Specification,
    used: set[int],
    slots: IntArray,
    times: Array,
    values: Array,
    features: Array,
) -> None:
    """Look at events before any of them is taken; `used` are the slots that hold a series.

    Raises:
        NonFiniteError: an input is infinite or over VALUE_ABS_MAX, or a time NaN.
        ValueError: shapes do not fit, a slot is not in use or stands twice.
    """
    if slots.ndim != 1 or len(slots) == 0:
        raise ValueError(f"slots has shape {slots.shape}; one dimension and at least one slot are needed")
    n_rows = len(slots)
    expected = {
        "times": (times, (n_rows,)),
        "values": (values, (n_rows, len(specification.targets))),
        "features": (features, (n_rows, len(specification.features))),
    }
    for name, (array, shape) in expected.items():
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}, {shape} is needed")
        if array.size == 0:
            continue
        sound = np.abs(array) <= VALUE_ABS_MAX
        if not sound.all() and not (name != "times" and (sound | np.isnan(array)).all()):
            raise NonFiniteError(f"{name} holds a value that is not finite or over {VALUE_ABS_MAX:g}")
    if len(set(slots.tolist())) != n_rows:
        raise ValueError("a slot stands twice in the micro-batch; give the later event to the next call")
    if not used.issuperset(slots.tolist()):
        raise ValueError("a slot is not in use; call admit first")


def checked_pools(used: set[int], slots: IntArray, pools: IntArray | None) -> IntArray:
    """Return the pools that were given, or none for each event.

    Raises:
        ValueError: they are not as many as events, or one is not in use or a series of the call.
    """
    if pools is None:
        return np.full(len(slots), NONE, dtype=np.int64)
    pools = np.asarray(pools, dtype=np.int64)
    if pools.shape != slots.shape:
        raise ValueError(f"pools has shape {pools.shape}, {slots.shape} is needed")
    given = set(pools.tolist()) - {NONE}
    if not used.issuperset(given) or given.intersection(slots.tolist()):
        raise ValueError("a pool is not in use, or is a series of the call; call admit for a slot of its own")
    return pools
