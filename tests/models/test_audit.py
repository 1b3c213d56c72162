"""Goal: the audit finds an exact gradient exact, an approximate one approximate and a broken one broken, and changes nothing.

Method: banks of several makes, compiled and not, with an audit under way; a rule and a kernel that are wrong on purpose; a bank
beside it that is not audited.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.audit import ERROR_MAX, STEPS, Audit
from models.bank import Bank
from models.specification import Specification
from tests.models.streams import SMALL, Stream, make_stream, run, state_bytes, step

MAKES = {
    "default": SMALL,
    "two targets and features": replace(
        SMALL, targets=("a", "b"), features=("f", "g"), joint=True, horizons=(2, 3)
    ),
    "a joint expert": replace(SMALL, targets=("a", "b"), features=("f",), experts=("recurrent_joint",)),
    "gru": replace(SMALL, cell="gru", units=4),
    "rtu_stack": replace(SMALL, cell="rtu_stack", units=4),
    "block": replace(SMALL, cell="vanilla", rule="rtrl_block", units=4),
}


def audited(
    specification: Specification, *, rows: int = 200, missing: float = 0.0
) -> tuple[Audit, Bank, Bank, Stream]:
    """Return what an audit from the middle found, its bank, one that was not audited, and the stream."""
    stream = make_stream(specification, rows=rows, series=2, seed=3, missing=missing)
    banks = [Bank(specification), Bank(specification)]
    slots = [banks[0].admit(), banks[0].admit()]
    assert slots == [banks[1].admit(), banks[1].admit()]
    begun = rows - STEPS - 4
    for bank in banks:
        run(bank, slots, stream, range(begun))
    assert banks[0].begin_audit(slots[1])
    assert not banks[0].begin_audit(slots[0])
    for bank in banks:
        run(bank, slots, stream, range(begun, rows))
    (found,) = banks[0].audits()
    assert banks[0].audits() == []
    return found, banks[0], banks[1], stream


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("make", MAKES)
def test_an_exact_rule_is_found_exact_and_the_models_are_as_without_the_audit(
    make: str, missing: float
) -> None:
    found, bank, spared, _ = audited(MAKES[make], missing=missing)
    assert found.exact
    assert found.rule_error < 1e-5
    assert found.rule_cosine > 1.0 - 1e-9
    assert -1.0 <= found.in_use_cosine <= 1.0
    assert found.sound
    for slot in (0, 1):
        assert state_bytes(bank, slot) == state_bytes(spared, slot)
    assert bank.begin_audit(0)


def test_weights_that_are_held_make_the_gradient_in_use_that_of_the_recent_steps() -> None:
    """A cell of short memory, of which sixteen steps are all: what is in use is then the rule's own to the digits that are left."""
    specification = replace(SMALL, cell="feedforward", units=4, optimizer="adam", learning_rate=0.0)
    found, *_ = audited(specification)
    assert found.in_use_error < 1e-6
    moving, *_ = audited(replace(specification, learning_rate=0.1))
    assert moving.in_use_error < 1e-6  # without a recurrence there is no past to be stale


@pytest.mark.parametrize(("learning_rate", "least", "most"), [(0.0, 0.0, 1e-6), (0.03, 1e-3, 10.0)])
def test_without_an_older_past_the_gradient_in_use_is_off_by_what_moved_on_the_way(
    learning_rate: float, least: float, most: float
) -> None:
    """From a reset on both see the same steps; with weights that move RTRL's gradient is of no one set of weights."""
    specification = replace(SMALL, optimizer="sgd", learning_rate=learning_rate)
    stream = make_stream(specification, rows=200, series=1, seed=3)
    bank = Bank(specification)
    slot = bank.admit()
    run(bank, [slot], stream, range(150))
    bank.reset_memory(np.array([slot]))
    assert bank.begin_audit(slot)
    run(bank, [slot], stream, range(150, 150 + STEPS))
    (found,) = bank.audits()
    assert found.rule_error < 1e-5
    assert least <= found.in_use_error < most


def test_an_approximation_is_measured_and_not_blamed() -> None:
    found, *_ = audited(replace(SMALL, cell="gru", rule="immediate", units=4))
    assert not found.exact
    assert found.rule_error > 0.05
    assert 0.0 < found.rule_cosine < 0.999
    assert found.sound


def test_a_rule_that_is_wrong_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    stepped = Bank.step

    def leaking(bank: Bank, *arguments: np.ndarray) -> object:
        told = stepped(bank, *arguments)
        bank._slabs["expert.recurrent"]["memory.trace"] *= 0.99
        return told

    monkeypatch.setattr(Bank, "step", leaking)
    found, *_ = audited(SMALL)
    assert found.exact
    assert found.rule_error > 10.0 * ERROR_MAX
    assert not found.sound


def test_an_audit_ends_with_its_series() -> None:
    stream = make_stream(SMALL, rows=60, series=1)
    for end in ("release", "renew", "reset_memory", "restore"):
        bank = Bank(SMALL)
        slot = bank.admit()
        run(bank, [slot], stream, range(20))
        assert bank.begin_audit(slot)
        if end == "release":
            bank.release(slot)
            assert bank.admit() == slot
        elif end == "restore":
            bank.restore(slot, bank.snapshot(slot))
        else:
            getattr(bank, end)(np.array([slot]))
        run(bank, [slot], stream, range(20, 60))
        assert bank.audits() == []
        assert bank.begin_audit(slot)


def test_a_guard_that_acts_on_the_way_leaves_nothing_to_compare() -> None:
    stream = make_stream(SMALL, rows=60, series=1)
    bank = Bank(SMALL)
    slot = bank.admit()
    run(bank, [slot], stream, range(20))
    fields = bank.snapshot(slot)
    fields["expert.recurrent/stuck"][:] = 10_000  # whichever is silent at the next event is made anew
    fields["expert.recurrent/params"][:, 2:, 0] = 0.0
    fields["expert.recurrent/state"][:, :, 0] = 0.0
    bank.restore(slot, fields)
    assert bank.begin_audit(slot)
    run(bank, [slot], stream, range(20, 60))
    assert bank.audits() == []


@pytest.mark.parametrize("forced", [False, True])
def test_a_copy_that_reacts_to_drift_by_itself_leaves_nothing_to_compare(forced: bool) -> None:
    """Method: in the copy alone a challenger is made to prove better than the recurrent expert, whose weights it then takes."""
    specification = replace(SMALL, drift_reaction="challenger")
    stream = make_stream(specification, rows=20 + STEPS, series=1)
    bank = Bank(specification)
    slot = bank.admit()
    run(bank, [slot], stream, range(20))
    assert bank.begin_audit(slot)
    copy = bank._audit._shadow
    assert copy is not None
    if forced:
        fields = copy.snapshot(0)
        fields["challenge/age"][:] = fields["challenge/judged"][:] = 500
        fields["challenge/loss"][:] = np.array([1e9, 1.0])[:, None]
        copy.restore(0, fields)
    told = run(bank, [slot], stream, range(20, 20 + STEPS))
    assert not told["reaction"].any(), "the series itself did not react, which would have ended the audit"
    assert len(bank.audits()) == (not forced)
    assert bank.begin_audit(slot)


def test_without_a_recurrent_expert_there_is_nothing_to_audit() -> None:
    bank = Bank(replace(SMALL, experts=("linear",)))
    assert not bank.begin_audit(bank.admit())
    step(bank, [0], make_stream(SMALL, rows=1), 0)
    assert bank.audits() == []
