"""The checkpoint store over any backend that keeps the last bytes of a key and writes all or nothing.

The backends: `sqlite`, a file that the workers of one machine share, and `kafka`, a compacted topic.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol, final

from service.checkpoints.frame import Frame, Kind, encode
from service.checkpoints.recovery import SLOTS, Index, Recovery, key_of
from service.ports import PartitionCheckpoint, SeriesCheckpoint


class Backend(Protocol):
    """Keeps bytes by partition and key."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def claim(self, partition: int) -> None:
        """Take the partition over: from now on writes of whoever claimed it before are refused."""
        ...

    def read(self, partition: int) -> AsyncIterator[tuple[str, bytes | None]]:
        """Yield keys and bytes in the order in which they were written; None erases what its key had before."""
        ...

    async def write(self, partition: int, records: Sequence[tuple[str, bytes | None]]) -> None:
        """Write all or nothing, None to erase a key; durable on return.

        Raises:
            FencedError: another has claimed the partition since.
        """
        ...

    async def erase(self, partition: int) -> None:
        """Forget all keys of a claimed partition."""
        ...


@final
class Checkpoints:
    """`service.ports.CheckpointStore` over a backend."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._indices: dict[int, Index] = {}

    async def start(self) -> None:
        await self._backend.start()

    async def stop(self) -> None:
        self._indices.clear()
        await self._backend.stop()

    async def read(self, partition: int) -> PartitionCheckpoint | None:
        found = await self._recover(partition)
        return None if found is None else found[0]

    async def load(self, partition: int) -> PartitionCheckpoint | None:
        await self._backend.claim(partition)
        found = await self._recover(partition)
        checkpoint, index = (None, Index()) if found is None else found
        self._indices[partition] = index
        return checkpoint

    async def save(self, partition: int, series: Sequence[SeriesCheckpoint], next_offset: int) -> int:
        # Out of the table until all is written: after a save that failed nobody knows what the store holds, so
        # the next one is an error until the partition is loaded again.
        index = self._indices.pop(partition, None)
        if index is None:
            raise RuntimeError(
                f"partition {partition} was not loaded, or its last save failed; load it first"
            )
        sequence = index.sequence + 1
        tombstones = dict(index.tombstones)
        states: list[tuple[str, bytes]] = []
        for one in series:
            slot = index.put(one.series, one.last_offset) if one.state else index.evict(one.series)
            if slot is not None:
                frame = Frame(Kind.SERIES, partition, sequence, one.last_offset, one.series, one.state)
                states.append((key_of(Kind.SERIES, slot, one.series), encode(frame)))
        slot = (index.watermark_slot + 1) % SLOTS
        watermark = Frame(Kind.WATERMARK, partition, sequence, next_offset, "", index.sums())
        erasures = [(key, None) for key in index.erasures(tombstones)]
        records = [*erasures, *states, (key_of(Kind.WATERMARK, slot), encode(watermark))]
        await self._backend.write(partition, records)
        index.sequence, index.watermark_slot = sequence, slot
        self._indices[partition] = index
        return sum(len(data) for _, data in records if data is not None)

    async def reset(self, partition: int) -> None:
        self._indices.pop(partition, None)
        await self._backend.claim(partition)
        await self._backend.erase(partition)

    async def _recover(self, partition: int) -> tuple[PartitionCheckpoint, Index] | None:
        newest = await self._read(Recovery(partition), partition)
        if newest.is_whole():
            return newest.result()
        last = newest.last
        newest = await self._read(Recovery(partition, last=last), partition)
        if not newest.is_whole():
            for number in newest.saves():
                older = await self._read(Recovery(partition, up_to=number, last=last), partition)
                if older.is_whole():
                    return older.result()
        return newest.result()

    async def _read(self, recovery: Recovery, partition: int) -> Recovery:
        async for key, data in self._backend.read(partition):
            recovery.add(key, data)
        return recovery
