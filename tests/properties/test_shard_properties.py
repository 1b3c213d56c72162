"""What holds for any stream: how it is cut, what stands between, and when the worker is killed change no bit."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from models.bank import Bank
from service.ports import Event, Message, Outcome, Reason, Record, Rejection, SeriesCheckpoint
from service.settings import Settings
from service.stream.decode import Decoder
from service.stream.messages import PredictionEncoder
from service.stream.shard import Shard
from tests.service.crashes import World
from tests.service.records import EAGER_DUEL, POOLED, TOPIC, cut, event_bytes, record, records, small_settings

SETTINGS = small_settings()
ALL_SETTINGS = [
    SETTINGS,
    small_settings(policy={"duplicate": "learn", "gap": "reset", "gap_factor": 2.0}),
    small_settings(policy={"late": "learn", "gap": "reset", "gap_factor": 2.0}),
    small_settings(policy={"late": "learn", "gap_fill_max": 3}),
    small_settings(limits={"series_max": 2}),
    small_settings(limits={"series_max": 2, "series_full": "evict"}),
    small_settings(
        limits={"series_max": 3, "series_full": "evict", "series_idle_events": 6}, policy={"late": "learn"}
    ),
    small_settings(**EAGER_DUEL),
    small_settings(**POOLED),
    Settings.model_validate({"model": {"profile": "accurate", "horizons": (1, 3)}}),
]
# The full model takes part, so this bounds the time; ONWARD_HYPOTHESIS=explore looks further.
moderately = examples(max_examples=max(60, examples().max_examples // 10))

names = st.sampled_from(["a", "b", "c", "ü"])
# Whole minutes, so that equal times, late events and gaps all come up.
times = st.integers(0, 40).map(lambda minute: 60 * minute)
values = st.one_of(
    st.none(),
    st.integers(-20, 20),
    st.floats(-1e15, 1e15),
    st.sampled_from([0.0, 5e-324, 1e-300, 1e15, -1e15]),
)
poison = st.sampled_from([None, b"", b"{", b"[]", b'{"series":"a"}', b'{"series":"a","time":0,"value":NaN}'])
event_values = st.builds(event_bytes, names, times, values)
streams = st.lists(event_values | poison, max_size=40)
in_order = st.lists(st.tuples(names, values), max_size=40).map(
    lambda pairs: [event_bytes(name, 60 * t, value) for t, (name, value) in enumerate(pairs)]
)
sizes = st.lists(st.integers(1, 12), max_size=20)


class Run:
    """What a shard made of a stream that was cut into batches."""

    def __init__(self, settings: Settings, stream: list[Record], batch_sizes: list[int]) -> None:
        self.shard = Shard(topic=TOPIC, partition=0, settings=settings)
        self.predictions: list[Message] = []
        self.dead_letters: list[Message] = []
        self.outcomes: Counter[Outcome] = Counter()
        self.reasons: Counter[Reason] = Counter()
        for batch in cut(stream, batch_sizes):
            applied = self.shard.apply(batch)
            self.predictions += applied.predictions
            self.dead_letters += applied.dead_letters
            self.outcomes.update(applied.outcomes)
            self.reasons.update(applied.reasons)
        self.states: dict[str, SeriesCheckpoint] = {one.series: one for one in self.shard.snapshot_dirty()}
        self.evicted = {name for name, one in self.states.items() if not one.state}


@moderately
@given(streams, sizes, st.sampled_from(ALL_SETTINGS))
def test_how_a_stream_is_cut_into_batches_changes_no_bit(
    stream: list[bytes | None], batch_sizes: list[int], settings: Settings
) -> None:
    one_by_one = Run(settings, records(stream), [1] * len(stream))
    batched = Run(settings, records(stream), batch_sizes)
    assert batched.states == one_by_one.states
    assert batched.predictions == one_by_one.predictions
    assert batched.dead_letters == one_by_one.dead_letters
    assert batched.outcomes == one_by_one.outcomes
    assert batched.reasons == one_by_one.reasons


@moderately
@given(streams, sizes, st.sampled_from(ALL_SETTINGS))
def test_every_record_is_counted_once(
    stream: list[bytes | None], batch_sizes: list[int], settings: Settings
) -> None:
    run = Run(settings, records(stream), batch_sizes)
    assert run.outcomes.total() == len(stream)
    assert len(run.predictions) == run.outcomes[Outcome.LEARNED]
    assert len(run.dead_letters) == run.outcomes[Outcome.REJECTED] == run.reasons.total()


@moderately
@given(in_order, st.randoms(use_true_random=False), sizes, st.sampled_from(ALL_SETTINGS[:3]))
def test_what_other_series_do_changes_no_bit_of_a_series(
    stream: list[bytes], random: Any, batch_sizes: list[int], settings: Settings
) -> None:
    """Goal: a series depends on its own events alone. Method: each series by itself against a random interleaving."""
    owners = {offset: event.split(b'"')[3] for offset, event in enumerate(stream)}
    queues = {
        owner: [offset for offset in owners if owners[offset] == owner] for owner in set(owners.values())
    }
    together: list[bytes] = []
    while any(queues.values()):
        owner = random.choice(sorted(name for name, queue in queues.items() if queue))
        together.append(stream[queues[owner].pop(0)])
    run = Run(settings, records(together), batch_sizes)
    for owner in set(owners.values()):
        own = [r for r in records(together) if r.value is not None and r.value.split(b'"')[3] == owner]
        alone = Run(settings, own, [1] * len(own))
        (name,) = alone.states
        assert run.states[name] == alone.states[name]
        assert [m for m in run.predictions if m.key == name.encode()] == alone.predictions


@moderately
@given(
    st.lists(event_values, max_size=30), st.lists(st.tuples(st.integers(0, 30), poison), max_size=15), sizes
)
def test_poison_between_the_events_changes_no_bit(
    stream: list[bytes], bad: list[tuple[int, bytes | None]], batch_sizes: list[int]
) -> None:
    """Method: the same events at the same offsets, with and without records that are no events between them."""
    good = [record(value, offset=100 * n) for n, value in enumerate(stream)]
    between = [record(value, offset=100 * at + 1 + n) for n, (at, value) in enumerate(bad)]
    poisoned = Run(SETTINGS, sorted([*good, *between], key=lambda r: r.offset), batch_sizes)
    clean = Run(SETTINGS, good, [])
    assert poisoned.states == clean.states
    assert poisoned.predictions == clean.predictions
    assert poisoned.outcomes[Outcome.REJECTED] == clean.outcomes[Outcome.REJECTED] + len(bad)


@moderately
@given(streams, sizes, st.integers(1, 4), st.none() | st.integers(1, 20))
def test_who_is_forgotten_is_whom_a_list_of_last_offsets_names(
    stream: list[bytes | None], batch_sizes: list[int], most: int, idle: int | None
) -> None:
    """Method: the independent reader is a dictionary of last offsets, searched for the smallest at every event."""
    limits = {"series_max": most, "series_full": "evict", "series_idle_events": idle}
    run = Run(
        small_settings(limits=limits, policy={"late": "learn", "duplicate": "learn"}),
        records(stream),
        batch_sizes,
    )
    last: dict[str, int] = {}
    for offset, one in enumerate(Decoder(SETTINGS.fields, SETTINGS.limits).decode(records(stream))):
        last = {name: at for name, at in last.items() if idle is None or offset - at <= idle}
        if isinstance(one, Event):
            if one.series not in last and len(last) == most:
                del last[min(last, key=last.__getitem__)]
            last[one.series] = offset
    assert {name: saved.last_offset for name, saved in run.states.items() if saved.state} == last
    assert run.evicted.isdisjoint(last)


@moderately
@given(streams, sizes)
def test_duplicate_and_late_events_are_as_if_they_had_not_come(
    stream: list[bytes | None], batch_sizes: list[int]
) -> None:
    """Method: a stream from which whatever is not later than its series' last event was taken out beforehand."""
    decoded = Decoder(SETTINGS.fields, SETTINGS.limits).decode(records(stream))
    last: dict[str, float] = {}
    kept, duplicates, late = [], 0, 0
    for one in decoded:
        if isinstance(one, Rejection):
            continue
        before = last.get(one.series)
        if before is None or one.time > before:
            last[one.series] = one.time
            kept.append(record(stream[one.offset], offset=one.offset))
        elif one.time == before:
            duplicates += 1
        else:
            late += 1
    run, reference = Run(SETTINGS, records(stream), batch_sizes), Run(SETTINGS, kept, [])
    assert run.states == reference.states
    assert run.predictions == reference.predictions
    assert run.outcomes[Outcome.DUPLICATE] == duplicates
    assert run.reasons[Reason.LATE] == late


