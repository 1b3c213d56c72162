"""What is watched for drift: the loss, the inputs and the calibration of a model, each by a detector of its own.

All are of the shortest horizon, which says soonest that something is odd, and have mean one while nothing changes:

    loss_t = min(|e_t| / u_{t-1}, 8)                                   (1)  u: running mean of |e|, over 200 events
    inputs_t = min(a_t / v_{t-1}, 8)                                   (2)  v: running mean of a, over 1,000 events
    a_t = (|d_t| + sum_j |z_{t,j}|) / (1 + F)                          (3)  d: increment, z: features, in their own scales
    calibration_t = 1 + (miss_t - q) / sqrt(q (1 - q))                 (4)  q: the share that the widest interval is to miss

(3) takes sizes and not squares: one wild input must not outweigh many. The increment and not the level stands there, since most
levels wander. (4) has deviation one too. A value of (1) or (2) is bounded: drift is about many that grew, not about one that is
huge. Until a mean has seen 100 values nothing is watched by it: the mean must be known before a change of it can be.
v begins anew with a drift of the inputs; u is soon where the errors are.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from models.drift import DETECTORS
from models.forecast_protocols import DriftDetector
from models.protocols import Array, BoolArray, Fields, State
from models.scaling import SPAN_EVENTS
from models.specification import DRIFT_STREAMS
from models.tables import entry

VALUE_MAX: Final = 8.0
SEEN_MIN: Final = 100

Watched = tuple[Array, BoolArray]
"""Values, and where they are watched, (B,) both."""


class Watch:
    """The three detectors, and the running size of the inputs."""

    def __init__(self, names: tuple[str, str, str], miss_share: float) -> None:
        """Take the detectors' names in the order of DRIFT_STREAMS, and q of Eq. (4)."""
        self.detectors = {
            what: entry(DETECTORS, name, f"drift_{what}")()
            for what, name in zip(DRIFT_STREAMS, names, strict=True)
        }
        deviation = (miss_share * (1.0 - miss_share)) ** 0.5
        self.held, self.missed = 1.0 - miss_share / deviation, 1.0 + (1.0 - miss_share) / deviation

    def init_state(self) -> dict[str, Fields]:
        """Return the parts of a new model."""
        parts = {f"drift.{what}": detector.init_state() for what, detector in self.detectors.items()}
        return parts | {"inputs": {"size": np.zeros(()), "seen": np.zeros((), dtype=np.int64)}}

    def inputs(self, state: State, increment: Array, features: Array, valid: BoolArray) -> Watched:
        """Return Eq. (2) of increments (B,) and features (B, F), and take them in, in place."""
        size = np.abs(increment)
        for j in range(features.shape[1]):  # in this order, so that the sum is the same to the bit
            size = size + np.abs(features[:, j])
        size = size / (1 + features.shape[1])
        usual, seen = state["size"], state["seen"]
        watched = valid & (seen >= SEEN_MIN) & (usual > 0.0)
        value = np.minimum(size / np.where(watched, usual, 1.0), VALUE_MAX)
        rate = np.maximum(1.0 / SPAN_EVENTS, 1.0 / (seen + 1.0))
        state["size"] = np.where(valid, usual + rate * (size - usual), usual)
        state["seen"] = seen + valid
        return value, watched

    def update(self, states: dict[str, State], watched: dict[str, Watched]) -> dict[str, Any]:
        """Take what is watched into the detectors, in place; return StepResult's three fields of drift, (B, 3) each."""
        found = [
            detect(detector, states[f"drift.{what}"], *watched[what])
            for what, detector in self.detectors.items()
        ]
        forget_inputs(states["inputs"], found[DRIFT_STREAMS.index("inputs")][0])
        names = ("drift", "drift_warning", "drift_statistic")
        return {
            name: np.stack(one, axis=1) for name, one in zip(names, zip(*found, strict=True), strict=True)
        }


def forget_inputs(state: State, drift: BoolArray) -> None:
    """Begin anew with the usual size of the inputs where it has changed, in place: else one change is signalled many times."""
    state["size"] = np.where(drift, 0.0, state["size"])
    state["seen"] = np.where(drift, 0, state["seen"])


def detect(
    detector: DriftDetector, state: State, value: Array, valid: BoolArray
) -> tuple[BoolArray, BoolArray, Array]:
    """Take one value a row where valid, in place; return where drift is signalled, where warned of, and the statistic, (B,)."""
    signal = detector.update(state, value, valid)
    statistic = detector.statistic(state)
    return signal, ~signal & (statistic > detector.warning), statistic
