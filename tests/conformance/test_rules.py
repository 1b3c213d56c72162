"""Goal: a rule that calls itself exact carries the true gradient, and one that does not says so rightly.

Method: parameters are frozen, and over 32 steps with inputs and a first state that is not zero each
pair of CELLS x RULES is compared with central differences, with backpropagation through time by an
independent automatic differentiation, and with naive RTRL. One test lets the parameters move.
"""

from __future__ import annotations

import numpy as np
import pytest

from models.cells import CELLS
from models.protocols import Array, Cell, LearningRule, State
from models.rules import RULES, exact_rule_for
from models.rules.rtrl_block import RtrlBlock
from models.rules.rtrl_block_smooth import RtrlBlockSmooth
from tests.conformance.cases import (
    APPROXIMATE_PAIRS,
    CELL_NAMES,
    EXACT_PAIRS,
    PAIRS,
    SIZES,
    UNBIASED_PAIRS,
    advance,
    credit_to_state,
    dynamic,
    follows,
    make_run,
    of_parts,
    one_row,
    online_gradient,
    relative_error,
)
from tests.conformance.references import (
    LEARNING_RATE,
    gradient_by_bptt,
    gradient_by_differences,
    naive_states_and_influences,
    params_learned_naively,
)

for_every_pair = pytest.mark.parametrize(("cell_name", "rule_name"), PAIRS)
# What an unbiased rule gives after one step is right in the mean only: tests/conformance/test_unbiased.py.
SETTLED_PAIRS = [pair for pair in PAIRS if pair in EXACT_PAIRS or pair not in UNBIASED_PAIRS]
for_every_exact_pair = pytest.mark.parametrize(("cell_name", "rule_name"), EXACT_PAIRS)
# A delay line forgets all after fewer steps than a window holds, so there the two agree.
COVERED_PAIRS = [("delay_line", "bptt_sliding"), ("delay_line", "bptt_disjoint")]
for_every_approximate_pair = pytest.mark.parametrize(
    ("cell_name", "rule_name"), [pair for pair in APPROXIMATE_PAIRS if pair not in COVERED_PAIRS]
)


def influence_of(cell: Cell, rule: LearningRule, memory: State) -> Array:
    """Return the influence matrix of one row, (S, q n): the gradients for a credit of one at each state."""
    size = cell.n_parts * cell.n_units
    unit_credits = np.eye(size).reshape(1, size, cell.n_parts, cell.n_units)
    influence: Array = rule.gradient(memory, unit_credits)[0].reshape(size, -1)
    return influence


@pytest.mark.parametrize("rule_name", RULES)
def test_every_rule_follows_some_cell(rule_name: str) -> None:
    assert any(follows(rule_name, cell_name) for cell_name in CELLS)


@pytest.mark.parametrize("cell_name", CELL_NAMES)
def test_every_cell_has_an_exact_rule(cell_name: str) -> None:
    rule = exact_rule_for(CELLS[cell_name](**SIZES))
    assert rule.exact
    assert cell_name in [cell for cell, _ in EXACT_PAIRS]


@pytest.mark.parametrize(
    ("rule_name", "cell_name", "advice"),
    [("rtrl_trace", "vanilla", "use rtrl_step"), ("rtrl_step", "rtu", "use rtrl_trace")],
)
def test_an_engine_refuses_a_cell_that_it_cannot_follow(rule_name: str, cell_name: str, advice: str) -> None:
    with pytest.raises(ValueError, match=advice):
        RULES[rule_name](CELLS[cell_name](**SIZES))


@for_every_exact_pair
def test_rtrl_gradient_equals_central_differences_for_fixed_parameters(
    cell_name: str, rule_name: str
) -> None:
    run = make_run(cell_name)
    gradient = online_gradient(run, RULES[rule_name](run.cell))
    expected = gradient_by_differences(cell_name)
    assert relative_error(gradient, expected) < 1e-6
    for of_gradient, of_expected in zip(gradient, expected, strict=True):
        # Group by group as well, so that a small one cannot hide behind a large one.
        assert relative_error(of_gradient, of_expected) < 1e-6


@for_every_exact_pair
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_rtrl_gradient_equals_bptt_for_fixed_parameters(cell_name: str, rule_name: str, seed: int) -> None:
    run = make_run(cell_name, seed=seed, steps=40)
    gradient = online_gradient(run, RULES[rule_name](run.cell))
    expected = gradient_by_bptt(cell_name, seed=seed, steps=40)
    assert relative_error(gradient, expected) < 1e-10


@for_every_exact_pair
def test_the_influence_equals_naive_rtrl_at_every_step(cell_name: str, rule_name: str) -> None:
    run = make_run(cell_name)
    rule = RULES[rule_name](run.cell)
    memory, state = one_row(rule.init_memory()), run.state[None]
    for at, (expected_state, expected) in enumerate(naive_states_and_influences(cell_name)):
        state = advance(run, rule, memory, state, at).state
        influence = influence_of(run.cell, rule, memory)
        np.testing.assert_allclose(state[0], expected_state, rtol=0, atol=1e-12)
        assert relative_error(influence, of_parts(run.cell, expected, columns=False)) < 1e-12
        whole = {name: value.copy() for name, value in memory.items()}
        if isinstance(rule, RtrlBlock | RtrlBlockSmooth):  # they tell the norm at the block's start
            rule.settle(whole)
        np.testing.assert_allclose(rule.memory_norm(whole), [np.linalg.norm(expected)], rtol=1e-12)


