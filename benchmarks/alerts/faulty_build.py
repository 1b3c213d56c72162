"""A worker of a faulty build: the GRU's derivative by its own inputs and weights is a tenth too large.

python -m benchmarks.alerts.faulty_build worker
"""

from __future__ import annotations

import functools
from dataclasses import replace

from models.cells import gru
from models.protocols import Array, StepFactors


def spoil() -> None:
    """Make the derivative wrong in this process."""
    right = gru.Gru.step

    @functools.wraps(right)
    def wrong(self: gru.Gru, params: Array, state: Array, inputs: Array) -> StepFactors:
        factors = right(self, params, state, inputs)
        return replace(factors, immediate=1.1 * factors.immediate)

    gru.Gru.step = wrong  # type: ignore[method-assign]


if __name__ == "__main__":
    spoil()
    from service.cli import main

    main()
