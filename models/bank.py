"""The bank: many series of one specification in slabs, one call per micro-batch. The core's face.

A slab is an array (capacity, targets, size) of records, one an element type (`models.records`). Where the make of the
models has a compiled twin in `models.kernels`, it takes the events of a micro-batch in place; else the rows of its series
are gathered, the forecaster runs on the copies, and they are written back when all is done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from models.audit import Audit, Audits
from models.events import VALUE_ABS_MAX, NonFiniteError, check_events, checked_pools
from models.experts.cell_updates import step_size
from models.experts.recovery import ACTIONS as GUARD_ACTIONS
from models.experts.recovery import ATTEND
from models.experts.recovery import EVERYDAY as GUARD_EVERYDAY
from models.experts.watch import FIGURES as STABILITY_FIGURES
from models.forecast_protocols import RecurrentExpert
from models.forecaster import Forecaster
from models.kernels import fused_forecaster_for
from models.pooling import NONE, SharedFields
from models.protocols import Array, BoolArray, Fields, IntArray
from models.records import Layout, Parts, Record, write
from models.specification import Specification
from models.stability import memory_horizon
from models.step_result import StepResult, by_target, joined

__all__ = [
    "GUARD_ACTIONS",
    "GUARD_EVERYDAY",
    "NONE",
    "STABILITY_FIGURES",
    "VALUE_ABS_MAX",
    "Array",
    "Audit",
    "Bank",
    "BoolArray",
    "Fields",
    "IntArray",
    "NonFiniteError",
    "StepResult",
    "memory_horizon",
    "step_size",
]

TOGETHER: Final = 8
"""Models that are reacted to at a time: two megabytes of the largest, where a whole call's would be made and left anew each time."""


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

    def __init__(self, specification: Specification, *, capacity: int = 64, compiled: bool = True) -> None:
        """Make an empty bank with room for `capacity` series; it grows by doubling.

        `compiled` asks for the compiled twin, where there is one.
        """
        self.specification = specification
        self._forecaster = Forecaster(specification)
        row = self._forecaster.init_state()
        self._layout = Layout(row)
        self._new = self._layout.empty(1)
        write(self._layout.views(self._new), row)
        self._n_targets = len(specification.targets)
        self._capacity = max(1, capacity)
        self._records = self._layout.empty(self._capacity, self._n_targets)
        self._slabs = self._layout.views(self._records)
        self._free = list(range(self._capacity - 1, -1, -1))
        self._used: set[int] = set()
        self._shared = SharedFields(self._layout, self._forecaster.experts)
        self._kernel = (
            fused_forecaster_for(self._forecaster, self._layout, self._shared) if compiled else None
        )
        self._audit = Audits(self, lambda: Bank(specification, capacity=1, compiled=compiled))

    @property
    def compiled(self) -> bool:
        """Whether events go through a compiled twin."""
        return self._kernel is not None

    @property
    def pooled(self) -> bool:
        """Whether there are experts that share what they learn, if they are given pools."""
        return bool(self._shared)

    def warm(self) -> None:
        """Compile what the first events would have to wait for; no series is touched. Nothing to do without a twin."""
        if self._kernel is None:
            return
        scratch, n_targets = self._layout.empty(1, self._n_targets), self._n_targets
        for record, new in zip(scratch, self._new, strict=True):
            record[0] = new
        features = np.zeros((n_targets, self.specification.n_inputs + self.specification.n_others))
        one = np.zeros(1, np.int64)
        self._kernel(scratch, one, one + NONE, np.zeros(1), np.zeros((1, n_targets)), features)

    @property
    def series_count(self) -> int:
        """How many series the bank holds."""
        return len(self._used)

    def quarantined_count(self, slots: IntArray) -> int:
        """Return of how many of these series a target's baseline is published instead of what was learned."""
        parts = [self._slabs[f"expert.{name}"]["quarantined"][slots] for name in self.recurrent]
        return int(np.any(parts, axis=(0, 2)).sum()) if parts else 0

    def bytes_per_series(self) -> int:
        """Return the memory of one series' state; constant in time."""
        return self._n_targets * self._layout.bytes

    def admit(self) -> int:
        """Return the slot of a new series, in its initial state."""
        if not self._free:
            self._grow()
        slot = self._free.pop()
        self._used.add(slot)
        for record, new in zip(self._records, self._new, strict=True):
            record[slot] = new
        return slot

    def release(self, slot: int) -> None:
        """Give a slot back."""
        self._require(slot)
        self._audit.drop(slot)
        self._used.remove(slot)
        self._free.append(slot)

    def renew(self, slots: IntArray) -> None:
        """Begin anew in these slots: each holds a new series, in its initial state."""
        for slot in slots.tolist():
            self._require(slot)
            self._audit.drop(slot)
        for record, new in zip(self._records, self._new, strict=True):
            record[slots] = new

    def step(
        self, slots: IntArray, times: Array, values: Array, features: Array, pools: IntArray | None = None
    ) -> StepResult:
        """Take one event of each of B series: settle, learn, advance, predict.

        Args:
            slots: of the series, each at most once, (B,).
            times: event times in seconds, (B,).
            values: the targets, raw units, (B, K); NaN where one is missing: it is predicted past, and not learned from.
            features: the exogenous features, (B, F); NaN where one is missing, which counts as its running mean.
            pools: slots of the pools that the series' pooled experts learn in, -1 for by themselves, (B,); without it all do. See
                `models.pooling`; with it the order of the events counts.

        Raises:
            NonFiniteError: an input is infinite or over VALUE_ABS_MAX, or a time NaN: every series is as it was. Or a result would not
                be finite, which no accepted input may lead to: the series that it names are as they were, the others
                have taken their events.
            ValueError: shapes do not fit, a slot is not in use or stands twice; every series is as it was.
        """
        slots = np.asarray(slots, dtype=np.int64)
        check_events(self.specification, self._used, slots, times, values, features)
        pools = checked_pools(self._used, slots, pools)
        inputs = self._inputs(slots, values, features)
        results: list[StepResult] = []
        unsound: list[int] = []
        taken = 0
        while taken < len(slots):
            left, models = slice(taken, None), slice(taken * self._n_targets, None)
            told, sound = self._take(slots[left], pools[left], times[left], values[left], inputs[models])
            part = slots[left][: len(sound)]
            self._react(part, told, sound)
            self._react_to_drift(part, told, sound)
            if self._shared and sound[-1] and pools[left][len(sound) - 1] != NONE:
                # Of several events none but the last is reacted to where weights are shared.
                self._shared.copy(self._records, int(part[-1]), int(pools[left][len(sound) - 1]))
            results.append(told)
            unsound += part[~sound].tolist()
            taken += len(sound)
        if unsound:
            why = f"results of the slots {unsound} would not be finite; those were not changed"
            raise NonFiniteError(why, unsound)
        self._audit.follow(slots, times, values, features)
        return joined(results)

    def _take(
        self, slots: IntArray, pools: IntArray, times: Array, values: Array, inputs: Array
    ) -> tuple[StepResult, BoolArray]:
        """Take the first events, as many as can be before somebody has to look at what is shared; return what was said, and whose is finite."""
        if self._kernel is not None:
            return self._kernel(self._records, slots, pools, times, values, inputs)
        if not self._shared or (pools == NONE).all():
            return self._step(slots, times, values, inputs)
        if pools[0] != NONE:
            self._shared.copy(self._records, int(pools[0]), int(slots[0]))
        return self._step(slots[:1], times[:1], values[:1], inputs[: self._n_targets])

    def begin_audit(self, slot: int) -> bool:
        """Begin to compare a series' gradient with finite differences, see `models.audit`; return whether it was begun.

        It is not where another one is under way, nor without a recurrent expert.
        """
        self._require(slot)
        return self._audit.begin(slot)

    def audits(self) -> list[Audit]:
        """Return what audits found since the last time."""
        return self._audit.taken()

    def _react(self, slots: IntArray, result: StepResult, sound: BoolArray) -> None:
        """Look at the models that ask for it, and add to `guard` what was done about them."""
        # Nobody asks at most events, which one call of numpy finds out.
        if not np.bitwise_or.reduce(result.guard, axis=None) & ATTEND:
            return
        asked = ((result.guard & ATTEND) > 0) & sound[:, None]
        if asked.any():
            done = self._done(slots, asked, lambda states, _: self._forecaster.react(states))
            result.guard[asked] = (result.guard[asked] & ~ATTEND) | done

    def _react_to_drift(self, slots: IntArray, result: StepResult, sound: BoolArray) -> None:
        """React where the loss drifted or a challenger is proven, and say what was done."""
        reaction = self._forecaster.reaction
        if reaction.choice == "none":
            return
        drift = result.drift[..., 0]
        asked = (drift | (result.reaction > 0)) & sound[:, None]
        if asked.any():
            of_asked = drift[asked]
            for slot in slots[asked.any(axis=1)].tolist():
                self._audit.drop(slot)
            result.reaction[asked] = self._done(
                slots, asked, lambda states, part: reaction.react(states, of_asked[part])
            )

    def _done(self, slots: IntArray, asked: BoolArray, do: Callable[[Parts, slice], IntArray]) -> IntArray:
        """Let something be done to models that ask for it, (B, K), and return what was, one number each.

        To some at a time, so that their copies stay in the caches; `do` is told which of them.
        """
        rows, targets = np.nonzero(asked)
        done = np.zeros(len(rows), dtype=np.int64)
        for first in range(0, len(rows), TOGETHER):
            part = slice(first, first + TOGETHER)
            place = slots[rows[part]], targets[part]
            copies = tuple(record[place] for record in self._records)
            states = self._layout.views(copies)
            views = {name: dict(fields_) for name, fields_ in states.items()}
            done[part] = do(states, part)
            write(views, states)
            for record, copy in zip(self._records, copies, strict=True):
                record[place] = copy
        return done

    def _step(
        self, slots: IntArray, times: Array, values: Array, inputs: Array
    ) -> tuple[StepResult, BoolArray]:
        """Take the events on copies of the rows; return what was said, and which series' results are finite, (B,)."""
        n_rows, n_targets = values.shape
        copies, states = self._gather(slots)
        views = {part: dict(fields_) for part, fields_ in states.items()}
        with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
            result = self._forecaster.step(
                states, time=np.repeat(times, n_targets), level=values.reshape(-1), features=inputs
            )
        write(views, states)
        if not result.begun.all():  # a target without a value yet has no state to advance
            for copy, before in zip(copies, self._gather(slots)[0], strict=True):
                copy[~result.begun] = before[~result.begun]
        result = by_target(result, n_rows, n_targets)
        sound = np.ones(n_rows, dtype=np.bool_)
        for name in ("prediction", "quantiles", "expert_predictions", "anomaly_score", "anomaly_log_score"):
            finite = np.isfinite(getattr(result, name).reshape(n_rows, n_targets, -1)).all(axis=2)
            sound &= (finite | ~result.begun).all(axis=1)
        if sound.all():
            self._write_back(slots, copies)
        else:
            models = np.repeat(sound, n_targets)
            self._write_back(slots[sound], tuple(copy[models] for copy in copies))
        return result, sound

    def reset_memory(self, slots: IntArray) -> None:
        """After a gap: forget pending forecasts and the recurrent state; keep what was learned."""
        slots = np.asarray(slots, dtype=np.int64)
        for slot in slots.tolist():
            self._require(slot)
            self._audit.drop(slot)
        copies, states = self._gather(slots)
        views = {part: dict(fields_) for part, fields_ in states.items()}
        self._forecaster.reset_memory(states)
        write(views, states)
        self._write_back(slots, copies)

    @property
    def recurrent(self) -> Mapping[str, RecurrentExpert]:
        """The recurrent experts, by name."""
        return self._forecaster.recurrent

    @property
    def layout(self) -> Layout:
        """Where the fields of one model lie in its records."""
        return self._layout

    def records_of(self, slot: int) -> tuple[Record, ...]:
        """Return all that the series is, as the records of its models, (K, size); the next call may change them."""
        self._require(slot)
        return tuple(record[slot] for record in self._records)

    def restore_records(self, slot: int, records: Sequence[Record]) -> None:
        """Make the series what the records say.

        Raises:
            ValueError: they are not of this layout; nothing was changed.
        """
        own = self.records_of(slot)
        if [(one.shape, one.dtype) for one in records] != [(one.shape, one.dtype) for one in own]:
            raise ValueError("the records are not of this model's layout")
        self._audit.drop(slot)
        for mine, theirs in zip(own, records, strict=True):
            mine[...] = theirs

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
        self._audit.drop(slot)
        for key, (part, name) in expected.items():
            self._slabs[part][name][slot] = fields_[key]

    def _require(self, slot: int) -> None:
        if slot not in self._used:
            raise ValueError(f"slot {slot} is not in use")

    def _inputs(self, slots: IntArray, values: Array, features: Array) -> Array:
        """Return each model's exogenous inputs, (B K, n_inputs + n_others): features, then the other targets' increments where some expert sees them."""
        n_rows, n_targets = values.shape
        shared = np.repeat(features, n_targets, axis=0)
        if not (self.specification.joint or self.specification.n_others):
            return shared
        seen, level = self._slabs["scale"]["seen"][slots], self._slabs["scale"]["level"][slots]
        change = np.where(seen > 0, values - level, 0.0)
        others = [np.delete(change, target, axis=1) for target in range(n_targets)]
        return np.concatenate((shared, np.stack(others, axis=1).reshape(n_rows * n_targets, -1)), axis=1)

    def _gather(self, slots: IntArray) -> tuple[tuple[Record, ...], Parts]:
        """Return copies of the records of some series, (B K, size), and the fields in them."""
        copies = tuple(record[slots].reshape(-1, record.shape[-1]) for record in self._records)
        return copies, self._layout.views(copies)

    def _write_back(self, slots: IntArray, copies: tuple[Record, ...]) -> None:
        for record, copy in zip(self._records, copies, strict=True):
            record[slots] = copy.reshape(len(slots), *record.shape[1:])

    def _grow(self) -> None:
        larger = self._layout.empty(2 * self._capacity, self._n_targets)
        for record, more in zip(self._records, larger, strict=True):
            more[: self._capacity] = record
        self._records, self._slabs = larger, self._layout.views(larger)
        self._free.extend(range(2 * self._capacity - 1, self._capacity - 1, -1))
        self._capacity *= 2