@for_every_exact_pair
def test_an_online_trajectory_equals_the_naive_one_while_the_parameters_move(
    cell_name: str, rule_name: str
) -> None:
    run = make_run(cell_name)
    rule = RULES[rule_name](run.cell)
    memory, state, params = one_row(rule.init_memory()), run.state[None], run.params[None].copy()
    for x, weights in zip(run.inputs, run.weights, strict=True):
        factors = run.cell.step(params, state, x[None])
        state = factors.state
        rule.advance(memory, factors)
        read, _ = run.cell.read_out(state)
        credit = credit_to_state(run.cell, state, weights[None] + read)
        params = params - LEARNING_RATE * rule.gradient(memory, credit[:, None])[:, 0]
    expected = params_learned_naively(cell_name)
    assert np.abs(expected - run.params).max() > 0.005
    np.testing.assert_allclose(params[0], expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("cell_name", "rule_name"), SETTLED_PAIRS)
def test_after_one_step_every_rule_without_chance_gives_the_immediate_gradient(
    cell_name: str, rule_name: str
) -> None:
    run = make_run(cell_name, steps=1)
    gradient = online_gradient(run, RULES[rule_name](run.cell))
    expected = gradient_by_bptt(cell_name, steps=1)
    assert relative_error(gradient, expected) < 1e-12


@for_every_approximate_pair
def test_a_rule_called_approximate_is_not_exact(cell_name: str, rule_name: str) -> None:
    run = make_run(cell_name)
    gradient = online_gradient(run, RULES[rule_name](run.cell))
    assert relative_error(gradient, gradient_by_bptt(cell_name)) > 1e-6


@pytest.mark.parametrize("cell_name", [cell for cell in CELL_NAMES if follows("immediate", cell)])
def test_the_immediate_derivative_knows_the_last_step_alone(cell_name: str) -> None:
    run = make_run(cell_name)
    rule = RULES["immediate"](run.cell)
    memory, state = one_row(rule.init_memory()), run.state[None]
    for at in range(3):
        state = advance(run, rule, memory, state, at).state
    factors = advance(run, rule, memory, state, 3)
    last_alone = one_row(rule.init_memory())
    rule.advance(last_alone, factors)
    credit = np.ones_like(dynamic(run.cell, state))[:, None]
    assert rule.gradient(memory, credit).tobytes() == rule.gradient(last_alone, credit).tobytes()


@for_every_pair
def test_a_rule_does_not_change_or_keep_the_factors(cell_name: str, rule_name: str) -> None:
    run = make_run(cell_name)
    rule = RULES[rule_name](run.cell)
    memory = one_row(rule.init_memory())
    advance(run, rule, memory, run.state[None], 0)
    factors = run.cell.step(run.params[None], run.state[None], run.inputs[1][None])
    arrays = (factors.state, factors.transition, factors.immediate)
    for array in arrays:
        array.flags.writeable = False
    rule.advance(memory, factors)
    assert not any(np.shares_memory(rows, array) for rows in memory.values() for array in arrays)


@for_every_pair
def test_several_credits_at_once_are_as_one_after_the_other(cell_name: str, rule_name: str) -> None:
    run = make_run(cell_name)
    rule = RULES[rule_name](run.cell)
    memory, state = one_row(rule.init_memory()), run.state[None]
    for at in range(5):
        state = advance(run, rule, memory, state, at).state
    credits_ = np.random.default_rng(1).normal(size=(1, 3, run.cell.n_parts, run.cell.n_units))
    together = rule.gradient(memory, credits_)
    alone = np.stack([rule.gradient(memory, credits_[:, c : c + 1])[0, 0] for c in range(3)])
    np.testing.assert_allclose(together[0], alone, rtol=0, atol=1e-13)


@for_every_pair
def test_taking_a_gradient_changes_nothing(cell_name: str, rule_name: str) -> None:
    run = make_run(cell_name)
    rule = RULES[rule_name](run.cell)
    memory = one_row(rule.init_memory())
    factors = advance(run, rule, memory, run.state[None], 0)
    before = {name: rows.tobytes() for name, rows in memory.items()}
    rule.gradient(memory, np.ones_like(dynamic(run.cell, factors.state))[:, None])
    rule.memory_norm(memory)
    assert {name: rows.tobytes() for name, rows in memory.items()} == before


@for_every_pair
def test_a_rule_declares_what_it_costs(cell_name: str, rule_name: str) -> None:
    rule = RULES[rule_name](CELLS[cell_name](**SIZES))
    assert rule.cost.memory == sum(np.asarray(row).size for row in rule.init_memory().values())
    assert rule.cost.time > 0.0
    assert rule.unbiased or not rule.exact
