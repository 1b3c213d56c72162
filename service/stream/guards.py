"""What the guards of the models did, in words: for the predictions, the log and the metrics.

The models act by themselves, by the series' own events, so that a replay repeats it; the shell tells of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cache
from typing import Final, final

import numpy as np

from models.bank import GUARD_ACTIONS, GUARD_EVERYDAY, Audit, StepResult
from service.ports import Event, Guarded
from service.stream.rounds import Gap

log = logging.getLogger(__name__)

FIRST_TOLD: Final = 1 << len(GUARD_EVERYDAY)
"""From this bit on a line is written for each."""
LINES_MAX: Final = 20
LINES_SECONDS: Final = 60.0
"""So many lines a minute: series that are in trouble all at once are one trouble."""


@cache
def names_of(bits: int, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the bits that are up; the first name's is 1.

    >>> names_of(0, GUARD_ACTIONS), names_of(9, GUARD_ACTIONS)
    ((), ('winsorise', 'reset'))
    """
    return tuple(name for place, name in enumerate(names) if bits >> place & 1)


def guarded(
    result: StepResult, taken: Sequence[Event] | Sequence[Gap], targets: Sequence[str]
) -> list[Guarded]:
    """Return what was done about models beyond the everyday; row i of the result is of event i, or of a row of gap i."""
    if not (result.guard >= FIRST_TOLD).any():
        return []
    rows, places = np.nonzero(result.guard >= FIRST_TOLD)
    return [
        Guarded(
            taken[row].series,
            targets[k],
            taken[row].offset,
            names_of(int(result.guard[row, k]), GUARD_ACTIONS),
        )
        for row, k in zip(rows.tolist(), places.tolist(), strict=True)
    ]


@final
class GuardLog:
    """Writes a line for each action, up to so many a minute; what is left out is counted in the next.

    Args:
        clock: seconds, monotonic; for the log alone.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since = float("-inf")
        self._lines = self._left_out = 0

    def tell(self, partition: int, actions: Sequence[Guarded], audits: Sequence[Audit]) -> None:
        """Write of what was done in a batch, and of audits that found the gradient off."""
        for one in actions:
            extra = {
                "partition": partition,
                "series": one.series,
                "target": one.target,
                "offset": one.offset,
                "actions": ",".join(one.actions),
            }
            self._write("a guard acted on a model", extra)
        for audit in audits:
            if not audit.sound:
                extra = {"partition": partition, "error_ratio": audit.rule_error, "cosine": audit.rule_cosine}
                self._write("the gradient is not what finite differences say", extra)

    def _write(self, text: str, extra: dict[str, object]) -> None:
        now = self._clock()
        if now - self._since >= LINES_SECONDS:
            self._since, self._lines = now, 0
        if self._lines == LINES_MAX:
            self._left_out += 1
            return
        if self._left_out:
            extra["left_out_before"] = self._left_out
        self._lines, self._left_out = self._lines + 1, 0
        log.warning(text, extra=extra)
