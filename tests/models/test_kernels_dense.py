"""Goal: the event loops of dense cells, compiled and numpy's own, are the learner: the same predictions, losses and states, to rounding.

Method: the same streams over several models through a bank with a loop and one that takes rounds; cut anyhow; broken influences.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from models.cells import CELLS
from models.cells.vanilla import Vanilla
from models.kernels import COMPILES, dense_fold, dense_numpy
from models.learner import OnlineLearner, features_of
from models.learner_bank import LearnerBank
from models.losses import LOSSES
from models.optimizers import JACOBIAN_OPTIMIZERS, OPTIMIZERS
from models.precision import Precision
from models.protocols import Array, BoolArray, Cell, IntArray, LearningRule, State
from models.readouts import READOUTS
from models.rules import RULES
from models.rules.rtrl_block import RtrlBlock
from models.rules.rtrl_block_smooth import RtrlBlockSmooth
from models.updates import Descent, Filter, Update

MODELS, INPUTS = 3, 2
CELL_NAMES = ("vanilla", "gru", "lstm")
COMPILED = pytest.param(
    "compiled", marks=pytest.mark.skipif(not COMPILES, reason="the compiled twins need the extra `fast`")
)
LOOPS = [COMPILED, "numpy"]
"""Who takes events one by one; "rounds" is the learner itself."""


def make(
    cell_name: str,
    optimizer: str = "sgd",
    *,
    n_units: int = 6,
    n_outputs: int = 1,
    rule: str = "rtrl_block",
    of_model: Precision = "float64",
    **options: str,
) -> OnlineLearner:
    cell = CELLS[cell_name](n_inputs=INPUTS, n_units=n_units)
    readout = READOUTS["linear"](n_features=features_of(cell), n_outputs=n_outputs)
    update = Descent(OPTIMIZERS[optimizer](learning_rate=0.01))
    short = {} if rule == "rtrl_step" else {"block": n_units // 2}  # so that many blocks are folded
    of_rule = RULES[rule](cell, **short, **options)
    return OnlineLearner(cell, of_rule, readout, LOSSES["squared"](), update, precision=of_model)


def stream(events: int, n_outputs: int = 1) -> tuple[IntArray, Array, Array, BoolArray]:
    """Return models, inputs, targets that remember the inputs, and where they are scored."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(events, INPUTS))
    targets = np.concatenate([0.5 * np.roll(inputs[:, :1], k + 1, axis=0) for k in range(n_outputs)], axis=1)
    return rng.integers(0, MODELS, events), inputs, targets, rng.random(events) < 0.9


def bank_of(learner: OnlineLearner, way: str) -> LearnerBank:
    """Return a bank that takes its events in a way, however many units there are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dense_numpy, "UNITS_MIN", 1 if way == "numpy" else 1000)
        bank = LearnerBank(learner, capacity=2, compiled=way == "compiled")
    assert bank.compiled == (way == "compiled")
    assert isinstance(bank._kernel, dense_numpy.DenseLoop) == (way == "numpy")
    return bank


def banks(learner: OnlineLearner, loop: str) -> tuple[LearnerBank, LearnerBank]:
    """Return a bank with a loop and one that takes rounds, of the same models."""
    both = bank_of(learner, loop), bank_of(learner, "rounds")
    for bank in both:
        assert sorted(bank.admit(seed) for seed in range(MODELS)) == list(range(MODELS))
    return both


def assert_alike(one: LearnerBank, other: LearnerBank, tolerance: float = 1e-12) -> None:
    """Hold all fields of all models to a tolerance, relative to each field's greatest; blocks are folded first."""
    for slot in range(MODELS):
        fields = one.snapshot(slot), other.snapshot(slot)
        for each in fields:
            memory = {n.removeprefix("memory."): v[None] for n, v in each.items() if n.startswith("memory.")}
            rule = one.learner.rule
            assert isinstance(rule, RtrlBlock | RtrlBlockSmooth)
            rule.settle(memory)
            each["memory.influence"] = memory["influence"][0]
        for name, value in fields[1].items():
            if name.startswith("memory.") and name not in ("memory.influence", "memory.filled"):
                continue  # what is left of a block that was folded is not looked at
            scale = max(float(np.abs(value).max(initial=0.0)), 1.0)
            np.testing.assert_allclose(fields[0][name], value, rtol=0, atol=tolerance * scale, err_msg=name)


