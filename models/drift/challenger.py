"""Challengers: of each expert that learns a fresh one, born when the loss drifts, that takes over where it proves better.

It learns from the same events in the shadow, and no forecast is published of it. The two change places, so that the one which was there
goes on in the shadow, and takes its place back by the same rule: what comes again is not forgotten.

    a, b: running mean squares of the errors of the expert that is there and of its challenger, over 100 labels      (1)
    b < .95 a after 100 labels or more: they change places                                                            (2)

Errors are of the shortest horizon, winsorised by one bound, and on the same labels. After 1,000 events without (2) all are given up. With a
new drift one that never had its expert's place is born anew, and one that had it gets 1,000 events more. While there is one, the experts that
learn take twice the time; they have twice the memory always.

(2) has no control of chance, as the test of a second make in `models.sequential` has. It is one comparison an expert and event, as short in the
compiled twin, and it answers after 100 labels, which that test, sure of what it says at any time, cannot. A takeover by chance is
mostly between two that are nearly as good, and the same rule may take it back. What it costs: docs/DRIFT.md counts takeovers, and tells
the error with them, of wild hours too, where there is nothing to gain.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Final, TypeVar

import numpy as np

from models.forecast_protocols import Due, Expert, Observation
from models.protocols import Array, BoolArray, Fields, IntArray, State

EVENTS: Final = 1000
"""A fresh readout of a hundred inputs is as good as it gets after some hundreds."""
JUDGED: Final = 100
"""Labels: enough to tell a twentieth of the loss from noise, as errors of both on one label are alike."""
BETTER: Final = 0.95

States = dict[str, State]
Seen = TypeVar("Seen", Due, Observation)


class Challengers:
    """The challengers of a forecaster's experts."""

    def __init__(self, experts: dict[str, Expert], horizons: tuple[int, ...]) -> None:
        """Take the experts, in the order of the columns of what is pending, and the horizons."""
        self.n_experts, self.n_slots, self.first = len(experts), sum(horizons), horizons[0]
        self.experts = {
            name: (place, expert)
            for place, (name, expert) in enumerate(experts.items())
            if "covariance" in expert.init_state()
        }

    def init_state(self) -> dict[str, Fields]:
        """Return the parts of a new model, with no challenger."""
        count = np.zeros((), dtype=np.int64)
        challenge = {
            "age": count,
            "judged": count,
            "former": np.zeros(self.n_experts, dtype=np.bool_),
            "loss": np.zeros((2, self.n_experts)),
            "pending": np.zeros((self.n_slots, self.n_experts)),
        }
        born = {f"challenger.{name}": expert.init_state() for name, (_, expert) in self.experts.items()}
        return {"challenge": challenge} | born

    def learn(self, states: States, due: dict[str, Due]) -> None:
        """Let them learn from the labels that are due, and judge them, in place. `due` is what the experts were given."""
        rows = np.flatnonzero(states["challenge"]["age"] > 0)
        if len(rows) == 0:
            return
        every, challenge = np.arange(len(rows))[:, None], _of(states["challenge"], rows)
        # The shortest horizon's forecasts come round after so many rows: older ones are of nobody.
        judged = next(iter(due.values())).valid[rows, 0] & (challenge["age"] > self.first)
        challenge["judged"] = challenge["judged"] + judged
        rate = np.maximum(1.0 / JUDGED, 1.0 / np.maximum(challenge["judged"], 1))
        loss = challenge["loss"].copy()
        for name, (place, expert) in self.experts.items():
            one, state = _rows(due[name], rows), _of(states[f"challenger.{name}"], rows)
            off = one.target - challenge["pending"][every, one.slot, place]
            own = np.where(one.valid, np.clip(off, -one.bound, one.bound), 0.0)
            for which, error in enumerate((one.residual[:, 0], own[:, 0])):  # Eq. (1)
                before = loss[:, which, place]
                loss[:, which, place] = np.where(judged, before + rate * (error * error - before), before)
            expert.learn(state, replace(one, residual=own))
            _put(states[f"challenger.{name}"], rows, state)
        challenge["loss"] = loss
        _put(states["challenge"], rows, challenge)

    def forecast(self, states: States, observation: Observation) -> None:
        """Let them see the event, and keep what they forecast for its labels, in place."""
        rows = np.flatnonzero(states["challenge"]["age"] > 0)
        if len(rows) == 0:
            return
        one = _rows(observation, rows)
        for name, (place, expert) in self.experts.items():
            state = _of(states[f"challenger.{name}"], rows)
            forecast = expert.forecast(state, one)
            states["challenge"]["pending"][rows[:, None], one.slot, place] = forecast
            _put(states[f"challenger.{name}"], rows, state)

    def end_event(self, challenge: State) -> BoolArray:
        """Count the event, in place; return where one is proven or too old, (B,)."""
        challenge["age"] = np.where(challenge["age"] > 0, challenge["age"] + 1, 0)
        asked: BoolArray = self._proven(challenge).any(axis=1) | (challenge["age"] > EVENTS)
        return asked

    def _proven(self, challenge: State) -> BoolArray:
        enough = (challenge["age"] > 0) & (challenge["judged"] >= JUDGED)
        proven: BoolArray = enough[:, None] & (challenge["loss"][:, 1] < BETTER * challenge["loss"][:, 0])
        return proven  # Eq. (2)

    def take_over(self, states: States) -> BoolArray:
        """Let those that are proven change places, and give up those that are too old, in place; return where any took over."""
        challenge = states["challenge"]
        proven = self._proven(challenge)
        for name, (place, _) in self.experts.items():
            rows = proven[:, place]
            there = states[f"expert.{name}"]
            for field, value in states[f"challenger.{name}"].items():
                there[field][rows], value[rows] = value[rows], there[field][rows]
        taken: BoolArray = np.any(proven, axis=1)
        self._begin(challenge, taken)
        old = challenge["age"] > EVENTS
        challenge["age"] = np.where(old, 0, challenge["age"])
        challenge["former"] = (challenge["former"] | proven) & ~old[:, None]
        return taken

    def _begin(self, challenge: State, rows: BoolArray) -> None:
        """Judge from now on, in place: what was forecast before counts no more."""
        challenge["age"] = np.where(rows, 1, challenge["age"])
        challenge["judged"] = np.where(rows, 0, challenge["judged"])
        challenge["loss"] = np.where(rows[:, None, None], 0.0, challenge["loss"])

    def give_up(self, challenge: State) -> None:
        """Have no challengers, in place: what they were about to be judged by is lost."""
        challenge["age"] = np.zeros_like(challenge["age"])
        challenge["former"] = np.zeros_like(challenge["former"])

    def bear(self, states: States, rows: BoolArray) -> None:
        """Bear new ones in these rows where none is that had the place, in place; judge all anew.

        A new one is as a new expert, with the last increments that the one which is there knows.
        """
        challenge = states["challenge"]
        for name, (place, expert) in self.experts.items():
            fresh = rows & ~challenge["former"][:, place]
            state = states[f"challenger.{name}"]
            for field, value in expert.init_state().items():
                state[field][fresh] = value
            state["lags"][fresh] = states[f"expert.{name}"]["lags"][fresh]
            challenge["pending"][fresh, :, place] = 0.0
        self._begin(challenge, rows)


def _rows(seen: Seen, rows: IntArray) -> Seen:
    """Return some rows of what experts are given."""
    return replace(seen, **{one.name: getattr(seen, one.name)[rows] for one in fields(seen)})


def _of(state: State, rows: IntArray) -> State:
    return {name: value[rows] for name, value in state.items()}


def _put(state: State, rows: IntArray, some: dict[str, Array]) -> None:
    for name, value in some.items():
        state[name][rows] = value
