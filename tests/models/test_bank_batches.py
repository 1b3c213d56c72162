"""Goal: a series' results depend on its own events alone: what shares its micro-batch changes no bit.

Method: series are run all together, row by row, and again cut into micro-batches at random: any number of
them, in any order, some far ahead of others, in slots that others had before, in a bank that grows meanwhile.
Every result and the last states are compared byte by byte.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from models.bank import Bank
from models.cells import CELLS
from models.specification import PROFILES, Specification, from_profile
from tests.models.streams import (
    SMALL_SPECIFICATIONS,
    Stream,
    make_stream,
    row_bytes,
    state_bytes,
    step,
)

Told = list[list[dict[str, bytes]]]
"""Of each series, its results row by row."""


def together(specification: Specification, stream: Stream) -> tuple[Told, list[bytes]]:
    """Run all series in one micro-batch a row."""
    n_series = stream.values.shape[1]
    bank = Bank(specification, capacity=n_series)
    slots = [bank.admit() for _ in range(n_series)]
    told: Told = [[] for _ in slots]
    for row in range(len(stream)):
        result = step(bank, slots, stream, row)
        for series in range(n_series):
            told[series].append(row_bytes(result, series))
    return told, [state_bytes(bank, slot) for slot in slots]


def cut_at_random(specification: Specification, stream: Stream, *, seed: int) -> tuple[Told, list[bytes]]:
    """Run the same events in micro-batches drawn at random, in a bank that others come to and go from."""
    rng = np.random.default_rng(seed)
    n_rows, n_series = stream.values.shape[:2]
    bank = Bank(specification, capacity=1)
    passing = [bank.admit() for _ in range(int(rng.integers(0, 3)))]
    slots: dict[int, int] = {}
    told: Told = [[] for _ in range(n_series)]
    while any(len(results) < n_rows for results in told):
        waiting = [series for series in range(n_series) if len(told[series]) < n_rows]
        chosen = rng.permutation(waiting)[: rng.integers(1, len(waiting) + 1)].tolist()
        for series in chosen:
            if series not in slots:
                slots[series] = bank.admit()
        if (
            passing and rng.random() < 0.3
        ):  # a stranger learns something and goes; its slot is given out again
            stranger = passing.pop()
            step(bank, [stranger], stream, 0, [0])
            bank.release(stranger)
        elif rng.random() < 0.2:
            passing.append(bank.admit())
        rows = [len(told[series]) for series in chosen]
        result = bank.step(
            np.array([slots[series] for series in chosen]),
            stream.times[rows, chosen],
            stream.values[rows, chosen],
            stream.features[rows, chosen],
        )
        for place, series in enumerate(chosen):
            told[series].append(row_bytes(result, place))
    return told, [state_bytes(bank, slots[series]) for series in range(n_series)]


@hypothesis_settings(max_examples=25)
@given(
    specification=SMALL_SPECIFICATIONS,
    seed=st.integers(0, 9999),
    n_series=st.integers(1, 6),
    missing=st.sampled_from([0.0, 0.3]),
)
def test_a_batchs_composition_changes_no_bit(
    specification: Specification, seed: int, n_series: int, missing: float
) -> None:
    stream = make_stream(specification, rows=16, series=n_series, seed=seed, missing=missing)
    assert cut_at_random(specification, stream, seed=seed) == together(specification, stream)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profiles_series_alone_gives_the_bits_that_it_gives_among_many(profile: str) -> None:
    """At full size the products go through other paths of the linear algebra library than small ones do."""
    specification = from_profile(profile, targets=("a", "b"), features=("f",), joint=True, horizons=(1, 3))
    stream = make_stream(specification, rows=40, series=17, seed=1)
    told, states = together(specification, stream)
    for series in (0, 7, 16):
        one = Stream(stream.times[:, [series]], stream.values[:, [series]], stream.features[:, [series]])
        assert together(specification, one) == ([told[series]], [states[series]])


@pytest.mark.parametrize("cell", CELLS)
def test_it_holds_for_cells_of_full_size(cell: str) -> None:
    specification = Specification(cell=cell, lags=4, season_max=24, experts=("recurrent",))
    stream = make_stream(specification, rows=20, series=9, seed=2)
    assert cut_at_random(specification, stream, seed=2) == together(specification, stream)
