"""The equations of the diagonal cells."""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp


def rtu_step(params: Any, state: Any, inputs: Any) -> Any:
    m = len(inputs)
    radius = anp.exp(-(1e-6 + anp.exp(params[0])))
    angle = anp.exp(params[1])
    eigenvalue = radius * anp.exp(1j * angle)
    weights = params[2 : 2 + m] + 1j * params[2 + m :]
    drive = anp.dot(inputs, weights)
    new = eigenvalue * (state[0] + 1j * state[1]) + anp.sqrt(1.0 - radius**2) * drive
    return anp.stack((anp.real(new), anp.imag(new)))


def lru_step(params: Any, state: Any, inputs: Any) -> Any:
    m = len(inputs)
    eigenvalue = anp.exp(-(1e-6 + anp.exp(params[0])) + 1j * anp.exp(params[1]))
    drive = anp.dot(inputs, params[3 : 3 + m] + 1j * params[3 + m :])
    new = eigenvalue * (state[0] + 1j * state[1]) + anp.exp(params[2]) * drive
    return anp.stack((anp.real(new), anp.imag(new)))


def rtu_nonlinear_step(params: Any, state: Any, inputs: Any) -> Any:
    return anp.tanh(rtu_step(params, state, inputs))
