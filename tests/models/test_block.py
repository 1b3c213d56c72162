"""Goal: the block engine is the step engine, whatever the block's length, and while the parameters move.

Method: both run over the same stream with an update at every step; folds are forced, rows are out of step.
"""

from __future__ import annotations

import numpy as np
import pytest

from models.cells import CELLS
from models.protocols import Array, LearningRule
from models.rules.rtrl_block import RtrlBlock
from models.rules.rtrl_block_smooth import RtrlBlockSmooth
from models.rules.rtrl_step import RtrlStep
from tests.conformance.cases import make_run, one_row

GATED = ("vanilla", "vanilla_leaky", "gru", "lstm")


def trajectory(cell_name: str, rule: LearningRule, steps: int, *, settle_at: int = -1) -> Array:
    """Return the states of an online run in which the parameters move at every step, (T, k, n)."""
    run = make_run(cell_name, n_units=8)
    rng = np.random.default_rng(7)
    memory, state, params = one_row(rule.init_memory()), run.state[None], run.params[None].copy()
    states = []
    for at in range(steps):
        factors = run.cell.step(params, state, rng.normal(size=(1, run.cell.n_inputs)))
        state = factors.state
        rule.advance(memory, factors)
        credit = np.zeros_like(state)
        credit[:, -1] = state[:, -1] - rng.normal(size=run.cell.n_units)
        params = params - 0.01 * rule.gradient(memory, credit[:, None])[:, 0]
        if at == settle_at and isinstance(rule, RtrlBlock | RtrlBlockSmooth):
            rule.settle(memory)
            assert memory["filled"].tolist() == [0]
        states.append(state[0])
    return np.stack(states)


@pytest.mark.parametrize("block", [1, 3, 4, 50])
@pytest.mark.parametrize("cell_name", GATED)
def test_every_block_length_gives_the_step_engines_trajectory(cell_name: str, block: int) -> None:
    cell = make_run(cell_name, n_units=8).cell
    expected = trajectory(cell_name, RtrlStep(cell), 200)
    assert np.abs(expected[-1] - make_run(cell_name, n_units=8).state).max() > 0.01
    for engine in (RtrlBlock, RtrlBlockSmooth):
        found = trajectory(cell_name, engine(cell, block=block), 200)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("units", "steps"), [(4, 24), (48, 24), (64, 32)])
def test_a_block_that_nobody_set_is_half_the_units_but_of_some_tens_of_steps(units: int, steps: int) -> None:
    cell = CELLS["vanilla"](n_inputs=1, n_units=units)
    assert RtrlBlock(cell).block == steps
    assert RtrlBlockSmooth(cell).block == units // 2


def test_a_fold_in_the_middle_of_a_block_changes_nothing_but_rounding() -> None:
    cell = make_run("gru", n_units=8).cell
    expected = trajectory("gru", RtrlBlock(cell), 60)
    for engine in (RtrlBlock, RtrlBlockSmooth):
        for settle_at in (0, 1, 2, 3, 17):
            found = trajectory("gru", engine(cell), 60, settle_at=settle_at)
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


