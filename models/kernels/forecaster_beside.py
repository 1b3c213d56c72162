"""What readouts see beside their lags, for one row of the records: twin of the tail of `models.experts.linear.linear_inputs`."""

from __future__ import annotations

from models.kernels.forecaster_experts import copied
from models.kernels.forecaster_parts import Constants, calendar_update, clipped
from models.kernels.forecaster_work import Work
from models.kernels.jit import inner
from models.protocols import Array, IntArray


@inner
def put_beside(
    c: Constants,
    season_at: IntArray,
    periods: Array,
    harmonics: Array,
    time: float,
    scale: float,
    deviation: float,
    w: Work,
) -> None:
    """Write what readouts see beside their lags: the tail of `linear_inputs`."""
    n_features, n_cycles = len(w.seen) - 2, w.then.shape[1]
    w.beside[0] = deviation
    for i in range(n_features):
        w.beside[1 + i] = w.features[i]
    w.beside[1 + n_features] = 1.0
    calendar_update(time, periods, harmonics, w.waves)
    copied(w.waves, w.beside, 2 + n_features)
    at = 2 + n_features + len(w.waves)
    for place in range(len(season_at)):
        h = season_at[place]
        for cycle in range(n_cycles):
            moved = w.then[h, cycle] - w.begin[h, cycle] if w.season_known[h, cycle] else 0.0
            w.beside[at] = clipped(moved / scale, c.winsor)
            at += 1
    for i in range(n_features, len(w.features)):
        w.beside[at] = w.features[i]
        at += 1
