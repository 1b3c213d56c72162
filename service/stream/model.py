"""The models of a partition's series: what a shard asks of them, whether one make answers or another learns in its shadow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from models import snapshot
from models.bank import Array, Bank, IntArray, StepResult
from models.specification import Specification
from service.ports import Event, Message, Shadow
from service.stream.cadence import FIELDS, Cadence
from service.stream.messages import PredictionEncoder


@dataclass(frozen=True, slots=True)
class Answers:
    """What came of a round of events: row i of the result, and message i, are of event i."""

    result: StepResult
    messages: list[Message]
    shadow: Shadow | None = None


class Models(Protocol):
    """Models of many series, by slot."""

    bank: Bank
    """Of the settings' group `model`: the one whose gradient is audited."""

    @property
    def pooled(self) -> bool:
        """Whether there are experts that share what they learn."""
        ...

    def admit(self) -> int:
        """Return the slot of a new series."""
        ...

    def renew(self, slots: IntArray) -> None:
        """Begin anew in these slots."""
        ...

    def reset_memory(self, slots: IntArray) -> None:
        """Forget pending forecasts and the recurrent state; keep what was learned."""
        ...

    def pass_row(self, slots: IntArray, pools: IntArray, times: Array) -> StepResult:
        """Take series past a row without a value; of pools see `models.bank.Bank.step`."""
        ...

    def learn(self, slots: IntArray, pools: IntArray, events: Sequence[Event]) -> Answers:
        """Take one event of each series, and answer."""
        ...

    def dump(self, slot: int, cadence: Cadence) -> bytes:
        """Return all that a series is."""
        ...

    def restore(self, slot: int, state: bytes) -> Cadence:
        """Make the series what the bytes say.

        Raises:
            models.snapshot.SnapshotError: they are damaged or of another make of model.
        """
        ...

    def request(self, slot: int, place: int) -> None:
        """Let the make of this place in the settings answer, from the series' next event on.

        Raises:
            ValueError: there is no challenger.
        """
        ...

    def quarantined_count(self, slots: IntArray) -> int:
        """Return of how many of these series a target's baseline is published."""
        ...

    def promoted_count(self, slots: IntArray) -> int:
        """Return of how many of these series the challenger answers."""
        ...


class Model:
    """One make, which answers."""

    def __init__(self, topic: str, specification: Specification) -> None:
        self.specification = specification
        self.bank = Bank(specification)
        self.encoder = PredictionEncoder(topic, specification)
        shape = (len(specification.targets),)
        self._template = snapshot.Template(specification.version(), (self.bank.layout, shape), (FIELDS, ()))

    @property
    def pooled(self) -> bool:
        return self.bank.pooled

    def admit(self) -> int:
        return self.bank.admit()

    def renew(self, slots: IntArray) -> None:
        self.bank.renew(slots)

    def reset_memory(self, slots: IntArray) -> None:
        self.bank.reset_memory(slots)

    def pass_row(self, slots: IntArray, pools: IntArray, times: Array) -> StepResult:
        targets, features = self.specification.targets, self.specification.features
        return self.bank.step(
            slots,
            times,
            np.full((len(slots), len(targets)), np.nan),
            np.full((len(slots), len(features)), np.nan),
            pools,
        )

    def step(self, slots: IntArray, pools: IntArray, events: Sequence[Event]) -> StepResult:
        """Take one event of each series."""
        return self.bank.step(
            slots,
            np.array([event.time for event in events]),
            np.array([event.values for event in events], dtype=np.float64),
            np.array([event.features for event in events], dtype=np.float64),
            pools,
        )

    def learn(self, slots: IntArray, pools: IntArray, events: Sequence[Event]) -> Answers:
        result = self.step(slots, pools, events)
        return Answers(result, self.encoder.encode(events, result))

    def dump(self, slot: int, cadence: Cadence) -> bytes:
        return self._template.dump((*self.bank.records_of(slot), *cadence.records()))

    def restore(self, slot: int, state: bytes) -> Cadence:
        return self.restore_from(slot, snapshot.split(state))

    def restore_from(self, slot: int, parts: Sequence[bytes]) -> Cadence:
        """Make the series what the part that is of this make says; where there is none, the first says why."""
        records = self._template.load(self.part_of(parts) or parts[0])
        own = len(FIELDS.types)
        self.bank.restore_records(slot, records[:-own])
        return Cadence.restored(records[-own:])

    def part_of(self, parts: Iterable[bytes]) -> bytes | None:
        """Return the part of a state that is of this make."""
        return next((part for part in parts if self._template.fits(part)), None)

    def request(self, slot: int, place: int) -> None:
        raise ValueError("the settings have no challenger; set a key of the group `challenger`")

    def quarantined_count(self, slots: IntArray) -> int:
        return self.bank.quarantined_count(slots)

    def promoted_count(self, slots: IntArray) -> int:
        return 0