@moderately
@given(
    streams,
    st.lists(st.integers(0, 120), max_size=6),
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    st.integers(1, 20),
    st.sampled_from(ALL_SETTINGS),
)
def test_killed_anywhere_any_number_of_times_equals_the_uninterrupted_run(
    stream: list[bytes | None],
    crashes: list[int],
    batch_sizes: list[int],
    interval_events: int,
    settings: Settings,
) -> None:
    torn = settings.limits.series_full == "reject"
    expected, killed = World(torn=torn), World(crashes=crashes, torn=torn)
    expected.outlive(settings, records(stream), batch_sizes=[7], interval_events=5)
    killed.outlive(settings, records(stream), batch_sizes=batch_sizes, interval_events=interval_events)
    killed.same_as(expected)


@moderately
@given(st.lists(st.tuples(names, values), max_size=30), sizes)
def test_the_shard_is_a_fold_of_the_bank_over_each_series(
    pairs: list[tuple[str, float]], batch_sizes: list[int]
) -> None:
    """Method: the independent reader is a loop over events that steps one bank per series, one event at a time."""
    stream = [event_bytes(name, 60 * t, value) for t, (name, value) in enumerate(pairs)]
    run = Run(SETTINGS, records(stream), batch_sizes)
    decoder = Decoder(SETTINGS.fields, SETTINGS.limits)
    banks: dict[str, tuple[Bank, Any]] = {}
    encoder = PredictionEncoder(TOPIC, SETTINGS.specification())
    for message, event in zip(run.predictions, decoder.decode(records(stream)), strict=True):
        assert isinstance(event, Event)
        if event.series not in banks:
            new = Bank(SETTINGS.specification(), capacity=1)
            banks[event.series] = new, np.array([new.admit()])
        bank, slots = banks[event.series]
        result = bank.step(slots, np.array([event.time]), np.array([event.values]), np.empty((1, 0)))
        assert encoder.encode([event], result) == [message]


@moderately
@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), values), min_size=1, max_size=60))
def test_no_accepted_value_makes_the_core_raise_or_publish_what_is_not_finite(
    pairs: list[tuple[str, float | None]],
) -> None:
    """Goal: a NonFiniteError would stop the worker at the same event for ever. Method: the ends of what is accepted."""
    stream = [event_bytes(name, 60 * t, value) for t, (name, value) in enumerate(pairs)]
    run = Run(ALL_SETTINGS[-1], records(stream), [])
    assert len(run.predictions) == len(stream)
    begun: set[str] = set()
    for message, (name, value) in zip(run.predictions, pairs, strict=True):
        begun |= set() if value is None else {name}
        if name not in begun:
            continue  # before its first value there is nothing to publish
        text = message.value.replace(b'"observed":null', b"") if value is None else message.value
        assert b"null" not in text.replace(b'"settled":null', b""), "orjson writes what is not finite as null"
