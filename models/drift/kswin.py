"""KSWIN: signals when the newest values are distributed otherwise than those before them, by the test of Kolmogorov and Smirnov.

    R: the newest r values, W: r of the w - r values before them, drawn at random      (1)
    D = max_x |F_R(x) - F_W(x)|                                                        (2)
    p = 2 sum_{i >= 1} (-1)^{i-1} C(2r, r - i r D) / C(2r, r)                          (3)
    signals where p <= alpha and D > .1                                                (4), then start anew

(3) is exact for two samples of one size, and falls with D, so that (4) is one bound on D, found once. The draw is by counter
(`models.random`), so that it is the same after a restart and whatever shares the micro-batch.

A change of any kind is one to it. With `rising` it signals one alone after which the mean is higher; after another it starts
anew without a signal.

Source: Raab, Heusinger & Schleif (2020), "Reactive soft prototype computing for concept drift streams". (3): Gnedenko &
Korolyuk (1951). Time O(w log w), memory O(w).
"""

from __future__ import annotations

from math import comb
from typing import Final

import numpy as np

from models.drift.values import put, taken
from models.protocols import Array, BoolArray, Fields, IntArray, State
from models.random import uniforms

ALPHA: Final = 1e-4
WINDOW: Final = 400
NEWEST: Final = 100
"""Published are .005, 100 and 30. That is one chance at each event, so one false signal in some 1,500; and with a smaller alpha
samples of 30 no longer tell a rise of one deviation."""

DISTANCE_MIN: Final = 0.1
"""Of (4)."""


class Kswin:
    """Watches the distribution of the last values."""

    warning: Final = np.inf

    def __init__(
        self,
        *,
        alpha: float = ALPHA,
        window: int = WINDOW,
        newest: int = NEWEST,
        seed: int = 0,
        rising: bool = True,
    ) -> None:
        """Take alpha, w, r, the seed of the draws, and whether only a rise is signalled.

        Raises:
            ValueError: there are fewer than r values to draw r from.
        """
        if not 1 <= newest <= window - newest:
            raise ValueError(f"newest: 1 to half of the window of {window}, not {newest}")
        self.window, self.newest, self.seed, self.rising = window, newest, seed, rising
        self.steps = next((k for k in range(1, newest + 1) if self._signals(k, alpha)), newest + 1)

    def _signals(self, steps: int, alpha: float) -> bool:
        """Say whether a distance of so many r-ths is a signal: Eq. (4)."""
        return steps / self.newest > DISTANCE_MIN and chance(steps, self.newest) <= alpha

    def init_state(self) -> Fields:
        """Return an empty window."""
        count = np.zeros((), dtype=np.int64)
        return {"values": np.zeros(self.window), "seen": count, "distance": count}

    def drawn(self, seen: IntArray) -> IntArray:
        """Return which of the values before the newest are compared, (B, r), the oldest being 0; `seen` events were."""
        before = self.window - self.newest
        order: IntArray = np.argpartition(uniforms(seen, before, self.seed), self.newest - 1, axis=1)
        return order[:, : self.newest]

    def update(self, state: State, value: Array, valid: BoolArray) -> BoolArray:
        """Take one value a row where valid, in place; return where a change is signalled, (B,)."""
        clean = taken(value, valid, "KSWIN")
        seen = state["seen"] + valid
        values = np.concatenate((state["values"][:, 1:], clean[:, None]), axis=1)
        full = valid & (seen >= self.window)
        distance, rises = state["distance"].copy(), np.zeros(len(value), dtype=np.bool_)
        if full.any():
            newest = values[full, -self.newest :]
            earlier = np.take_along_axis(values[full], self.drawn(seen[full]), axis=1)
            distance[full] = _distance(earlier, newest)
            rises[full] = newest.sum(axis=1) > earlier.sum(axis=1)
        changed = full & (distance >= self.steps)  # Eq. (4)
        after = {"values": values, "seen": seen, "distance": distance}
        put(state, after, self.init_state(), valid=valid, anew=changed)
        return changed & rises if self.rising else changed

    def statistic(self, state: State) -> Array:
        """Return D in units of the smallest that is signalled, (B,)."""
        return state["distance"] / self.steps


def chance(steps: int, size: int) -> float:
    """Return p of Eq. (3): how likely D is steps / size or more, of two samples of that size.

    Example:
        >>> chance(1, 1), chance(2, 2)
        (1.0, 0.3333333333333333)
    """
    terms = range(1, size // steps + 1)
    total = sum((-1) ** (i - 1) * comb(2 * size, size - i * steps) for i in terms)
    return float(min(1.0, 2 * total / comb(2 * size, size)))


def _distance(earlier: Array, newest: Array) -> IntArray:
    """Return r D of Eq. (2), (B,): the greatest difference of counts up to a value, behind the last of equal ones."""
    both = np.concatenate((earlier, newest), axis=1)
    order = np.argsort(both, axis=1)
    inside = np.cumsum(np.where(order < earlier.shape[1], 1, -1), axis=1)
    ordered = np.take_along_axis(both, order, axis=1)
    last = np.ones(both.shape, dtype=np.bool_)
    last[:, :-1] = ordered[:, 1:] != ordered[:, :-1]
    distance: IntArray = np.where(last, np.abs(inside), 0).max(axis=1)
    return distance
