"""The Lyapunov exponent of the state, online, and the horizon of memory that follows from it.

A small change v of the state goes on by the state Jacobian, and is scaled back to length one at each step:

    u_t = J_t v_{t-1},   g_t = log |u_t|,   v_t = u_t / |u_t|                   (1)
    lambda_t = lambda_{t-1} + a_t (g_t - lambda_{t-1})                          (2)

With a_t = 1 / t eq. (2) is the mean since the beginning, which tends to the largest Lyapunov exponent of the products of the
Jacobians (Benettin et al. 1980); with a_t = max(1 / SPAN_EVENTS, 1 / t) the mean of recent steps. Above 0 changes grow: what the state
is tells nothing of the past, and dh/dtheta grows without bound. Below it they fade, to a share s after log(s) / lambda steps.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from models.protocols import Array, Fields, IntArray, State
from models.stability.norms import frobenius_norm

SPAN_EVENTS: Final = 500.0
"""Steps of the recent mean: one step's growth scatters by a few tenths in a chaotic cell, the mean of 500 by some hundredths."""

GROWTH_MIN: Final = 1e-12
"""A change that shrinks to less in one step is forgotten at once: the exponent ends there, and the tangent begins anew."""

MEMORY_SHARE: Final = 0.01
"""Memory ends where a hundredth is left of a change of the state."""

MEMORY_MAX: Final = 1e6
"""The horizon ends here, where changes hardly fade, or grow."""


def init_tangent(n_parts: int, n_units: int) -> Array:
    """Return a change of the state of length one that is the same in all components, (k, n)."""
    return np.full((n_parts, n_units), 1.0 / np.sqrt(n_parts * n_units))


def propagate(transition: Array, upward: Array | None, tangent: Array) -> Array:
    """Return J v of eq. (1), (B, k, n), of the factors of a step: see `models.protocols.StepFactors`.

    Example:
        >>> import numpy as np
        >>> turn = np.array([[0.0, -0.5], [0.5, 0.0]])
        >>> change = np.array([[[1.0], [0.0]]])
        >>> propagate(turn[None], None, change).ravel().tolist()
        [0.0, 0.5]
        >>> propagate(turn[None, :, :, None], None, change).ravel().tolist()
        [0.0, 0.5]
    """
    rows, parts, units = tangent.shape
    if transition.ndim == 3:
        flat = np.matmul(transition, tangent.reshape(rows, -1, 1))
        whole: Array = flat.reshape(tangent.shape)
        return whole
    after = transition[:, :, 0] * tangent[:, None, 0]
    for part in range(1, parts):
        after = after + transition[:, :, part] * tangent[:, None, part]
    if upward is not None:
        width = units // (upward.shape[1] + 1)
        for layer in range(upward.shape[1]):
            below = after[:, :, layer * width : (layer + 1) * width].reshape(rows, -1, 1)
            above = slice((layer + 1) * width, (layer + 2) * width)
            after[:, :, above] += np.matmul(upward[:, layer], below).reshape(rows, parts, width)
    return after


class Lyapunov:
    """Eq. (1) and (2), batched; a row whose Jacobian is not finite waits a step.

    State: "tangent", v, (k, n); "recent" and "lifetime", lambda by the two means; "steps".
    Cost: one product of the Jacobian with a vector: of a diagonal cell O(k^2 n), of a dense one O(k^2 n^2).

    Source: Benettin, Galgani, Giorgilli & Strelcyn (1980).

    Example:
        >>> import numpy as np
        >>> exponent = Lyapunov(1, 1)
        >>> state = {name: np.asarray(row)[None].copy() for name, row in exponent.init_state().items()}
        >>> for _ in range(3):
        ...     exponent.update(state, np.array([[[[0.5]]]]))
        >>> bool(abs(state["lifetime"][0] - np.log(0.5)) < 1e-12)
        True
    """

    def __init__(self, n_parts: int, n_units: int, *, span: float = SPAN_EVENTS) -> None:
        """Take the sizes of the state."""
        self.start = init_tangent(n_parts, n_units)
        self.span = span

    def init_state(self) -> Fields:
        """Return the state of a new model."""
        zero = np.zeros(())
        return {
            "tangent": self.start.copy(),
            "recent": zero,
            "lifetime": zero,
            "steps": np.zeros((), np.int64),
        }

    def update(self, state: State, transition: Array, upward: Array | None = None) -> None:
        """Take one step's Jacobian, in place."""
        after, growth = self.grown(state["tangent"], transition, upward)
        state["tangent"] = after
        state["recent"], state["lifetime"], state["steps"] = averaged(
            state["recent"], state["lifetime"], state["steps"], growth, self.span
        )

    def grown(self, tangent: Array, transition: Array, upward: Array | None) -> tuple[Array, Array]:
        """Return the next tangent (B, k, n) and g of eq. (1), (B,): NaN where the Jacobian is not finite."""
        after = propagate(transition, upward, tangent)
        size = frobenius_norm(after)
        finite = np.isfinite(size)
        goes_on = finite & (size > GROWTH_MIN)
        unit = after / np.where(goes_on, size, 1.0)[:, None, None]
        tangent = np.where(goes_on[:, None, None], unit, self.start)
        return tangent, np.log(np.where(finite, np.maximum(size, GROWTH_MIN), np.nan))


def averaged(
    recent: Array, lifetime: Array, steps: IntArray, growth: Array, span: float = SPAN_EVENTS
) -> tuple[Array, Array, IntArray]:
    """Return eq. (2) by the recent mean and by the mean since the beginning, and the steps taken; NaN is left out."""
    known = ~np.isnan(growth)
    after = steps + known
    share = 1.0 / np.maximum(after, 1)
    growth = np.where(known, growth, 0.0)
    return (
        np.where(known, recent + np.maximum(1.0 / span, share) * (growth - recent), recent),
        np.where(known, lifetime + share * (growth - lifetime), lifetime),
        after,
    )


def memory_horizon(exponent: Array) -> Array:
    """Return after how many steps a hundredth is left of a change of the state, (...) -> (...); MEMORY_MAX where none fades.

        k = log(MEMORY_SHARE) / lambda,  lambda < 0                             (1)

    Exact for each unit of a diagonal cell whose blocks turn and shrink (`rtu`, `lru`), with the logarithm of its own
    radius, see `unit_radii`, for lambda; of any other cell it is what the recent exponent makes of it, up to a factor
    that does not grow with k.

    Example:
        >>> import numpy as np
        >>> memory_horizon(np.array([np.log(0.1), -1e-9, 0.2])).round(6).tolist()
        [2.0, 1000000.0, 1000000.0]
    """
    fading = exponent < np.log(MEMORY_SHARE) / MEMORY_MAX
    horizon: Array = np.where(fading, np.log(MEMORY_SHARE) / np.where(fading, exponent, -1.0), MEMORY_MAX)
    return horizon
