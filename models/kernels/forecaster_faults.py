"""What was learned before a fault, for one row of the records: twin of `models.faults`."""

from __future__ import annotations

import numpy as np

from models.faults import (
    AGE,
    BACK,
    BEFORE,
    BOUND,
    CALM,
    COUNT,
    COUNT_MIN,
    DOUBT,
    HELD_MAX,
    HIGHEST,
    JUDGED,
    LOWEST,
    MARGIN,
    MEAN,
    MORE,
    MOVED,
    MOVED_SPAN,
    SETBACK,
    SHARE,
    SPREAD,
    SQUARES,
    STILL,
    STILL_ROWS,
    STILL_SCALES,
    USUAL,
    VARIANCE,
    WILD,
    WORSE,
)
from models.kernels.forecaster_experts import copied, weighed_inputs
from models.kernels.forecaster_parts import Constants, Experts, Places
from models.kernels.forecaster_work import Sizes, Work
from models.kernels.jit import inner
from models.protocols import Array, IntArray


@inner
def faults_update(
    f: Array,
    i: IntArray,
    at: Places,
    of: Experts,
    size: Sizes,
    c: Constants,
    level: float,
    error: float,
    w: Work,
) -> bool:
    """Twin of `Faults.update` where there is a label, and errors' usual size is known: return whether something was put back."""
    counts, figures, kept = at.fault_counts, at.fault_figures, at.fault_scale
    held, unit = i[counts + AGE] > 0, f[at.pending_scale + w.slots[0]]
    usual = f[figures + USUAL] if held else f[at.interval_spread] * unit
    variance, step = f[kept + VARIANCE] if held else f[at.scale_variance], level - f[at.scale_level]
    stands = step * step < STILL_SCALES * STILL_SCALES * variance
    i[counts + STILL] = i[counts + STILL] + 1 if stands else 0
    still = i[counts + STILL] >= STILL_ROWS
    wild = abs(error) > WILD * usual and usual > 0.0
    odd, share = wild or still, f[figures + SHARE]
    f[figures + SHARE] = share + ((1.0 if odd else 0.0) - share) / c.scale_span
    if not held:
        if not (odd and i[at.scale_seen] >= c.scale_span):
            return False
        f[figures + BEFORE], f[figures + USUAL], f[figures + MOVED] = share, usual, variance
        keep(f, i, at, of)
    own = abs(unit * (w.target[0] - held_forecast(f, at, of, size, w)))
    away = still or (wild and not own <= WILD * usual) or is_outside(f, at, level)
    calm = max(i[counts + CALM] - SETBACK, 0) if away else i[counts + CALM] + 1
    f[figures + MOVED] += (min(step * step, c.winsor * c.winsor * variance) - f[figures + MOVED]) / MOVED_SPAN
    i[counts + AGE] += 1
    i[counts + COUNT] += 1 if away else 0
    put_back, ends, moved = False, i[counts + AGE] > HELD_MAX, f[figures + MOVED]
    if calm == 0:
        f[figures + WORSE], f[figures + SQUARES] = 0.0, 0.0
    elif calm == c.fault_clean:
        if i[counts + COUNT] < max(COUNT_MIN, MORE * c.scale_span * f[figures + BEFORE]):
            ends = True
        elif moved * BACK > variance and moved < BACK * variance:
            f[at.scale_mean], f[at.scale_variance] = f[kept + MEAN], f[kept + VARIANCE]
            f[at.scale_spread] = f[kept + SPREAD]
            put_back = True
        else:
            calm -= 1
    elif calm > c.fault_clean:
        worse = lost(own, usual) - lost(abs(error), usual)
        f[figures + WORSE] += worse
        f[figures + SQUARES] += worse * worse
        if calm == c.fault_clean + JUDGED:
            ends, put_back = True, f[figures + WORSE] < DOUBT * np.sqrt(f[figures + SQUARES])
            if put_back:
                exchange(f, of, True)
    i[counts + CALM] = calm
    if ends:
        i[counts + AGE] = 0
    return bool(put_back)


@inner
def lost(off: float, usual: float) -> float:
    """Twin of `models.faults._lost`."""
    share = off / usual if off < BOUND * usual else BOUND
    return share * share


@inner
def is_outside(f: Array, at: Places, level: float) -> bool:
    """Say whether a value is far out of the range that was known."""
    lowest, highest = f[at.fault_scale + LOWEST], f[at.fault_scale + HIGHEST]
    margin = MARGIN * (highest - lowest)
    return bool(level < lowest - margin or level > highest + margin)


@inner
def keep(f: Array, i: IntArray, at: Places, of: Experts) -> None:
    """Take a copy."""
    i[at.fault_counts + AGE], i[at.fault_counts + CALM], i[at.fault_counts + COUNT] = 0, 0, 0
    f[at.fault_scale + MEAN], f[at.fault_scale + VARIANCE] = f[at.scale_mean], f[at.scale_variance]
    f[at.fault_scale + SPREAD] = f[at.scale_spread]
    f[at.fault_scale + LOWEST], f[at.fault_scale + HIGHEST] = f[at.scale_lowest], f[at.scale_highest]
    exchange(f, of, False)


@inner
def exchange(f: Array, of: Experts, back: bool) -> None:
    """Copy the mixture and the readouts' weights, or put them back."""
    for r in range(len(of.exchanged)):
        own, kept, n = of.exchanged[r, 0], of.exchanged[r, 1], of.exchanged[r, 2]
        if back:
            copied(f[kept : kept + n], f, own)
        else:
            copied(f[own : own + n], f, kept)


@inner
def held_forecast(f: Array, at: Places, of: Experts, size: Sizes, w: Work) -> float:
    """Return what the copy forecasts for the label of the shortest horizon, scaled: twin of `Faults._told`."""
    mixed, pending = 0.0, at.pending_experts + w.slots[0] * size.experts
    for e in range(size.experts):
        forecast, n = f[pending + e], of.inputs[e]
        if of.held_at[e] >= 0:
            inputs = of.inputs_at[e] + w.origins[0] * n
            weights = f[of.held_at[e] : of.held_at[e] + n]
            forecast = weighed_inputs(weights, f[inputs : inputs + n])
            if of.offset_at[e] >= 0:
                forecast += f[of.offset_at[e] + w.origins[0]]
        mixed += f[at.fault_mixture + e] * forecast
    return mixed
