"""The anomaly score: the share of past events that were less surprising than this one.

Surprise is |residual| over its running mean, counted in bins of equal width in its logarithm and with
exponential forgetting, so the score is calibrated by construction: over a stationary stream it is
uniform, and a score above .99 comes once in a hundred events.
"""

from __future__ import annotations

import numpy as np

from models.protocols import Array, BoolArray, Fields, State

BINS = 64
LOG10_LOWEST, LOG10_HIGHEST = -3.0, 3.0
KEEP = 1.0 - 1.0 / 5000.0
"""Per event: a memory of 5,000 events."""

PRIOR_EVENTS = 20.0
"""So many events of the exponential distribution stand in the bins of a new series."""


class AnomalyScore:
    """A histogram of surprise."""

    def __init__(self) -> None:
        """Lay out the bins."""
        edges = np.linspace(LOG10_LOWEST, LOG10_HIGHEST, BINS + 1)
        below = 1.0 - np.exp(-(10.0 ** edges[1:-1]))
        cumulated = np.concatenate(([0.0], below, [1.0]))
        self._prior = PRIOR_EVENTS * np.diff(cumulated)

    def init_state(self) -> Fields:
        """Return the histogram of a new series."""
        return {"counts": self._prior.copy()}

    def update(self, state: State, surprise: Array, valid: BoolArray) -> Array:
        """Return the score of each row, (B,), then count it; 0 where there is no residual."""
        log = np.log10(np.maximum(surprise, 10.0**LOG10_LOWEST))
        place = (log - LOG10_LOWEST) * (BINS / (LOG10_HIGHEST - LOG10_LOWEST))
        index = np.clip(place, 0, BINS - 1).astype(np.int64)
        rows = np.arange(len(index))
        counts = state["counts"]
        below = np.cumsum(counts, axis=1)
        total = below[:, -1]
        here = counts[rows, index]
        part = np.clip(place - index, 0.0, 1.0)
        score = (below[rows, index] - here * (1.0 - part)) / total
        updated = counts * KEEP
        updated[rows, index] += 1.0
        state["counts"] = np.where(valid[:, None], updated, counts)
        return np.where(valid, np.clip(score, 0.0, 1.0), 0.0)