@pytest.mark.parametrize("rule", ["rtrl_block", "rtrl_block_smooth"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("cell_name", CELL_NAMES)
@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_gives_what_the_learner_gives(loop: str, cell_name: str, optimizer: str, rule: str) -> None:
    with_it, without = banks(make(cell_name, optimizer, n_outputs=2, rule=rule), loop)
    models, inputs, targets, scored = stream(400, 2)
    found = with_it.consume(models, inputs, targets, scored)
    expected = without.consume(models, inputs, targets, scored)
    np.testing.assert_allclose(found.prediction, expected.prediction, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.loss, expected.loss, rtol=0, atol=1e-12)
    assert_alike(with_it, without)
    assert (
        found.loss[-60:].mean() < 0.9 * found.loss[:60].mean()
    )  # something was learned, so it is no small matter


@pytest.mark.parametrize("loop", LOOPS)
def test_a_long_run_stays_the_step_engines(loop: str) -> None:
    """2,000 updated events against numpy's step engine, which shares no code with the block's."""
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(2000, INPUTS))
    targets = 0.5 * np.roll(inputs[:, :1], 2, axis=0)
    found = []
    for rule in ("rtrl_block", "rtrl_block_smooth", "rtrl_step"):
        bank = bank_of(make("vanilla", n_units=16, rule=rule), "rounds" if rule == "rtrl_step" else loop)
        slot = bank.admit()
        found.append(bank.consume(np.full(2000, slot), inputs, targets).prediction)
    np.testing.assert_allclose(found[0], found[2], rtol=0, atol=1e-10)
    np.testing.assert_allclose(found[1], found[2], rtol=0, atol=1e-10)


def near(
    of_single: OnlineLearner, of_double: OnlineLearner, loop: str, events: int
) -> tuple[LearnerBank, LearnerBank]:
    """Take events with a learner in single precision and one in double; hold the predictions to each other, and to numpy's."""
    models, inputs, targets, scored = stream(events)
    single, plain, double = bank_of(of_single, loop), bank_of(of_single, "rounds"), bank_of(of_double, loop)
    for bank in (single, plain, double):
        for seed in range(MODELS):
            bank.admit(seed)
    found, numpys, exact = (
        bank.consume(models, inputs, targets, scored).prediction for bank in (single, plain, double)
    )
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found, numpys, rtol=0, atol=1e-5)
    return single, double


@pytest.mark.parametrize("rule", ["rtrl_block", "rtrl_block_smooth"])
@pytest.mark.parametrize("cell_name", CELL_NAMES)
@pytest.mark.parametrize("loop", LOOPS)
def test_an_influence_in_single_precision_is_near_and_half_as_large(
    loop: str, cell_name: str, rule: str
) -> None:
    of_double = make(cell_name, n_units=16, rule=rule)  # with SGD, since Adam makes much of a little
    of_single = make(cell_name, n_units=16, rule=rule, precision="float32")
    single, double = near(of_single, of_double, loop, 3000)
    halved = {name: value for name, value in single.snapshot(0).items() if value.dtype == np.float32}
    assert {"memory.influence", "memory.transition"} <= set(halved)
    found, true = halved["memory.influence"], double.snapshot(0)["memory.influence"]
    assert np.abs(found - true).max() < 2e-5 * np.abs(true).max()
    assert single.bytes_per_model() == double.bytes_per_model() - sum(
        value.nbytes for value in halved.values()
    )