def test_a_smooth_fold_does_its_work_in_even_shares_and_ends_with_the_block() -> None:
    run = make_run("lstm", n_units=8)
    rule = RtrlBlockSmooth(run.cell, block=8)
    memory, state = one_row(rule.init_memory()), run.state[None]
    done = []
    for _ in range(24):
        factors = run.cell.step(run.params[None], state, np.ones((1, run.cell.n_inputs)))
        state = factors.state
        rule.advance(memory, factors)
        done.append((int(memory["products_done"][0]), int(memory["rows_done"][0])))
    q = run.cell.n_params_per_unit
    assert done[7] == (8, q)  # there was no block before the first
    assert done[15] == done[23] == (8, q)
    steps = np.diff([rows for _, rows in done[8:16]])
    assert steps.max() <= -(-2 * q // 8) + 1
    assert done[8][1] < q


def test_a_reply_does_not_wait_for_the_fold() -> None:
    """The step that fills a block leaves the influence as it was; the next one folds."""
    run = make_run("vanilla", n_units=8)
    rule = RtrlBlock(run.cell, block=4)
    memory, state, seen = one_row(rule.init_memory()), run.state[None], []
    for at in range(5):
        factors = run.cell.step(run.params[None], state, run.inputs[at][None])
        state = factors.state
        rule.advance(memory, factors)
        rule.gradient(memory, np.ones((1, 1, 1, 8)))
        seen.append((int(memory["filled"][0]), bool(memory["influence"].any())))
    assert seen == [(1, False), (2, False), (3, False), (4, False), (1, True)]


def test_rows_that_are_out_of_step_do_not_disturb_one_another() -> None:
    run = make_run("lstm", n_units=6)
    rule = RtrlBlock(run.cell, block=3)
    inputs = np.random.default_rng(0).normal(size=(9, 2, run.cell.n_inputs))
    credit = np.random.default_rng(1).normal(size=(2, 2, 2, 6))
    params = np.repeat(run.params[None], 2, axis=0)
    fields = rule.init_memory()
    both = {name: np.stack([row, row]) for name, row in fields.items()}
    alone = [one_row(fields), one_row(fields)]
    state = np.repeat(run.state[None], 2, axis=0)
    states = [run.state[None], run.state[None]]
    for at in range(9):
        if at == 4:  # the second row begins anew
            rule.reset(both, np.array([False, True]))
            rule.reset(alone[1], np.array([True]))
        factors = run.cell.step(params, state, inputs[at])
        state = factors.state
        rule.advance(both, factors)
        together = rule.gradient(both, credit)
        for row in range(2):
            own = run.cell.step(params[:1], states[row], inputs[at, row : row + 1])
            states[row] = own.state
            rule.advance(alone[row], own)
            assert rule.gradient(alone[row], credit[row : row + 1])[0].tobytes() == together[row].tobytes()


@pytest.mark.parametrize("engine", [RtrlBlock, RtrlBlockSmooth])
def test_no_number_that_is_left_of_a_block_before_reaches_a_gradient(
    engine: type[RtrlBlock | RtrlBlockSmooth],
) -> None:
    """A row that began anew beside one whose block is fuller."""
    cell = make_run("vanilla", n_units=4).cell
    rng = np.random.default_rng(3)
    rule = engine(cell, block=4)
    memory = {name: np.stack([value, value]) for name, value in rule.init_memory().items()}
    params = np.stack([cell.init_params(rng), cell.init_params(rng)])
    state = np.zeros((2, 1, 4))
    for at in range(3):
        if at == 2:
            for name in ("transition", "sensitivity", "presynaptic"):
                memory[name][1] = np.nan
            rule.reset(memory, np.array([False, True]))
        factors = cell.step(params, state, rng.normal(size=(2, cell.n_inputs)))
        state = factors.state
        rule.advance(memory, factors)
    credit = rng.normal(size=(2, 1, 1, 4))
    together = rule.gradient(memory, credit)
    for row in (slice(0, 1), slice(1, 2)):
        alone = rule.gradient({name: value[row] for name, value in memory.items()}, credit[row])
        assert np.isfinite(alone).all()
        assert together[row].tobytes() == alone.tobytes()


@pytest.mark.parametrize("cell_name", ["rtu", "vanilla_sparse", "narx_free_running", "rtu_stack"])
def test_a_cell_that_tells_no_gates_is_refused_with_advice(cell_name: str) -> None:
    with pytest.raises(ValueError, match="use rtrl_step"):
        RtrlBlock(CELLS[cell_name](n_inputs=1, n_units=4))
    with pytest.raises(ValueError, match="at least one step"):
        RtrlBlock(CELLS["vanilla"](n_inputs=1, n_units=4), block=0)
