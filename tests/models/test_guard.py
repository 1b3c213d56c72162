"""Goal: an influence that has exploded, or a state that is no number, begins anew and is told; unfinished windows count.

Method: what is broken is put into a learner's state by hand, and grown by a chaotic cell; windows that end early are
compared with the gradient of the steps that they hold.
"""

from __future__ import annotations

import numpy as np
import pytest

from models.cells import CELLS
from models.learner import OnlineLearner, features_of
from models.losses import LOSSES
from models.optimizers import JACOBIAN_OPTIMIZERS, OPTIMIZERS
from models.protocols import Array, BoolArray, Fields, State
from models.readouts import READOUTS
from models.readouts.random_feedback import RandomFeedback
from models.rules import RULES, exact_rule_for
from models.rules.bptt import Bptt
from models.rules.bptt_disjoint import BpttDisjoint
from models.updates import Descent, Filter, Update

SGD = Descent(OPTIMIZERS["sgd"](learning_rate=0.01))


def make(cell_name: str, update: Update = SGD, rule: str = "", n_units: int = 4) -> OnlineLearner:
    cell = CELLS[cell_name](n_inputs=2, n_units=n_units)
    readout = READOUTS["linear"](n_features=features_of(cell), n_outputs=1)
    chosen = RULES[rule](cell) if rule else exact_rule_for(cell)
    return OnlineLearner(cell, chosen, readout, LOSSES["squared"](), update)


def started(learner: OnlineLearner) -> State:
    state = learner.init_state([0, 1])
    rng = np.random.default_rng(0)
    state["readout.0"] += rng.normal(size=state["readout.0"].shape)
    for _ in range(5):
        outcome = learner.step(state, rng.normal(size=(2, 2)), rng.normal(size=(2, 1)))
        assert not outcome.restarted.any()
    return state


@pytest.mark.parametrize(
    "update", [SGD, Filter(JACOBIAN_OPTIMIZERS["ekf_joint"]())], ids=["descent", "filter"]
)
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e9])
@pytest.mark.parametrize(("cell_name", "field"), [("rtu", "memory.trace"), ("gru", "memory.influence")])
def test_a_broken_influence_moves_nothing_and_begins_anew(
    cell_name: str, field: str, value: float, update: Update
) -> None:
    learner = make(cell_name, update)
    state, sound = started(learner), started(learner)
    state[field][0] = value
    params = state["params"].copy()
    x, y = np.ones((2, 2)), np.zeros((2, 1))
    outcome, expected = learner.step(state, x, y), learner.step(sound, x, y)
    assert outcome.restarted.tolist() == [True, False]
    assert outcome.moved.tolist() == [False, True]
    assert np.isfinite(outcome.prediction).all()
    assert state["params"][0].tobytes() == params[0].tobytes()
    assert not state[field][0].any()
    for name, rows in state.items():
        assert np.isfinite(rows).all(), name
        assert rows[1].tobytes() == sound[name][1].tobytes(), name
    assert outcome.prediction[1].tobytes() == expected.prediction[1].tobytes()
    assert not learner.step(state, x, y).restarted.any()


def test_a_state_that_is_no_number_begins_anew_before_it_is_read() -> None:
    learner = make("vanilla_relu")
    state = started(learner)
    state["state"][1] = np.inf
    state["params"][1, :4] = 1e200
    outcome = learner.step(state, np.ones((2, 2)), np.zeros((2, 1)))
    assert outcome.restarted.tolist() == [False, True]
    assert np.isfinite(outcome.prediction).all()
    assert all(np.isfinite(rows).all() for rows in state.values())


def test_a_chaotic_cell_goes_on_learning_and_tells_how_often_it_began_anew() -> None:
    """Without the guard the influence of a network of gain 3 overflows, and its row never learns again."""
    learner = make("vanilla", Descent(OPTIMIZERS["sgd"](learning_rate=1e-12)), n_units=32)
    state = learner.init_state([0])
    state["params"][:, :32] *= 3.0 / 0.9
    state["readout.0"] += 1.0
    rng = np.random.default_rng(0)
    outcomes = [learner.step(state, 0.1 * rng.normal(size=(1, 2)), np.zeros((1, 1))) for _ in range(3000)]
    restarts = sum(int(outcome.restarted[0]) for outcome in outcomes)
    assert 1 < restarts < 300
    assert all(np.isfinite(outcome.prediction).all() for outcome in outcomes)
    assert sum(int(outcome.moved[0]) for outcome in outcomes) == 3000 - restarts


