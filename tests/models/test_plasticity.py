"""Goal: units that are hardly heard are made anew by the source's schedule, and nothing else is touched by it.

Method: a scalar form of utility and schedule; the gradient after a replacement against central differences of what
follows; ReLU units that were shut for good, which come back with it and stay dead without; snapshots and rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from models import snapshot
from models.cells import CELLS
from models.learner import OnlineLearner, features_of
from models.losses import LOSSES
from models.optimizers import JACOBIAN_OPTIMIZERS, OPTIMIZERS
from models.plasticity import ContinualBackprop, heard_units, widths_of
from models.precision import Precision
from models.protocols import Array, BoolArray, Fields, State
from models.readouts import READOUTS
from models.rules import exact_rule_for
from models.updates import Descent, Filter, Update
from tests.oracles.gradients import central_differences

OFTEN: dict[str, Any] = {"rate": 0.05, "maturity": 3}


def make(
    cell_name: str,
    readout_name: str = "linear",
    update: Update | None = None,
    n_units: int = 5,
    precision: Precision = "float64",
    **options: Any,
) -> OnlineLearner:
    cell = CELLS[cell_name](n_inputs=2, n_units=n_units)
    readout = READOUTS[readout_name](n_features=features_of(cell), n_outputs=1)
    plasticity = (
        ContinualBackprop(widths_of(cell, readout), **(OFTEN | options)) if options.get("rate", 1) else None
    )
    return OnlineLearner(
        cell,
        exact_rule_for(cell),
        readout,
        LOSSES["squared"](),
        update or Descent(OPTIMIZERS["adam"](learning_rate=0.01)),
        plasticity=plasticity,
        precision=precision,
    )


def run(learner: OnlineLearner, state: State, steps: range, rows: int = 2) -> tuple[bytes, int]:
    """Return all predictions and the state after the steps, as bytes, and how many units were made anew."""
    found, replaced = [], 0
    for at in steps:
        rng = np.random.default_rng(at)
        inputs, target = rng.normal(size=(2, 2))[:rows], rng.normal(size=(2, 1))[:rows]
        outcome = learner.step(state, inputs, target, (rng.random(2) < 0.8)[:rows])
        found.append(outcome.prediction.tobytes())
        replaced += int(outcome.replaced.sum())
    return b"".join(found) + b"".join(state[name].tobytes() for name in sorted(state)), replaced


def test_utility_age_and_schedule_are_the_sources() -> None:
    rng, width = np.random.default_rng(0), 4
    renewal = ContinualBackprop((width,), rate=0.03, maturity=5, decay=0.9)
    state: State = {name: np.asarray(row)[None] for name, row in renewal.init_state().items()}
    utility, age, due, replaced = [0.0] * width, [0] * width, 0.0, []
    for _ in range(200):
        heard, active = rng.random(width), bool(rng.random() < 0.8)
        chosen = renewal.choose(state, (heard[None],), np.array([active]))[0][0]
        expected = [False] * width
        if active:
            utility = [0.9 * u + 0.1 * float(h) for u, h in zip(utility, heard, strict=True)]
            age = [a + 1 for a in age]
            mature = [i for i in range(width) if age[i] > 5]
            due += 0.03 * len(mature)
            if due >= 1.0 and mature:
                least = min(mature, key=lambda i: utility[i] / (1.0 - 0.9 ** age[i]))
                expected[least], utility[least], age[least], due = True, 0.0, 0, due - 1.0
                replaced.append(least)
        assert chosen.tolist() == expected
        np.testing.assert_allclose(state["utility.0"][0], utility, rtol=1e-12)
        assert state["age.0"][0].tolist() == age
    assert len(replaced) > 10
    assert state["replaced"].tolist() == [len(replaced)]


@pytest.mark.parametrize("cell_name", ["vanilla", "gru", "lstm"])
def test_the_parameters_that_hear_a_unit_are_told_by_the_jacobian(cell_name: str) -> None:
    """A recurrent weight on unit u changes what is read out only through u's output a step before."""
    cell = CELLS[cell_name](n_inputs=2, n_units=4)
    heard = heard_units(cell)
    assert heard is not None
    rng = np.random.default_rng(0)
    params, state, x = (
        cell.init_params(rng)[None],
        rng.normal(size=(1, *cell.init_state().shape)),
        np.ones((1, 2)),
    )
    for unit in range(4):
        silent = state.copy()
        silent[:, -1, unit] = 0.0  # the part that is read out is the last one
        for j in range(cell.n_params_per_unit):
            slope = np.abs(cell.step(params, silent, x).immediate[0, :, j]).max()
            loud = np.abs(cell.step(params, state, x).immediate[0, :, j]).max()
            assert (slope == 0.0 and loud > 0.0) == (heard[j] == unit)


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("readout_name", READOUTS)
@pytest.mark.parametrize("cell_name", ["vanilla", "gru", "lstm", "rtu", "vanilla_sparse", "elstm"])
def test_a_new_unit_is_not_heard_and_the_rest_is_as_it_was(
    cell_name: str, readout_name: str, precision: Precision
) -> None:
    learner = make(cell_name, readout_name, precision=precision)
    state = learner.init_state([0, 1])
    fresh, outcome = np.zeros((2, 5), dtype=np.bool_), None
    for at in range(200):
        before = {name: value.copy() for name, value in state.items()}
        rng = np.random.default_rng(at)
        outcome = learner.step(state, rng.normal(size=(2, 2)), rng.normal(size=(2, 1)))
        fresh = (before["plasticity.age.0"] > 0) & (state["plasticity.age.0"] == 0)
        if fresh.any():
            break
    assert outcome is not None
    assert outcome.replaced.sum() >= fresh.sum()
    row, unit = np.argwhere(fresh)[0]
    weights = state["readout.0"][row][:, :-1].reshape(len(state["readout.0"][row]), -1, 5)
    if readout_name == "linear":
        assert not weights[..., unit].any()
        assert weights[..., [i for i in range(5) if i != unit]].any()
    np.testing.assert_array_equal(
        state["state"][row][: learner.cell.n_parts, unit],
        learner.cell.init_state()[: learner.cell.n_parts, unit],
    )
    heard = heard_units(learner.cell)
    if heard is not None:
        on_it = state["params"][row][heard == unit]
        assert not on_it[:, [i for i in range(5) if i != unit]].any()
    kept = {
        n: v
        for n, v in state.items()
        if n.startswith("update.cell") and v[row].shape == state["params"][row].shape
    }
    assert kept
    assert not any(value[row][:, unit].any() for value in kept.values())


