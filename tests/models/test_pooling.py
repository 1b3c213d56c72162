"""Goal: series that share weights learn them as one stream of labels would, exactly, and what a pool knows serves a new series.

Method: least squares over all labels of the pool in their order, solved at once; one series in a pool against itself alone; the compiled
forecaster against numpy; calls cut anywhere; a pool that is spoilt; a series that begins late.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.bank import NONE, Bank, StepResult
from models.experts.linear import LONG_FORGETTING
from models.experts.recovery import RENEW, RESET, ROLL_BACK
from models.experts.watch import LOOK_EVERY, STUCK_EVENTS, WORSE, WORSE_LABELS
from models.forecaster import RESIDUAL_WINSOR
from models.kernels import COMPILES
from models.optimizers.rls import PRIOR_VARIANCE
from models.protocols import Array
from models.specification import Specification
from tests.models.streams import (
    RESULT_NAMES,
    SMALL,
    Stream,
    assert_alike,
    fields_of,
    make_stream,
    side_by_side,
    state_bytes,
)

EXPERTS = ("last_value", "linear", "linear_pooled", "recurrent_pooled")
POOLED = replace(SMALL, experts=EXPERTS)
MAKES = {
    "one target": POOLED,
    "two targets, two horizons": replace(
        POOLED, targets=("a", "b"), features=("f",), joint=True, horizons=(1, 3)
    ),
    "least squares alone": replace(SMALL, experts=("linear_pooled",)),
}


def take(
    bank: Bank, slots: list[int], pools: list[int], stream: Stream, row: int, series: list[int] | None = None
) -> StepResult:
    """Give the bank a row of some of the stream's series, each with its pool."""
    which = list(range(len(slots))) if series is None else series
    return bank.step(
        np.array([slots[one] for one in which]),
        stream.times[row, which],
        stream.values[row, which],
        stream.features[row, which],
        np.array([pools[one] for one in which]),
    )


def bank_of(
    specification: Specification, series: int, *, compiled: bool = True
) -> tuple[Bank, int, list[int]]:
    """Return a bank, the slot of a pool, and those of series."""
    bank = Bank(specification, capacity=1, compiled=compiled)
    return bank, bank.admit(), [bank.admit() for _ in range(series)]


def least_squares(bank: Bank, pool: int, slots: list[int], stream: Stream) -> tuple[Array, Array]:
    """Run one series after the other of each row in a pool; return its weights by the equations of `models.optimizers.rls`, and its own."""
    size = bank.snapshot(pool)["expert.linear_pooled/weights"].shape[-1]
    weights, covariance = np.zeros(size), PRIOR_VARIANCE * np.eye(size)
    waiting: dict[int, tuple[Array, Array, float, float]] = {}
    for row in range(len(stream)):
        for series, slot in enumerate(slots):
            if series in waiting:
                inputs, gain, level, scale = waiting[series]
                variance = bank.snapshot(slot)["residual/variance"][0, 0, 0]
                bound = RESIDUAL_WINSOR * (np.sqrt(variance) or 1.0)
                came = (stream.values[row, series, 0] - level) / scale
                weights = weights + gain * np.clip(came - weights @ inputs, -bound, bound)
            take(bank, slots, [pool] * len(slots), stream, row, [series])
            after = bank.snapshot(slot)
            inputs = after["expert.linear_pooled/inputs"][0, 0]
            along = covariance @ inputs
            total = LONG_FORGETTING + inputs @ along
            covariance = (covariance - np.outer(along, along) / total) / LONG_FORGETTING
            if after["pending/scaled"][0, 0]:
                waiting[series] = (
                    inputs,
                    along / total,
                    after["pending/level"][0, 0],
                    after["pending/scale"][0, 0],
                )
    return weights, bank.snapshot(pool)["expert.linear_pooled/weights"][0, 0]