class Adder:
    """Moves nothing and adds up the gradients to the cell."""

    def __init__(self) -> None:
        self.total: Array = np.zeros(())

    def init_state(self, shape: tuple[int, ...]) -> Fields:
        return {}

    def update(
        self, state: State, gradient: Array, active: BoolArray, params: Array
    ) -> tuple[Array, BoolArray]:
        if gradient.ndim == 3:
            self.total = self.total + np.where(active[:, None, None], gradient, 0.0)
        return np.zeros_like(gradient), active


@pytest.mark.parametrize("length", [1, 3, 4, 7])
def test_a_window_that_a_sequences_end_cuts_short_is_learned_from(length: int) -> None:
    """Windows of 4 over sequences of another length: each stretch gives what backpropagation within it gives."""
    window, sequences = 4, 3
    cell = CELLS["vanilla"](n_inputs=2, n_units=4)
    readout = READOUTS["linear"](n_features=4, n_outputs=1)
    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(size=(sequences, length, 1, 2)), rng.normal(size=(sequences, length, 1, 1))
    totals = []
    for name in ("disjoint", "whole"):
        adder = Adder()
        rule = BpttDisjoint(cell, window=window) if name == "disjoint" else Bptt(cell)
        learner = OnlineLearner(cell, rule, readout, LOSSES["squared"](), Descent(adder))
        state = learner.init_state([0])
        state["readout.0"] += 1.0
        for s in range(sequences):
            for at in range(length):
                if name == "whole" and at % window == 0:  # the state goes on, and the past is forgotten
                    state["memory.length"][:] = 0
                learner.step(state, inputs[s, at], targets[s, at], reset=np.array([at == 0]))
        # One more sequence begins, so that the last one ends.
        learner.step(state, inputs[0, 0], np.full((1, 1), np.nan), np.array([False]), np.array([True]))
        totals.append(adder.total)
    assert np.abs(totals[1]).max() > 0.1
    np.testing.assert_allclose(totals[0], totals[1], rtol=0, atol=1e-12)


def test_random_feedback_gives_fixed_credit_and_the_readouts_own_outputs() -> None:
    plain = READOUTS["feed_forward"](n_features=3, n_outputs=2)
    wrapped = RandomFeedback(plain, seed=4)
    rng = np.random.default_rng(0)
    params = tuple(block[None] + rng.normal(size=(1, *block.shape)) for block in plain.init_params(rng))
    features = rng.normal(size=(1, 3))
    outputs, of_params, of_features = wrapped.forward(params, features)
    expected, of_expected, true = plain.forward(params, features)
    assert outputs.tobytes() == expected.tobytes()
    assert all(one.tobytes() == other.tobytes() for one, other in zip(of_params, of_expected, strict=True))
    assert (of_features != true).all()
    again = wrapped.forward(tuple(2.0 * block for block in params), 3.0 * features)[2]
    assert again.tobytes() == of_features.tobytes()
    assert (RandomFeedback(plain, seed=5).feedback != wrapped.feedback).all()


def test_rflo_learns_by_random_feedback_and_the_readout_turns_towards_it() -> None:
    cell = CELLS["vanilla_leaky"](n_inputs=1, n_units=16)

    def course(learn: bool) -> tuple[float, float]:
        readout = RandomFeedback(READOUTS["linear"](n_features=16, n_outputs=1), seed=1)
        if not learn:
            readout.feedback = np.zeros_like(readout.feedback)
        update = Descent(OPTIMIZERS["adam"](learning_rate=0.003))
        learner = OnlineLearner(cell, RULES["rflo"](cell), readout, LOSSES["squared"](), update)
        state, errors = learner.init_state([0]), []
        signal = np.sin(0.25 * np.arange(6001)) + np.sin(0.61 * np.arange(6001))
        for now, then in zip(signal, signal[4:], strict=False):
            errors.append(learner.step(state, np.full((1, 1), now), np.full((1, 1), then)).loss[0])
        weights, feedback = state["readout.0"][0, 0, :-1], readout.feedback[0]
        size = max(float(np.linalg.norm(weights) * np.linalg.norm(feedback)), 1e-12)
        return float(np.mean(errors[-500:])), float(weights @ feedback) / size

    (with_it, alignment), (frozen, _) = course(learn=True), course(learn=False)
    assert alignment > 0.2
    assert with_it < 0.8 * frozen
