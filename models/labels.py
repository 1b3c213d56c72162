"""The label clock: which forecasts a new value settles, and where what their learning needs was kept.

A forecast made at row t for h rows ahead may be learned from only at row t + h. So for each horizon h
there is a ring of h slots; the forecast of row t lies in slot t mod h. When row t comes, that slot
still holds the forecast of row t - h, which row t's value settles, and is then written anew. So the
number of slots is the number of pending forecasts, and no input is kept.
"""

from __future__ import annotations

import numpy as np

from models.protocols import BoolArray, Fields, IntArray, State


class LabelClock:
    """Says at each row which slot of each horizon is due, and counts the rows.

    Slots of all horizons lie in one axis of length `n_slots` = the sum of the horizons.

    Example:
        >>> import numpy as np
        >>> clock = LabelClock((1, 3))
        >>> state = {name: value[None] for name, value in clock.init_state().items()}
        >>> for _ in range(3):
        ...     slot, due = clock.due(state)
        ...     clock.tick(state)
        >>> slot.tolist(), due.tolist(), clock.due(state)[1].tolist()
        ([[0, 3]], [[True, False]], [[True, True]])
    """

    def __init__(self, horizons: tuple[int, ...]) -> None:
        """Make a clock for these horizons, in rows."""
        self.horizons = np.array(horizons, dtype=np.int64)
        self.n_slots = int(self.horizons.sum())
        self._offset = np.cumsum(self.horizons) - self.horizons

    def init_state(self) -> Fields:
        """Return the clock of a new series: no row yet."""
        return {"count": np.zeros((), dtype=np.int64)}

    def due(self, state: State) -> tuple[IntArray, BoolArray]:
        """Return each horizon's slot and whether it holds a forecast that is due now, (B, H) both."""
        count = state["count"][:, None]
        place: IntArray = count % self.horizons
        slot: IntArray = self._offset + place
        return slot, count >= self.horizons

    def rows(self, state: State) -> tuple[IntArray, IntArray]:
        """Return where this row's own things are kept, (B,), and where those of the rows that are settled now, (B, H).

        In a ring of `horizons[-1]` rows, for what is the same for all horizons. The last of the second is the first: it is
        written anew once it has been settled.
        """
        count = state["count"]
        length = self.horizons[-1]
        row: IntArray = count % length
        origin: IntArray = (count[:, None] - self.horizons) % length
        return row, origin

    def tick(self, state: State) -> None:
        """Count the row."""
        state["count"] = state["count"] + 1

    def reset(self, state: State) -> None:
        """Forget that anything is pending; the rows are counted anew."""
        state["count"] = np.zeros_like(state["count"])