@pytest.mark.parametrize("compiled", [True, False])
def test_a_pool_learns_from_the_labels_of_its_series_as_from_one_stream_of_labels(compiled: bool) -> None:
    specification = MAKES["least squares alone"]
    stream = make_stream(specification, rows=60, series=3, seed=2)
    bank, pool, slots = bank_of(specification, 3, compiled=compiled)
    expected, found = least_squares(bank, pool, slots, stream)
    assert np.abs(found).max() > 1e-3
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("compiled", [True, False])
def test_a_series_alone_in_its_pool_is_told_what_it_is_told_without_one(compiled: bool) -> None:
    stream = make_stream(POOLED, rows=80)
    bank, pool, slots = bank_of(POOLED, 2, compiled=compiled)
    for row in range(len(stream)):
        pooled, alone = (
            take(bank, [slot], [own], stream, row) for slot, own in zip(slots, (pool, NONE), strict=True)
        )
        for name in RESULT_NAMES:
            np.testing.assert_array_equal(getattr(pooled, name), getattr(alone, name), err_msg=name)
    assert state_bytes(bank, slots[0]) == state_bytes(bank, slots[1])


@pytest.mark.skipif(not COMPILES, reason="the compiled twins need the extra `fast`")
@pytest.mark.parametrize("missing", [0.0, 0.25])
@pytest.mark.parametrize("name", MAKES)
def test_the_compiled_forecaster_shares_as_numpy_does(name: str, missing: float) -> None:
    """Two pools and a series by itself; each event from the same states."""
    specification = MAKES[name]
    stream = make_stream(specification, rows=45, series=5, seed=4, missing=missing)
    twin, plain = (Bank(specification, capacity=1, compiled=compiled) for compiled in (True, False))
    assert (twin.compiled, plain.compiled) == (True, False)
    places = [[bank.admit() for _ in range(7)] for bank in (twin, plain)]
    assert places[0] == places[1]
    one, other, *slots = places[0]
    pools = [one, other, one, NONE, one]
    for row in range(len(stream)):
        for slot in places[0]:
            twin.restore(slot, plain.snapshot(slot))
        found, expected = (take(bank, slots, pools, stream, row) for bank in (twin, plain))
        assert_alike(fields_of(found), fields_of(expected), 1e-12)
        for slot in places[0]:
            after = twin.snapshot(slot)
            for field, value in plain.snapshot(slot).items():
                bound = 1e-11 * (1.0 + float(np.abs(value).max(initial=0.0)))
                np.testing.assert_allclose(after[field], value, rtol=0, atol=bound, err_msg=field)


@pytest.mark.parametrize("compiled", [True, False])
def test_where_calls_are_cut_changes_no_bit(compiled: bool) -> None:
    """Over an event after which weights are looked at, which ends a call inside."""
    rows = LOOK_EVERY + 10 if compiled else 60
    stream = make_stream(POOLED, rows=rows, series=5, seed=6)
    rng = np.random.default_rng(0)
    kept: list[list[bytes]] = []
    for cut in (False, True):
        bank, pool, slots = bank_of(POOLED, 5, compiled=compiled)
        for row in range(rows):
            at = int(rng.integers(1, 5)) if cut else 5
            for series in (list(range(at)), list(range(at, 5))):
                if series:
                    take(bank, slots, [pool] * 5, stream, row, series)
        kept.append([state_bytes(bank, slot) for slot in (pool, *slots)])
    assert kept[0] == kept[1]


def test_what_is_looked_at_in_one_series_is_in_its_pool_before_the_next_takes_its_event() -> None:
    stream = make_stream(POOLED, rows=LOOK_EVERY + 200, series=2, seed=6)
    bank, pool, slots = bank_of(POOLED, 2)
    new = bank.snapshot(pool)["expert.recurrent_pooled/good.params"]
    for row in range(len(stream)):
        take(bank, slots, [pool] * 2, stream, row)
    good = bank.snapshot(pool)["expert.recurrent_pooled/good.params"]
    assert not np.array_equal(good, new)
    np.testing.assert_array_equal(bank.snapshot(slots[1])["expert.recurrent_pooled/good.params"], good)


