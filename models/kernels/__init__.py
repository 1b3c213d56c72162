"""Compiled twins of the hot paths, with the same semantics: to 1e-12 what the numpy path gives.

Without numba there are none, and everything works. A twin is a file and a line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from models.kernels.jit import COMPILES
from models.protocols import Array, BoolArray, IntArray, State

if TYPE_CHECKING:
    from models.learner import OnlineLearner


class Kernel(Protocol):
    """All events of a call in one, on the slabs themselves."""

    def __call__(
        self,
        slabs: State,
        slots: IntArray,
        inputs: Array,
        targets: Array,
        scored: BoolArray,
        prediction: Array,
        loss: Array,
    ) -> None:
        """Take events in their order; slabs (capacity, ...), prediction (E, o) and loss (E,) in place."""
        ...


def _dense(learner: OnlineLearner) -> Kernel | None:
    from models.kernels.dense_twin import dense_twin  # noqa: PLC0415  it knows the learner, which knows nothing of it

    return dense_twin(learner)


TWINS: tuple[Callable[[OnlineLearner], Kernel | None], ...] = (_dense,)
"""Each says whether it is a twin of a learner, and gives the kernel that is."""


def fused_for(learner: OnlineLearner) -> Kernel | None:
    """Return the compiled twin of a learner; None where there is none."""
    if not COMPILES:
        return None
    for twin in TWINS:
        kernel = twin(learner)
        if kernel is not None:
            return kernel
    return None
