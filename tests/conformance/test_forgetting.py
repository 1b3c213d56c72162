"""Goal: a rule begins a sequence anew, and takes units that were made anew out of what it carries, and no more.

Method: over the table of pairs. An exact rule's influence after units were forgotten is naive RTRL's with these units'
rows and columns set to zero, and stays so; a rule that was reset goes on as a new one; other rows keep their bits.
"""

from __future__ import annotations

import numpy as np
import pytest

from models.protocols import Array, LearningRule, State
from models.rules import RULES
from tests.conformance.cases import (
    EXACT_PAIRS,
    PAIRS,
    UNBIASED_PAIRS,
    Run,
    advance,
    make_run,
    of_parts,
    one_row,
    relative_error,
)
from tests.conformance.references import jacobians_of_steps
from tests.oracles.gradients import naive_advance

STEPS = 7
FORGOTTEN = [1, 4]
LEARNING_RULES = ("dni", "kernl")
"""What these carry is partly learned, so that it stays over a reset."""
for_every_pair = pytest.mark.parametrize(("cell_name", "rule_name"), PAIRS)


def every_credit(run: Run, batch: int = 1) -> Array:
    """Return a credit of one at each state, (batch, S, k, n)."""
    size = run.cell.n_parts * run.cell.n_units
    return np.repeat(np.eye(size).reshape(1, size, run.cell.n_parts, -1), batch, axis=0)


def two_rows(run: Run, rule: LearningRule, steps: int) -> tuple[State, Array, Array]:
    """Return memory, parameters and state of two models that have taken some steps, each with inputs of its own."""
    memory = {name: np.stack([np.asarray(row)] * 2) for name, row in rule.init_memory().items()}
    params, state = np.stack([run.params, 0.9 * run.params]), np.stack([run.state, 0.5 * run.state])
    for at in range(steps):
        factors = run.cell.step(params, state, np.stack([run.inputs[at], -run.inputs[at]]))
        state = factors.state
        rule.advance(memory, factors)
        take = getattr(rule, "take_credit", None)
        if take is not None:
            take(memory, np.ones((2, run.cell.n_parts, run.cell.n_units)))
    return memory, params, state


@pytest.mark.parametrize(("cell_name", "rule_name"), EXACT_PAIRS)
def test_forgetting_units_takes_their_states_and_parameters_out_of_the_influence(
    cell_name: str, rule_name: str
) -> None:
    run = make_run(cell_name)
    rule = RULES[rule_name](run.cell)
    units = np.zeros((1, run.cell.n_units), dtype=np.bool_)
    units[0, FORGOTTEN] = True
    memory, state = one_row(rule.init_memory()), run.state[None]
    expected = np.zeros((run.state.size, run.params.size))
    size = run.cell.n_parts * run.cell.n_units
    for at, (jacobian, immediate) in enumerate(jacobians_of_steps(cell_name)[: 2 * STEPS]):
        state = advance(run, rule, memory, state, at).state
        expected = naive_advance(expected, jacobian, immediate)
        if at == STEPS - 1:
            rule.forget_units(memory, units)
            by_unit = expected[:size].reshape(run.cell.n_parts, run.cell.n_units, -1, run.cell.n_units)
            by_unit[:, FORGOTTEN] = 0.0
            by_unit[..., FORGOTTEN] = 0.0
            expected[:size] = by_unit.reshape(size, -1)
        influence = rule.gradient(memory, every_credit(run))[0].reshape(size, -1)
        assert relative_error(influence, of_parts(run.cell, expected, columns=False)) < 1e-12


@for_every_pair
def test_forgotten_units_owe_nothing_and_are_owed_nothing(cell_name: str, rule_name: str) -> None:
    run = make_run(cell_name)
    rule = RULES[rule_name](run.cell)
    memory, _, _ = two_rows(run, rule, STEPS)
    before = {name: value.copy() for name, value in memory.items()}
    units = np.zeros((2, run.cell.n_units), dtype=np.bool_)
    units[0, FORGOTTEN] = True
    rule.forget_units(memory, units)
    for name, value in memory.items():
        assert value[1].tobytes() == before[name][1].tobytes(), name
    gradient = rule.gradient(memory, every_credit(run, 2))
    assert gradient[1].any()
    assert not gradient[0][..., FORGOTTEN].any()
    if rule_name != "dni":  # its prediction of the future is there without any credit
        by_state = gradient[0].reshape(run.cell.n_parts, run.cell.n_units, -1)
        assert not by_state[:, FORGOTTEN].any()
    others = [unit for unit in range(run.cell.n_units) if unit not in FORGOTTEN]
    assert gradient[0][..., others].any()


@for_every_pair
def test_forgetting_no_unit_changes_no_gradient(cell_name: str, rule_name: str) -> None:
    run = make_run(cell_name)
    rule = RULES[rule_name](run.cell)
    memory, _, _ = two_rows(run, rule, STEPS)
    before = rule.gradient(memory, every_credit(run, 2))
    rule.forget_units(memory, np.zeros((2, run.cell.n_units), dtype=np.bool_))
    assert rule.gradient(memory, every_credit(run, 2)).tobytes() == before.tobytes()


@for_every_pair
def test_a_reset_begins_anew_in_its_row_and_leaves_the_other(cell_name: str, rule_name: str) -> None:
    run = make_run(cell_name)
    rule = RULES[rule_name](run.cell)
    memory, params, _ = two_rows(run, rule, STEPS)
    before = {name: value.copy() for name, value in memory.items()}
    counter = memory["counter"].copy() if "counter" in memory else None
    rule.reset(memory, np.array([True, False]))
    for name, value in memory.items():
        assert value[1].tobytes() == before[name][1].tobytes(), name
    if counter is not None:  # else the noise would be the same in every sequence
        assert memory["counter"].tolist() == counter.tolist()
    # From here the row goes on as a new one, and without the past: what it owes is of the new steps alone.
    fresh = one_row(rule.init_memory())
    if counter is not None:
        fresh["counter"][...] = counter[0]
    if rule_name in LEARNING_RULES:
        for name in ("predictor", "kernel", "rate"):
            if name in fresh:
                fresh[name][...] = before[name][:1]
                assert memory[name][0].tobytes() == before[name][0].tobytes()
    own = {name: value[:1].copy() for name, value in memory.items()}
    state, other = run.state[None], run.state[None]
    for at in range(3):
        factors = run.cell.step(params[:1], state, run.inputs[at][None])
        state = factors.state
        rule.advance(own, factors)
        factors = run.cell.step(params[:1], other, run.inputs[at][None])
        other = factors.state
        rule.advance(fresh, factors)
        found, expected = rule.gradient(own, every_credit(run)), rule.gradient(fresh, every_credit(run))
        assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize(("cell_name", "rule_name"), UNBIASED_PAIRS)
def test_a_rule_of_chance_draws_other_noise_in_its_next_sequence(cell_name: str, rule_name: str) -> None:
    run = make_run(cell_name)
    rule = RULES[rule_name](run.cell)
    found = []
    memory = one_row(rule.init_memory())
    for _ in range(2):
        rule.reset(memory, np.array([True]))
        state = run.state[None]
        for at in range(12):  # more steps than an optimal Kronecker sum has terms
            state = advance(run, rule, memory, state, at).state
        found.append(rule.gradient(memory, every_credit(run)))
    assert (found[0] != found[1]).any()