@pytest.mark.parametrize("compiled", [True, False])
def test_weights_that_are_no_numbers_are_gone_back_from_for_all_that_share_them(compiled: bool) -> None:
    stream = make_stream(POOLED, rows=60, series=3, seed=1)
    bank, pool, slots = bank_of(POOLED, 3, compiled=compiled)
    pools = [pool] * 3
    for row in range(40):
        take(bank, slots, pools, stream, row)
    spoilt = bank.snapshot(pool)
    spoilt["expert.recurrent_pooled/params"][...] = np.nan
    bank.restore(pool, spoilt)
    told = take(bank, slots, pools, stream, 40)
    assert (told.guard[:, 0] & ROLL_BACK).tolist() == [ROLL_BACK, 0, 0], "once, before the others had it"
    for row in range(41, 60):
        told = take(bank, slots, pools, stream, row)
        assert not (told.guard & (ROLL_BACK | RESET)).any()
        assert np.isfinite(told.prediction).all()
    assert np.isfinite(bank.snapshot(pool)["expert.recurrent_pooled/params"]).all()


def test_a_series_that_the_pool_does_not_fit_or_whose_units_are_stuck_leaves_the_weights_as_they_are() -> (
    None
):
    stream = make_stream(POOLED, rows=60, series=2, seed=1)
    bank, pool, slots = bank_of(POOLED, 2)
    for row in range(40):
        take(bank, slots, [pool] * 2, stream, row)
    odd = bank.snapshot(slots[0])
    odd["expert.recurrent_pooled/losses"][:] = [1e6, 1e-3]
    odd["expert.recurrent_pooled/counts"][:, WORSE] = WORSE_LABELS
    odd["expert.recurrent_pooled/stuck"][...] = STUCK_EVENTS
    bank.restore(slots[0], odd)
    told = take(bank, slots, [pool] * 2, stream, 40)
    assert not (told.guard & (ROLL_BACK | RENEW)).any()
    assert bank.snapshot(slots[0])["expert.recurrent_pooled/counts"][0, WORSE] == 0


def test_a_new_series_begins_with_what_the_pool_knows() -> None:
    """An oscillation: what two lags foresee, and no last value. Errors of rows 4 to 30, of a series in another unit."""
    rng = np.random.default_rng(5)
    waves = [np.sin(0.7 * np.arange(330) + phase) + 0.02 * rng.normal(size=330) for phase in (0.0, 1.0, 2.0)]
    late = 1e3 * waves[0] + 5.0
    stream = side_by_side(*waves, late, late)
    bank, pool, slots = bank_of(replace(POOLED, lags=8), 5)
    pools = [pool] * 4 + [NONE]
    errors = []
    for row in range(len(stream)):
        told = take(bank, slots, pools, stream, row, list(range(3 if row < 300 else 5)))
        errors += [np.abs(told.error[3:, 0, 0])] if row >= 304 else []
    pooled, alone = np.mean(errors, axis=0)
    assert pooled < 0.5 * alone


def test_what_is_no_pool_is_refused_and_nothing_is_changed() -> None:
    stream = make_stream(POOLED, rows=5, series=2)
    bank, pool, slots = bank_of(POOLED, 2)
    take(bank, slots, [pool] * 2, stream, 0)
    before = [state_bytes(bank, slot) for slot in (pool, *slots)]
    for pools in ([pool, 77], [slots[1], pool], [pool]):
        with pytest.raises(ValueError, match="pool"):
            bank.step(np.array(slots), stream.times[1], stream.values[1], stream.features[1], np.array(pools))
    assert [state_bytes(bank, slot) for slot in (pool, *slots)] == before


@pytest.mark.parametrize("reaction", ["quicken", "reset", "challenger"])
def test_drift_of_one_series_is_not_reacted_to_by_what_many_share(reaction: str) -> None:
    with pytest.raises(ValueError, match=r"drift_reaction: none, not .* linear_pooled, recurrent_pooled"):
        Bank(replace(POOLED, drift_reaction=reaction))