@pytest.mark.parametrize("rule", ["rtrl_block", "rtrl_block_smooth"])
@pytest.mark.parametrize("cell_name", CELL_NAMES)
@pytest.mark.parametrize("loop", LOOPS)
def test_models_in_single_precision_are_near_and_keep_less(loop: str, cell_name: str, rule: str) -> None:
    of_double = make(cell_name, n_units=16, rule=rule)
    of_single = make(cell_name, n_units=16, rule=rule, of_model="float32")
    single, double = near(of_single, of_double, loop, 1000)
    found, true = single.snapshot(0), double.snapshot(0)
    halved = [name for name, value in found.items() if value.dtype == np.float32]
    assert halved == ["params", "state", "readout.0"]
    for name in halved:
        assert 0.0 < np.abs(found[name] - true[name]).max() < 1e-5 * np.abs(true[name]).max()


@pytest.mark.parametrize("cuts", [[1, 2, 3], [7, 40, 41], [100]])
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("rule", ["rtrl_block", "rtrl_block_smooth"])
@pytest.mark.parametrize("cell_name", CELL_NAMES)
def test_how_a_stream_is_cut_and_who_shares_it_changes_no_bit(
    cell_name: str, rule: str, loop: str, cuts: list[int]
) -> None:
    learner = make(cell_name, "adam", rule=rule)
    models, inputs, targets, scored = stream(120)
    whole, cut, alone = (bank_of(learner, loop) for _ in range(3))
    for bank in (whole, cut):
        for seed in range(MODELS):
            bank.admit(seed)
    expected = whole.consume(models, inputs, targets, scored).prediction
    edges = [0, *cuts, 120]
    parts = [
        cut.consume(models[a:b], inputs[a:b], targets[a:b], scored[a:b]).prediction
        for a, b in pairwise(edges)
    ]
    assert np.concatenate(parts).tobytes() == expected.tobytes()
    own = models == 1
    slot = alone.admit(1)
    single = alone.consume(np.full(int(own.sum()), slot), inputs[own], targets[own], scored[own])
    assert single.prediction.tobytes() == expected[own].tobytes()
    for name, value in alone.snapshot(slot).items():
        assert value.tobytes() == whole.snapshot(1)[name].tobytes(), name


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e9])
@pytest.mark.parametrize("rule", ["rtrl_block", "rtrl_block_smooth"])
@pytest.mark.parametrize("cell_name", CELL_NAMES)
@pytest.mark.parametrize("loop", LOOPS)
def test_a_broken_influence_begins_anew_as_in_the_learner(
    loop: str, cell_name: str, rule: str, value: float
) -> None:
    both = banks(make(cell_name, "adam", rule=rule), loop)
    models, inputs, targets, scored = stream(200)
    for bank in both:
        bank.consume(models[:100], inputs[:100], targets[:100], scored[:100])
        fields = bank.snapshot(1)
        fields["memory.influence"][:] = value
        bank.restore(1, fields)
    found, expected = (bank.consume(models[100:], inputs[100:], targets[100:], scored[100:]) for bank in both)
    assert np.isfinite(found.prediction).all()
    np.testing.assert_allclose(found.prediction, expected.prediction, rtol=0, atol=1e-11)
    assert_alike(*both, tolerance=1e-11)


@pytest.mark.parametrize("rule", ["rtrl_block", "rtrl_block_smooth"])
@pytest.mark.parametrize("cell_name", CELL_NAMES)
@pytest.mark.parametrize("loop", LOOPS)
def test_a_state_that_is_no_number_begins_anew_as_in_the_learner(
    loop: str, cell_name: str, rule: str
) -> None:
    both = banks(make(cell_name, rule=rule), loop)
    models, inputs, targets, scored = stream(200)
    for bank in both:
        bank.consume(models[:100], inputs[:100], targets[:100], scored[:100])
        fields = bank.snapshot(1)
        fields["state"][0, 0] = np.nan
        bank.restore(1, fields)
    found, expected = (bank.consume(models[100:], inputs[100:], targets[100:], scored[100:]) for bank in both)
    assert np.isfinite(found.prediction).all()
    np.testing.assert_allclose(found.prediction, expected.prediction, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.loss, expected.loss, rtol=0, atol=1e-12)
    assert_alike(*both)


