"""Goal: approximate rules are what they are approximations of, at the ends where that is known.

Method: a window over the whole past, a sketch of full rank and a mask that is full give the exact gradient;
no internal path, and no prediction yet, give the immediate derivative.
"""

from __future__ import annotations

import numpy as np
import pytest

from models.cells import CELLS
from models.cells.vanilla import Vanilla
from models.protocols import Array, LearningRule
from models.rules import RULES, exact_rule_for
from models.rules.bptt import Bptt
from models.rules.bptt_disjoint import BpttDisjoint
from models.rules.bptt_sliding import BpttSliding
from models.rules.eprop import Eprop
from models.rules.rflo import Rflo
from models.rules.sketched_rtrl import SketchedRtrl
from models.rules.snap_k import Snap
from tests.conformance.cases import (
    Run,
    advance,
    credit_to_state,
    follows,
    make_run,
    one_row,
    online_gradient,
    relative_error,
)

STEPS = 20
for_every_cell = pytest.mark.parametrize("cell_name", CELLS)
for_every_dense_cell = pytest.mark.parametrize(
    "cell_name", [name for name in CELLS if follows("rtrl_step", name)]
)


def exact_gradient(run: Run) -> Array:
    return online_gradient(run, exact_rule_for(run.cell))


def credits_of(run: Run, rule: LearningRule) -> tuple[dict[str, Array], list[Array]]:
    """Run a rule through all steps; return its memory and the credit of each step, (1, k, n)."""
    memory, state, credits_ = one_row(rule.init_memory()), run.state[None], []
    for at, weights in enumerate(run.weights):
        state = advance(run, rule, memory, state, at).state
        credits_.append(credit_to_state(run.cell, state, weights[None] + run.cell.read_out(state)[0]))
        if isinstance(rule, BpttDisjoint):
            rule.take_credit(memory, credits_[-1])
    return memory, credits_


@for_every_cell
@pytest.mark.parametrize("rule_name", ["bptt_sliding", "bptt_disjoint"])
def test_a_window_over_all_steps_is_exact(cell_name: str, rule_name: str) -> None:
    run = make_run(cell_name, steps=STEPS)
    if not follows(rule_name, cell_name):
        pytest.skip("does not serve this cell")
    rule = RULES[rule_name](run.cell, window=STEPS)
    assert relative_error(online_gradient(run, rule), exact_gradient(run)) < 1e-10


@for_every_cell
def test_the_disjoint_window_collects_the_exact_gradient_and_starts_anew(cell_name: str) -> None:
    if not follows("bptt_disjoint", cell_name):
        pytest.skip("does not serve this cell")
    run = make_run(cell_name, steps=STEPS)
    rule = BpttDisjoint(run.cell, window=STEPS)
    memory, _ = credits_of(run, rule)
    gradient, due = rule.collect(memory)
    assert due.tolist() == [True]
    assert relative_error(gradient[0], exact_gradient(run)) < 1e-10
    assert not any(rows.any() for rows in memory.values())
    assert rule.collect(memory)[1].tolist() == [False]


@for_every_cell
def test_one_sweep_gives_what_a_gradient_at_each_step_adds_up_to(cell_name: str) -> None:
    if not follows("bptt", cell_name):
        pytest.skip("does not serve this cell")
    run = make_run(cell_name, steps=STEPS)
    rule = Bptt(run.cell)
    memory, credits_ = credits_of(run, rule)
    gradient = rule.sweep(memory, np.stack(credits_, axis=1))
    assert relative_error(gradient[0], exact_gradient(run)) < 1e-10


@for_every_dense_cell
def test_a_sketch_of_full_rank_is_exact(cell_name: str) -> None:
    run = make_run(cell_name, steps=STEPS)
    rule = SketchedRtrl(run.cell, rank=run.cell.n_parts * run.cell.n_units)
    assert rule.exact
    assert relative_error(online_gradient(run, rule), exact_gradient(run)) < 1e-10


@for_every_dense_cell
def test_more_rank_means_less_error(cell_name: str) -> None:
    run = make_run(cell_name, steps=STEPS)
    size = run.cell.n_parts * run.cell.n_units
    errors = [
        relative_error(online_gradient(run, SketchedRtrl(run.cell, rank=rank)), exact_gradient(run))
        for rank in (1, size - 1)
    ]
    assert errors[1] < errors[0]


