"""Goal: the gated and the diagonal cells do what their gates and modes are there for.

Method: weights set by hand for which the answer is known in closed form or from another cell, the optional
factors against their definition, extreme parameters, and a bit that must be held.
"""

from __future__ import annotations

import numpy as np
import pytest

from models.cells import CELLS
from models.cells.elstm import Elstm
from models.cells.gru import Gru
from models.cells.lru import Lru
from models.cells.lstm import Lstm
from models.cells.mingru import MinGru
from models.cells.rtu import Rtu
from models.cells.rtu_nonlinear import RtuNonlinear
from models.protocols import Array, Cell, StepFactors

NAMES = ("gru", "lstm", "elstm", "mingru", "lru", "rtu_nonlinear")
OPEN, SHUT = 40.0, -40.0  # a sigmoid's ends, to the last digit but one


def run(cell: Cell, params: Array, inputs: Array) -> tuple[list[StepFactors], Array]:
    """Return all steps from a new state, and the states, (T, k, n)."""
    state, steps = cell.init_state()[None], []
    for x in inputs:
        steps.append(cell.step(params[None], state, x[None]))
        state = steps[-1].state
    return steps, np.concatenate([step.state for step in steps])


def latch_weights(cell: Gru | Lstm) -> Array:
    """Return weights by which one unit takes input 0 where input 1 is one, and holds it where that is zero."""
    params = np.zeros((cell.n_params_per_unit, 1))
    width = 4  # h, the bit, the mark, 1
    if isinstance(cell, Lstm):
        gates = params.reshape(4, width, 1)
        gates[0, 2:] = [[2 * OPEN], [SHUT]]  # written at a mark alone,
        gates[1, 2:] = [[2 * SHUT], [OPEN]]  # and forgotten there,
        gates[2, 3] = OPEN  # and always shown
        gates[3, 1] = 1.0
    else:
        gates = params[:-1].reshape(3, width, 1)
        gates[1, 2:] = [[2 * SHUT], [OPEN]]
        gates[2, 1] = 1.0
    return params


@pytest.mark.parametrize(
    "cell", [Gru(n_inputs=2, n_units=1), Lstm(n_inputs=2, n_units=1)], ids=["gru", "lstm"]
)
@pytest.mark.parametrize("bit", [0.5, -0.5])
def test_a_gate_holds_a_bit_and_its_credit_over_a_thousand_steps(cell: Gru | Lstm, bit: float) -> None:
    inputs = np.random.default_rng(0).normal(size=(1000, 2))
    inputs[:, 1] = 0.0
    inputs[0] = bit, 1.0
    steps, states = run(cell, latch_weights(cell), inputs)
    np.testing.assert_allclose(states[:, 0, 0], np.tanh(bit), rtol=1e-9)
    credit = np.eye(cell.n_parts)[0]
    for step in steps[:0:-1]:
        credit = credit @ step.transition[0]
    assert credit[0] == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_the_internal_path_is_what_is_left_without_recurrent_weights(name: str) -> None:
    cell, rng = CELLS[name](n_inputs=2, n_units=3), np.random.default_rng(0)
    k, n, p = cell.n_parts, 3, 6
    params = rng.normal(size=(cell.n_params_per_unit, n))
    state = rng.normal(size=(1, k, n))
    with_weights = cell.step(params[None], state, np.ones((1, 2)))
    assert np.abs(with_weights.transition[0] - whole(with_weights)).max() > 0.1
    # What the recurrent weights add to the gates goes into the biases, so that the gates stay as they are.
    for gate in range(cell.n_params_per_unit // p):
        rows = slice(gate * p, gate * p + n)
        added = state[0, -1] @ params[rows]
        to_inner_bias = name == "gru" and gate == 2
        params[-1 if to_inner_bias else gate * p + p - 1] += added
        params[rows] = 0.0
    without = cell.step(params[None], state, np.ones((1, 2)))
    np.testing.assert_allclose(without.transition[0], whole(without), rtol=0, atol=1e-14)
    np.testing.assert_allclose(whole(without), whole(with_weights), rtol=0, atol=1e-14)


def whole(factors: StepFactors) -> Array:
    """Return the first row's internal path as a matrix, (S, S)."""
    assert factors.internal is not None
    k, n = factors.internal.shape[1], factors.internal.shape[3]
    full = np.zeros((k, n, k, n))
    full[:, range(n), :, range(n)] = factors.internal[0].transpose(2, 0, 1)
    return full.reshape(k * n, k * n)


def test_the_immediate_jacobian_of_an_lstm_is_of_rank_one_in_each_gate() -> None:
    cell, rng = Lstm(n_inputs=2, n_units=3), np.random.default_rng(0)
    params = rng.normal(size=(2, cell.n_params_per_unit, 3))
    factors = cell.step(params, rng.normal(size=(2, 2, 3)), rng.normal(size=(2, 2)))
    assert factors.presynaptic is not None
    assert factors.sensitivity is not None
    p = factors.presynaptic.shape[1]
    for gate in range(4):
        for j in range(p):
            expected = factors.sensitivity[:, :, gate] * factors.presynaptic[:, j, None, None]
            assert factors.immediate[:, :, gate * p + j].tobytes() == expected.tobytes()


def test_a_gru_without_recurrent_weights_is_an_elstm_without() -> None:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(50, 2))
    weights, gate = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    elstm, gru = Elstm(n_inputs=2, n_units=4), Gru(n_inputs=2, n_units=4)
    of_elstm, of_gru = np.zeros((8, 4)), np.zeros((22, 4))
    of_elstm[[0, 1, 3]], of_elstm[[4, 5, 7]] = weights, gate
    of_gru[11:14], of_gru[18:21] = gate, weights
    _, expected = run(elstm, of_elstm, inputs)
    _, states = run(gru, of_gru, inputs)
    np.testing.assert_allclose(states, expected, rtol=0, atol=1e-14)