@pytest.mark.parametrize("loop", LOOPS)
def test_huge_targets_lead_to_the_same_loss_and_move_the_same(loop: str) -> None:
    both = banks(make("vanilla"), loop)
    models, inputs, targets, scored = stream(60)
    targets[::7] = 1e200
    found, expected = (bank.consume(models, inputs, targets, scored) for bank in both)
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-12)
    np.testing.assert_allclose(found.prediction, expected.prediction, rtol=1e-9, atol=1e-12)


@pytest.mark.skipif(not COMPILES, reason="the compiled twins need the extra `fast`")
@pytest.mark.parametrize("n_units", [dense_fold.STATES_MAX, dense_fold.STATES_MAX + 1])
def test_few_states_are_folded_compiled_and_many_by_the_rule(
    n_units: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = make("vanilla", n_units=n_units)
    with_it, without = banks(learner, "compiled")
    models, inputs, targets, scored = stream(300)
    expected = without.consume(models, inputs, targets, scored)
    folded: list[int] = []
    settle = RtrlBlock.settle

    def told(rule: RtrlBlock, memory: State) -> None:
        folded.append(int(memory["filled"][0]))
        settle(rule, memory)

    monkeypatch.setattr(RtrlBlock, "settle", told)
    found = with_it.consume(models, inputs, targets, scored)
    assert bool(folded) == (n_units > dense_fold.STATES_MAX)
    np.testing.assert_allclose(found.prediction, expected.prediction, rtol=0, atol=1e-12)
    assert_alike(with_it, without)


@pytest.mark.parametrize("n_units", [dense_numpy.UNITS_MIN - 1, dense_numpy.UNITS_MIN])
def test_numpys_loop_is_chosen_by_the_units_alone(n_units: int) -> None:
    for rule in ("rtrl_block", "rtrl_block_smooth"):
        bank = LearnerBank(make("vanilla", n_units=n_units, rule=rule), compiled=False)
        assert (bank._kernel is not None) == (n_units == dense_numpy.UNITS_MIN)
        assert not bank.compiled


def other_learners() -> dict[str, OnlineLearner]:
    """Return learners that no loop takes."""

    def of(cell: Cell, rule: LearningRule, update: Update, **parts: Any) -> OnlineLearner:
        see = bool(parts.get("see_inputs"))
        readout = READOUTS[parts.get("readout", "linear")](
            n_features=features_of(cell) + (cell.n_inputs if see else 0), n_outputs=1
        )
        return OnlineLearner(
            cell, rule, readout, LOSSES[parts.get("loss", "squared")](), update, see_inputs=see
        )

    sgd = Descent(OPTIMIZERS["sgd"](learning_rate=0.1))
    cell = CELLS["vanilla"](n_inputs=2, n_units=4)
    relu = Vanilla(n_inputs=2, n_units=4, activation="relu")
    leaky = Vanilla(n_inputs=2, n_units=4, leak=0.5)
    return {
        "another rule": of(cell, RULES["rtrl_step"](cell), sgd),
        "another activation": of(relu, RtrlBlock(relu), sgd),
        "a leak": of(leaky, RtrlBlock(leaky), sgd),
        "another loss": of(cell, RtrlBlock(cell), sgd, loss="huber"),
        "another readout": of(cell, RtrlBlock(cell), sgd, readout="feed_forward"),
        "inputs beside the units": of(cell, RtrlBlock(cell), sgd, see_inputs=True),
        "another optimizer": of(cell, RtrlBlock(cell), Descent(OPTIMIZERS["rmsprop"](learning_rate=0.1))),
        "a filter": of(cell, RtrlBlock(cell), Filter(JACOBIAN_OPTIMIZERS["ekf_node"]())),
    }


@pytest.mark.parametrize("name", other_learners())
@pytest.mark.parametrize("way", LOOPS)
def test_a_learner_that_is_not_computed_exactly_has_no_loop(
    way: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dense_numpy, "UNITS_MIN", 1)
    bank = LearnerBank(other_learners()[name], compiled=way == "compiled")
    assert bank._kernel is None
    assert not bank.compiled
