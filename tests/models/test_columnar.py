"""Goal: columns hear what they should and nothing else, and growth keeps the gradient exact across births.

Method: a cell is driven beside a copy in which what must not matter is changed, byte by byte; gradients over
births are compared with central differences of the cell's own steps, and with automatic differentiation of
the equations in which frozen columns are constants. That both are the cells' derivatives while one stage
lives is tested in tests/conformance.
"""

from __future__ import annotations

import numpy as np
import pytest

from models.cells.columnar import MEMORY_STEPS_MAX, Columnar
from models.cells.constructive import Constructive
from models.protocols import Array, Cell
from models.rules.rtrl_trace import RtrlTrace
from tests.conformance.cases import Run, credit_to_state, one_row, online_gradient, relative_error
from tests.oracles.columnar import constructive_step
from tests.oracles.equations import CellOracle
from tests.oracles.gradients import bptt_gradient, central_differences_of_rows

STAGE_STEPS = 7
SIZES = {"n_inputs": 2, "n_units": 5}  # stages of 2, 2 and 1


def growing() -> Constructive:
    return Constructive(**SIZES, columns_per_stage=2, stage_steps=STAGE_STEPS)


def run_of(cell: Cell, *, steps: int, seed: int = 0) -> Run:
    rng = np.random.default_rng(seed)
    return Run(
        cell=cell,
        params=cell.init_params(rng),
        state=cell.init_state(),
        inputs=rng.normal(size=(steps, cell.n_inputs)),
        weights=rng.normal(size=(steps, 1, cell.n_units)),
    )


def states_of(cell: Cell, params: Array, inputs: Array) -> Array:
    """Return the states after every step, (T, k + c, n)."""
    state, states = cell.init_state()[None], []
    for x in inputs:
        state = cell.step(params[None], state, x[None]).state
        states.append(state[0])
    return np.stack(states)


def test_a_column_hears_no_other_column() -> None:
    run = run_of(Columnar(n_inputs=3, n_units=4), steps=20)
    changed = run.params.copy()
    changed[:, 1] += 1.0
    before, after = (states_of(run.cell, params, run.inputs) for params in (run.params, changed))
    assert before[:, :, [0, 2, 3]].tobytes() == after[:, :, [0, 2, 3]].tobytes()
    assert (before[:, :, 1] != after[:, :, 1]).all()


def test_a_column_at_zero_weights_is_the_scalar_lstm_of_its_biases() -> None:
    cell = Columnar(n_inputs=1, n_units=1)
    params = np.zeros((4, 3, 1))
    params[:, 2, 0] = [0.0, np.log(3.0), -np.log(3.0), 1e3]  # I = 1/2, F = 3/4, O = 1/4, G = 1
    states = states_of(cell, params.reshape(12, 1), np.ones((2, 1)))
    expected = [[0.5, 0.25 * np.tanh(0.5)], [0.875, 0.25 * np.tanh(0.875)]]
    np.testing.assert_allclose(states[:, :, 0], expected, rtol=1e-14)


@pytest.mark.parametrize("n_units", [1, 5, 16])
def test_new_columns_remember_from_2_to_100_steps_one_in_each_stretch(n_units: int) -> None:
    for seed in range(5):
        cell = Columnar(n_inputs=1, n_units=n_units)
        biases = cell.init_params(np.random.default_rng(seed)).reshape(4, 3, n_units)[:, 2]
        forget = 1.0 / (1.0 + np.exp(-biases[1]))
        share = np.sort(np.log(0.5 / (1.0 - forget)) / np.log(MEMORY_STEPS_MAX / 2.0)) * n_units
        assert (np.floor(share) == np.arange(n_units)).all()
        np.testing.assert_allclose((1.0 + np.exp(-biases[0])) ** -2.0, 1.0 - forget**2, rtol=1e-12)


@pytest.mark.parametrize(
    ("c", "output", "expected"),
    [
        (0.5, 0.5, False),
        (-0.5, 0.5, False),
        (0.5, 0.999, True),
        (-0.5, 0.001, True),
        (3.0, 0.5, True),
        (-3.0, 0.5, True),
        (0.0, 0.0, False),
    ],
)
def test_a_column_is_saturated_where_the_output_gate_or_the_cell_is(
    c: float, output: float, expected: bool
) -> None:
    state = np.array([[[c], [output * np.tanh(c)]]])
    assert Columnar(n_inputs=1, n_units=1).saturated(state).tolist() == [[expected]]
    assert Constructive(n_inputs=1, n_units=1).saturated(state).tolist() == [[expected]]


def test_a_stage_is_born_at_its_step_and_stays() -> None:
    run = run_of(growing(), steps=20)
    states = states_of(run.cell, run.params, run.inputs)
    for stage, units in enumerate(([0, 1], [2, 3], [4])):
        born = stage * STAGE_STEPS
        assert not states[:born, :2, units].any()
        assert states[born:, :2, units].all()
    # The clock stops at the last birth: nothing is counted without bound.
    assert (states[:, 2].max(axis=1) == np.minimum(np.arange(1, 21), 2 * STAGE_STEPS)).all()


