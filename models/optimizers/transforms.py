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
        >>> update, moved = guard.update(state, gradient, np.array([True, True, True]), np.zeros((3, 1)))
        >>> update.ravel().tolist(), moved.tolist(), state["skip_count"].tolist()
        ([1.0, 0.0, 0.0], [True, False, False], [0, 1, 1])
    """

    def __init__(self, *, norm_max: float = np.inf) -> None:
        """Set the bound."""
        self.norm_max = norm_max

    def init_state(self, shape: tuple[int, ...]) -> Fields:
        """Return a flag and a count of nothing skipped."""
        return {"skipped": np.zeros((), dtype=np.bool_), "skip_count": np.zeros((), dtype=np.int64)}

    def update(
        self, state: State, gradient: Array, active: BoolArray, params: Array
    ) -> tuple[Array, BoolArray]:
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
        >>> update, _ = clip.update(state, np.array([[3.0, 4.0]]), np.array([True]), np.zeros((1, 2)))
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

    def update(
        self, state: State, gradient: Array, active: BoolArray, params: Array
    ) -> tuple[Array, BoolArray]:
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


@final
class ClipByValue:
    """Cuts every entry of a gradient down to a largest magnitude.

        g_p <- min(max(g_p, -value_max), value_max)                         (1)

    Changes the direction, unlike a clip by norm, but one parameter cannot silence all others.

    State, as of the row's last active gradient: "clipped", whether an entry was cut; "clip_count".
    Cost: O(P) time. Source: Mikolov (2012).

    Example:
        >>> import numpy as np
        >>> clip = ClipByValue(value_max=1.0)
        >>> state = {name: row[None] for name, row in clip.init_state((2,)).items()}
        >>> clip.update(state, np.array([[3.0, -0.5]]), np.array([True]), np.zeros((1, 2)))[0].tolist()
        [[1.0, -0.5]]
    """

    def __init__(self, *, value_max: float) -> None:
        """Set the bound, which must be positive."""
        if not value_max > 0.0:
            raise ValueError(f"value_max: a positive number is needed, not {value_max}")
        self.value_max = value_max

    def init_state(self, shape: tuple[int, ...]) -> Fields:
        """Return nothing clipped."""
        return {"clipped": np.zeros((), dtype=np.bool_), "clip_count": np.zeros((), dtype=np.int64)}

    def update(
        self, state: State, gradient: Array, active: BoolArray, params: Array
    ) -> tuple[Array, BoolArray]:
        """Return eq. (1) for the active rows and zeros for the others."""
        gradient = np.where(active.reshape(-1, *[1] * (gradient.ndim - 1)), gradient, 0.0)
        cut = np.clip(gradient, -self.value_max, self.value_max)
        over = (cut != gradient).reshape(len(gradient), -1).any(axis=1)
        np.copyto(state["clipped"], over, where=active)
        state["clip_count"] += over
        return cut, active


@final
class ClipByZScore:
    """Scales a gradient down whose norm is out of the ordinary for this row, by its own statistics.

        z = (log |g| - m) / s,  and where z > z_max:  |g| <- exp(m + z_max s)       (1)
        m, s^2: running mean and variance of log |g|, of the norms after (1)     (2)

    No bound has to be known: it follows the row's own gradients. In logarithms, since norms are skewed, and
    are all positive. The first `warm_up` gradients pass, and are learned from. Since what enters
    (2) was cut, a burst cannot lift the bound by more than its own deviations.

    State: "log_mean", "log_variance", "count"; "clipped" and "clip_count" as in ClipByGlobalNorm.
    Cost: O(P) time.

    Args:
        z_max: deviations. 2.5 cuts one in 160 of log-normal norms.
        memory: gradients over which (2) averages.
        warm_up: gradients before the first cut.

    Source: Kumar et al. (2025), ZClip, with logarithms.
    """

    def __init__(self, *, z_max: float = 2.5, memory: float = 300.0, warm_up: int = 25) -> None:
        """Set the bound in deviations."""
        if not (z_max > 0.0 and memory >= 1.0 and warm_up >= 1):
            raise ValueError(
                f"z_max must be positive, memory and warm_up at least 1, not {z_max}, {memory} and {warm_up}"
            )
        self.z_max = z_max
        self.memory = memory
        self.warm_up = warm_up

    def init_state(self, shape: tuple[int, ...]) -> Fields:
        """Return the statistics of no gradient."""
        return {
            "log_mean": np.zeros(()),
            "log_variance": np.zeros(()),
            "count": np.zeros((), dtype=np.int64),
            "clipped": np.zeros((), dtype=np.bool_),
            "clip_count": np.zeros((), dtype=np.int64),
        }

    def update(
        self, state: State, gradient: Array, active: BoolArray, params: Array
    ) -> tuple[Array, BoolArray]:
        """Return eq. (1) for the active rows and zeros for the others; a gradient of zero is not counted."""
        per_row = (-1, *[1] * (gradient.ndim - 1))
        gradient = np.where(active.reshape(per_row), gradient, 0.0)
        norm = frobenius_norm(gradient)
        counted = active & (norm > 0.0) & np.isfinite(norm)
        log_norm = np.log(np.where(counted, norm, 1.0))
        mean, variance = state["log_mean"], state["log_variance"]
        ready = state["count"] >= self.warm_up
        bound = np.where(counted & ready, mean + self.z_max * np.sqrt(variance), np.inf)
        over = log_norm > bound
        factor = np.exp(np.where(over, bound - log_norm, 0.0))
        np.copyto(state["clipped"], over, where=active)
        state["clip_count"] += over
        state["count"] += counted
        weight = np.maximum(1.0 / np.maximum(state["count"], 1), 1.0 / self.memory)
        deviation = np.minimum(log_norm, bound) - mean
        np.copyto(mean, mean + weight * deviation, where=counted)
        spread = (1.0 - weight) * (variance + weight * deviation * deviation)
        np.copyto(variance, spread, where=counted)
        return gradient * factor.reshape(per_row), active


def clip_by_value(value_max: float) -> ClipByValue:
    """Return the transform that cuts entries down to `value_max`."""
    return ClipByValue(value_max=value_max)


def clip_by_zscore(z_max: float = 2.5) -> ClipByZScore:
    """Return the transform that scales down norms that are out of the ordinary for the row."""
    return ClipByZScore(z_max=z_max)


def clip_by_global_norm(norm_max: float) -> ClipByGlobalNorm:
    """Return the transform that scales gradients down to `norm_max`."""
    return ClipByGlobalNorm(norm_max=norm_max)


def finite_guard(norm_max: float = np.inf) -> FiniteGuard:
    """Return the transform that refuses gradients that are not finite or over `norm_max`."""
    return FiniteGuard(norm_max=norm_max)
