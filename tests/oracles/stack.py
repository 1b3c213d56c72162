"""The equations of stacks: layers that each see the inputs and what the layer below reads out at the same step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import autograd.numpy as anp

from tests.oracles.equations import ReadOutFunction, StepFunction


def stack_step(
    step: StepFunction, read_out: ReadOutFunction, *, n_layers: int, n_params: Callable[[int], int]
) -> StepFunction:
    """Return the step of layers whose own step and read-out are given; one that sees m numbers has n_params(m)."""

    def advance(params: Any, state: Any, inputs: Any) -> Any:
        width, seen, layers = state.shape[1] // n_layers, inputs, []
        for layer in range(n_layers):
            own = slice(layer * width, (layer + 1) * width)
            layers.append(step(params[: n_params(len(seen)), own], state[:, own], seen))
            seen = anp.concatenate((inputs, anp.ravel(read_out(layers[-1]))))
        return anp.concatenate(layers, axis=1)

    return advance


def rtu_layer_step(params: Any, state: Any, inputs: Any) -> Any:
    """Return the linear complex unit's step in real numbers, so that derivatives by the inputs are real too."""
    m = len(inputs)
    radius, angle = anp.exp(-(1e-6 + anp.exp(params[0]))), anp.exp(params[1])
    real, imaginary = radius * anp.cos(angle), radius * anp.sin(angle)
    scale = anp.sqrt(1.0 - radius**2)
    by_real, by_imaginary = anp.dot(inputs, params[2 : 2 + m]), anp.dot(inputs, params[2 + m :])
    return anp.stack(
        (
            real * state[0] - imaginary * state[1] + scale * by_real,
            imaginary * state[0] + real * state[1] + scale * by_imaginary,
        )
    )
