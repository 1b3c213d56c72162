"""Goal: any cell, rule, readout, loss and optimizer make one learner, exact in every mode and whole in its snapshot.

Method: entries of the tables are combined; gradients of a sequence under frozen parameters are compared with central
differences of its total loss, and runs are cut by a snapshot, repeated, and refused bad inputs.
"""

from __future__ import annotations

import numpy as np
import pytest

from models import snapshot
from models.cells import CELLS
from models.learner import NonFiniteError, OnlineLearner, features_of
from models.losses import LOSSES
from models.optimizers import JACOBIAN_OPTIMIZERS, OPTIMIZERS
from models.protocols import Array, BoolArray, Fields, State
from models.readouts import READOUTS
from models.rules import RULES, exact_rule_for
from models.updates import Descent, Filter, Update
from tests.conformance.cases import PAIRS
from tests.oracles.gradients import central_differences_of_rows

STEPS = 6
MODES = {
    "synchronous": np.ones(STEPS, dtype=np.bool_),
    "sequence to category": np.arange(STEPS) == STEPS - 1,
    "asynchronous": np.arange(STEPS) >= STEPS // 2,
}


class Recorder:
    """An optimizer that moves nothing and adds up what it is given."""

    def __init__(self) -> None:
        self.total: dict[int, Array] = {}

    def init_state(self, shape: tuple[int, ...]) -> Fields:
        return {}

    def update(
        self, state: State, gradient: Array, active: BoolArray, params: Array
    ) -> tuple[Array, BoolArray]:
        self.total[gradient.ndim] = self.total.get(gradient.ndim, 0.0) + gradient
        return np.zeros_like(gradient), active


def make(
    cell_name: str, update: Update, *, rule: str = "", readout: str = "linear", loss: str = "squared"
) -> OnlineLearner:
    cell = CELLS[cell_name](n_inputs=2, n_units=4)
    chosen = RULES[rule](cell) if rule else exact_rule_for(cell)
    top = READOUTS[readout](n_features=features_of(cell), n_outputs=LOSSES[loss]().n_outputs(2))
    return OnlineLearner(cell, chosen, top, LOSSES[loss](), update)


def descent(name: str = "adam") -> Descent:
    return Descent(OPTIMIZERS[name](learning_rate=0.01))


def targets_for(loss: str, rng: np.random.Generator, steps: int) -> Array:
    if loss == "cross_entropy":
        return np.eye(2)[rng.integers(0, 2, steps)]
    return rng.random((steps, 2))


def drawn_params(state: State, rng: np.random.Generator) -> None:
    """Give the readout weights that are not zero, so that the cell has credit."""
    for name in state:
        if name.startswith("readout."):
            state[name] = 0.5 * rng.normal(size=state[name].shape)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    ("cell_name", "readout"),
    [
        ("rtu", "feed_forward"),
        ("lstm", "linear"),
        ("rtu_stack", "feed_forward"),
        ("narx_free_running", "linear"),
    ],
)
def test_the_gradient_of_a_sequence_equals_central_differences(
    cell_name: str, readout: str, loss: str, mode: str
) -> None:
    recorder, rng = Recorder(), np.random.default_rng(0)
    learner = make(cell_name, Descent(recorder), readout=readout, loss=loss)
    inputs, targets = rng.normal(size=(STEPS, 2)), targets_for(loss, rng, STEPS)
    start = learner.init_state([3])
    drawn_params(start, rng)

    def total(changes: dict[str, Array], rows: int = 1) -> Array:
        """Return the loss of the sequence in each row, (rows,), each row with its own of the changed arrays."""
        state = {
            name: changes[name] if name in changes else value.repeat(rows, axis=0)
            for name, value in start.items()
        }
        losses = [
            learner.step(
                state, x[None].repeat(rows, axis=0), y[None].repeat(rows, axis=0), np.full(rows, scored)
            ).loss
            for x, y, scored in zip(inputs, targets, MODES[mode], strict=True)
        ]
        return np.asarray(sum(losses))

    def by_differences(name: str) -> Array:
        """Return the derivative of the sequence's loss by one of the arrays."""
        recorder.total.clear()
        return central_differences_of_rows(
            lambda points: total({name: points.copy()}, len(points)), start[name][0]
        )

    total({})
    of_cell, of_readout = recorder.total[3][0], recorder.total[2][0]
    expected = by_differences("params")
    assert np.abs(of_cell - expected).max() < 1e-6 * np.abs(expected).max()
    blocks = [by_differences(name).ravel() for name in start if name.startswith("readout.")]
    of_blocks = np.concatenate(blocks)
    assert np.abs(of_readout - of_blocks).max() < 1e-6 * np.abs(of_blocks).max()


