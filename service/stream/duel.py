"""Two makes of model on the same events: the champion answers, the challenger learns in its shadow, and they may change places.

Rules:

- Both take each event; that there is a challenger changes no bit of what the other one learns.
- All that the decision depends on is of the series alone and in its own state, so that batches, other series, restarts and
  replays change no bit of it either, and what is damaged or forgotten takes its own evidence with it.
- A promotion takes effect at the event that brought it: its prediction is the first of the new champion's. A command takes
  effect at the series' next event after the checkpoint that it was written into.
- Settings name two places: 0 is the group `model`, 1 is `challenger`. Which of them is the champion is a series' own affair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np

from models import snapshot
from models.bank import Array, BoolArray, IntArray, StepResult
from models.sequential import SequentialTest
from models.specification import Specification
from service.ports import PLACES, Event, Message, Promotion, Shadow
from service.settings import ChallengerSettings, Settings
from service.stream.cadence import Cadence
from service.stream.model import Answers, Model, Models

_OF_EXPERTS: Final = frozenset({"expert_predictions", "weights", "expert_errors"})
"""Figures with a column an expert, of which the two makes may have different ones."""


def models_of(topic: str, settings: Settings) -> Models:
    """Return the models of a partition, with challengers where the settings have them."""
    makes = settings.specifications()
    if len(makes) == 1:
        return Model(topic, makes[0])
    return Duel(topic, makes, settings.challenger)


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of a round, row i of series i: both makes' results by their place, and what the test says of them.

    Attributes:
        results: of the model and of the challenger.
        result: of what answers.
        losses: (B, 2), as `service.ports.Shadow` has them.
        evidence: after this round, (B,).
        champion: the place of what answers, from this round on where it was promoted, (B,).
        by_rule, by_command: where it was promoted in this round, (B,).
    """

    results: Sequence[StepResult]
    result: StepResult
    losses: Array
    evidence: Array
    champion: IntArray
    by_rule: BoolArray
    by_command: BoolArray


