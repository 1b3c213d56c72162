"""How far the mixture is followed many rows ahead, and how far the naive forecast: as far as the mixture's gain is told from noise.

Weights go to what did better, and many rows ahead that is chance as often as not: labels of h rows ahead overlap, so of n of them some n / h are
news. On a random walk each share of a learned forecast is paid for. So what is said is the mixture's forecast, drawn to the naive one:

    g_t = (y - f)^2 - (y - m)^2, within BOUND v                             (1)  f: naive, m: mixed, both as they were forecast
    G <- lambda G + g,  V <- lambda V + g^2,  G >= -FLOOR sqrt(o V)         (2)  o = h / 2
    trust = START + G / sqrt(o V), within [0, 1]                            (3)
    said = f + trust (m - f)                                                (4)

v is the mean square of the naive errors over as many labels. G over sqrt(o V) is the gain in its own noise, o what overlap adds to it. One row ahead
nothing overlaps, nothing is summed, and the mixture is followed whole. The labels are taken with the weights that there were at the forecast, not with those of now, which have seen most of
what the label is made of.

Cost and memory: O(H).
"""

from __future__ import annotations

from typing import Final, final

import numpy as np

from models.protocols import Array, BoolArray, Fields, IntArray, State

KEEP: Final = 1.0 - 1.0 / 10_000.0
"""Of all sums, per label: as the mixture's regrets."""

START: Final = 0.75
"""Where nothing is known the mixture has most of the benefit of the doubt: a quarter of a deviation makes it whole, three quarters take it away. With less,
series that are short or have spikes lose far ahead more than walks gain."""

BOUND: Final = 100.0
"""In naive mean squares: the most that an event can say. Tighter, spikes that go back, where the naive forecast is worst, would count for too little."""

FLOOR: Final = 1.0
"""In deviations: a mixture that was useless for long is followed soon after it is not."""


@final
class Trust:
    """Draws the mixture to the naive forecast, by horizon.

    Example:
        >>> import numpy as np
        >>> trust = Trust((24,))
        >>> state = {name: row[None] for name, row in trust.init_state().items()}
        >>> one, count, yes = np.ones((1, 1)), np.ones((1, 1), dtype=np.int64), np.array([[True]])
        >>> for _ in range(100):  # the mixture is right, and the naive forecast never
        ...     trust.learn(state, target=one, mixed=one, naive=0.0 * one, seen=count, valid=yes)
        >>> trust.share(state).tolist()
        [[1.0]]
    """

    def __init__(self, horizons: tuple[int, ...]) -> None:
        """Take the horizons, in rows."""
        self.overlap, self.alone = np.array(horizons) / 2.0, np.array(horizons) == 1

    def init_state(self) -> Fields:
        """Return no gain yet."""
        return {name: np.zeros(len(self.overlap)) for name in ("gain", "variation", "square")}

    def share(self, state: State) -> Array:
        """Return how far the mixture is followed, (B, H), in [0, 1]."""
        noise = np.sqrt(self.overlap * state["variation"])
        share = START + state["gain"] / np.where(noise > 0.0, noise, 1.0)
        return np.where(self.alone, 1.0, np.minimum(np.maximum(share, 0.0), 1.0))

    def learn(
        self, state: State, *, target: Array, mixed: Array, naive: Array, seen: IntArray, valid: BoolArray
    ) -> None:
        """Take the labels that are due, in place; all (B, H), scaled.

        Args:
            state: as `init_state`, batched.
            target: the labels.
            mixed: what the mixture had forecast for them.
            naive: the naive forecast.
            seen: how many labels there were, with these.
            valid: where a label is due; elsewhere nothing changes.
        """
        off, off_naive = target - mixed, target - naive
        rate = np.maximum(1.0 - KEEP, 1.0 / np.maximum(seen, 1))
        square = state["square"] + rate * (off_naive * off_naive - state["square"])
        gain = np.clip(off_naive * off_naive - off * off, -BOUND * square, BOUND * square)
        variation = KEEP * state["variation"] + gain * gain
        known = valid & ~self.alone & np.isfinite(self.overlap * variation)
        summed = np.maximum(KEEP * state["gain"] + gain, -FLOOR * np.sqrt(self.overlap * variation))
        state["gain"] = np.where(known, summed, state["gain"])
        state["variation"] = np.where(known, variation, state["variation"])
        state["square"] = np.where(known, square, state["square"])