@pytest.mark.parametrize("n_units", [6, 9])
def test_snap_whose_mask_is_full_is_exact(n_units: int) -> None:
    run = make_run("vanilla_sparse", steps=STEPS, n_units=n_units)
    rule = Snap(run.cell, order=n_units)
    assert rule.exact
    assert relative_error(online_gradient(run, rule), exact_gradient(run)) < 1e-10


def test_snap_of_higher_order_is_nearer_to_the_exact_gradient() -> None:
    run = make_run("vanilla_sparse", steps=STEPS, n_units=12)
    expected = exact_gradient(run)
    rules = [RULES["snap_1"](run.cell), *(Snap(run.cell, order=order) for order in (2, 4, 7))]
    errors = [np.linalg.norm(online_gradient(run, rule) - expected) for rule in rules]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-10 < errors[-2]


@pytest.mark.parametrize("order", [2, 3, 5])
def test_snap_is_the_exact_rule_with_a_mask_at_every_step(order: int) -> None:
    """Only what is not masked is kept and computed; the whole matrix, masked at every step, says the same."""
    run = make_run("vanilla_sparse", steps=STEPS, n_units=11)
    linked = np.eye(11) + run.cell.connections  # type: ignore[attr-defined]
    mask = (np.linalg.matrix_power(linked, order - 1) > 0.0).T[:, None, :]
    snap, whole = Snap(run.cell, order=order), RULES["rtrl_step"](run.cell)
    kept, full, state = one_row(snap.init_memory()), one_row(whole.init_memory()), run.state[None]
    every = np.eye(11).reshape(1, 11, 1, 11)
    for at in range(STEPS):
        factors = advance(run, snap, kept, state, at)
        whole.advance(full, factors)
        full["influence"] *= mask
        state = factors.state
        np.testing.assert_allclose(
            snap.gradient(kept, every), whole.gradient(full, every), rtol=0, atol=1e-12
        )
    assert kept["influence"].size < full["influence"].size
    assert snap.cost.time < whole.cost.time


def test_eprop_without_an_internal_path_is_the_immediate_derivative() -> None:
    run = make_run("vanilla", steps=STEPS)
    immediate = online_gradient(run, RULES["immediate"](run.cell))
    assert online_gradient(run, Eprop(run.cell)).tobytes() == immediate.tobytes()


@pytest.mark.parametrize("leak", [1e-9, 0.3])
def test_rflo_is_eprop_where_units_leak_and_exact_where_nothing_else_passes(leak: float) -> None:
    run = make_run("vanilla_leaky", steps=STEPS)
    run.params[: run.cell.n_units] *= 0.0  # no recurrent weight: the leak is all of the state Jacobian
    run = Run(Vanilla(n_inputs=3, n_units=6, leak=leak), run.params, run.state, run.inputs, run.weights)
    assert relative_error(online_gradient(run, Rflo(run.cell)), exact_gradient(run)) < 1e-10
    assert online_gradient(run, Rflo(run.cell)).tobytes() == online_gradient(run, Eprop(run.cell)).tobytes()


def test_dni_that_has_learned_nothing_is_the_immediate_derivative() -> None:
    run = make_run("vanilla", steps=STEPS)
    immediate = online_gradient(run, RULES["immediate"](run.cell))
    assert relative_error(online_gradient(run, RULES["dni"](run.cell)), immediate) < 1e-15


@pytest.mark.parametrize("window", [1, 3])
def test_a_sliding_window_sees_its_steps_and_no_further(window: int) -> None:
    run = make_run("vanilla", steps=8)
    rule, memory, state = BpttSliding(run.cell, window=window), {}, run.state[None]
    memory = one_row(rule.init_memory())
    for at in range(8):
        state = advance(run, rule, memory, state, at).state
    credit = np.ones((1, 1, 1, run.cell.n_units))
    seen = rule.gradient(memory, credit)
    fresh, state = one_row(rule.init_memory()), run.state[None]
    exact, of_exact = exact_rule_for(run.cell), None
    for at in range(8):
        if at == 8 - window:
            of_exact = one_row(exact.init_memory())
        factors = advance(run, rule, fresh, state, at)
        if of_exact is not None:
            exact.advance(of_exact, factors)
        state = factors.state
    assert of_exact is not None
    np.testing.assert_allclose(seen, exact.gradient(of_exact, credit), rtol=0, atol=1e-12)