@pytest.mark.parametrize("cell_name", ["vanilla", "lstm", "rtu"])
def test_after_a_replacement_the_gradient_is_that_of_the_new_model(cell_name: str) -> None:
    """From the replacement on, the loss as a function of the new unit's parameters has the gradient that is carried."""

    class Recorder:
        """Moves nothing and adds up the gradients to the cell's parameters, from a step on."""

        def __init__(self) -> None:
            self.total: Array = np.zeros(())

        def init_state(self, shape: tuple[int, ...]) -> Fields:
            return {}

        def update(
            self, state: State, gradient: Array, active: BoolArray, params: Array
        ) -> tuple[Array, BoolArray]:
            if gradient.ndim == 3:
                self.total = self.total + gradient
            return np.zeros_like(gradient), active

    recorder = Recorder()
    learner = make(cell_name, "linear", Descent(recorder))
    rng = np.random.default_rng(2)
    inputs, targets = rng.normal(size=(60, 1, 2)), rng.normal(size=(60, 1, 1))
    state = learner.init_state([0])
    state["readout.0"] += rng.normal(size=state["readout.0"].shape)
    start = next(at for at in range(50) if learner.step(state, inputs[at], targets[at]).replaced[0]) + 1
    assert (state["plasticity.age.0"][0] == 0).any()
    kept = {name: value.copy() for name, value in state.items()}
    unit = int(np.argmin(state["plasticity.age.0"][0]))
    state["readout.0"][0][:, unit] = 1.0  # else nothing would be owed to it yet
    kept["readout.0"] = state["readout.0"].copy()
    recorder.total = np.zeros(())
    steps = range(
        start, start + 4
    )  # no further replacement: all others are mature, but the schedule is not due
    assert not any(learner.step(state, inputs[at], targets[at]).replaced[0] for at in steps)
    found = recorder.total[0][:, unit]

    def loss(own: Array) -> Any:
        again = {name: value.copy() for name, value in kept.items()}
        again["params"][0][:, unit] = own
        return sum(learner.step(again, inputs[at], targets[at]).loss[0] for at in steps)

    expected = central_differences(loss, kept["params"][0][:, unit])
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("update", [None, *JACOBIAN_OPTIMIZERS])
@pytest.mark.parametrize("readout_name", READOUTS)
def test_a_snapshot_between_replacements_changes_no_bit(readout_name: str, update: str | None) -> None:
    learner = make("gru", readout_name, None if update is None else Filter(JACOBIAN_OPTIMIZERS[update]()))
    whole, cut = learner.init_state([0, 1]), learner.init_state([0, 1])
    run(learner, whole, range(30))
    _, replaced = run(learner, cut, range(30))
    assert replaced > 0
    rows = [
        snapshot.load(snapshot.dump({n: v[row] for n, v in cut.items()}, version="v"), version="v")
        for row in range(2)
    ]
    restored = {name: np.stack([np.asarray(row[name]) for row in rows]) for name in rows[0]}
    assert run(learner, restored, range(30, 60)) == run(learner, whole, range(30, 60))


