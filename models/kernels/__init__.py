"""Compiled twins of the hot paths, with the same semantics: to 1e-12 what the numpy path gives.

Without numba there are none, and everything works. A twin is a file and a line. Where nothing is compiled, learners with dense
cells of many units have an event loop in numpy, see `dense_numpy`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, Protocol

from models.protocols import Array, BoolArray, IntArray, State

if TYPE_CHECKING:
    from models.forecaster import Forecaster
    from models.learner import OnlineLearner
    from models.pooling import SharedFields
    from models.records import Layout, Record
    from models.step_result import StepResult


COMPILES: Final = find_spec("numba") is not None
"""Whether there are compiled twins at all. It takes a second to import numba, so that is left to the first twin."""


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


def _diagonal(learner: OnlineLearner) -> Kernel | None:
    from models.kernels.diagonal_twin import diagonal_twin  # noqa: PLC0415  as above

    return diagonal_twin(learner)


TWINS: tuple[Callable[[OnlineLearner], Kernel | None], ...] = (_dense, _diagonal)
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


def loop_for(learner: OnlineLearner) -> Kernel | None:
    """Return numpy's own event loop of a learner, where that is the quicker way without a compiler; else None."""
    from models.kernels.dense_numpy import dense_loop  # noqa: PLC0415  as above

    return dense_loop(learner)


class ForecasterKernel(Protocol):
    """A micro-batch of forecasters' events in one, on the records themselves."""

    def __call__(
        self,
        records: tuple[Record, ...],
        slots: IntArray,
        pools: IntArray,
        times: Array,
        values: Array,
        features: Array,
    ) -> tuple[StepResult, BoolArray]:
        """Take one event of each of B series, (B,), (B,), (B,), (B, K), (B K, F); return what was said, and whose is finite, (A,).

        A series that is not is as it was. A is B, or less: where weights are shared the call ends with the first event after which
        somebody has to look at them.
        """
        ...


def fused_forecaster_for(
    forecaster: Forecaster, layout: Layout, shared: SharedFields
) -> ForecasterKernel | None:
    """Return the compiled twin of a forecaster; None where there is none."""
    if not COMPILES:
        return None
    from models.kernels.forecaster_twin import forecaster_twin  # noqa: PLC0415  it knows the forecaster, as above

    return forecaster_twin(forecaster, layout, shared)