class Duel:
    """Two makes for each series."""

    def __init__(self, topic: str, makes: Sequence[Specification], rule: ChallengerSettings) -> None:
        self._both = [Model(topic, make) for make in makes]
        self.bank = self._both[0].bank
        self._by_rule = rule.promotion == "rule"
        self._test = SequentialTest(margin=rule.margin, alpha=rule.alpha, window=rule.window)
        zero = np.zeros((), dtype=np.int64)
        # The champion's place, and one more than the place that a command asks for.
        self._new = self._test.init_state() | {"champion": zero, "request": zero}
        layout = snapshot.Layout({"duel": self._new})
        self._layout = layout
        self._template = snapshot.Template("+".join(make.version() for make in makes), (layout, ()))
        self._state = {name: np.empty(0, value.dtype) for name, value in self._new.items()}

    @property
    def pooled(self) -> bool:
        return any(model.pooled for model in self._both)

    def admit(self) -> int:
        slot, other = (model.admit() for model in self._both)
        if slot != other:
            raise AssertionError(f"the same series has slot {slot} with one make and {other} with the other")
        if slot >= len(self._state["rows"]):
            for name, before in self._state.items():
                self._state[name] = np.empty(2 * slot + 8, before.dtype)
                self._state[name][: len(before)] = before
        self._begin(np.array([slot]))
        return slot

    def renew(self, slots: IntArray) -> None:
        for model in self._both:
            model.renew(slots)
        self._begin(slots)

    def _begin(self, slots: IntArray) -> None:
        for name, value in self._new.items():
            self._state[name][slots] = value

    def reset_memory(self, slots: IntArray) -> None:
        for model in self._both:
            model.reset_memory(slots)

    def pass_row(self, slots: IntArray, pools: IntArray, times: Array) -> StepResult:
        results = [model.pass_row(slots, pools, times) for model in self._both]
        return self._answered(results, self._state["champion"][slots] == 1)

    def learn(self, slots: IntArray, pools: IntArray, events: Sequence[Event]) -> Answers:
        judged = self._judge(slots, [model.step(slots, pools, events) for model in self._both])
        told = self._told(judged)
        messages: dict[int, Message] = {}
        for place, (model, result) in enumerate(zip(self._both, judged.results, strict=True)):
            rows = np.flatnonzero(judged.champion == place)
            if rows.size:
                places = rows.tolist()
                encoded = model.encoder.encode(
                    [events[row] for row in places], _rows(result, rows), [told[row] for row in places]
                )
                messages |= zip(places, encoded, strict=True)
        counts = {
            Promotion.RULE: int(judged.by_rule.sum()),
            Promotion.COMMAND: int(judged.by_command.sum()),
        }
        return Answers(
            judged.result,
            [messages[row] for row in range(len(events))],
            Shadow(judged.losses, judged.evidence, counts),
        )

    def step(self, slots: IntArray, times: Array, values: Array, features: Array, pools: IntArray) -> Judged:
        """Take one row of each series as `models.bank.Bank.step` does, without events and messages."""
        results = [model.bank.step(slots, times, values, features, pools) for model in self._both]
        return self._judge(slots, results)

    def _judge(self, slots: IntArray, results: Sequence[StepResult]) -> Judged:
        losses = _losses(results)
        evidence, by_rule, by_command = self._decide(slots, losses)
        champion = self._state["champion"][slots]
        return Judged(
            results, self._answered(results, champion == 1), losses, evidence, champion, by_rule, by_command
        )

    def _decide(self, slots: IntArray, losses: Array) -> tuple[Array, BoolArray, BoolArray]:
        """Take commands, then a row of the test, and change places where one of them says so."""
        state = {name: value[slots] for name, value in self._state.items()}
        champion, asked = state["champion"], state["request"]
        commanded = (asked > 0) & (asked - 1 != champion)
        state["champion"] = np.where(commanded, 1 - champion, champion)
        for name, new in self._test.init_state().items():
            state[name] = np.where(commanded, new, state[name])
        asked[...] = 0
        rows = np.arange(len(slots))
        verdict = self._test.update(
            state,
            losses[rows, state["champion"]],
            losses[rows, 1 - state["champion"]],
            np.isfinite(losses[:, 0]) & np.isfinite(losses[:, 1]),
        )
        promoted = verdict.better & self._by_rule
        state["champion"] = np.where(promoted, 1 - state["champion"], state["champion"])
        for name, value in state.items():
            self._state[name][slots] = value
        return verdict.evidence, promoted, commanded

    def _told(self, judged: Judged) -> list[dict[str, Any]]:
        """Return what each prediction says of the one in the shadow."""
        results, evidence = judged.results, judged.evidence.tolist()
        by_rule, by_command = judged.by_rule.tolist(), judged.by_command.tolist()
        targets = self._both[0].specification.targets
        predicted = [result.prediction[:, :, 0].tolist() for result in results]
        errors = [np.where(r.settled[:, :, 0], r.error[:, :, 0], np.nan).tolist() for r in results]
        told: list[dict[str, Any]] = []
        for row, first in enumerate(judged.champion.tolist()):
            place = 1 - first
            told.append(
                {
                    "challenger": {
                        "model_version": self._both[place].encoder.version,
                        "place": PLACES[place],
                        "promoted": Promotion.RULE
                        if by_rule[row]
                        else Promotion.COMMAND
                        if by_command[row]
                        else None,
                        "evidence": evidence[row],
                        "targets": {
                            # What is not there is NaN, which orjson writes as null.
                            target: {"prediction": predicted[place][row][k], "error": errors[place][row][k]}
                            for k, target in enumerate(targets)
                        },
                    }
                }
            )
        return told

    def _answered(self, results: Sequence[StepResult], promoted: BoolArray) -> StepResult:
        """Return the rows of what answers; figures of each expert stay the model's where the challenger has other experts."""
        model, challenger = results
        if not promoted.any():
            return model
        same = self._both[0].specification.experts == self._both[1].specification.experts
        merged = {}
        for field in fields(model):
            own, other = getattr(model, field.name), getattr(challenger, field.name)
            take = same or field.name not in _OF_EXPERTS
            chosen = promoted.reshape(-1, *[1] * (own.ndim - 1))
            merged[field.name] = np.where(chosen, other, own) if take else own
        return StepResult(**merged)

    def dump(self, slot: int, cadence: Cadence) -> bytes:
        records = self._layout.empty()
        views = self._layout.views(records)["duel"]
        for name, value in self._state.items():
            views[name][...] = value[slot]
        own = (model.dump(slot, cadence) for model in self._both)
        return snapshot.join((*own, self._template.dump(records)))

    def restore(self, slot: int, state: bytes) -> Cadence:
        """See `Models.restore`. A challenger that is not in the state begins anew, and so does the trial of another pair."""
        parts = snapshot.split(state)
        model, challenger = self._both
        cadence = model.restore_from(slot, parts)
        if challenger.part_of(parts) is not None:
            challenger.restore_from(slot, parts)
        trial = next((part for part in parts if self._template.fits(part)), None)
        if trial is not None:
            views = self._layout.views(tuple(self._template.load(trial)))["duel"]
            for name, value in self._state.items():
                value[slot] = views[name]
        return cadence

    def request(self, slot: int, place: int) -> None:
        self._state["request"][slot] = place + 1

    def quarantined_count(self, slots: IntArray) -> int:
        champion = self._state["champion"][slots]
        return sum(
            model.quarantined_count(slots[champion == place]) for place, model in enumerate(self._both)
        )

    def promoted_count(self, slots: IntArray) -> int:
        return int(self._state["champion"][slots].sum())


def _losses(results: Sequence[StepResult]) -> Array:
    """Return the losses of a round, as `service.ports.Shadow` has them; both in the model's scale."""
    scale = results[0].scale
    settled = results[0].settled[:, :, 0] & results[1].settled[:, :, 0] & (scale > 0.0)
    count = settled.sum(axis=1)
    columns = []
    for result in results:
        with np.errstate(all="ignore"):
            ratio = np.where(settled, np.abs(result.error[:, :, 0]) / scale, 0.0)
            total = np.zeros(len(ratio))
            for k in range(ratio.shape[1]):  # one by one: a sum over an axis may depend on the other rows
                total += ratio[:, k]
            columns.append(np.where(count > 0, total / np.maximum(count, 1), np.nan))
    return np.column_stack(columns)


def _rows(result: StepResult, rows: IntArray) -> StepResult:
    return StepResult(**{field.name: getattr(result, field.name)[rows] for field in fields(result)})