def test_a_rows_replacements_depend_on_that_row_alone() -> None:
    learner = make("vanilla", "feed_forward")
    both, alone = learner.init_state([0, 1]), learner.init_state([0])
    run(learner, both, range(60))
    run(learner, alone, range(60), rows=1)
    assert both["plasticity.replaced"][0] > 0
    for name, value in alone.items():
        assert value[0].tobytes() == both[name][0].tobytes(), name


def last_error(learner: OnlineLearner, shut: bool) -> float:
    """Return the squared error at the end of recalling the last input, after all ReLU units were shut."""
    state, rng, errors = learner.init_state([3]), np.random.default_rng(0), []
    if shut:
        state["params"][:, -1] = -100.0
    before = np.zeros((1, 1))
    for _ in range(4000):
        x = rng.normal(size=(1, 2))
        errors.append(learner.step(state, x, before).loss[0])
        before = x[:, :1]
    return float(np.mean(errors[-500:]))


def test_dead_units_come_back_with_it_and_stay_dead_without() -> None:
    dead = last_error(make("vanilla_relu", n_units=8, rate=0), shut=True)
    revived = last_error(make("vanilla_relu", n_units=8, rate=1e-3, maturity=100), shut=True)
    assert dead > 0.45  # half the variance of what is to be told: nothing is known
    assert revived < 0.1


def test_a_learner_that_is_well_is_hardly_disturbed() -> None:
    well = last_error(make("vanilla", n_units=8, rate=0), shut=False)
    with_it = last_error(make("vanilla", n_units=8, rate=1e-4, maturity=100), shut=False)
    assert with_it < well + 0.02  # of the variance, which is 1: a new unit has to learn what it replaced


def test_what_cannot_be_is_refused() -> None:
    cell = CELLS["rtu_stack"](n_inputs=2, n_units=4)
    readout = READOUTS["linear"](n_features=features_of(cell), n_outputs=1)
    update = Descent(OPTIMIZERS["sgd"](learning_rate=0.1))
    with pytest.raises(ValueError, match="layered"):
        OnlineLearner(
            cell,
            exact_rule_for(cell),
            readout,
            LOSSES["squared"](),
            update,
            plasticity=ContinualBackprop((4,)),
        )
    cell = CELLS["rtu"](n_inputs=2, n_units=4)
    readout = READOUTS["linear"](n_features=features_of(cell), n_outputs=1)
    with pytest.raises(ValueError, match="widths"):
        OnlineLearner(
            cell,
            exact_rule_for(cell),
            readout,
            LOSSES["squared"](),
            update,
            plasticity=ContinualBackprop((3,)),
        )
    with pytest.raises(ValueError, match="maturity"):
        ContinualBackprop((3,), maturity=0)
