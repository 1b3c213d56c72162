"""A worker around a shard that can be killed before any of its lasting effects, and the world that outlives it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson

from service.ports import Message, Outcome, PartitionCheckpoint, Record, SeriesCheckpoint
from service.settings import Settings
from service.stream.shard import Shard
from tests.service.records import TOPIC


class Killed(Exception):  # noqa: N818
    """The worker is gone, with all that was in its memory."""


@dataclass
class World:
    """What lasts: the published messages, the series' states and the watermark.

    Attributes:
        crashes: numbers of lasting effects, counted over all lives, before which the worker is killed.
        torn: whether a save may be cut off between two series, which is worse than any store. Where series are evicted
            a checkpoint has to be of one moment, so there a save is all or nothing, as the stores see to it.
    """

    crashes: Sequence[int] = ()
    torn: bool = True
    effects: int = 0
    predictions: dict[str, set[Message]] = field(default_factory=dict)
    dead_letters: dict[int, set[Message]] = field(default_factory=dict)
    series: dict[str, SeriesCheckpoint] = field(default_factory=dict)
    watermark: int = 0
    raw_predictions: int = 0
    lives: int = 0

    def effect(self) -> None:
        """Be killed here, or go on to do what lasts."""
        self.effects += 1
        if self.effects - 1 in self.crashes:
            raise Killed

    def live(
        self, settings: Settings, stream: Sequence[Record], batch_size: int, interval_events: int
    ) -> None:
        """Restore, read from the watermark to the end, and save at every interval and at the end."""
        self.lives += 1
        shard = Shard(topic=TOPIC, partition=0, settings=settings)
        shard.restore(PartitionCheckpoint(self.watermark, dict(self.series)))
        left = [record for record in stream if record.offset >= self.watermark]
        unsaved = 0
        for start in range(0, len(left), batch_size):
            batch = left[start : start + batch_size]
            applied = shard.apply(batch)
            assert sum(applied.outcomes.values()) + applied.replayed == len(batch)
            assert len(applied.predictions) == applied.outcomes[Outcome.LEARNED]
            assert len(applied.dead_letters) == applied.outcomes[Outcome.REJECTED]
            for message in applied.predictions:
                self.effect()
                self.predictions.setdefault(orjson.loads(message.value)["id"], set()).add(message)
                self.raw_predictions += 1
            for message in applied.dead_letters:
                self.effect()
                self.dead_letters.setdefault(orjson.loads(message.value)["offset"], set()).add(message)
            unsaved += len(batch)
            if unsaved >= interval_events:
                self.save(shard)
                unsaved = 0
        self.save(shard)

    def save(self, shard: Shard) -> None:
        """Save the dirty series one by one, then the watermark."""
        series = dict(self.series) if not self.torn else self.series
        for saved in shard.snapshot_dirty():
            self.effect()
            if saved.state:
                series[saved.series] = saved
            else:
                series.pop(saved.series, None)
        self.effect()
        self.series = series
        self.watermark = shard.next_offset
        shard.mark_clean()

    def outlive(
        self,
        settings: Settings,
        stream: Sequence[Record],
        *,
        batch_sizes: Sequence[int],
        interval_events: int,
    ) -> None:
        """Start workers until one comes to the end of the stream; each cuts it into batches of its own size."""
        while True:
            try:
                self.live(settings, stream, batch_sizes[self.lives % len(batch_sizes)], interval_events)
            except Killed:
                continue
            return

    def same_as(self, other: World) -> None:
        """Assert that nobody who reads the topics by id, or looks at the states, could tell the two apart."""
        assert self.predictions == other.predictions
        assert self.dead_letters == other.dead_letters
        assert self.series == other.series
        assert self.watermark == other.watermark
        for messages in [*self.predictions.values(), *self.dead_letters.values()]:
            assert len(messages) == 1, "published again with another content"
