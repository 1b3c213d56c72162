"""The bank: many series of one specification in slabs, one call per micro-batch. The core's face.

A slab is an array of shape (capacity, targets, ...) for each field of a model's state. A micro-batch
gathers the rows of its series, runs the forecaster on the copies, and writes them back when all is
done: on any error every series is as it was.
"""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from models.forecaster import Forecaster, States, StepResult
from models.protocols import Array, BoolArray, Fields, IntArray
from models.specification import Specification

__all__ = ["Array", "Bank", "BoolArray", "Fields", "IntArray", "NonFiniteError", "StepResult"]


VALUE_ABS_MAX = 1e100
"""Larger inputs are refused: products of them would leave float64's range somewhere in a model's state."""


class NonFiniteError(ValueError):
    """A value that is not finite or far too large came in, or would have gone out. Every series is as it was."""


class Bank:
    """Models of many series, all of one specification.

    Example:
        >>> import numpy as np
        >>> from models.specification import Specification
        >>> bank = Bank(Specification(experts=("last_value",)))
        >>> slot = np.array([bank.admit()])
        >>> for t, y in enumerate([1.0, 3.0]):
        ...     result = bank.step(slot, np.array([float(t)]), np.array([[y]]), np.empty((1, 0)))
        >>> result.prediction.tolist(), result.error.tolist()
        ([[[3.0]]], [[[2.0]]])
    """

    def __init__(self, specification: Specification, *, capacity: int = 64) -> None:
        """Make an empty bank with room for `capacity` series; it grows by doubling."""
        self.specification = specification
        self._forecaster = Forecaster(specification)
        self._new = self._forecaster.init_state()
        self._n_targets = len(specification.targets)
        self._capacity = max(1, capacity)
        self._slabs: States = {
            part: {
                name: np.empty((self._capacity, self._n_targets, *value.shape), dtype=value.dtype)
                for name, value in row.items()
            }
            for part, row in self._new.items()
        }
        self._free = list(range(self._capacity - 1, -1, -1))
        self._used: set[int] = set()

    @property
    def series_count(self) -> int:
        """How many series the bank holds."""
        return len(self._used)

    def bytes_per_series(self) -> int:
        """Return the memory of one series' state; constant in time."""
        return self._n_targets * sum(v.nbytes for row in self._new.values() for v in row.values())

    def admit(self) -> int:
        """Return the slot of a new series, in its initial state."""
        if not self._free:
            self._grow()
        slot = self._free.pop()
        self._used.add(slot)
        for part, row in self._new.items():
            for name, value in row.items():
                self._slabs[part][name][slot] = value
        return slot

    def release(self, slot: int) -> None:
        """Give a slot back."""
        self._require(slot)
        self._used.remove(slot)
        self._free.append(slot)

    def step(self, slots: IntArray, times: Array, values: Array, features: Array) -> StepResult:
        """Take one event of each of B series: settle, learn, advance, predict.

        Args:
            slots: of the series, each at most once, (B,).
            times: event times in seconds, (B,).
            values: the targets, raw units, (B, K).
            features: the exogenous features, (B, F).

        Raises:
            NonFiniteError: an input is not finite or over VALUE_ABS_MAX, or a result would not be finite.
            ValueError: shapes do not fit, a slot is not in use or stands twice.
            After either every series is as it was.
        """
        slots = np.asarray(slots, dtype=np.int64)
        self._check(slots, times, values, features)
        n_rows, n_targets = values.shape
        joined = self._inputs(slots, values, features)
        states: States = {
            part: {
                name: slab[slots].reshape(n_rows * n_targets, *slab.shape[2:]) for name, slab in row.items()
            }
            for part, row in self._slabs.items()
        }
        with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
            result = self._forecaster.step(
                states,
                time=np.repeat(times, n_targets),
                level=values.reshape(-1),
                features=joined,
            )
        for name in ("prediction", "lower", "upper", "expert_predictions", "anomaly_score"):
            if not np.isfinite(getattr(result, name)).all():
                raise NonFiniteError(f"{name} would not be finite; no series was changed")
        self._write_back(slots, states)
        return _by_target(result, n_rows, n_targets)

    def reset_memory(self, slots: IntArray) -> None:
        """After a gap: forget pending forecasts and the recurrent state; keep what was learned."""
        slots = np.asarray(slots, dtype=np.int64)
        for slot in slots.tolist():
            self._require(slot)
        n_rows, n_targets = len(slots), self._n_targets
        states: States = {
            part: {
                name: slab[slots].reshape(n_rows * n_targets, *slab.shape[2:]) for name, slab in row.items()
            }
            for part, row in self._slabs.items()
        }
        self._forecaster.reset_memory(states)
        self._write_back(slots, states)

    def snapshot(self, slot: int) -> Fields:
        """Return a copy of all that the series is, as named arrays `part/field` of shape (K, ...)."""
        self._require(slot)
        return {
            f"{part}/{name}": slab[slot].copy()
            for part, row in self._slabs.items()
            for name, slab in row.items()
        }

    def restore(self, slot: int, fields_: Fields) -> None:
        """Make the series what the snapshot says.

        Raises:
            ValueError: a field is missing, unknown, or of another shape or type; nothing was changed.
        """
        self._require(slot)
        expected = {f"{part}/{name}": (part, name) for part, row in self._slabs.items() for name in row}
        if set(fields_) != set(expected):
            odd = sorted(set(fields_) ^ set(expected))
            raise ValueError(f"the snapshot's fields are not this model's; they differ in {odd[:5]}")
        for key, (part, name) in expected.items():
            slab = self._slabs[part][name]
            if fields_[key].shape != slab.shape[1:] or fields_[key].dtype != slab.dtype:
                raise ValueError(
                    f"{key}: {fields_[key].shape} {fields_[key].dtype} in the snapshot, not this model's"
                )
        for key, (part, name) in expected.items():
            self._slabs[part][name][slot] = fields_[key]

    def _check(self, slots: IntArray, times: Array, values: Array, features: Array) -> None:
        if slots.ndim != 1 or len(slots) == 0:
            raise ValueError(f"slots has shape {slots.shape}; one dimension and at least one slot are needed")
        n_rows, spec = len(slots), self.specification
        expected = {
            "times": (times, (n_rows,)),
            "values": (values, (n_rows, len(spec.targets))),
            "features": (features, (n_rows, len(spec.features))),
        }
        for name, (array, shape) in expected.items():
            if array.shape != shape:
                raise ValueError(f"{name} has shape {array.shape}, {shape} is needed")
            if not (np.abs(array) <= VALUE_ABS_MAX).all():
                raise NonFiniteError(f"{name} holds a value that is not finite or over {VALUE_ABS_MAX:g}")
        if len(set(slots.tolist())) != n_rows:
            raise ValueError("a slot stands twice in the micro-batch; give the later event to the next call")
        if not self._used.issuperset(slots.tolist()):
            raise ValueError("a slot is not in use; call admit first")

    def _require(self, slot: int) -> None:
        if slot not in self._used:
            raise ValueError(f"slot {slot} is not in use")

    def _inputs(self, slots: IntArray, values: Array, features: Array) -> Array:
        """Return each model's exogenous inputs, (B K, n_inputs); with `joint` the others' increments."""
        n_rows, n_targets = values.shape
        shared = np.repeat(features, n_targets, axis=0)
        if not self.specification.joint:
            return shared
        seen, level = self._slabs["scale"]["seen"][slots], self._slabs["scale"]["level"][slots]
        change = np.where(seen > 0, values - level, 0.0)
        others = [np.delete(change, target, axis=1) for target in range(n_targets)]
        return np.concatenate((shared, np.stack(others, axis=1).reshape(n_rows * n_targets, -1)), axis=1)

    def _write_back(self, slots: IntArray, states: States) -> None:
        n_rows = len(slots)
        for part, row in states.items():
            for name, value in row.items():
                self._slabs[part][name][slots] = value.reshape(n_rows, self._n_targets, *value.shape[1:])

    def _grow(self) -> None:
        for row in self._slabs.values():
            for name, slab in row.items():
                larger = np.empty((2 * self._capacity, *slab.shape[1:]), dtype=slab.dtype)
                larger[: self._capacity] = slab
                row[name] = larger
        self._free.extend(range(2 * self._capacity - 1, self._capacity - 1, -1))
        self._capacity *= 2


def _by_target(result: StepResult, n_rows: int, n_targets: int) -> StepResult:
    shaped = {
        field.name: (value := getattr(result, field.name)).reshape(n_rows, n_targets, *value.shape[1:])
        for field in fields(result)
    }
    return StepResult(**shaped)
