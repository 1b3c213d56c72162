"""Which series of a partition share what pooled experts learn: see `models.pooling`.

Rules:

- Series whose names have the same group by `fields.group` have a pool; without it all series of the partition have one.
- A pool lasts longer than its series: what short series have left is what the next one begins with.
- It takes each event once. Where a series is behind the others, because of a damaged record, it learns what the pool has had by itself.
- There are at most `limits.pools_max`: events of one more group are rejected, so that nothing that was learned is lost unasked.
- A pool is saved among its partition's series, under a name that no series can have.
"""

from __future__ import annotations

import re
from typing import Final, final

from models.bank import NONE
from service.ports import Event
from service.settings import Settings
from service.stream.model import Models

PREFIX: Final = "\x00pool "
"""Of the name under which a pool is saved: names of series have no control characters."""


def is_pool(name: str) -> bool:
    r"""Say whether a saved name is a pool's.

    Example:
        >>> is_pool("\x00pool pumps"), is_pool("pool pumps")
        (True, False)
    """
    return name.startswith(PREFIX)


@final
class Groups:
    r"""Which group a series is of, by a setting `fields.group`.

    Example:
        >>> groups = Groups(r"^(\w+)-")
        >>> groups.of("pump-1"), groups.of("pump-2"), groups.of("boiler"), Groups(None).of("pump-1")
        ('pump', 'pump', '', '')
    """

    def __init__(self, pattern: str | None) -> None:
        self._pattern = None if pattern is None else re.compile(pattern)

    def of(self, series: str) -> str:
        """Return what the pattern's group finds in a name, else nothing."""
        found = None if self._pattern is None else self._pattern.search(series)
        return (found.group(1) or "") if found else ""


@final
class Pools:
    """The pools of a partition, by group; there are none where the settings have no pooled expert."""

    def __init__(self, models: Models, settings: Settings) -> None:
        self._models, self._used = models, models.pooled
        self._most = settings.limits.pools_max
        self._groups = Groups(settings.fields.group)
        self._slots: dict[str, int] = {}
        self._last_offsets: dict[str, int] = {}

    def __bool__(self) -> bool:
        return self._used

    def __len__(self) -> int:
        return len(self._slots)

    def group_of(self, series: str) -> str:
        """Return the group of a series."""
        return self._groups.of(series)

    def are_full_for(self, series: str) -> bool:
        """Say whether a series is of a group beyond the limit."""
        return self._used and len(self._slots) >= self._most and self.group_of(series) not in self._slots

    def take(self, event: Event) -> tuple[int, str | None]:
        """Return the slot of the pool that is to take an event, and the name under which it is saved; a first event makes the pool."""
        if not self._used:
            return NONE, None
        group = self.group_of(event.series)
        if group not in self._slots:
            self._slots[group] = self._models.admit()
        elif event.offset <= self._last_offsets[group]:
            return NONE, None
        self._last_offsets[group] = event.offset
        return self._slots[group], PREFIX + group

    def saved(self, name: str) -> tuple[int, int]:
        """Return the slot and the last offset of a pool, by the name under which it is saved."""
        group = name.removeprefix(PREFIX)
        return self._slots[group], self._last_offsets[group]

    def restore(self, name: str, slot: int, last_offset: int) -> None:
        """Take a pool that was saved under a name."""
        group = name.removeprefix(PREFIX)
        self._slots[group], self._last_offsets[group] = slot, last_offset
