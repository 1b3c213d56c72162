"""What was learned before a fault is kept, and comes back once the fault is over, unless what was learned since is better.

A fault teaches nonsense: the mean and the scale follow wild values, least squares weighs wild inputs by their size, and both forget it over some
thousand rows only. So at the first row that is odd a copy is taken of what is small and learned: statistics of the scale, readouts' weights, the mixture.

    odd_t = |y_t - told_t| > WILD u, or the last STILL_ROWS rows all went less than STILL_SCALES sqrt(v) on                 (1)
    away_t = odd_t, unless what the copy forecasts is within WILD u; or y_t far out of the range that was known      (2)
    calm_t = max(calm_{t-1} - SETBACK, 0) where away_t, else calm_{t-1} + 1                                          (3)
    m_t = m_{t-1} + (min((y_t - y_{t-1})^2, c^2 v) - m_{t-1}) / MOVED_SPAN                                           (4)

with u the mean size of errors and v the square of the scale when the copy was taken. Where calm_t has come to C, the lags hold little of the fault
any more. It was one if COUNT_MIN rows or more were away, and MORE times as many as in the last thousand rows before: what comes again and again is the
series itself. If v / BACK < m_t < BACK v, it is over, and the scale is put back. From then on both are judged,

    a_t = min(|y_t - told_t| / u, BOUND)^2,  b_t: the same of what the copy forecasts from the inputs that there are (5)

and after JUDGED more weights and mixture are put back, unless what was learned since is better beyond doubt:

    sum (b_t - a_t) >= DOUBT (sum (b_t - a_t)^2)^(1/2)                                                               (6)

The burden of proof is on what is new: something was seen to be wrong, and values are back at the scale that was. What changes for good proves itself, and
is kept; and while there is a copy, all learns as ever. After HELD_MAX rows a copy is given up. A series of under a thousand rows has none: all of it is new.

P is not copied: it is most of a model's state, and putting it back too gains little (`python -m benchmarks fault_parts`).
Cost: some comparisons a row; while there is a copy, the readouts' products once more. Memory: that of the weights, 1% of the default model's state,
13% with 48 horizons.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, final

import numpy as np

from models.forecast_protocols import Due, Expert, PooledExpert
from models.protocols import Array, BoolArray, Fields, State
from models.scaling import SPAN_EVENTS, WINSOR_SCALES

WILD: Final = 5.0 / (2.0 / np.pi) ** 0.5
"""In mean sizes of errors: five deviations, if errors were normal. Less than an outlier: a copy that was not needed costs nothing."""

STILL_SCALES: Final = 0.01
STILL_ROWS: Final = 5
"""A sensor that is stuck, or speaks in another unit. By chance five increments of a hundredth are one in 10^10 rows; where a series rests often, MORE
keeps it from being a fault."""

MARGIN: Final = 0.5
"""Of the range that was known, on either side of it: a series that is back may still wander."""

SETBACK: Final = 10
"""So many calm rows does one undo that is away. A learner that a fault spoilt makes wild errors of its own for a while."""

MOVED_SPAN: Final = 50.0
"""Rows of the mean square (4): at the end of C rows little is left in it of the fault."""

BACK: Final = 4.0
"""A scale within a factor of two is the one that was."""

COUNT_MIN: Final = 10
"""Fewer rows move little, and jumps of a series that does jump are as many."""

MORE: Final = 3.0

JUDGED: Final = 100
"""Labels. With more, a copy that stands still loses to what learns on, be that spoilt or not."""

DOUBT: Final = 2.0
"""Standard errors of a sum of differences in which the noise of a label, which both meet, is not. Of two that are equally good chance makes one look that
much better once in forty times, and more seldom the one that is worse. What is better by less than that is learned again."""

BOUND: Final = 5.0
"""In mean sizes of errors."""

HELD_MAX: Final = 500
"""Rows: what was learned in a longer time is worth more than what was before."""

SCALE: Final = ("mean", "variance", "spread", "lowest", "highest")
MEAN, VARIANCE, SPREAD, LOWEST, HIGHEST = range(len(SCALE))
"""What is copied of the scale. The last two are not put back: a range that is too wide hurts nobody."""
MIXTURE: Final = {
    "mixture": (
        "effective",
        "weights",
        "regret",
        "variation",
        "loss",
        "coefficients",
        "product",
        "power",
        "noise",
        "square",
    ),
    "trust": ("gain", "variation", "square"),
}
"""What is copied of the mixture and of how far it is followed, where they have that; the weights that are told come first."""

AGE, CALM, STILL, COUNT = range(4)
"""Places in the counts: rows since the copy was taken, 0 where there is none; calm_t; rows in a row that stood still; rows that were away."""
SHARE, BEFORE, USUAL, MOVED, WORSE, SQUARES = range(6)
"""Places in the figures: running share of odd rows, and what it was when the copy was taken; u; m_t; both sums of eq. (6)."""

States = dict[str, State]


@final
class Faults:
    """Copies, judges and puts back; of the experts, those with a readout by least squares that is the series' own."""

    def __init__(self, experts: dict[str, Expert], mixture: States, horizons: tuple[int, ...]) -> None:
        """Take the experts in the order of the mixture's columns, new states of the parts in MIXTURE, and the horizons."""
        states = {name: expert.init_state() for name, expert in experts.items()}
        self.experts = list(experts)
        readouts = [name for name, state in states.items() if "covariance" in state]
        self.weights = {
            name: states[name]["weights"].shape for name in readouts if not _is_shared(experts[name])
        }
        self.mixture: dict[tuple[str, str], tuple[int, ...]] = {
            (part, name): mixture[part][name].shape
            for part, names in MIXTURE.items()
            for name in names
            if name in mixture[part]
        }
        lags = [len(states[name]["lags"]) for name in readouts]
        self.clean = max(lags, default=0) + horizons[-1]
        """C: rows after which a value has left the lags, and the labels of what was forecast from it have come."""

    def init_state(self) -> Fields:
        """Return a state without a copy."""
        fields: Fields = {
            "counts": np.zeros(4, dtype=np.int64),
            "figures": np.zeros(6),
            "scale": np.zeros(len(SCALE)),
            "mixture": np.zeros(sum(int(np.prod(shape)) for shape in self.mixture.values())),
        }
        return fields | {f"readout.{name}": np.zeros(shape) for name, shape in self.weights.items()}

    def update(
        self,
        states: States,
        *,
        level: Array,
        error: Array,
        unit: Array,
        due: Due,
        told: Array,
        watched: BoolArray,
    ) -> BoolArray:
        """Take one value a row, in place, before anything learns from it; return where something was put back, (B,).

        Args:
            states: of all parts, batched.
            level: the values, (B,).
            error: value - forecast of the shortest horizon, raw, (B,).
            unit: what that forecast was scaled by, (B,).
            due: its label; columns are of horizons, the first is looked at.
            told: what the experts forecast for it, scaled, (B, E).
            watched: where there is a label, and errors' usual size is known, (B,).
        """
        state, scale, size = states["fault"], states["scale"], np.abs(error)
        counts, figures = state["counts"], state["figures"]
        held, step, share = counts[:, AGE] > 0, level - scale["level"], figures[:, SHARE].copy()
        usual = np.where(held, figures[:, USUAL], states["interval"]["spread"][:, 0] * unit)
        variance = np.where(held, state["scale"][:, VARIANCE], scale["variance"])
        still = np.where(step * step < STILL_SCALES * STILL_SCALES * variance, counts[:, STILL] + 1, 0)
        wild = (size > WILD * usual) & (usual > 0.0)
        odd = wild | (still >= STILL_ROWS)  # Eq. (1)
        begins: BoolArray = watched & odd & ~held & (scale["seen"] >= SPAN_EVENTS)
        active = begins | (watched & held)
        np.copyto(counts[:, STILL], still, where=watched)
        np.copyto(figures[:, SHARE], share + (odd - share) / SPAN_EVENTS, where=watched)
        if not active.any():
            return begins
        self._keep(states, begins)
        for place, start in ((BEFORE, share), (USUAL, usual), (MOVED, variance)):
            np.copyto(figures[:, place], start, where=begins)
        own = np.abs(unit * (due.target[:, 0] - self._told(states, due, told)))
        low, high = state["scale"][:, LOWEST], state["scale"][:, HIGHEST]
        margin = MARGIN * (high - low)
        outside = (level < low - margin) | (level > high + margin)
        away = outside | (still >= STILL_ROWS) | (wild & ~(own <= WILD * usual))  # Eq. (2)
        calm = np.where(away, np.maximum(counts[:, CALM] - SETBACK, 0), counts[:, CALM] + 1)  # Eq. (3)
        bounded = np.minimum(step * step, WINSOR_SCALES * WINSOR_SCALES * variance)
        moved = figures[:, MOVED] + (bounded - figures[:, MOVED]) / MOVED_SPAN  # Eq. (4)
        np.copyto(figures[:, MOVED], moved, where=active)
        counts[:, AGE] += active
        counts[:, COUNT] += active & away
        clean = active & (calm == self.clean)
        none = clean & (counts[:, COUNT] < np.maximum(COUNT_MIN, MORE * SPAN_EVENTS * figures[:, BEFORE]))
        over = clean & ~none & (moved * BACK > variance) & (moved < BACK * variance)
        np.copyto(counts[:, CALM], np.where(clean & ~none & ~over, calm - 1, calm), where=active)
        for place in (MEAN, VARIANCE, SPREAD):
            np.copyto(scale[SCALE[place]], state["scale"][:, place], where=over)
        worse, judged = _lost(own, usual) - _lost(size, usual), active & (calm > self.clean)
        for place, term in ((WORSE, worse), (SQUARES, worse * worse)):
            np.copyto(figures[:, place], 0.0, where=active & (calm == 0))
            figures[:, place] += np.where(judged, term, 0.0)
        last = active & (calm == self.clean + JUDGED)
        back = last & (figures[:, WORSE] < DOUBT * np.sqrt(figures[:, SQUARES]))  # Not eq. (6)
        self._put_back(states, back)
        np.copyto(counts[:, AGE], 0, where=none | last | (counts[:, AGE] > HELD_MAX))
        put_back: BoolArray = over | back
        return put_back

    def reset(self, state: State) -> None:
        """Give the copies up."""
        state["counts"][:, AGE] = 0

    def _keep(self, states: States, rows: BoolArray) -> None:
        """Take a copy in some rows."""
        state = states["fault"]
        for place in (AGE, CALM, COUNT):
            state["counts"][rows, place] = 0
        state["scale"][rows] = np.stack([states["scale"][name][rows] for name in SCALE], axis=1)
        for (part, name), span in self.spans():
            kept = states[part][name][rows]
            state["mixture"][rows, span] = kept.reshape(len(kept), span.stop - span.start)
        for name in self.weights:
            state[f"readout.{name}"][rows] = states[f"expert.{name}"]["weights"][rows]

    def _put_back(self, states: States, rows: BoolArray) -> None:
        """Put weights and mixture back in some rows."""
        state = states["fault"]
        for (part, name), span in self.spans():
            kept = state["mixture"][rows, span]
            states[part][name][rows] = kept.reshape(len(kept), *self.mixture[part, name])
        for name in self.weights:
            states[f"expert.{name}"]["weights"][rows] = state[f"readout.{name}"][rows]

    def spans(self) -> Iterator[tuple[tuple[str, str], slice]]:
        """Return where each part of the mixture is kept."""
        start = 0
        for place, shape in self.mixture.items():
            size = int(np.prod(shape))
            yield place, slice(start, start + size)
            start += size

    def _told(self, states: States, due: Due, told: Array) -> Array:
        """Return what the copy forecasts for the label of the shortest horizon, scaled, (B,)."""
        rows, origin, state = np.arange(len(told)), due.origin[:, 0], states["fault"]
        mixed = np.zeros(len(told))
        for place, name in enumerate(self.experts):
            forecast = told[:, place]
            if name in self.weights:
                own = states[f"expert.{name}"]
                forecast = (state[f"readout.{name}"][:, 0] * own["inputs"][rows, origin]).sum(axis=-1)
                if "offset" in own:
                    forecast = own["offset"][rows, origin] + forecast
            mixed = mixed + state["mixture"][:, place] * forecast
        return mixed


def _lost(off: Array, usual: Array) -> Array:
    """Return eq. (5) of how far forecasts were off, (B,); the bound where that is no number, or u is zero."""
    within = off < BOUND * usual
    shares: Array = np.divide(off, usual, out=np.full(len(off), BOUND), where=within)
    squares: Array = shares * shares
    return squares


def _is_shared(expert: Expert) -> bool:
    """Say whether other series learn an expert's weights too: one series' fault does not take back what they taught."""
    return isinstance(expert, PooledExpert) and "weights" in expert.shared
