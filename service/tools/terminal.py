"""What the commands say at a terminal while they work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from service.tools.tables import Table, Wanted

REFRESH_SECONDS = 0.1
"""Drawing is for people: ten times a second is enough."""


@contextmanager
def progress(title: str, total: int | None, notes: Console) -> Iterator[Callable[[Callable[[], int]], None]]:
    """Draw a bar, if somebody is looking.

    Yields a function to be called as often as one likes, with a function that says how much is done.
    """
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn())
    of_time = (TaskProgressColumn(), TimeRemainingColumn())
    shown = time.monotonic()
    with Progress(*columns, *of_time, console=notes, transient=True, disable=not notes.is_terminal) as bar:
        task = bar.add_task(title, total=total)

        def advance(done: Callable[[], int]) -> None:
            nonlocal shown
            if (now := time.monotonic()) - shown > REFRESH_SECONDS:
                shown = now
                bar.update(task, completed=done())

        yield advance


def say_columns(table: Table, wanted: Wanted, notes: Console) -> None:
    """Say what was found in a table that nobody had named."""
    columns = table.columns
    said = []
    if not wanted.time:
        said.append(f"times from column {columns.time!r}")
    if not wanted.targets:
        said.append(f"values from {', '.join(columns.targets)}")
        if columns.ignored:
            said.append(f"not using {', '.join(columns.ignored)}")
    if said:
        notes.print(f"{table.source.label}: {'; '.join(said)}.", style="dim", markup=False, soft_wrap=True)


def say_skipped(table: Table, notes: Console) -> None:
    """Say which rows of a table were not used, and why."""
    for reason, skipped in table.skipped.items():
        rows = "1 row" if skipped.count == 1 else f"{skipped.count:,} rows"
        where = f"{table.source.label}: {rows} skipped, first at line {skipped.first_line:,}"
        notes.print(f"{where}: {reason}.", style="yellow", markup=False, soft_wrap=True)