def test_a_stage_hears_earlier_stages_one_step_late_and_none_of_its_own_or_later() -> None:
    run = run_of(growing(), steps=20)
    before = states_of(run.cell, run.params, run.inputs)
    for unit, born in ((0, 0), (2, STAGE_STEPS), (4, 2 * STAGE_STEPS)):
        changed = run.params.copy()
        changed[:, unit] += 0.5
        differs = (states_of(run.cell, changed, run.inputs) != before)[:, :2].any(axis=1)
        later = [other for other in range(5) if other // 2 > unit // 2]
        others = [other for other in range(5) if other != unit and other not in later]
        assert differs[born:, unit].all()
        assert not differs[:, others].any()
        for other in later:
            assert differs[other // 2 * STAGE_STEPS :, other].all()
    # At its birth a column hears h of the step before: a change of the last step alone is not yet heard.
    state = states_of(run.cell, run.params, run.inputs)[STAGE_STEPS][None]
    x = run.inputs[STAGE_STEPS][None]
    moved = run.params.copy()
    moved[:, :2] += 0.5
    same = (run.cell.step(moved[None], state, x).state == run.cell.step(run.params[None], state, x).state)[
        0, :2
    ]
    assert same[:, 2:].all()
    assert not same[:, :2].any()


def test_weights_on_columns_that_are_not_heard_are_ignored() -> None:
    run = run_of(growing(), steps=20)
    stage = np.array([0, 0, 1, 1, 2])
    ignored = (stage[:, None] >= stage) & ~np.eye(5, dtype=np.bool_)
    weights = run.params.reshape(4, 8, 5).copy()
    assert not weights[:, 2:7][:, ignored].any()
    weights[:, 2:7][:, ignored] = 1.0
    before, after = (
        states_of(run.cell, params, run.inputs) for params in (run.params, weights.reshape(run.params.shape))
    )
    assert before.tobytes() == after.tobytes()


@pytest.mark.parametrize("steps", [5, STAGE_STEPS, STAGE_STEPS + 1, 13, 2 * STAGE_STEPS + 1, 40])
def test_the_gradient_across_births_is_that_with_frozen_columns_as_constants(steps: int) -> None:
    run = run_of(growing(), steps=steps)
    oracle = CellOracle(step=constructive_step(2, STAGE_STEPS), read_out=lambda state: state[1:2])
    expected = bptt_gradient(oracle, run.params, run.state, run.inputs, run.weights)
    assert relative_error(online_gradient(run, RtrlTrace(run.cell)), expected) < 1e-10


@pytest.mark.parametrize(("stage", "steps"), [(1, 2 * STAGE_STEPS), (2, 35)])
def test_the_newest_stage_has_the_true_gradient_and_a_frozen_one_has_none(stage: int, steps: int) -> None:
    """Goal: frozen columns are constants for the stage that learns. Method: differences of the cell's own steps.

    Differences know nothing of freezing: by the newest stage's parameters they are the true gradient, by a
    frozen stage's they are not zero, since it is heard and read, and there the rule must say zero.
    """
    run, birth = run_of(growing(), steps=steps), stage * STAGE_STEPS
    rule = RtrlTrace(run.cell)
    memory, state = one_row(rule.init_memory()), run.state[None]
    gradient = np.zeros_like(run.params)
    for at, x in enumerate(run.inputs):
        factors = run.cell.step(run.params[None], state, x[None])
        rule.advance(memory, factors)
        state = factors.state
        if at >= birth:
            credit = credit_to_state(run.cell, state, run.weights[at][None])
            gradient += rule.gradient(memory, credit[:, None])[0, 0]
    at_birth = states_of(run.cell, run.params, run.inputs[:birth])[-1]

    def losses(params: Array) -> Array:
        rows = len(params)
        state, total = at_birth[None].repeat(rows, axis=0), np.zeros(rows)
        for x, weights in zip(run.inputs[birth:], run.weights[birth:], strict=True):
            state = run.cell.step(params, state, x[None].repeat(rows, axis=0)).state
            total += (weights * run.cell.read_out(state)[0]).sum(axis=(1, 2))
        return total

    differences = central_differences_of_rows(losses, run.params)
    newest = np.arange(5) // 2 == stage
    assert relative_error(gradient[:, newest], differences[:, newest]) < 1e-6
    frozen = np.arange(5) // 2 < stage
    assert not gradient[:, frozen].any()
    assert np.abs(differences[:, frozen]).max() > 0.1


def test_the_trace_of_a_frozen_stage_vanishes_and_the_last_stage_goes_on() -> None:
    run = run_of(growing(), steps=60)
    rule = RtrlTrace(run.cell)
    memory, state = one_row(rule.init_memory()), run.state[None]
    for at, x in enumerate(run.inputs):
        factors = run.cell.step(run.params[None], state, x[None])
        rule.advance(memory, factors)
        state = factors.state
        learns = np.arange(5) // 2 == min(at // STAGE_STEPS, 2)
        assert (memory["trace"].any(axis=(0, 1, 2)) == learns).all()
        assert (factors.transition.any(axis=(0, 1, 2)) == learns).all()


@pytest.mark.parametrize(("n_units", "stages"), [(1, 1), (2, 2), (4, 4), (5, 3), (8, 4), (64, 4)])
def test_by_default_there_are_up_to_four_stages(n_units: int, stages: int) -> None:
    assert Constructive(n_inputs=1, n_units=n_units).n_stages == stages


@pytest.mark.parametrize("argument", ["columns_per_stage", "stage_steps"])
def test_a_stage_without_columns_or_steps_is_refused(argument: str) -> None:
    with pytest.raises(ValueError, match="at least one column and one step"):
        Constructive(n_inputs=1, n_units=4, **{argument: 0})
