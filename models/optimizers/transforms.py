"""Transforms of gradients that chain before an optimizer: a guard and clipping."""

from __future__ import annotations

from typing import final

import numpy as np

from models.protocols import Array, BoolArray, Fields, State
from models.stability import frobenius_norm


@final
class FiniteGuard:
    """Refuses a gradient that is not finite or whose norm is far out of bounds.

        refused where not (|g| <= norm_max)                                 (1)

    A refused row leaves the parameters and all that stands behind the guard in a chain as they were.

    State: "skipped", whether the row's last gradient was refused; "skip_count", how many were.
    Cost: O(P) time.

    Args:
        norm_max: the largest norm that passes; by default any finite one does.

    Example:
        >>> import numpy as np
        >>> guard = FiniteGuard(norm_max=10.0)
        >>> state = {"skipped": np.zeros(3, bool), "skip_count": np.zeros(3, np.int64)}
        >>> gradient = np.array([[1.0], [np.nan], [11.0]])
        >>> update, moved = guard.update(state, gradient, np.array([True, True, True]))
        >>> update.ravel().tolist(), moved.tolist(), state["skip_count"].tolist()
        ([1.0, 0.0, 0.0], [True, False, False], [0, 1, 1])
    """

    def __init__(self, *, norm_max: float = np.inf) -> None:
        """Set the bound."""
        self.norm_max = norm_max

    def init_state(self, shape: tuple[int, ...]) -> Fields:
        """Return a flag and a count of nothing skipped."""
        return {"skipped": np.zeros((), dtype=np.bool_), "skip_count": np.zeros((), dtype=np.int64)}

    def update(self, state: State, gradient: Array, active: BoolArray) -> tuple[Array, BoolArray]:
        """Return the gradient with zeros in refused rows, and the active rows less those."""
        norm = frobenius_norm(gradient)
        passes = np.isfinite(norm) & (norm <= self.norm_max)
        skipped = active & ~passes
        np.copyto(state["skipped"], skipped, where=active)
        state["skip_count"] += skipped
        moved = active & passes
        return np.where(moved.reshape(-1, *[1] * (gradient.ndim - 1)), gradient, 0.0), moved


@final
class ClipByGlobalNorm:
    """Scales a gradient down to a largest norm over all of its parameters.

        g <- g min(1, norm_max / |g|)                                       (1)

    State, as of the row's last active gradient: "norm", |g| before clipping; "clipped", whether it was
    over the bound; "clip_count", how many were. Cost: O(P) time.

    Source: Pascanu, Mikolov & Bengio (2013), algorithm 1.

    Example:
        >>> import numpy as np
        >>> clip = ClipByGlobalNorm(norm_max=1.0)
        >>> state = {name: row[None] for name, row in clip.init_state((2,)).items()}
        >>> update, _ = clip.update(state, np.array([[3.0, 4.0]]), np.array([True]))
        >>> np.round(update, 6).tolist(), state["norm"].tolist(), state["clipped"].tolist()
        ([[0.6, 0.8]], [5.0], [True])
    """

    def __init__(self, *, norm_max: float) -> None:
        """Set the bound, which must be positive."""
        if not norm_max > 0.0:
            raise ValueError(f"norm_max: a positive number is needed, not {norm_max}")
        self.norm_max = norm_max

    def init_state(self, shape: tuple[int, ...]) -> Fields:
        """Return a norm of zero and nothing clipped."""
        return {
            "norm": np.zeros(()),
            "clipped": np.zeros((), dtype=np.bool_),
            "clip_count": np.zeros((), dtype=np.int64),
        }

    def update(self, state: State, gradient: Array, active: BoolArray) -> tuple[Array, BoolArray]:
        """Return eq. (1) for the active rows and zeros for the others."""
        per_row = (-1, *[1] * (gradient.ndim - 1))
        gradient = np.where(active.reshape(per_row), gradient, 0.0)
        norm = frobenius_norm(gradient)
        over = norm > self.norm_max
        np.copyto(state["norm"], norm, where=active)
        np.copyto(state["clipped"], over, where=active)
        state["clip_count"] += over
        factor = (self.norm_max / np.where(over, norm, self.norm_max)).reshape(per_row)
        return gradient * factor, active


def clip_by_global_norm(norm_max: float) -> ClipByGlobalNorm:
    """Return the transform that scales gradients down to `norm_max`."""
    return ClipByGlobalNorm(norm_max=norm_max)


def finite_guard(norm_max: float = np.inf) -> FiniteGuard:
    """Return the transform that refuses gradients that are not finite or over `norm_max`."""
    return FiniteGuard(norm_max=norm_max)
