"""Look into the saved state, check it, change what answers, or forget it. Reading disturbs no worker; the others take its state away."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Literal

import numpy as np
from rich.console import Console
from rich.table import Table as Grid

from models import snapshot
from models.bank import Fields
from service.bootstrap import checkpoint_store
from service.ports import PLACES, CheckpointError, CheckpointStore, PartitionCheckpoint, SeriesCheckpoint
from service.settings import Settings
from service.stream.pools import is_pool
from service.stream.shard import Shard
from service.tools.kafka import require_topic
from service.tools.problem import CommandError


async def inspect(
    settings: Settings, partition: int | None, series: str | None = None, *, out: Console
) -> None:
    """Show what is saved of each partition; or of one series, all arrays by name.

    Raises:
        CommandError: the store cannot be read, a checkpoint is damaged, or there is no such series.
    """
    if series is not None:
        await _inspect_series(settings, partition, series, out)
        return
    table = Grid()
    for name in ("partition", "next offset", "series", "bytes"):
        table.add_column(name, justify="right")
    table.add_column("notes", overflow="fold")
    async with _opened(settings) as store:
        for number in await partitions_of(settings, partition):
            found = await store.read(number)
            table.add_row(str(number), *_cells(found))
    out.print(f"Checkpoints in {where(settings)}", markup=False, soft_wrap=True)
    out.print(table)


async def _inspect_series(settings: Settings, partition: int | None, series: str, out: Console) -> None:
    async with _opened(settings) as store:
        for number in await partitions_of(settings, partition):
            found = await store.read(number)
            if found is None or series not in found.series:
                continue
            saved = found.series[series]
            try:
                fields = _arrays(saved.state)
            except snapshot.SnapshotError as error:
                raise CommandError(f"series {series} of partition {number}: {error}") from error
            table = Grid()
            for name in ("array", "type", "shape", "smallest", "largest"):
                table.add_column(name, overflow="fold")
            for name, value in fields.items():
                ends = (f"{value.min():.6g}", f"{value.max():.6g}") if value.size else ("", "")
                table.add_row(name, str(value.dtype), "x".join(map(str, value.shape)), *ends)
            out.print(
                f"Series {series} of partition {number}: last offset {saved.last_offset:,}, {len(saved.state):,} bytes",
                markup=False,
                soft_wrap=True,
            )
            out.print(table)
            return
    raise CommandError(f"No checkpoint in {where(settings)} has a series {series}.")


def _arrays(state: bytes) -> Fields:
    """Return the arrays of a series by name; those of a challenger, and of its trial, after "challenger/"."""
    own, *others = (snapshot.load(part, version=None) for part in snapshot.split(state))
    return own | {f"challenger/{name}": value for other in others for name, value in other.items()}


def _not_finite(state: bytes) -> list[str]:
    """Return the names of a series' arrays that hold what no event may lead to."""
    return [
        name
        for name, value in _arrays(state).items()
        if value.dtype.kind == "f" and not np.isfinite(value).all()
    ]


def _cells(found: PartitionCheckpoint | None) -> Sequence[str]:
    if found is None:
        return "-", "-", "-", "none yet"
    size = sum(len(one.state) for one in found.series.values())
    count = sum(not is_pool(name) for name in found.series)
    return f"{found.next_offset:,}", f"{count:,}", f"{size:,}", "; ".join(found.notes)


async def verify(settings: Settings, partition: int | None, *, out: Console) -> None:
    """Read every state as a worker would at its start, and say whether it could go on, and whether all numbers are finite.

    Raises:
        CommandError: a partition could not be restored; the others were looked at too.
    """
    problems: list[str] = []
    async with _opened(settings) as store:
        for number in await partitions_of(settings, partition):
            try:
                said = _restored(settings, number, await store.read(number))
            except (CheckpointError, snapshot.SnapshotError) as error:
                problems.append(f"partition {number}: {error}")
            else:
                out.print(f"partition {number}: {said}", markup=False)
    if problems:
        raise CommandError("\n".join(problems))


def _restored(settings: Settings, partition: int, found: PartitionCheckpoint | None) -> str:
    if found is None:
        return "none yet; a worker would start at the beginning of the log"
    shard = Shard(topic=settings.topics.events, partition=partition, settings=settings)
    shard.restore(found)
    if spoilt := {name: odd for name, saved in found.series.items() if (odd := _not_finite(saved.state))}:
        told = "; ".join(f"{name}: {', '.join(odd)}" for name, odd in spoilt.items())
        names = " ".join(f"--series {shlex.quote(name)}" for name in spoilt)
        raise CheckpointError(
            f"numbers that are not finite, which is a bug or damage; report it. {told}. To go on without what was learned of them: stop the"
            f" workers, `onward checkpoint reset --partition {partition} {names}`, and start again"
        )
    notes = "".join(f"; {note}" for note in found.notes)
    return f"whole: {shard.series_count:,} series, next offset {shard.next_offset:,}{notes}"