def outcomes(learner: OnlineLearner, state: State, steps: range) -> bytes:
    """Return what the steps give, and the state after them, as bytes."""
    found = []
    for at in steps:
        rng = np.random.default_rng(at)
        outcome = learner.step(
            state, rng.normal(size=(2, 2)), rng.random((2, 2)), rng.random(2) < 0.7, rng.random(2) < 0.05
        )
        found.append(outcome.prediction.tobytes() + outcome.loss.tobytes())
    return b"".join(found) + b"".join(state[name].tobytes() for name in sorted(state))


COMBINATIONS = [
    *[pytest.param(cell, rule, "adam", id=f"{cell}-{rule}") for cell, rule in PAIRS],
    *[pytest.param("rtu", "rtrl_trace", name, id=name) for name in (*OPTIMIZERS, *JACOBIAN_OPTIMIZERS)],
]


@pytest.mark.parametrize(("cell_name", "rule_name", "optimizer_name"), COMBINATIONS)
def test_a_snapshot_between_two_steps_changes_no_bit(
    cell_name: str, rule_name: str, optimizer_name: str
) -> None:
    update: Update = (
        descent(optimizer_name)
        if optimizer_name in OPTIMIZERS
        else Filter(JACOBIAN_OPTIMIZERS[optimizer_name]())
    )
    learner = make(cell_name, update, rule=rule_name)
    whole, cut = learner.init_state([0, 1]), learner.init_state([0, 1])
    outcomes(learner, whole, range(12))
    outcomes(learner, cut, range(12))
    rows = [
        snapshot.load(snapshot.dump({n: v[row] for n, v in cut.items()}, version="v"), version="v")
        for row in range(2)
    ]
    restored = {name: np.stack([np.asarray(row[name]) for row in rows]) for name in rows[0]}
    assert outcomes(learner, restored, range(12, 20)) == outcomes(learner, whole, range(12, 20))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_and_changes_nothing(bad: float) -> None:
    learner = make("rtu", descent())
    state = learner.init_state([0, 1])
    outcomes(learner, state, range(5))
    before = {name: value.tobytes() for name, value in state.items()}
    good, wrong = np.ones((2, 2)), np.array([[1.0, 1.0], [1.0, bad]])
    with pytest.raises(NonFiniteError, match="inputs"):
        learner.step(state, wrong, good)
    with pytest.raises(NonFiniteError, match="target"):
        learner.step(state, good, wrong)
    assert {name: value.tobytes() for name, value in state.items()} == before
    learner.step(state, good, wrong, np.array([True, False]))


def test_a_step_that_is_not_scored_moves_no_parameter() -> None:
    learner = make("vanilla", descent())
    state = learner.init_state([0])
    outcomes_before = {n: v.tobytes() for n, v in state.items() if n == "params" or n.startswith("readout")}
    outcome = learner.step(state, np.ones((1, 2)), np.full((1, 2), np.nan), np.array([False]))
    assert outcome.loss.tolist() == [0.0]
    assert not outcome.moved.any()
    assert {n: state[n].tobytes() for n in outcomes_before} == outcomes_before


@pytest.mark.parametrize("rule_name", ["rtrl_step", "bptt", "uoro", "bptt_sliding"])
def test_a_reset_starts_its_row_anew_and_no_other(rule_name: str) -> None:
    learner = make("vanilla", Descent(Recorder()), rule=rule_name)
    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(size=(8, 1, 2)), rng.random((8, 1, 2))
    both, fresh = learner.init_state([0, 0]), learner.init_state([0])
    drawn_params(both, np.random.default_rng(1))
    drawn_params(fresh, np.random.default_rng(1))
    for name in both:
        if name.startswith("readout."):
            both[name][1] = both[name][0] = fresh[name][0]
    other = {name: value[1:].copy() for name, value in both.items()}
    for at in range(8):
        twice = np.repeat(inputs[at], 2, axis=0), np.repeat(targets[at], 2, axis=0)
        learner.step(both, *twice, reset=np.array([at == 4, False]))
        learner.step(other, inputs[at], targets[at])
        if at >= 4:
            learner.step(fresh, inputs[at], targets[at], reset=np.array([at == 4]))
    assert both["state"][0].tobytes() == fresh["state"][0].tobytes()
    assert both["state"][1].tobytes() == other["state"][0].tobytes()
    assert both["state"][0].tobytes() != both["state"][1].tobytes()


def test_parts_that_do_not_fit_are_refused() -> None:
    cell = CELLS["rtu"](n_inputs=2, n_units=4)
    readout = READOUTS["linear"](n_features=3, n_outputs=1)
    with pytest.raises(ValueError, match="3 features"):
        OnlineLearner(cell, exact_rule_for(cell), readout, LOSSES["squared"](), descent())
    with pytest.raises(ValueError, match="sliding"):
        make("vanilla", Filter(JACOBIAN_OPTIMIZERS["ekf_joint"]()), rule="bptt_disjoint")
