"""Goal: the compiled forecaster is the numpy path: the same results and states, to rounding, and faults stay with their series.

Method: streams with wild values, gaps and standstills through a bank with its twin and one without; each event from the same
state, and whole runs apart; a series that is broken on purpose among sound ones.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.bank import Bank, NonFiniteError
from models.kernels import fetching
from models.kernels import forecaster as kernel
from models.specification import PROFILES, Specification, from_profile
from tests.models.streams import (
    SMALL,
    assert_alike,
    fields_of,
    is_same,
    make_stream,
    row_bytes,
    run,
    state_bytes,
    step,
    together,
)

pytest.importorskip("numba", reason="the compiled twins need the extra `fast`")

SPECIFICATIONS = {
    **{name: from_profile(name) for name in PROFILES},
    "targets that see each other": replace(
        SMALL, targets=("a", "b"), features=("f", "g"), joint=True, horizons=(1, 3)
    ),
    "one that sees the others": replace(
        SMALL,
        targets=("a", "b", "c"),
        features=("f",),
        horizons=(1, 3),
        experts=("linear", "linear_joint", "recurrent"),
    ),
    "a far horizon": replace(SMALL, horizons=(2, 30)),
    "one expert": replace(SMALL, experts=("recurrent",), optimizer="sgd"),
    "experts in another order": replace(SMALL, experts=("recurrent", "seasonal", "linear")),
    "experts without weights": replace(
        SMALL, experts=("drift", "smoothing", "last_value", "linear"), horizons=(1, 3)
    ),
    "another recurrent expert": replace(SMALL, experts=("drift", "recurrent_quick")),
    "down the gradient": replace(SMALL, optimizer="adam", horizons=(1, 3)),
    "a filter a unit": replace(SMALL, optimizer="ekf_node", features=("f",)),
    "a high rate": replace(SMALL, optimizer="adam", learning_rate=0.1, clip_norm=0.3),
    "detectors that are not compiled": replace(
        SMALL, drift_loss="page_hinkley", drift_inputs="adwin", drift_calibration="hddm_a", targets=("a", "b")
    ),
    "weights that may be negative": replace(SMALL, mixture="stacked", horizons=(1, 3), targets=("a", "b")),
    "no recurrence": replace(SMALL, experts=("linear", "last_value"), interval_levels=(0.5, 0.9, 0.99)),
}
ROWS = 120


def banks(specification: Specification, n_series: int) -> tuple[Bank, Bank, list[int]]:
    """Return a bank with its twin, one without, and the slots of their series."""
    both = Bank(specification, capacity=1), Bank(specification, capacity=1, compiled=False)
    assert both[0].compiled
    assert not both[1].compiled
    slots = [[bank.admit() for _ in range(n_series)] for bank in both]
    assert slots[0] == slots[1]
    return *both, slots[0]


@pytest.mark.parametrize("missing", [0.0, 0.25])
@pytest.mark.parametrize("name", SPECIFICATIONS)
def test_an_event_gives_what_numpy_gives_from_the_same_state(name: str, missing: float) -> None:
    specification = SPECIFICATIONS[name]
    stream = make_stream(specification, rows=ROWS, series=3, seed=3, missing=missing)
    twin, plain, slots = banks(specification, 3)
    for row in range(ROWS):
        for slot in slots:
            twin.restore(slot, plain.snapshot(slot))
        found, expected = step(twin, slots, stream, row), step(plain, slots, stream, row)
        assert_alike(fields_of(found), fields_of(expected), 1e-12)
        for slot in slots:
            after, wanted = twin.snapshot(slot), plain.snapshot(slot)
            for field, value in wanted.items():
                if not is_same(after[field], value):
                    bound = 1e-12 * (1.0 + float(np.abs(value).max(initial=0.0)))
                    np.testing.assert_allclose(after[field], value, rtol=0, atol=bound, err_msg=field)


@pytest.mark.parametrize("name", [name for name in SPECIFICATIONS if name != "a high rate"])
def test_a_whole_run_stays_with_numpy(name: str) -> None:
    """Rounding is carried on by what was learned, so the tolerance is wider here; at a high rate it grows without end."""
    specification = SPECIFICATIONS[name]
    whole, gaps = (
        make_stream(specification, rows=600, series=2, seed=5, missing=missing) for missing in (0.0, 0.25)
    )
    stream = together(whole, gaps)
    twin, plain, slots = banks(specification, 4)
    assert_alike(run(twin, slots, stream), run(plain, slots, stream), tolerance=1e-8)


@pytest.mark.parametrize(
    "specification",
    [
        from_profile("fast"),
        from_profile("pooled"),
        SPECIFICATIONS["targets that see each other"],
        replace(SMALL, drift_reaction="challenger"),
    ],
    ids=["fast", "pooled", "two targets", "challengers"],
)
def test_memory_that_is_asked_for_beforehand_changes_no_bit(
    specification: Specification, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = make_stream(specification, rows=600, series=3, missing=0.1)
    stream.values[400:] *= 5.0  # a drift, with which challengers begin
    near, far = Bank(specification), Bank(specification)
    slots = [near.admit() for _ in range(3)]
    assert slots == [far.admit() for _ in range(3)]
    expected = run(near, slots, stream)
    monkeypatch.setattr(fetching, "NEAR_BYTES", 0)
    found = run(far, slots, stream)
    assert all(is_same(found[name], expected[name]) for name in expected)
    assert all(state_bytes(far, slot) == state_bytes(near, slot) for slot in slots)
    if specification.drift_reaction == "challenger":
        assert any(near.snapshot(slot)["challenge/age"].any() for slot in slots)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("field", ["expert.linear/weights", "mixture/weights", "interval/quantile"])
def test_a_series_whose_forecast_is_not_finite_stays_as_it_was_and_the_others_go_on(
    field: str, compiled: bool
) -> None:
    specification = replace(SMALL, targets=("a", "b"))
    stream = make_stream(specification, rows=60, series=3)
    bank, spared = (Bank(specification, compiled=compiled) for _ in range(2))
    slots = [bank.admit() for _ in range(3)]
    assert slots == [spared.admit() for _ in range(3)]
    for each in (bank, spared):
        run(each, slots, stream, range(50))
    broken = bank.snapshot(slots[1])
    broken[field][1] = np.nan  # of its second target: the first has taken the event by then
    bank.restore(slots[1], broken)
    before = state_bytes(bank, slots[1])
    with pytest.raises(NonFiniteError, match=rf"slots \[{slots[1]}\]"):
        step(bank, slots, stream, 50)
    step(spared, slots, stream, 50)
    assert state_bytes(bank, slots[1]) == before
    for slot in (slots[0], slots[2]):
        assert state_bytes(bank, slot) == state_bytes(spared, slot)


def test_an_influence_that_explodes_starts_anew_as_in_numpy() -> None:
    stream = make_stream(SMALL, rows=80, series=2)
    twin, plain, slots = banks(SMALL, 2)
    for bank in (twin, plain):
        run(bank, slots, stream, range(60))
        fields = bank.snapshot(slots[0])
        fields["expert.recurrent/memory.trace"][:] = 1e7
        bank.restore(slots[0], fields)
    rows = range(60, 80)
    assert_alike(run(twin, slots, stream, rows), run(plain, slots, stream, rows), tolerance=1e-10)
    resets = [int(bank.snapshot(slots[0])["expert.recurrent/influence_resets"][0]) for bank in (twin, plain)]
    assert resets == [1, 1]


def test_a_correction_that_is_proven_is_made_as_in_numpy_and_copied_before_a_fault() -> None:
    specification = replace(SMALL, mixture="stacked", horizons=(1, 3))
    stream = make_stream(specification, rows=1400, series=2)
    stream.values[1200:1230] += 1e3 * np.sin(np.arange(30.0))[:, None, None] * stream.values.std()
    twin, plain, slots = banks(specification, 2)
    for bank in (twin, plain):
        run(bank, slots, stream, range(60))
        fields = bank.snapshot(slots[0])
        fields["mixture/coefficients"][:] = np.linspace(-1.0, 1.5, len(specification.experts))
        fields["mixture/product"][:], fields["mixture/power"][:], fields["mixture/noise"][:] = 50.0, 50.0, 1.0
        bank.restore(slots[0], fields)
    rows = range(60, 100)
    told = run(twin, slots, stream, rows)
    assert (told["weights"] < -0.05).any()
    assert_alike(told, run(plain, slots, stream, rows), tolerance=1e-10)
    restored = [run(bank, slots, stream, range(100, 1400))["guard"] for bank in (twin, plain)]
    np.testing.assert_array_equal(restored[0], restored[1])
    kept, wanted = (bank.snapshot(slots[0])["fault/mixture"] for bank in (twin, plain))
    assert wanted.any()
    np.testing.assert_allclose(kept, wanted, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    "other",
    [
        {"cell": "gru"},
        {"cell": "lru"},
        {"rule": "immediate"},
        {"optimizer": "rmsprop"},
        {"mixture": "exponential"},
    ],
)
def test_a_make_that_is_not_computed_exactly_has_no_twin(other: dict[str, str]) -> None:
    assert not Bank(replace(SMALL, **other)).compiled  # type: ignore[arg-type]


def test_how_arrays_are_laid_out_compiles_nothing_anew_and_changes_no_bit() -> None:
    stream = make_stream(SMALL, rows=6, series=3)
    usual, odd = Bank(SMALL), Bank(SMALL)
    slots = np.array([usual.admit() for _ in range(3)])
    assert slots.tolist() == [odd.admit() for _ in range(3)]
    compiled = None
    for row in range(6):
        expected = usual.step(slots, stream.times[row], stream.values[row], stream.features[row])
        compiled = compiled or len(kernel.events.signatures)  # type: ignore[attr-defined]  # numba's
        times, values = np.repeat(stream.times[row], 2)[::2], np.asfortranarray(stream.values[row])
        values.flags.writeable = False
        found = odd.step(slots, times, values, stream.features[row])
        assert [row_bytes(found, i) for i in range(3)] == [row_bytes(expected, i) for i in range(3)]
    assert len(kernel.events.signatures) == compiled  # type: ignore[attr-defined]  # numba's


def test_a_profile_has_its_twin() -> None:
    assert all(Bank(from_profile(name)).compiled for name in PROFILES)
