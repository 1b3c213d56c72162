"""What a model does about drift of its loss, by the setting `drift_reaction`. It depends on the model's own events alone.

none: nothing. The mixture and the forgetting of the experts do their part as always.

quicken: for 200 events readouts forget as if over 100 rows, which is more process noise, and recurrent weights learn three times as
fast.

reset: the covariance of each readout is the prior's again. Weights stay, and what comes moves them as it would a new model's.

challenger: experts are born anew beside those that are there, and take over where they prove better: `models.drift.challenger`.

Drift of the inputs or of the calibration alone is told, and not reacted to: forecasts that are as good as ever need no cure.
Rows are few here, where a loss drifted or a challenger is proven: it is numpy beside a compiled forecaster too.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from models.drift.challenger import Challengers
from models.forecast_protocols import Expert, PooledExpert
from models.optimizers.rls import PRIOR_VARIANCE
from models.protocols import BoolArray, Fields, IntArray, State
from models.specification import REACTIONS

CHOICES: Final = ("none", "quicken", "reset", "challenger")
QUICKEN, RESET, CHALLENGE, TAKEOVER = (1 << bit for bit in range(len(REACTIONS)))
PROVEN: Final = 1 << len(REACTIONS)
"""Not a reaction: a challenger is to take over, or to be given up, and somebody has to see to it. Nobody outside the bank sees it."""

QUICKEN_EVENTS: Final = 200


class Reaction:
    """One of CHOICES, for the experts of a forecaster."""

    def __init__(self, choice: str, experts: dict[str, Expert], horizons: tuple[int, ...]) -> None:
        """Take the setting, the experts and the horizons.

        Raises:
            ValueError: no such reaction, or one beside experts that share weights with other series.
        """
        if choice not in CHOICES:
            raise ValueError(f"drift_reaction: one of {', '.join(CHOICES)}, not {choice!r}")
        pooled = [
            name for name, expert in experts.items() if isinstance(expert, PooledExpert) and expert.shared
        ]
        if choice != "none" and pooled:
            raise ValueError(
                f"drift_reaction: none, not {choice!r}, beside {', '.join(pooled)}: drift of one series says nothing of what many share"
            )
        self.choice = choice
        self.challengers = Challengers(experts, horizons) if choice == "challenger" else None

    def init_state(self) -> dict[str, Fields]:
        """Return the parts of a new model: none for what keeps nothing."""
        if self.choice == "quicken":
            return {"quicken": {"left": np.zeros((), dtype=np.int64)}}
        return {} if self.challengers is None else self.challengers.init_state()

    def hasty(self, states: dict[str, State]) -> BoolArray:
        """Return which rows are quickened at this event, (B,)."""
        if self.choice != "quicken":
            return np.zeros(len(states["clock"]["count"]), dtype=np.bool_)
        hasty: BoolArray = states["quicken"]["left"] > 0
        return hasty

    def end_event(self, states: dict[str, State]) -> IntArray:
        """Count the event, in place; return PROVEN where `react` has to be called, (B,)."""
        if self.choice == "quicken":
            states["quicken"]["left"] = np.maximum(states["quicken"]["left"] - 1, 0)
        if self.challengers is None:
            return np.zeros(len(states["clock"]["count"]), dtype=np.int64)
        return np.where(self.challengers.end_event(states["challenge"]), PROVEN, 0)

    def react(self, states: dict[str, State], drift: BoolArray) -> IntArray:
        """Do in some rows what there is to do after an event, in place; return bits of REACTIONS, (B,). `drift` is of the loss."""
        done = np.zeros(len(drift), dtype=np.int64)
        if self.choice == "quicken":
            states["quicken"]["left"] = np.where(drift, QUICKEN_EVENTS, states["quicken"]["left"])
            done[drift] |= QUICKEN
        if self.choice == "reset":
            for state in states.values():
                if "covariance" in state:
                    state["covariance"][drift] = PRIOR_VARIANCE * np.eye(state["covariance"].shape[-1])
            done[drift] |= RESET
        if self.challengers is not None:
            done[self.challengers.take_over(states)] |= TAKEOVER
            self.challengers.bear(states, drift)
            done[drift] |= CHALLENGE
        return done
