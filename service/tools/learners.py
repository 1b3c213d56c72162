"""What a replay learns with: models of one make, or of two of which one is in the shadow, as the worker has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from rich.console import Console

from models.bank import NONE, Array, Bank, IntArray, StepResult
from models.specification import Specification
from service.ports import PLACES
from service.settings import ChallengerSettings
from service.stream.duel import Duel, Judged
from service.stream.pools import Groups

PROMOTIONS_MAX: Final = 1000
"""Promotions that are told one by one, whatever the number of series."""
PROMOTIONS_TOLD_MAX: Final = 20
"""Of them so many with a line on the screen."""


class Promoted(NamedTuple):
    """That what was in the shadow took over."""

    series: str
    row: int
    """Of its series, from 0: the first that it answers."""
    time: str
    place: str
    """What answers from now on."""
    evidence: float


class Learners:
    """Models of many series, by slot, and the promotions among them.

    Args:
        makes: of the model, and of its challenger where there is one.
        rule: when the challenger is promoted.
        groups: of series that have a pool, where there are pooled experts.
    """

    def __init__(self, makes: Sequence[Specification], rule: ChallengerSettings, groups: Groups) -> None:
        self.makes, self.rule = tuple(makes), rule
        self.promotions: list[Promoted] = []
        self.promotions_count = 0
        for make in self.makes:
            Bank(make, capacity=1).warm()  # Compiles, if it has to, before a row waits for it.
        self._models: Bank | Duel
        if len(self.makes) == 1:
            self._models = Bank(self.makes[0])
        else:
            self._models = Duel("replay", self.makes, rule)
        self._groups = groups
        self._pools: dict[str, int] = {}

    @property
    def specification(self) -> Specification:
        """Of the model."""
        return self.makes[0]

    @property
    def places(self) -> tuple[str, ...]:
        """Names of the two makes where there are two; none where one answers alone."""
        return PLACES if len(self.makes) > 1 else ()

    def admit(self) -> int:
        """Return the slot of a new series."""
        return self._models.admit()

    def pool_of(self, series: str) -> int:
        """Return the slot of the pool of a series."""
        if not self._models.pooled:
            return NONE
        group = self._groups.of(series)
        if group not in self._pools:
            self._pools[group] = self._models.admit()
        return self._pools[group]

    def step(
        self, slots: IntArray, times: Array, values: Array, features: Array, pools: IntArray
    ) -> tuple[StepResult, Judged | None]:
        """Take one row of each series; return what answers, and where there are two makes what each of them said."""
        if isinstance(self._models, Bank):
            return self._models.step(slots, times, values, features, pools), None
        judged = self._models.step(slots, times, values, features, pools)
        return judged.result, judged

    def note(self, judged: Judged, names: Sequence[str], rows: IntArray, times: Sequence[str]) -> None:
        """Take note of promotions; names, rows and times are of what was stepped."""
        for at in judged.by_rule.nonzero()[0].tolist():
            self.promotions_count += 1
            if len(self.promotions) < PROMOTIONS_MAX:
                place = PLACES[int(judged.champion[at])]
                self.promotions.append(
                    Promoted(names[at], int(rows[at]), times[at], place, float(judged.evidence[at]))
                )

    def tell(self, notes: Console) -> None:
        """Say which of the two makes took over, and when."""
        if not self.places:
            return
        told = self.promotions[:PROMOTIONS_TOLD_MAX]
        for one in told:
            what = f"the {one.place} answers from here on, evidence {one.evidence:.4g}"
            notes.print(f"{one.series}, row {one.row:,} ({one.time}): {what}", markup=False, soft_wrap=True)
        if self.promotions_count > len(told):
            notes.print(f"... and {self.promotions_count - len(told):,} promotions more", markup=False)
        if not told:
            notes.print("The model answers to the end: its challenger did not prove better.", markup=False)
