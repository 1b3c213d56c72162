"""Goal: the mean of an unbiased rule over its own random draws is the true gradient.

Method: thousands of rows run the same steps with different draws. The error of the mean over groups of rows
falls as one over the square root of the group's size, down to what chance leaves of all rows together.
"""

from __future__ import annotations

import numpy as np
import pytest

from models.cells import CELLS
from models.protocols import Array
from models.rules import RULES
from tests.conformance.cases import (
    SIZES,
    UNBIASED_PAIRS,
    credit_to_state,
    make_run,
    online_gradient,
    relative_error,
)
from tests.oracles.cells import cell_oracle
from tests.oracles.gradients import bptt_gradient

ROWS = 8192
OPTIONS = {"optimal_kronecker": {"rank": 2}}  # fewer terms than would hold all of so small a cell
LAYERED = [name for name in CELLS if CELLS[name](**SIZES).recurrence == "layered"]
"""Of two layers each, so their units are even in number."""
SMALL, LARGE = 32, 512
STEPS = 6


def gradients(cell_name: str, rule_name: str, *, seed: int = 0, rows: int = ROWS) -> tuple[Array, Array]:
    """Return the gradient of every row, (rows, q n), and the true one, (q n,)."""
    run = make_run(cell_name, steps=STEPS, n_units=4 if cell_name in LAYERED else 3, n_inputs=2)
    rule = RULES[rule_name](run.cell, seed=seed, **OPTIONS.get(rule_name, {}))
    memory = {
        name: np.repeat(np.asarray(row)[None], rows, axis=0) for name, row in rule.init_memory().items()
    }
    memory["counter"] = np.arange(rows) * STEPS
    params = np.repeat(run.params[None], rows, axis=0)
    state = np.repeat(run.state[None], rows, axis=0)
    total = np.zeros((rows, *run.params.shape))
    for x, weights in zip(run.inputs, run.weights, strict=True):
        factors = run.cell.step(params, state, np.repeat(x[None], rows, axis=0))
        state = factors.state
        rule.advance(memory, factors)
        read, _ = run.cell.read_out(state)
        total += rule.gradient(memory, credit_to_state(run.cell, state, weights[None] + read)[:, None])[:, 0]
    expected = bptt_gradient(cell_oracle(cell_name), run.params, run.state, run.inputs, run.weights)
    return total.reshape(rows, -1), expected.reshape(-1)


@pytest.mark.parametrize(("cell_name", "rule_name"), UNBIASED_PAIRS)
def test_the_error_of_the_mean_falls_as_one_over_the_square_root(cell_name: str, rule_name: str) -> None:
    drawn, expected = gradients(cell_name, rule_name)
    size = np.linalg.norm(expected)

    def error(group: int) -> float:
        means = drawn.reshape(-1, group, drawn.shape[1]).mean(axis=1)
        return float(np.sqrt(((means - expected) ** 2).sum(axis=1).mean()) / size)

    noise = error(1)
    assert noise > 1e-3
    assert error(SMALL) / error(LARGE) == pytest.approx(np.sqrt(LARGE / SMALL), rel=0.35)
    assert error(ROWS) < 3.0 * noise / np.sqrt(ROWS)


@pytest.mark.parametrize(("cell_name", "rule_name"), UNBIASED_PAIRS)
def test_a_seed_gives_its_own_draws_and_the_same_ones_again(cell_name: str, rule_name: str) -> None:
    first, _ = gradients(cell_name, rule_name, rows=4)
    again, _ = gradients(cell_name, rule_name, rows=4)
    other, _ = gradients(cell_name, rule_name, seed=1, rows=4)
    assert first.tobytes() == again.tobytes()
    assert (first != other).any()


@pytest.mark.parametrize("cell_name", ["vanilla", "lstm"])
def test_more_kronecker_terms_leave_less_noise(cell_name: str) -> None:
    cell = CELLS[cell_name](n_inputs=3, n_units=6)
    run = make_run(cell_name, steps=30)
    expected = bptt_gradient(cell_oracle(cell_name), run.params, run.state, run.inputs, run.weights)

    def error(rank: int) -> float:
        seeds = range(12)
        rules = [RULES["optimal_kronecker"](cell, rank=rank, seed=seed) for seed in seeds]
        return float(np.mean([relative_error(online_gradient(run, rule), expected) for rule in rules]))

    assert error(8) < 0.5 * error(2)
