"""Goal: what the rules carry forward is learned from, online.

Method: a cell under a fixed read-out forecasts what came in two steps before, and only the cell's
parameters may move; the loss of each forecast is taken before its target is learned from.
"""

from __future__ import annotations

import numpy as np
import pytest

from models.cells import CELLS
from models.optimizers import OPTIMIZERS, chain, clip_by_global_norm, finite_guard
from models.protocols import Array, Optimizer
from models.rules import RULES
from tests.conformance.cases import EXACT_PAIRS, PAIRS, credit_to_state, one_row

STEPS = 3000
DELAY = 2
TARGET_VARIANCE = 0.25  # of inputs that are a half up or down at random
# Other step sizes than Adam's, whose updates do not depend on the gradient's size.
LEARNING_RATES = {"sgd": 0.1}


def guarded(name: str) -> Optimizer:
    learning_rate = LEARNING_RATES.get(name, 0.01)
    return chain(
        guard=finite_guard(10.0),
        clip=clip_by_global_norm(1.0),
        last=OPTIMIZERS[name](learning_rate=learning_rate),
    )


def losses_and_params(
    cell_name: str, rule_name: str, optimizer: Optimizer, *, steps: int = STEPS
) -> tuple[Array, Array, Array]:
    """Return each forecast's squared error, (T,), and the parameters before and after, (q, n)."""
    cell = CELLS[cell_name](n_inputs=1, n_units=8)
    rule = RULES[rule_name](cell)
    rng = np.random.default_rng(3)
    first = cell.init_params(rng)
    params, state = first[None].copy(), cell.init_state()[None]
    readout = rng.normal(size=(cell.n_read_parts, cell.n_units)) / np.sqrt(cell.n_units)
    memory, moments = one_row(rule.init_memory()), one_row(optimizer.init_state(first.shape))
    inputs = rng.choice(np.array([-0.5, 0.5]), size=steps + DELAY)
    losses = np.zeros(steps)
    for t in range(steps):
        factors = cell.step(params, state, inputs[t + DELAY].reshape(1, 1))
        state = factors.state
        rule.advance(memory, factors)
        read, _ = cell.read_out(state)
        # The sigmoid's units rest at one half, which says nothing of the input.
        rest, _ = cell.read_out(cell.init_state()[None])
        error = float((readout * (read[0] - rest[0])).sum() - inputs[t])
        losses[t] = error**2
        credit = credit_to_state(cell, state, error * readout[None])
        update, _ = optimizer.update(moments, rule.gradient(memory, credit[:, None])[:, 0], np.array([True]))
        params = params + update
    return losses, first, params[0]


for_every_optimizer = pytest.mark.parametrize("optimizer_name", OPTIMIZERS)


@for_every_optimizer
@pytest.mark.parametrize(("cell_name", "rule_name"), EXACT_PAIRS)
def test_online_learning_by_an_exact_rule_brings_the_loss_down(
    cell_name: str, rule_name: str, optimizer_name: str
) -> None:
    losses, before, after = losses_and_params(cell_name, rule_name, guarded(optimizer_name))
    assert losses[:200].mean() > 0.3 * TARGET_VARIANCE
    assert losses[-300:].mean() < 0.2 * TARGET_VARIANCE
    assert np.abs(after - before).max() > 0.1


@for_every_optimizer
@pytest.mark.parametrize(("cell_name", "rule_name"), PAIRS)
def test_every_rule_moves_every_parameter_and_stays_finite(
    cell_name: str, rule_name: str, optimizer_name: str
) -> None:
    losses, before, after = losses_and_params(cell_name, rule_name, guarded(optimizer_name), steps=200)
    assert np.isfinite(losses).all()
    assert np.isfinite(after).all()
    assert (after != before).all()


@for_every_optimizer
@pytest.mark.parametrize(("cell_name", "rule_name"), PAIRS)
def test_a_learning_rate_of_zero_changes_no_parameter(
    cell_name: str, rule_name: str, optimizer_name: str
) -> None:
    optimizer = OPTIMIZERS[optimizer_name](learning_rate=0.0)
    _, before, after = losses_and_params(cell_name, rule_name, optimizer, steps=50)
    assert after.tobytes() == before.tobytes()


def test_what_came_before_is_learned_by_the_exact_rule_and_not_by_the_immediate_derivative() -> None:
    exact, _, _ = losses_and_params("rtu", "rtrl_trace", guarded("adam"))
    immediate, _, _ = losses_and_params("rtu", "immediate", guarded("adam"))
    assert exact[-300:].mean() < 0.1 * immediate[-300:].mean()


@pytest.mark.parametrize(("cell_name", "rule_name"), PAIRS)
def test_learning_is_the_same_to_the_bit_when_it_is_done_again(cell_name: str, rule_name: str) -> None:
    first = losses_and_params(cell_name, rule_name, guarded("adam"), steps=50)
    again = losses_and_params(cell_name, rule_name, guarded("adam"), steps=50)
    for one, other in zip(first, again, strict=True):
        assert one.tobytes() == other.tobytes()
