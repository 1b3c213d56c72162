"""How far the mixture is followed, for one horizon of one row of the records: twin of `models.trust`."""

from __future__ import annotations

import numpy as np

from models.kernels.forecaster_parts import Places, clipped
from models.kernels.jit import inner
from models.protocols import Array
from models.trust import BOUND, FLOOR, KEEP, START


@inner
def drawn(
    f: Array, at: Places, h: int, horizon: int, naive: int, forecasts: Array, whole: float, weights: Array
) -> float:
    """Return the mixture's forecast, drawn to the naive one, and draw the weights."""
    noise = np.sqrt(horizon / 2.0 * f[at.trust_variation + h])
    share = START + f[at.trust_gain + h] / (noise if noise > 0.0 else 1.0)
    share = 1.0 if horizon == 1 else min(max(share, 0.0), 1.0)
    if share == 1.0:
        return whole
    for e in range(len(weights)):
        weights[e] *= share
    weights[naive] += 1.0 - share
    return float(forecasts[naive] + share * (whole - forecasts[naive]))


@inner
def trust_learn(
    f: Array, at: Places, h: int, horizon: int, target: float, whole: float, naive: float, seen: int
) -> None:
    """Take a label that is due, the `seen`th."""
    off, off_naive = target - whole, target - naive
    square = f[at.trust_square + h]
    square += max(1.0 - KEEP, 1.0 / seen) * (off_naive * off_naive - square)
    gain = clipped(off_naive * off_naive - off * off, BOUND * square)
    variation = KEEP * f[at.trust_variation + h] + gain * gain
    if not np.isfinite(horizon / 2.0 * variation):
        return
    f[at.trust_square + h], f[at.trust_variation + h] = square, variation
    least = -FLOOR * np.sqrt(horizon / 2.0 * variation)
    f[at.trust_gain + h] = max(KEEP * f[at.trust_gain + h] + gain, least)
