"""What every detector does with its values: refuse what is not finite, count errors, and put its state back in place.

A detector is handed values with mean one while nothing changes, and a spread of about one. The detectors of a share of errors
(DDM, EDDM, HDDM) count a value over `ERROR_OVER` as an error: of a loss in units of its usual size, that is one which is
twice the usual. Normal residuals give a share of .11, Laplace ones .14; when the residuals double, .42 and .37. A stream
that is zeros and ones already, such as misses of an interval, is counted as it is by any bound between the two.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from models.protocols import Array, BoolArray, Fields, State

ERROR_OVER: Final = 2.0


def taken(value: Array, valid: BoolArray, name: str) -> Array:
    """Return the values where valid, and 0 elsewhere, (B,).

    Raises:
        ValueError: a valid value is not finite. Nothing was touched: a mean that NaN has entered never leaves it, every
            comparison with it is false, and the detector would be blind from then on.
    """
    if not np.isfinite(value[valid]).all():
        raise ValueError(f"{name} takes finite values only")
    return np.where(valid, value, 0.0)


def errors(value: Array, over: float) -> Array:
    """Return 1 where a value is an error, else 0, (B,)."""
    return (value > over).astype(np.float64)


def put(state: State, after: Fields, new: Fields, *, valid: BoolArray, anew: BoolArray) -> None:
    """Write each field of `after` where valid and that of a `new` detector where it starts anew, in place."""
    for name, value in after.items():
        shape = (-1,) + (1,) * (value.ndim - 1)
        kept = np.where(valid.reshape(shape), value, state[name])
        state[name] = np.where(anew.reshape(shape), new[name], kept)
