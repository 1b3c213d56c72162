"""The level that a recurrent state follows: past outliers, where outliers have been going back.

    held_t = outlier_t and trust > TRUST_MIN and not outlier_{t-1}      (1)
    s_t = expected_t where held_t, else y_t                             (2)
    trust <- trust + RATE (vote - trust), the row after an outlier      (3)
    vote = 1 if |y_{t+1} - expected_t| < |y_{t+1} - y_t|, else -1       (4)

An outlier that is taken for a move, and its end for a move back, both echo in a state for as long as that remembers. But on many
series what is far from the forecast is a move, and the state has to follow it. By Eq. (3) a series says itself which of the two its outliers
are. Of several in a row the first alone is held and judged. A value that is missing is no row here: the state follows what stands in for it, and the
next value judges.
"""

from __future__ import annotations

from typing import Final, final

import numpy as np

from models.protocols import Array, BoolArray, Fields, State

RATE: Final = 0.2
"""Of the votes: the last five outliers count for two thirds."""

TRUST_MIN: Final = 0.5
"""Three in four have gone back. It takes four in a row of a new series."""


@final
class SteadyLevel:
    """Tells outliers that go back from moves.

    Example:
        >>> import numpy as np
        >>> steady = SteadyLevel()
        >>> state = {name: row[None] for name, row in steady.init_state().items()}
        >>> levels = [0.0, 9.0] * 5
        >>> says = [
        ...     steady.update(
        ...         state, np.array([level]), np.zeros(1), np.array([True]), np.array([level > 5.0])
        ...     )[0][0]
        ...     for level in levels
        ... ]
        >>> [float(level) for level in says]
        [0.0, 9.0, 0.0, 9.0, 0.0, 9.0, 0.0, 9.0, 0.0, 0.0]
    """

    def init_state(self) -> Fields:
        """Return the state of a new series, which trusts nothing."""
        zero, no = np.zeros(()), np.zeros((), dtype=np.bool_)
        return {"level": zero, "raw": zero, "expected": zero, "trust": zero, "outlier": no, "judged": no}

    def update(
        self, state: State, level: Array, expected: Array, observed: BoolArray, outlier: BoolArray
    ) -> tuple[Array, Array]:
        """Take one value a row, in place; return the level to follow and how far it went on, (B,) both.

        Args:
            state: as `init_state`, batched.
            level: the values, or what stands in for one that is missing, (B,), finite.
            expected: the forecasts for them, (B,).
            observed: which are values, (B,).
            outlier: which of these are far from what was expected, (B,).
        """
        first = outlier & ~state["outlier"]
        back = np.abs(level - state["expected"]) < np.abs(level - state["raw"])
        moved = state["trust"] + RATE * (np.where(back, 1.0, -1.0) - state["trust"])  # Eq. (3)
        state["trust"] = np.where(observed & state["judged"], moved, state["trust"])
        steady = np.where(first & (state["trust"] > TRUST_MIN), expected, level)
        change = steady - state["level"]
        state["level"] = steady
        for name, new in (("raw", level), ("expected", expected), ("outlier", outlier), ("judged", first)):
            state[name] = np.where(observed, new, state[name])
        return steady, change
