"""Layers of diagonal cells, one above the other, with what the exact gradient needs between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, final, runtime_checkable

import numpy as np

from models.protocols import Array, BoolArray, Cell, Recurrence, StepFactors

LAYERS: Final = 2
"""Of a stack that is not told: the least that is one, since what is carried between layers grows with
n_layers (n_layers - 1) / 2."""


@runtime_checkable
class InputJacobian(Cell, Protocol):
    """A cell that can say how a step depends on its inputs, as one above another layer must."""

    def input_jacobian(self, params: Array, state: Array, inputs: Array) -> Array:
        """Return d state / d inputs of the step from this state, (B, k, m, n): entry [b, a, j, i] for input j."""
        ...


@final
class Stack:
    """L diagonal layers of w = n / L units; each sees the inputs and, at the same step, the layer below.

        h^1_t = cell(theta^1, h^1_{t-1}, x_t)                               (1)
        h^l_t = cell(theta^l, h^l_{t-1}, [x_t, read(h^{l-1}_t)]),  l = 2 .. L    (2)

    Each layer is diagonal, the stack is not: a unit of layer 2 remembers what layer 1 did with its
    parameters. Its factors are those of each layer with the layers below held fixed, and the upward Jacobian

        K^l = d h^l_t / d h^{l-1}_t = d h^l_t / d input . d read / d h^{l-1}_t   (3)

    so that dh_t = J dh_{t-1} + I dtheta + K dh_t, with J and I diagonal in the units and K strictly
    block-lower. The state Jacobian of a whole step is (1 - K)^-1 J: block-triangular by layers with the
    layers' own J on the diagonal, which therefore has all of its eigenvalues. The rules `rtrl_layers` (exact)
    and `layerwise` (approximate) are made for these factors.

    Parts, read-out and saturation are the layers' own, layer l in units (l - 1) w to l w; all layers are
    read. Parameters per unit: q of a layer that sees m + r w inputs, r parts of the read-out. The first
    layer has less to see: its last parameters, as many as it lacks, are zero, and nothing depends on them.
    They cost what they would if they were used: for an Rtu 2 r w of 2 + 2 (m + r w) in w units.

    Args:
        layer: makes a layer from n_inputs and n_units; a diagonal cell without context rows that offers
            `InputJacobian`.
        n_inputs: m, at least 1.
        n_units: n, of all layers together, at least 1.
        n_layers: L; n must be a multiple. A stack of fewer units than layers has one layer a unit.

    Raises:
        ValueError: the layer cannot be stacked, or the units cannot be shared out evenly.

    Cost: that of the layers' steps, and O(k^2 r w^2) for each upward Jacobian.

    Source: Zucchet et al. (2023) for stacks under online learning, and Irie et al. (2024) for what the
    exact gradient of several layers would cost; neither carries what passes between layers over time.

    Example:
        >>> import numpy as np
        >>> from models.cells.rtu import Rtu
        >>> cell = Stack(layer=Rtu, n_inputs=3, n_units=8, n_layers=2)
        >>> params = cell.init_params(np.random.default_rng(0))
        >>> factors = cell.step(params[None], cell.init_state()[None], np.ones((1, 3)))
        >>> factors.state.shape, factors.transition.shape, factors.immediate.shape, factors.upward.shape
        ((1, 2, 8), (1, 2, 2, 8), (1, 2, 24, 8), (1, 1, 8, 8))
    """

    recurrence: Recurrence = "layered"

    def __init__(
        self, *, layer: Callable[..., Cell], n_inputs: int, n_units: int, n_layers: int = LAYERS
    ) -> None:
        """Make the layers."""
        if n_inputs < 1 or n_units < 1 or n_layers < 1:
            raise ValueError(
                "a stack needs at least one input, one unit and one layer,"
                f" not {n_inputs}, {n_units} and {n_layers}"
            )
        n_layers = min(n_layers, n_units)
        if n_units % n_layers:
            fitting = n_units - n_units % n_layers
            raise ValueError(
                f"{n_units} units cannot be shared out among {n_layers} layers: take {fitting} or"
                f" {fitting + n_layers} units"
            )
        width = n_units // n_layers
        first = _stackable(layer(n_inputs=n_inputs, n_units=width))
        above = n_inputs + first.n_read_parts * width
        self._layers = [first]
        self._layers += [_stackable(layer(n_inputs=above, n_units=width)) for _ in range(1, n_layers)]
        self._units = [slice(at * width, (at + 1) * width) for at in range(n_layers)]
        self.n_inputs = n_inputs
        self.n_units = n_units
        self.n_layers = n_layers
        self.n_parts = first.n_parts
        self.n_read_parts = first.n_read_parts
        self.n_params_per_unit = self._layers[-1].n_params_per_unit

    def init_params(self, rng: np.random.Generator) -> Array:
        """Return new parameters, shape (q, n): each layer's as it makes them, the first's with zeros behind."""
        params = np.zeros((self.n_params_per_unit, self.n_units))
        for layer, units in zip(self._layers, self._units, strict=True):
            params[: layer.n_params_per_unit, units] = layer.init_params(rng)
        return params

    def init_state(self) -> Array:
        """Return the layers' first states side by side, shape (k, n)."""
        return np.concatenate([layer.init_state() for layer in self._layers], axis=1)

    def step(self, params: Array, state: Array, inputs: Array) -> StepFactors:
        """Advance all layers one step, from below, and return it with the derivatives of each and eq. (3).

        Args:
            params: (B, q, n).
            state: (B, k, n).
            inputs: (B, m).
        """
        batch, k, width = len(inputs), self.n_parts, self.n_units // self.n_layers
        advanced = np.empty((batch, k, self.n_units))
        transition = np.empty((batch, k, k, self.n_units))
        immediate = np.zeros((batch, k, self.n_params_per_unit, self.n_units))
        upward = np.empty((batch, self.n_layers - 1, k * width, k * width))
        seen, slope = inputs, np.empty(0)
        for at, (layer, units) in enumerate(zip(self._layers, self._units, strict=True)):
            used = layer.n_params_per_unit
            # Contiguous, so that the layer's products do not depend on what stands beside it.
            own, before = np.ascontiguousarray(params[:, :used, units]), state[:, :, units].copy()
            factors = layer.step(own, before, seen)
            advanced[:, :, units] = factors.state
            transition[:, :, :, units] = factors.transition
            immediate[:, :, :used, units] = factors.immediate
            if at > 0:
                by_input = layer.input_jacobian(own, before, seen)[:, :, self.n_inputs :]
                upward[:, at - 1] = _through_read_out(by_input, slope)
            if at < self.n_layers - 1:
                read, slope = layer.read_out(factors.state)
                seen = np.concatenate((inputs, read.reshape(batch, -1)), axis=1)
        return StepFactors(state=advanced, transition=transition, immediate=immediate, upward=upward)

    def read_out(self, state: Array) -> tuple[Array, Array]:
        """Return every layer's read-out, (B, r, n), and its Jacobian to the state, (B, r, k, n)."""
        of_layers = [
            layer.read_out(state[:, :, units]) for layer, units in zip(self._layers, self._units, strict=True)
        ]
        read = np.concatenate([read for read, _ in of_layers], axis=2)
        return read, np.concatenate([slope for _, slope in of_layers], axis=3)

    def saturated(self, state: Array) -> BoolArray:
        """Say which units their layer calls saturated, (B, n)."""
        of_layers = [
            layer.saturated(state[:, :, units])
            for layer, units in zip(self._layers, self._units, strict=True)
        ]
        return np.concatenate(of_layers, axis=1)