def test_a_shut_reset_gate_hides_the_past_from_the_candidate() -> None:
    cell, rng = Gru(n_inputs=1, n_units=3), np.random.default_rng(0)
    params = rng.normal(size=(cell.n_params_per_unit, 3))
    params[:4], params[4] = 0.0, 2 * SHUT  # the reset gate
    params[5:9], params[9] = 0.0, 2 * SHUT  # the update gate keeps nothing
    x = np.ones((1, 1))
    states = [cell.step(params[None], rng.normal(size=(1, 1, 3)), x).state for _ in range(2)]
    np.testing.assert_allclose(states[0], states[1], rtol=0, atol=1e-14)
    np.testing.assert_allclose(states[0][0, 0], np.tanh(params[13] + params[14]), rtol=0, atol=1e-14)


def test_a_mingru_whose_gate_stands_still_is_a_running_mean() -> None:
    cell, inputs = MinGru(n_inputs=1, n_units=1), np.random.default_rng(0).normal(size=(40, 1))
    share = 0.2
    params = np.array([[0.0], [np.log(share / (1.0 - share))], [2.0], [0.5]])
    _, states = run(cell, params, inputs)
    weights = share * (1.0 - share) ** np.arange(39, -1, -1)
    assert states[-1, 0, 0] == pytest.approx(weights @ (2.0 * inputs[:, 0] + 0.5), rel=1e-12)


def test_an_lru_with_the_gain_of_an_rtu_is_that_rtu() -> None:
    lru, rtu, rng = Lru(n_inputs=2, n_units=5), Rtu(n_inputs=2, n_units=5), np.random.default_rng(0)
    of_rtu = rtu.init_params(rng)
    of_lru = np.insert(of_rtu, 2, 0.0, axis=0)
    radius = np.exp(-(1e-6 + np.exp(of_rtu[0])))
    of_lru[2] = 0.5 * np.log1p(-(radius**2))
    inputs = rng.normal(size=(30, 2))
    steps, expected = run(rtu, of_rtu, inputs)
    steps_of_lru, states = run(lru, of_lru, inputs)
    np.testing.assert_allclose(states, expected, rtol=0, atol=1e-12)
    # The chain rule from gamma(nu): d rtu / d nu = d lru / d nu + (d g / d nu) d lru / d g.
    of_gain = np.exp(of_rtu[0]) * radius**2 / (1.0 - radius**2)
    for step, by_lru in zip(steps, steps_of_lru, strict=True):
        both = by_lru.immediate[:, :, 0] + of_gain * by_lru.immediate[:, :, 2]
        np.testing.assert_allclose(step.immediate[:, :, 0], both, rtol=0, atol=1e-12)


def test_a_new_lru_starts_with_the_gain_of_an_rtu() -> None:
    params = Lru(n_inputs=2, n_units=64).init_params(np.random.default_rng(0))
    radius = np.exp(-(1e-6 + np.exp(params[0])))
    np.testing.assert_allclose(np.exp(params[2]), np.sqrt(1.0 - radius**2), rtol=1e-9)


def test_a_nonlinear_rtu_is_linear_where_states_are_small_and_bounded_where_not() -> None:
    linear, nonlinear = Rtu(n_inputs=1, n_units=6), RtuNonlinear(n_inputs=1, n_units=6)
    params = linear.init_params(np.random.default_rng(0))
    inputs = np.random.default_rng(1).normal(size=(100, 1))
    _, expected = run(linear, params, 1e-5 * inputs)
    _, states = run(nonlinear, params, 1e-5 * inputs)
    np.testing.assert_allclose(states, expected, rtol=0, atol=1e-11)
    _, states = run(nonlinear, params, 1e3 * inputs)
    assert 0.99 < np.abs(states).max() <= 1.0


def test_a_new_lstm_keeps_most_of_its_cell() -> None:
    cell = Lstm(n_inputs=2, n_units=4)
    params = cell.init_params(np.random.default_rng(0))
    factors = cell.step(params[None], cell.init_state()[None], np.zeros((1, 2)))
    assert factors.internal is not None
    np.testing.assert_allclose(factors.internal[0, 0, 0], 1.0 / (1.0 + np.exp(-1.0)), rtol=1e-14)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [1e3, 1e100])
def test_no_finite_parameters_overflow(name: str, scale: float) -> None:
    cell, rng = CELLS[name](n_inputs=2, n_units=3), np.random.default_rng(0)
    params = scale * rng.choice([-1.0, 0.0, 1.0], size=(8, cell.n_params_per_unit, 3))
    state = np.repeat(cell.init_state()[None], 8, axis=0)
    for _ in range(20):  # a warning is an error
        factors = cell.step(params, state, rng.normal(size=(8, 2)))
        state = factors.state
        read, slope = cell.read_out(state)
        for values in (state, factors.transition, factors.immediate, read, slope):
            assert np.isfinite(values).all()


@pytest.mark.parametrize(
    ("name", "part", "end"),
    [("gru", 0, 0.995), ("elstm", 0, 0.995), ("mingru", 0, 3.0), ("lstm", 0, 3.0)]
    + [("rtu_nonlinear", part, 0.995) for part in (0, 1)]
    + [("lru", part, 60.0) for part in (0, 1)],
)
def test_a_unit_is_saturated_at_either_end_and_not_between(name: str, part: int, end: float) -> None:
    cell = CELLS[name](n_inputs=1, n_units=3)
    state = np.full((1, cell.n_parts, 3), 0.1)
    state[0, part] = [end, 0.5 * end, -end]
    assert cell.saturated(state).tolist() == [[True, False, True]]
