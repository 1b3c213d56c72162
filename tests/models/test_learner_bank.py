"""Goal: a bank of learners gives each model what it would have had alone, event by event, and refuses what it cannot take.

Method: random streams over several models, cut into calls anyhow, against one learner a model; growth, reuse, snapshots.
"""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.cells import CELLS
from models.kernels.arrays import LINE_BYTES
from models.learner import NonFiniteError, OnlineLearner, features_of
from models.learner_bank import LearnerBank, rounds
from models.losses import LOSSES
from models.optimizers import OPTIMIZERS
from models.precision import Precision
from models.protocols import Array, BoolArray, IntArray
from models.readouts import READOUTS
from models.rules import RULES, exact_rule_for
from models.updates import Descent

EVENTS, MODELS = 60, 4


def make(
    cell_name: str = "rtu", rule: str = "", n_units: int = 4, precision: Precision = "float64"
) -> OnlineLearner:
    cell = CELLS[cell_name](n_inputs=2, n_units=n_units)
    readout = READOUTS["linear"](n_features=features_of(cell), n_outputs=1)
    update = Descent(OPTIMIZERS["adam"](learning_rate=0.01))
    chosen = RULES[rule](cell) if rule else exact_rule_for(cell)
    return OnlineLearner(cell, chosen, readout, LOSSES["squared"](), update, precision=precision)


def stream(seed: int = 0) -> tuple[IntArray, Array, Array, BoolArray]:
    """Return models, inputs, targets and where they are scored, of EVENTS events."""
    rng = np.random.default_rng(seed)
    return (
        rng.integers(0, MODELS, EVENTS),
        rng.normal(size=(EVENTS, 2)),
        rng.normal(size=(EVENTS, 1)),
        rng.random(EVENTS) < 0.8,
    )


@cache  # for a hundred examples
def alone(cell_name: str, precision: Precision) -> tuple[list[tuple[bytes, float]], list[dict[str, bytes]]]:
    """Return what a learner a model says of each event of the stream, and its state after them."""
    learner = make(cell_name, precision=precision)
    models, inputs, targets, scored = stream()
    states = [learner.init_state([seed]) for seed in range(MODELS)]
    said = []
    for at in range(EVENTS):
        own = learner.step(states[models[at]], inputs[at : at + 1], targets[at : at + 1], scored[at : at + 1])
        said.append((own.prediction[0].tobytes(), float(own.loss[0])))
    return said, [{name: value[0].tobytes() for name, value in state.items()} for state in states]


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("cell_name", ["rtu", "gru"])
@given(cuts=st.lists(st.integers(0, EVENTS), max_size=6))
def test_a_model_gets_what_it_would_have_had_alone(
    cell_name: str, precision: Precision, cuts: list[int]
) -> None:
    learner = make(cell_name, precision=precision)
    bank = LearnerBank(learner, capacity=2, compiled=False)
    slots = np.array([bank.admit(seed) for seed in range(MODELS)])
    models, inputs, targets, scored = stream()
    edges = [0, *sorted(cuts), EVENTS]
    found = [
        bank.consume(slots[models[a:b]], inputs[a:b], targets[a:b], scored[a:b]) for a, b in pairwise(edges)
    ]
    predictions, losses = (
        np.concatenate([c.prediction for c in found]),
        np.concatenate([c.loss for c in found]),
    )
    said, states = alone(cell_name, precision)
    for at, (prediction, loss) in enumerate(said):
        assert prediction == predictions[at].tobytes()
        assert loss == losses[at]
    for model, state in enumerate(states):
        for name, value in bank.snapshot(int(slots[model])).items():
            assert value.tobytes() == state[name], name


@given(slots=st.lists(st.integers(0, 5), max_size=30))
def test_rounds_hold_every_event_once_in_each_models_order(slots: list[int]) -> None:
    found = rounds(np.array(slots, dtype=np.int64))
    assert sorted(int(at) for places in found for at in places) == list(range(len(slots)))
    for places in found:
        assert len({slots[at] for at in places}) == len(places)
    for slot in set(slots):
        own = [int(at) for places in found for at in places if slots[at] == slot]
        assert own == sorted(own)


