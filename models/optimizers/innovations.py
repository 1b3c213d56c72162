"""What optimizers of derivatives and errors share: which rows can be learned from, and the noise taken off."""

from __future__ import annotations

from typing import Final

import numpy as np

from models.protocols import Array, Blocks, BoolArray

LARGEST: Final = 1e50
"""Derivatives and errors beyond are no data; products of four below it, whitened, are still finite."""


def whitened(
    jacobian: Blocks, error: Array, noise: Array, active: BoolArray
) -> tuple[Blocks, Array, BoolArray]:
    """Divide derivatives and errors by the noise's deviation, and say which rows can be learned from.

        H_j <- H_j / sqrt(r_j),  e_j <- e_j / sqrt(r_j)                     (1)

    Least squares by (1) is least squares weighted by 1 / r, so what works for a squared loss works for all.
    A row is refused that is not active, or in which something is not finite, or over LARGEST, or in which a
    noise is not positive. Whatever stands there, it comes back as zeros.

    Args:
        jacobian: blocks of (B, o, groups, size).
        error: (B, o).
        noise: r, (B, o).
        active: (B,).

    Returns:
        blocks, errors, and the rows that can be learned from, (B,).

    Example:
        >>> import numpy as np
        >>> error, noise = np.array([[6.0], [np.nan]]), np.array([[4.0], [1.0]])
        >>> blocks, error, rows = whitened((np.ones((2, 1, 1, 1)),), error, noise, np.array([True, True]))
        >>> blocks[0].ravel().tolist(), error.ravel().tolist(), rows.tolist()
        ([0.5, 0.0], [3.0, 0.0], [True, False])
    """
    rows: BoolArray = active & (np.abs(error) <= LARGEST).all(axis=1)
    rows = rows & ((noise >= 1.0 / LARGEST) & (noise <= LARGEST)).all(axis=1)
    for block in jacobian:
        rows = rows & (np.abs(block) <= LARGEST).reshape(len(block), -1).all(axis=1)
    deviation = np.sqrt(np.where(rows[:, None], noise, 1.0))
    blocks = tuple(
        np.where(rows[:, None, None, None], block, 0.0) / deviation[:, :, None, None] for block in jacobian
    )
    return blocks, np.where(rows[:, None], error, 0.0) / deviation, rows
