"""Products with the state Jacobian in either of its forms, and what a rule can know of a cell beforehand."""

from __future__ import annotations

import numpy as np

from models.protocols import Array, BoolArray, Cell, Fields, LayeredCell, State, StepFactors


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
    """Return the factors of a new model's step from any state, to see which optional ones the cell gives.

    From a state of zeros a gate would stand at one half in every unit, and pass for a constant.
    """
    rng = np.random.default_rng(0)
    params = cell.init_params(rng)[None]
    start = cell.init_state()
    return cell.step(
        params, (start + rng.normal(size=start.shape))[None], rng.normal(size=(1, cell.n_inputs))
    )


def handed_down(upward: Array | None, credit: Array) -> Array:
    """Return credit (1 - K)^-1, (B, C, k, n): what each layer owes for those above it in the same step.

        delta_l = credit_l + delta_{l+1} K_{l+1}                            (1)

    Args:
        upward: K by layers, (B, L - 1, k w, k w), or None for a cell without layers: then the credit itself.
        credit: (B, C, k, n).
    """
    if upward is None:
        return credit
    batch, count, k, n = credit.shape
    below = upward.shape[1]
    width = n // (below + 1)
    handed = credit.copy()
    for layer in range(below, 0, -1):
        own = handed[..., layer * width : (layer + 1) * width].reshape(batch, count, k * width)
        down = np.matmul(own, upward[:, layer - 1]).reshape(batch, count, k, width)
        handed[..., (layer - 1) * width : layer * width] += down
    return handed


def pushed_up(upward: Array | None, vector: Array) -> Array:
    """Return (1 - K)^-1 v for a direction in the state, (B, k, n): `handed_down`'s transpose."""
    if upward is None:
        return vector
    batch, k, n = vector.shape
    below = upward.shape[1]
    width = n // (below + 1)
    pushed = vector.copy()
    for layer in range(1, below + 1):
        under = pushed[..., (layer - 1) * width : layer * width].reshape(batch, k * width, 1)
        up = np.matmul(upward[:, layer - 1], under).reshape(batch, k, width)
        pushed[..., layer * width : (layer + 1) * width] += up
    return pushed


def upward_shape(cell: Cell) -> dict[str, tuple[int, ...]]:
    """Return the shape of a layered cell's upward Jacobian under its name; nothing for other cells."""
    if not isinstance(cell, LayeredCell):
        return {}
    width = cell.n_parts * cell.n_units // cell.n_layers
    return {"upward": (cell.n_layers - 1, width, width)}


def start_anew(
    memory: State, fresh: Fields, rows: BoolArray, *, kept: tuple[str, ...] = ("counter",)
) -> None:
    """Put some rows of a memory back to those of a new model, in place, but for the fields that are kept."""
    for name, row in fresh.items():
        if name not in kept:
            memory[name][rows] = row


def clear_units(values: Array, units: BoolArray) -> None:
    """Set what belongs to some units to zero, in place: units (B, n), values (B, ..., n)."""
    np.copyto(values, 0.0, where=units.reshape(len(units), *[1] * (values.ndim - 2), -1))


def clear_states(values: Array, units: BoolArray, n_parts: int) -> None:
    """Set the rows of some units' states to zero, in place: units (B, n), values (B, S, ...)."""
    rows = np.tile(units, (1, n_parts))
    np.copyto(values, 0.0, where=rows.reshape(*rows.shape, *[1] * (values.ndim - 2)))


def clear_step(step: State, units: BoolArray, n_parts: int) -> None:
    """Take units that were made anew out of a step's factors, in place.

    "immediate" (B, k, q, n), "transition" in either form and "upward", as far as they are there: nothing leads
    to these units' states any more, and nothing from their parameters to any state.
    """
    if "immediate" in step:
        clear_units(step["immediate"], units)
    if "transition" in step and step["transition"].ndim == 3:
        clear_states(step["transition"], units, n_parts)
    elif "transition" in step:
        clear_units(step["transition"], units)
    if "upward" in step:
        batch, below = step["upward"].shape[:2]
        above = units.reshape(batch, below + 1, -1)[:, 1:]
        rows = np.tile(above, (1, 1, n_parts))
        np.copyto(step["upward"], 0.0, where=rows[..., None])


def norm(values: Array) -> Array:
    """Return each row's Euclidean norm, (B, ...) -> (B,)."""
    rows = values.reshape(len(values), -1)
    root: Array = np.sqrt((rows * rows).sum(axis=1))
    return root


def spread(rows: Array, like: Array) -> Array:
    """Return a figure a row, (B,), in the shape that multiplies `like`, (B, ...)."""
    return rows.reshape(-1, *[1] * (like.ndim - 1))
