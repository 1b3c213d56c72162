"""The forecaster's protocols: what an expert, a mixture and a drift detector must offer.

The conventions, and the letters for shapes, are those of `models.protocols`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from models.protocols import Array, BoolArray, Fields, IntArray, State


@dataclass(frozen=True, slots=True)
class Observation:
    """What an expert may see when it forecasts: this event and what was kept of the past.

    Everything is scale-free: values are divided by the model's running scale of increments, so that
    an expert forecasts a change in units of `scale`, and a forecast of 0 is the last value.

    Attributes:
        level: the target's value at this event, raw units, (B,).
        scale: the running scale of one-step increments, raw units, positive, (B,).
        increment: (value - previous value) / scale, winsorised, (B,); 0 at a series' first event.
        deviation: (value - running mean) / running deviation of the level, winsorised, (B,).
        steady_increment: the increment where an outlier counts as what was expected, see `models.steady`, (B,).
        steady_deviation: as above, of the deviation, (B,).
        steady_offset: (the level that an outlier counts as - value) / scale, 0 where there is none, (B,).
        seasonal_level: what stood one season before the forecast's time, relative to this event's
            value, scaled, (B, H); while no season is known, the running mean instead.
        seasonal_change: how the series went on one season and one week of seasons ago, scaled and
            winsorised, (B, H, 2).
        features: exogenous features, standardised and winsorised, (B, F).
        others: the other targets' increments, as above, where joint experts alone see them, (B, O).
        calendar: where in the day and the week the event stands, see `models.calendar`, (B, C).
        row: where in a ring of as many rows as the longest horizon this event's things are kept, (B,).
        slot: where in the rings of `models.labels` this event's forecasts are kept, (B, H).
        hasty: forget sooner at this event, see `models.drift.reactions`, (B,).
    """

    level: Array
    scale: Array
    increment: Array
    deviation: Array
    steady_increment: Array
    steady_deviation: Array
    steady_offset: Array
    seasonal_level: Array
    seasonal_change: Array
    features: Array
    others: Array
    calendar: Array
    row: IntArray
    slot: IntArray
    hasty: BoolArray


@dataclass(frozen=True, slots=True)
class Due:
    """Labels that arrived with this event, one column per horizon.

    Attributes:
        valid: whether horizon j's label is due and there was a scale when the forecast was made, (B, H).
        slot: the ring position at which what that forecast's gradient needs was kept, (B, H).
        origin: the row of the ring at which what that forecast was made from was kept, (B, H).
        target: the change that came, (y_{t+h} - y_t) / scale_t, in the scale of the row at which the
            forecast was made, (B, H); 0 where not valid.
        residual: target - this expert's forecast, winsorised, (B, H); 0 where not valid.
        bound: what it was winsorised by, (B, H).
        hasty: learn faster at this event, see `models.drift.reactions`, (B,).
    """

    valid: BoolArray
    slot: IntArray
    origin: IntArray
    target: Array
    residual: Array
    bound: Array
    hasty: BoolArray


class Expert(Protocol):
    """A forecaster. `learn` sees only labels that have arrived; `forecast` sees no label at all."""

    def init_state(self) -> Fields:
        """Return the state of a new model."""
        ...

    def learn(self, state: State, due: Due) -> None:
        """Learn from the labels that are due, in place."""
        ...

    def forecast(self, state: State, observation: Observation) -> Array:
        """Advance by one event and forecast the scaled change for every horizon, (B, H)."""
        ...


@runtime_checkable
class PooledExpert(Protocol):
    """What an expert offers beside the above if it can share what it learns with other series: see `models.pooling`."""

    shared: tuple[str, ...]
    """Fields of its state that are shared; none where each series learns by itself."""


@runtime_checkable
class RecurrentExpert(Protocol):
    """What an expert offers beside the above if it has a recurrent state: one that has these is asked.

    Its state holds "quarantined", whether the baseline is to be published instead of what was learned, (B,).
    """

    def reset_memory(self, state: State) -> None:
        """Start the recurrent state anew after a gap, in place; keep what was learned."""
        ...

    def figures(self, state: State, labelled: BoolArray) -> dict[str, Any]:
        """Return the gradient figures of `models.step_result.StepResult`, (B,) each, of this event."""
        ...

    def watch(self, state: State, error: Array, target: Array, valid: BoolArray) -> None:
        """Take a label of the shortest horizon: its error and what came, in scales and as they were, (B,) each."""
        ...

    def attends(self, state: State) -> BoolArray:
        """Count the event, and return the rows that `react` has to look at, (B,)."""
        ...

    def react(self, state: State) -> IntArray:
        """Look at such rows, in place, and do something about them; return what, bits of `recovery.ACTIONS`, (B,)."""
        ...


class Mixture(Protocol):
    """Makes one forecast of the experts', by weights that it learns."""

    def init_state(self) -> Fields:
        """Return the weights of a new model."""
        ...

    def combine(self, state: State, forecasts: Array) -> tuple[Array, Array]:
        """Return the mixed forecast (B, H) and the weights (B, H, E) of forecasts (B, H, E): once a row, after `learn`.

        The forecast is the weighted sum, and the weights sum to one; that of a stacked mixture may leave the experts' range, by weights
        that are negative.
        """
        ...

    def learn(self, state: State, *, forecasts: Array, target: Array, valid: BoolArray) -> None:
        """Learn from the labels that are due, (B, H), in place; `forecasts` are those that were combined h rows ago."""
        ...


class DriftDetector(Protocol):
    """Watches a stream of values, which have mean one and a spread of about one while nothing changes, for a rise."""

    @property
    def warning(self) -> float:
        """From which share of the threshold on it warns; infinite where the method has no such level."""
        ...

    def init_state(self) -> Fields:
        """Return the state of a new detector; the same size however many values it will see."""
        ...

    def update(self, state: State, value: Array, valid: BoolArray) -> BoolArray:
        """Take one value a row where valid, in place; return where a change is signalled, (B,), and start anew there.

        Raises:
            ValueError: a valid value is not finite; the state is as before.
        """
        ...

    def statistic(self, state: State) -> Array:
        """Return the detector's statistic in units of its threshold, (B,); 1 is the threshold."""
        ...
