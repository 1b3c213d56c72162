"""Products with the state Jacobian in either of its forms, and what a rule can know of a cell beforehand."""

from __future__ import annotations

import numpy as np

from models.protocols import Array, Cell, StepFactors


def forward(transition: Array, vector: Array) -> Array:
    """Return J v for a direction in the state, (B, k, n), J in the dense or the diagonal form.

    Example:
        >>> import numpy as np
        >>> blocks = np.arange(8.0).reshape(1, 2, 2, 2)
        >>> dense = np.zeros((1, 2, 2, 2, 2))
        >>> dense[:, :, [0, 1], :, [0, 1]] = blocks.transpose(3, 0, 1, 2)
        >>> v = np.array([[[1.0, 2.0], [3.0, 4.0]]])
        >>> bool((forward(blocks, v) == forward(dense.reshape(1, 4, 4), v)).all())
        True
    """
    if transition.ndim == 3:
        flat = np.matmul(transition, vector.reshape(len(vector), -1, 1))
        moved: Array = flat.reshape(vector.shape)
        return moved
    total = transition[:, :, 0] * vector[:, None, 0]
    for part in range(1, vector.shape[1]):
        total = total + transition[:, :, part] * vector[:, None, part]
    return total


def backward(transition: Array, credit: Array) -> Array:
    """Return credit J for C credits, (B, C, k, n), J in the dense or the diagonal form."""
    if transition.ndim == 3:
        batch, count = credit.shape[:2]
        flat = np.matmul(credit.reshape(batch, count, -1), transition)
        moved: Array = flat.reshape(credit.shape)
        return moved
    total = credit[:, :, 0, None] * transition[:, None, 0]
    for part in range(1, credit.shape[2]):
        total = total + credit[:, :, part, None] * transition[:, None, part]
    return total


def own_blocks(transition: Array, n_parts: int) -> Array:
    """Return what of J leads from a unit to itself, (B, k, k, n)."""
    if transition.ndim == 4:
        return transition
    batch, size, _ = transition.shape
    units = size // n_parts
    blocks = transition.reshape(batch, n_parts, units, n_parts, units)
    return np.ascontiguousarray(np.diagonal(blocks, axis1=2, axis2=4))


def advance_traces(trace: Array, blocks: Array, immediate: Array) -> Array:
    """Return sum_c blocks[a, c] trace[c] + immediate[a], (B, k, q, n)."""
    advanced = immediate.copy()
    for part in range(trace.shape[1]):
        advanced += blocks[:, :, part, None, :] * trace[:, None, part]
    return advanced


def probe(cell: Cell) -> StepFactors:
    """Return the factors of a new model's first step, to see which optional ones the cell gives."""
    params = cell.init_params(np.random.default_rng(0))[None]
    return cell.step(params, cell.init_state()[None], np.zeros((1, cell.n_inputs)))


def norm(values: Array) -> Array:
    """Return each row's Euclidean norm, (B, ...) -> (B,)."""
    rows = values.reshape(len(values), -1)
    root: Array = np.sqrt((rows * rows).sum(axis=1))
    return root


def spread(rows: Array, like: Array) -> Array:
    """Return a figure a row, (B,), in the shape that multiplies `like`, (B, ...)."""
    return rows.reshape(-1, *[1] * (like.ndim - 1))
