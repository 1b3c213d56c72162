"""In which precision a rule keeps what is large, and a learner its model."""

from __future__ import annotations

from typing import Literal, get_args

Precision = Literal["float64", "float32"]


def known_precision(precision: str) -> str:
    """Return the precision.

    Raises:
        ValueError: there is no such.

    Example:
        >>> known_precision("float32")
        'float32'
    """
    if precision not in get_args(Precision):
        raise ValueError(f"precision: float64 or float32, not {precision!r}")
    return precision
