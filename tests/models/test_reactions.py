"""Goal: a reaction to drift does what it says, when the loss drifts and not otherwise, and compiled as in numpy.

Method: autoregressive series whose coefficients change at a known row, many side by side.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.bank import Bank
from models.drift.challenger import JUDGED
from models.drift.reactions import CHALLENGE, CHOICES, PROVEN, QUICKEN, QUICKEN_EVENTS, RESET, TAKEOVER
from models.optimizers.rls import PRIOR_VARIANCE
from models.protocols import Array, BoolArray, IntArray
from models.specification import Specification
from tests.models.streams import (
    RESULT_NAMES,
    SMALL,
    Stream,
    assert_alike,
    run,
    side_by_side,
    state_bytes,
    step,
)

REACTIONS = [choice for choice in CHOICES if choice != "none"]
BITS = {"quicken": QUICKEN, "reset": RESET, "challenger": CHALLENGE}
for_every_reaction = pytest.mark.parametrize("choice", REACTIONS)

MAKE = replace(SMALL, experts=("last_value", "linear", "recurrent"), lags=3)
ROWS, CHANGE, SERIES = 1100, 700, 6


def series(*, changes: bool = True, seed: int = 0) -> Stream:
    """x_t = 1.6 x_{t-1} - .8 x_{t-2} + noise, and from CHANGE on -.9 x_{t-1}, with four times the noise."""
    rng = np.random.default_rng(seed)
    noise, values = rng.normal(size=(ROWS, SERIES)), np.zeros((ROWS, SERIES))
    for t in range(2, ROWS):
        if changes and t >= CHANGE:
            values[t] = -0.9 * values[t - 1] + 4.0 * noise[t]
        else:
            values[t] = 1.6 * values[t - 1] - 0.8 * values[t - 2] + noise[t]
    return side_by_side(*values.T)


def make_bank(
    specification: Specification, *, compiled: bool = False, n: int = SERIES
) -> tuple[Bank, list[int]]:
    bank = Bank(specification, compiled=compiled)
    return bank, [bank.admit() for _ in range(n)]


def reactions(result: dict[str, Array]) -> IntArray:
    """Return what was done, (T, B, K)."""
    return result["reaction"].astype(np.int64)


def first_reaction(bank: Bank, slots: list[int], stream: Stream) -> tuple[int, BoolArray]:
    """Run up to the first event at which any series reacts; return its row, and which do."""
    for row in range(CHANGE, ROWS):
        reacted = step(bank, slots, stream, row).reaction[:, 0] > 0
        if reacted.any():
            return row, reacted
    pytest.fail("no series reacted")


@for_every_reaction
def test_it_reacts_where_the_loss_drifts_and_nowhere_else(choice: str) -> None:
    bank, slots = make_bank(replace(MAKE, drift_reaction=choice), compiled=True)
    result = run(bank, slots, series())
    assert (result["reaction"] < PROVEN).all()
    reacted, drifted = (reactions(result) & BITS[choice]) > 0, result["drift"][..., 0]
    np.testing.assert_array_equal(reacted, drifted)
    assert drifted[CHANGE:].any(axis=(0, 2)).all()
    assert not drifted[:CHANGE].any()


def test_without_a_reaction_a_drift_is_told_and_nothing_is_done() -> None:
    bank, slots = make_bank(MAKE)
    result = run(bank, slots, series(), range(CHANGE + 100))
    assert result["drift"][..., 0].any()
    assert not result["reaction"].any()


@for_every_reaction
def test_without_a_drift_it_changes_no_bit_of_a_forecast(choice: str) -> None:
    stream = series(changes=False)
    results = [
        run(*make_bank(replace(MAKE, drift_reaction=one), compiled=True), stream, range(500))
        for one in ("none", choice)
    ]
    assert not results[0]["drift"][..., 0].any()
    for name in RESULT_NAMES:
        assert results[0][name].tobytes() == results[1][name].tobytes(), name


@for_every_reaction
@pytest.mark.parametrize("changes", [{}, {"optimizer": "adam"}, {"horizons": (2, 5)}])
def test_a_run_with_reactions_stays_with_numpy(choice: str, changes: dict[str, object]) -> None:
    pytest.importorskip("numba", reason="the compiled twins need the extra `fast`")
    specification = replace(MAKE, drift_reaction=choice, **changes)  # type: ignore[arg-type]
    results = []
    for compiled in (True, False):
        bank, slots = make_bank(specification, compiled=compiled)
        assert bank.compiled is compiled
        results.append(run(bank, slots, series(), range(CHANGE - 300, ROWS)))
    assert_alike(results[0], results[1], tolerance=1e-7)
    wanted = TAKEOVER if choice == "challenger" else BITS[choice]
    assert (reactions(results[0]) & wanted).any()


@for_every_reaction
@pytest.mark.parametrize("compiled", [True, False])
def test_a_series_reacts_the_same_alone_and_from_a_snapshot_in_the_middle(
    choice: str, compiled: bool
) -> None:
    specification, stream = replace(MAKE, drift_reaction=choice), series()
    bank, slots = make_bank(specification, compiled=compiled)
    run(bank, slots, stream, range(CHANGE))
    row, _ = first_reaction(bank, slots, stream)
    run(bank, slots, stream, range(row + 1, row + 20))
    alone, (slot,) = make_bank(specification, compiled=compiled, n=1)
    alone.restore(slot, bank.snapshot(slots[3]))
    for later in range(row + 20, row + 220):
        expected, found = step(bank, slots, stream, later), step(alone, [slot], stream, later, [3])
        for name in RESULT_NAMES:
            assert getattr(found, name)[0].tobytes() == getattr(expected, name)[3].tobytes(), (later, name)
    assert state_bytes(alone, slot) == state_bytes(bank, slots[3])


def test_a_reset_makes_the_covariances_of_the_readouts_new_and_leaves_the_weights() -> None:
    stream = series()
    reset, slots = make_bank(replace(MAKE, drift_reaction="reset"))
    plain, _ = make_bank(MAKE)
    for bank in (reset, plain):
        run(bank, slots, stream, range(CHANGE))
    row, reacted = first_reaction(reset, slots, stream)
    run(plain, slots, stream, range(CHANGE, row + 1))
    for place, slot in enumerate(slots):
        after, before = reset.snapshot(slot), plain.snapshot(slot)
        for expert in ("expert.linear", "expert.recurrent"):
            covariance = after[f"{expert}/covariance"][0]
            is_new = (covariance == PRIOR_VARIANCE * np.eye(len(covariance))).all()
            assert is_new == reacted[place]
            assert after[f"{expert}/weights"].tobytes() == before[f"{expert}/weights"].tobytes()


@pytest.mark.parametrize("choice", ["reset", "challenger"])
def test_how_many_models_are_reacted_to_at_a_time_changes_no_bit(
    choice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, specification = series(), replace(MAKE, drift_reaction=choice)
    told, states = [], []
    for together in (1, 2, 100):
        monkeypatch.setattr("models.bank.TOGETHER", together)
        bank, slots = make_bank(specification)
        results = run(bank, slots, stream)
        told.append({name: value.tobytes() for name, value in results.items()})
        states.append([state_bytes(bank, slot) for slot in slots])
        assert (np.count_nonzero(results["reaction"].reshape(len(stream), -1), axis=1) > 1).any()
    assert told[0] == told[1] == told[2]
    assert states[0] == states[1] == states[2]


def test_a_model_is_quickened_for_so_many_events_and_forgets_sooner_meanwhile() -> None:
    stream = series()
    bank, slots = make_bank(replace(MAKE, drift_reaction="quicken"))
    run(bank, slots, stream, range(CHANGE))
    row, reacted = first_reaction(bank, slots, stream)
    slot, place = slots[int(np.argmax(reacted))], int(np.argmax(reacted))
    left = [int(bank.snapshot(slot)["quicken/left"][0])]
    again = []
    for later in range(row + 1, row + 50):
        again.append(bool(step(bank, slots, stream, later).reaction[place, 0]))
        left.append(int(bank.snapshot(slot)["quicken/left"][0]))
    for before, now, anew in zip(left, left[1:], again, strict=False):
        assert now == (QUICKEN_EVENTS if anew else before - 1)


def test_a_challenger_and_the_expert_change_places_after_enough_labels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Method: the event of a takeover once more, from the state before it, in a bank that does not react."""
    stream, specification = series(), replace(MAKE, drift_reaction="challenger")
    bank, slots = make_bank(specification)
    run(bank, slots, stream, range(CHANGE))
    born, reacted = first_reaction(bank, slots, stream)
    place = int(np.argmax(reacted))
    for row in range(born + 1, ROWS):
        before = bank.snapshot(slots[place])
        reaction = int(step(bank, slots, stream, row).reaction[place, 0])
        if reaction == TAKEOVER:
            break
        born = row if reaction & CHALLENGE else born
    else:
        pytest.fail("no challenger took over")
    assert row - born > JUDGED
    idle, (slot,) = make_bank(specification, n=1)
    monkeypatch.setattr(
        idle._forecaster.reaction, "react", lambda _, drift: np.zeros(len(drift), dtype=np.int64)
    )
    idle.restore(slot, before)
    step(idle, [slot], stream, row, [place])
    there, found = idle.snapshot(slot), bank.snapshot(slots[place])
    assert there["challenge/judged"][0] >= JUDGED
    changed = 0
    for name in ("linear", "recurrent"):
        fields = [field.split("/")[1] for field in there if field.startswith(f"expert.{name}/")]
        as_before = found[f"expert.{name}/weights"].tobytes() == there[f"expert.{name}/weights"].tobytes()
        for field in fields:
            own, other = (there[f"{owner}.{name}/{field}"].tobytes() for owner in ("expert", "challenger"))
            expected = (own, other) if as_before else (other, own)
            after = tuple(found[f"{owner}.{name}/{field}"].tobytes() for owner in ("expert", "challenger"))
            assert after == expected, (name, field)
        changed += not as_before
    assert changed
    had_the_place = found["challenge/former"][
        0, [MAKE.experts.index("linear"), MAKE.experts.index("recurrent")]
    ]
    assert had_the_place.sum() == changed
    assert found["challenge/age"][0] == 1
    assert found["challenge/judged"][0] == 0


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(("former", "other"), [("linear", "recurrent"), ("recurrent", "linear")])
def test_with_the_next_drift_only_the_challenger_that_had_the_place_is_kept(
    former: str, other: str, *, compiled: bool
) -> None:
    """Method: one of two is made to look better, and takes over; then of two like series one is made to drift."""
    stream, row = series(changes=False), 300
    specification = replace(MAKE, drift_reaction="challenger")
    bank, slots = make_bank(specification, compiled=compiled, n=2)

    def both(at: int) -> list[int]:
        reactions = step(bank, slots, stream, at, [0, 0]).reaction[:, 0]
        return [int(reaction) for reaction in reactions]

    def change(slot: int, **fields: float | Array) -> None:
        state = bank.snapshot(slot)
        for name, value in fields.items():
            part, field = name.split("__")
            state[f"{part.replace('_', '.')}/{field}"][0] = value
        bank.restore(slot, state)

    for at in range(row):
        both(at)
    for slot in slots:
        change(slot, drift_loss__sum=1e6)
    assert both(row) == [CHALLENGE, CHALLENGE]
    for at in range(row + 1, row + 20):
        assert both(at) == [0, 0]
    place = MAKE.experts.index(former)
    loss = np.ones((2, len(MAKE.experts)))
    loss[1, place] = 0.1
    for slot in slots:
        change(slot, challenge__judged=JUDGED, challenge__loss=loss)
    assert both(row + 20) == [TAKEOVER, TAKEOVER]
    for slot in slots:
        assert bank.snapshot(slot)["challenge/former"][0].tolist() == [
            name == former for name in MAKE.experts
        ]
    for at in range(row + 21, row + 40):
        assert both(at) == [0, 0]
    change(slots[0], drift_loss__sum=1e6)
    assert both(row + 40) == [CHALLENGE, 0]

    drifted, quiet = (bank.snapshot(slot) for slot in slots)
    new = Bank(specification)
    unborn = new.snapshot(new.admit())
    for name in (field for field in unborn if field.startswith(f"challenger.{other}/")):
        expected = drifted[f"expert.{other}/lags"] if name.endswith("/lags") else unborn[name]
        assert drifted[name].tobytes() == expected.tobytes(), name
    assert quiet[f"challenger.{other}/weights"].tobytes() != unborn[f"challenger.{other}/weights"].tobytes()
    for name in (field for field in unborn if field.startswith(f"challenger.{former}/")):
        assert drifted[name].tobytes() == quiet[name].tobytes(), name
    pending, kept = drifted["challenge/pending"][0], quiet["challenge/pending"][0]
    assert not pending[:, MAKE.experts.index(other)].any()
    assert kept[:, MAKE.experts.index(other)].all()
    assert pending[:, place].tobytes() == kept[:, place].tobytes()
    assert drifted["challenge/age"][0] == 1
    assert drifted["challenge/judged"][0] == 0
    assert not drifted["challenge/loss"].any()
    assert drifted["challenge/former"].tobytes() == quiet["challenge/former"].tobytes()


def test_after_a_thousand_events_a_challenger_is_given_up() -> None:
    bank, (slot,) = make_bank(replace(MAKE, drift_reaction="challenger", drift_loss="hddm_a"), n=1)
    stream = series(changes=False, seed=1)
    for row in range(300):
        step(bank, [slot], stream, row, [0])
    fields = bank.snapshot(slot)
    fields["challenge/age"][:] = 999
    bank.restore(slot, fields)
    ages = []
    for row in range(300, 304):
        assert step(bank, [slot], stream, row, [0]).reaction[0, 0] == 0
        ages.append(int(bank.snapshot(slot)["challenge/age"][0]))
    assert ages == [1000, 0, 0, 0]
