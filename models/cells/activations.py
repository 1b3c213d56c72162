"""Activations with their slopes, as the cells use them.

A unit is called saturated where its slope is under SATURATED_SLOPE of the activation's greatest
slope: there hardly any credit passes, and the unit learns nothing. For tanh that is |h| > 0.99.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from models.protocols import Array

SATURATED_SLOPE: Final = 0.02

OVERDRIVEN: Final = 50.0
"""A unit without a bound passes credit whatever its state is. But states are meant to be of order one, and one so
far beyond that drowns all others in a linear readout: it counts as saturated."""


def sigmoid(value: Array) -> Array:
    """Return 1 / (1 + exp(-value)), written with tanh, which cannot overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * value))


def tanh_slope(activation: Array) -> Array:
    """Return the slope of tanh where its value is `activation`; at most 1."""
    return 1.0 - activation * activation


def sigmoid_slope(activation: Array) -> Array:
    """Return the slope of the sigmoid where its value is `activation`; at most 1/4."""
    return activation * (1.0 - activation)
