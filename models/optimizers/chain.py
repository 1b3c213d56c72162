"""One optimizer out of several transforms, each fed by the one before it."""

from __future__ import annotations

from typing import final

from models.protocols import Array, BoolArray, Fields, Optimizer, State


@final
class Chain:
    """Transforms applied in order, as one optimizer.

    The rows that a part returns are the rows that are active for the next, so behind a guard nothing
    is changed by what it refused. State fields are the parts' own, named "<part>.<field>".

    Example:
        >>> import numpy as np
        >>> from models.optimizers.sgd import Sgd
        >>> from models.optimizers.transforms import clip_by_global_norm
        >>> optimizer = Chain(clip=clip_by_global_norm(1.0), sgd=Sgd(learning_rate=0.5))
        >>> state = {name: row[None] for name, row in optimizer.init_state((2,)).items()}
        >>> update, _ = optimizer.update(state, np.array([[3.0, 4.0]]), np.array([True]), np.zeros((1, 2)))
        >>> np.round(update, 6).tolist(), state["clip.norm"].tolist()
        ([[-0.3, -0.4]], [5.0])
    """

    def __init__(self, **parts: Optimizer) -> None:
        """Take the parts in order, each under the name that its fields shall have."""
        if not parts:
            raise ValueError("a chain needs at least one part")
        self._parts = parts

    def part(self, name: str) -> Optimizer:
        """Return the part of this name."""
        return self._parts[name]

    def init_state(self, shape: tuple[int, ...]) -> Fields:
        """Return the states of all parts."""
        return {
            f"{name}.{field}": row
            for name, part in self._parts.items()
            for field, row in part.init_state(shape).items()
        }

    def update(
        self, state: State, gradient: Array, active: BoolArray, params: Array
    ) -> tuple[Array, BoolArray]:
        """Return what the last part makes of it, and the rows that no part refused."""
        for name, part in self._parts.items():
            prefix = f"{name}."
            own = {
                field.removeprefix(prefix): rows for field, rows in state.items() if field.startswith(prefix)
            }
            gradient, active = part.update(own, gradient, active, params)
        return gradient, active


def chain(**parts: Optimizer) -> Chain:
    """Return the parts, each under the name that its fields shall have, as one optimizer."""
    return Chain(**parts)