def _stackable(cell: Cell) -> InputJacobian:
    """Return the cell if it can be a layer.

    Raises:
        ValueError: it cannot; says what it lacks.
    """
    name = type(cell).__name__
    if cell.recurrence != "diagonal":
        raise ValueError(
            f"a layer of a stack must be diagonal, and {name} is {cell.recurrence}:"
            " take rtu, elstm or columnar"
        )
    if cell.init_state().shape[0] != cell.n_parts:
        raise ValueError(f"a layer of a stack must have no context rows, and {name} has: take columnar")
    if isinstance(cell, InputJacobian):
        return cell
    raise ValueError(
        f"{name} does not say how its step depends on its inputs, and the layer above another must:"
        " give it the method input_jacobian of models.cells.stack.InputJacobian"
    )


def _through_read_out(by_input: Array, slope: Array) -> Array:
    """Return eq. (3), (B, k * w, k * w), from d state / d read-out below and the read-out's Jacobian.

    Args:
        by_input: (B, k, r * w, w): entry [b, a, p * w + u, s] of part p of unit u's read-out.
        slope: (B, r, k, w): entry [b, p, c, u].
    """
    batch, k, _, width = by_input.shape
    parts = slope.shape[1]
    by_read = by_input.reshape(batch, k, parts, width, width)
    upward = by_read[:, :, 0, :, None, :] * slope[:, None, 0].swapaxes(2, 3)[..., None]
    for part in range(1, parts):
        upward = upward + by_read[:, :, part, :, None, :] * slope[:, None, part].swapaxes(2, 3)[..., None]
    # From [a, u, c, s] to [a, s, c, u].
    return upward.transpose(0, 1, 4, 3, 2).reshape(batch, k * width, k * width)