def test_a_slot_that_was_given_back_starts_anew() -> None:
    bank = LearnerBank(make(), capacity=1, compiled=False)
    first = bank.admit(3)
    new = bank.snapshot(first)
    bank.consume(np.array([first]), np.ones((1, 2)), np.ones((1, 1)))
    assert bank.model_count == 1
    bank.release(first)
    assert bank.model_count == 0
    again = bank.admit(3)
    assert again == first
    for name, value in bank.snapshot(again).items():
        assert value.tobytes() == new[name].tobytes(), name
    assert len({bank.admit() for _ in range(9)} | {again}) == 10
    assert bank.bytes_per_model() == sum(value.nbytes for value in new.values())


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_models_begin_at_a_line_of_memory_however_many_there_are(precision: Precision) -> None:
    bank = LearnerBank(make("elstm", n_units=16, precision=precision), capacity=1)
    for seed in range(5):  # so that it grows
        bank.admit(seed)
        for name, slab in bank._slabs.items():
            assert slab.ctypes.data % LINE_BYTES == 0, name


def test_a_model_that_is_restored_goes_on_to_the_bit() -> None:
    bank = LearnerBank(make("gru"), compiled=False)
    one, other = bank.admit(0), bank.admit(1)
    _, inputs, targets, _ = stream()
    bank.consume(np.full(30, one), inputs[:30], targets[:30])
    bank.restore(other, bank.snapshot(one))
    found = [bank.consume(np.full(30, slot), inputs[30:], targets[30:]).prediction for slot in (one, other)]
    assert found[0].tobytes() == found[1].tobytes()


GOOD: dict[str, Any] = {"slots": np.array([0, 0]), "inputs": np.ones((2, 2)), "targets": np.ones((2, 1))}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": np.array([[1.0, np.nan], [1.0, 1.0]])}, "inputs: finite"),
        ({"targets": np.array([[np.inf], [1.0]])}, "targets: not finite"),
        ({"inputs": np.ones((2, 3))}, "inputs has shape"),
        ({"targets": np.ones((2, 2))}, "targets of 2"),
        ({"slots": np.array([0, 1])}, "not in use"),
        ({"slots": np.array([0, -1])}, "not in use"),
        ({"slots": np.array([0, 1000])}, "not in use"),
        ({"scored": np.ones(3, dtype=np.bool_)}, "scored has shape"),
    ],
)
def test_what_cannot_be_taken_is_refused_and_changes_nothing(change: dict[str, Any], message: str) -> None:
    bank = LearnerBank(make(), compiled=False)
    slot = bank.admit()
    assert slot == 0
    before = bank.snapshot(slot)
    with pytest.raises((NonFiniteError, ValueError), match=message):
        bank.consume(**(GOOD | change))
    for name, value in bank.snapshot(slot).items():
        assert value.tobytes() == before[name].tobytes(), name


def test_a_rule_that_keeps_the_whole_past_and_a_foreign_snapshot_are_refused() -> None:
    with pytest.raises(ValueError, match="whole past"):
        LearnerBank(make("vanilla", "bptt"))
    bank = LearnerBank(make(), compiled=False)
    slot = bank.admit()
    fields = bank.snapshot(slot)
    with pytest.raises(ValueError, match="differ in"):
        bank.restore(slot, {**fields, "other": np.zeros(1)})
    with pytest.raises(ValueError, match="in the snapshot"):
        bank.restore(slot, fields | {"params": np.zeros(3)})
    with pytest.raises(ValueError, match="not in use"):
        bank.release(slot + 1)


WITHOUT_NUMBA = """
import sys
sys.modules["numba"] = None  # as where it is not installed
import numpy as np
from models.kernels import COMPILES
from tests.models.test_learner_bank import LearnerBank, make
for n_units in (4, 32):  # in rounds, and by numpy's own loop
    bank = LearnerBank(make("vanilla", "rtrl_block", n_units))
    slot = bank.admit()
    given = bank.consume(np.full(20, slot), np.ones((20, 2)), np.ones((20, 1)))
    assert not COMPILES and not bank.compiled and given.loss[-1] < given.loss[0]
from models.bank import Bank
from models.specification import Specification
series = Bank(Specification(lags=4, season_max=24))
series.warm()
slot = np.array([series.admit()])
for at in range(5):
    result = series.step(slot, np.array([60.0 * at]), np.array([[float(at)]]), np.empty((1, 0)))
assert not series.compiled and np.isfinite(result.prediction).all()
"""


def test_without_numba_everything_works() -> None:
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", WITHOUT_NUMBA], cwd=root, check=True, timeout=120)