async def reset(
    settings: Settings, partitions: Sequence[int], series: Sequence[str] | None = None, *, out: Console
) -> None:
    """Forget what is saved of these partitions, which are then learned anew from the start of the log; or of these series, from now on.

    Raises:
        CommandError: a checkpoint cannot be used, or no partition has a series that is named.
    """
    async with _opened(settings) as store:
        if series:
            await _reset_series(settings, store, partitions, series, out)
            return
        for number in partitions:
            await store.reset(number)
            out.print(f"partition {number}: forgotten")


async def _reset_series(
    settings: Settings, store: CheckpointStore, partitions: Sequence[int], series: Sequence[str], out: Console
) -> None:
    missing = set(series)
    for number in partitions:
        found = await _caught_up(store, number)
        # As if they had been evicted: what came of the others stands.
        names = [] if found is None else [name for name in dict.fromkeys(series) if name in found.series]
        if found is None or not names:
            continue
        gone = [SeriesCheckpoint(name, found.series[name].last_offset, b"") for name in names]
        await store.save(number, gone, found.next_offset)
        missing -= set(names)
        out.print(
            f"partition {number}: {', '.join(names)} forgotten, from offset {found.next_offset:,} on as new"
        )
    _require_found(settings, missing)


async def promote(
    settings: Settings,
    partitions: Sequence[int],
    place: Literal["model", "challenger"],
    series: Sequence[str] | None,
    *,
    out: Console,
) -> None:
    """Write into the checkpoints what is to answer from the next event of each series on, or of those that are named.

    Raises:
        CommandError: there is no challenger, a checkpoint cannot be used, or no partition has a series that is named.
    """
    if len(settings.specifications()) == 1:
        raise CommandError(
            "The settings have no challenger: set a key of the group challenger, such as challenger.units."
        )
    missing = set(series or ())
    async with _opened(settings) as store:
        for number in partitions:
            found = await _caught_up(store, number)
            if found is None:
                out.print(f"partition {number}: none yet")
                continue
            shard = Shard(topic=settings.topics.events, partition=number, settings=settings)
            try:
                shard.restore(found)
            except snapshot.SnapshotError as error:
                raise CommandError(f"partition {number}: {error}") from error
            names = (
                None if series is None else [name for name in dict.fromkeys(series) if name in found.series]
            )
            missing -= set(found.series)
            count = shard.request(names, PLACES.index(place))
            await store.save(number, shard.snapshot_dirty(), shard.next_offset)
            out.print(
                f"partition {number}: from offset {shard.next_offset:,} on the {place} answers in {count:,} series"
            )
    _require_found(settings, missing)


async def _caught_up(store: CheckpointStore, partition: int) -> PartitionCheckpoint | None:
    """Take a partition's checkpoint over, which is to be of one moment."""
    found = await store.load(partition)
    if found is not None and found.behind:
        raise CommandError(
            f"partition {partition} has series that are behind: {'; '.join(found.notes)}. Let a worker catch up first."
        )
    return found


def _require_found(settings: Settings, missing: set[str]) -> None:
    if missing:
        raise CommandError(f"No checkpoint in {where(settings)} has a series {', '.join(sorted(missing))}.")


def where(settings: Settings) -> str:
    """Say where the checkpoints are."""
    if settings.checkpoint.store == "sqlite":
        return str(settings.checkpoint.sqlite_path)
    return f"topic {settings.topics.checkpoints} at {settings.kafka.bootstrap_servers}"


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[CheckpointStore]:
    path = settings.checkpoint.sqlite_path
    if settings.checkpoint.store == "sqlite" and not path.exists():
        raise CommandError(
            f"There is no checkpoint file {path}: nothing was saved yet, or it is elsewhere (checkpoint.sqlite_path)."
        )
    store = checkpoint_store(settings)
    try:
        await store.start()
        yield store
    except CheckpointError as error:
        raise CommandError(str(error)) from error
    finally:
        await store.stop()


async def partitions_of(settings: Settings, partition: int | None) -> Sequence[int]:
    """Return the partition that was named, or all that the topic has.

    Raises:
        CommandError: there is no broker to ask, no topic, or no such partition.
    """
    in_kafka = settings.checkpoint.store == "kafka"
    if partition is not None and not in_kafka:
        return [partition]
    count = await require_topic(
        settings.kafka, settings.topics.checkpoints if in_kafka else settings.topics.events
    )
    if partition is not None and partition >= count:
        raise CommandError(f"There is no partition {partition}; there are {count}, from 0 on.")
    return range(count) if partition is None else [partition]
