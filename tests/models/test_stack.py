"""Goal: a stack's factors and its exact rule hold for any depth and layer, and the approximate rule is what it says.

Method: stacks of three layers, of three kinds, are compared with automatic differentiation of the equations
and with central differences of their own steps; what must not matter is changed and leaves every byte alone.
Stacks of two layers are held to the same by tests/conformance.
"""

from __future__ import annotations

from collections.abc import Callable

import autograd.numpy as anp
import numpy as np
import pytest

from models.cells import CELLS
from models.cells.columnar import Columnar
from models.cells.constructive import Constructive
from models.cells.elstm import Elstm
from models.cells.mingru import MinGru
from models.cells.rtu import Rtu
from models.cells.stack import InputJacobian, Stack
from models.cells.vanilla import Vanilla
from models.protocols import Array, Cell, LearningRule
from models.rules import RULES, exact_rule_for
from models.rules.layerwise import Layerwise
from models.rules.rtrl_layers import RtrlLayers
from models.rules.rtrl_trace import RtrlTrace
from tests.conformance.cases import (
    Run,
    credit_to_state,
    full_immediate,
    full_transition,
    online_gradient,
    relative_error,
)
from tests.oracles.columnar import columnar_step
from tests.oracles.equations import CellOracle, same
from tests.oracles.gated import elstm_step, lstm_read
from tests.oracles.gradients import (
    bptt_gradient,
    central_differences,
    central_differences_of_rows,
    naive_step_jacobians,
)
from tests.oracles.stack import rtu_layer_step, stack_step

LAYERS: dict[str, tuple[Callable[..., InputJacobian], CellOracle, Callable[[int], int]]] = {
    "rtu": (Rtu, CellOracle(step=rtu_layer_step, read_out=anp.tanh), lambda m: 2 + 2 * m),
    "elstm": (Elstm, CellOracle(step=elstm_step, read_out=same), lambda m: 2 * (m + 2)),
    "columnar": (Columnar, CellOracle(step=columnar_step, read_out=lstm_read), lambda m: 4 * (m + 2)),
}
for_every_layer = pytest.mark.parametrize("name", LAYERS)


def oracle_of(name: str, n_layers: int) -> CellOracle:
    _, layer, n_params = LAYERS[name]
    step = stack_step(layer.step, layer.read_out, n_layers=n_layers, n_params=n_params)
    return CellOracle(step=step, read_out=layer.read_out)


def run_of(cell: Cell, *, steps: int = 25, seed: int = 0) -> Run:
    """Return a run with a first state that is not zero, and parameters of which none is left at zero."""
    rng = np.random.default_rng(seed)
    params = cell.init_params(rng)
    return Run(
        cell=cell,
        params=params + 0.1 * rng.normal(size=params.shape),
        state=cell.init_state() + 0.3 * rng.normal(size=cell.init_state().shape),
        inputs=rng.normal(size=(steps, cell.n_inputs)),
        weights=rng.normal(size=(steps, cell.n_read_parts, cell.n_units)),
    )


def stack_of(name: str, *, n_layers: int = 3, width: int = 2) -> Stack:
    return Stack(layer=LAYERS[name][0], n_inputs=2, n_units=n_layers * width, n_layers=n_layers)


@for_every_layer
def test_the_jacobian_to_the_inputs_equals_central_differences(name: str) -> None:
    cell = LAYERS[name][0](n_inputs=3, n_units=4)
    run = run_of(cell)
    jacobian = cell.input_jacobian(run.params[None], run.state[None], run.inputs[:1])[0]
    expected = central_differences(
        lambda x: cell.step(run.params[None], run.state[None], x[None]).state[0], run.inputs[0]
    )
    np.testing.assert_allclose(jacobian, expected.swapaxes(1, 2), rtol=0, atol=1e-9)


@for_every_layer
def test_the_factors_of_three_layers_are_those_of_the_whole_step(name: str) -> None:
    run, oracle = run_of(stack_of(name)), oracle_of(name, 3)
    factors = run.cell.step(run.params[None], run.state[None], run.inputs[:1])
    jacobian, immediate = naive_step_jacobians(oracle, run.params, run.state, run.inputs[0])
    np.testing.assert_allclose(
        factors.state[0], oracle.step(run.params, run.state, run.inputs[0]), atol=1e-13
    )
    np.testing.assert_allclose(full_transition(run.cell, factors), jacobian, rtol=0, atol=1e-13)
    np.testing.assert_allclose(full_immediate(run.cell, factors), immediate, rtol=0, atol=1e-13)


@for_every_layer
@pytest.mark.parametrize("n_layers", [1, 2, 3, 4])
def test_the_gradient_of_any_depth_equals_backpropagation(name: str, n_layers: int) -> None:
    run = run_of(stack_of(name, n_layers=n_layers))
    expected = bptt_gradient(oracle_of(name, n_layers), run.params, run.state, run.inputs, run.weights)
    assert relative_error(online_gradient(run, RtrlLayers(run.cell)), expected) < 1e-10


@for_every_layer
def test_the_gradient_of_three_layers_equals_central_differences_of_the_cells_own_steps(name: str) -> None:
    run = run_of(stack_of(name))

    def losses(params: Array) -> Array:
        rows = len(params)
        state, total = run.state[None].repeat(rows, axis=0), np.zeros(rows)
        for x, weights in zip(run.inputs, run.weights, strict=True):
            state = run.cell.step(params, state, x[None].repeat(rows, axis=0)).state
            read = run.cell.read_out(state)[0]
            total += (weights * read + 0.5 * read * read).sum(axis=(1, 2))
        return total

    gradient = online_gradient(run, RtrlLayers(run.cell))
    expected = central_differences_of_rows(losses, run.params)
    for layer in range(3):  # A small layer's gradient cannot hide behind a large one's.
        own = slice(2 * layer, 2 * layer + 2)
        assert relative_error(gradient[:, own], expected[:, own]) < 1e-6


@for_every_layer
def test_layerwise_is_exact_for_the_uppermost_layer_and_wrong_for_those_below(name: str) -> None:
    run = run_of(stack_of(name))
    exact = online_gradient(run, RtrlLayers(run.cell))
    approximate = online_gradient(run, Layerwise(run.cell))
    assert approximate[:, 4:].tobytes() == exact[:, 4:].tobytes()
    for layer in (0, 1):
        own = slice(2 * layer, 2 * layer + 2)
        assert np.linalg.norm(approximate[:, own] - exact[:, own]) > 0.05 * np.linalg.norm(exact[:, own])


@for_every_layer
def test_layerwise_is_exact_as_long_as_there_is_no_past(name: str) -> None:
    """Goal: within a step credit goes down through all layers, not only to the next. Method: one step of three."""
    run = run_of(stack_of(name), steps=1)
    exact = online_gradient(run, RtrlLayers(run.cell))
    np.testing.assert_allclose(online_gradient(run, Layerwise(run.cell)), exact, rtol=0, atol=1e-13)


def test_layerwise_leaves_out_what_the_layer_above_remembers_and_nothing_else() -> None:
    """Goal: without a memory above there is nothing to leave out. Method: a second layer whose |lambda| is 0."""
    run = run_of(stack_of("rtu", n_layers=2))
    run.params[0, 2:] = 10.0  # exp(-exp(6)), held there, is 1e-175
    exact = online_gradient(run, RtrlLayers(run.cell))
    assert np.abs(exact[:, :2]).max() > 0.1
    np.testing.assert_allclose(online_gradient(run, Layerwise(run.cell)), exact, rtol=0, atol=1e-13)


def test_credit_on_a_lower_layer_says_nothing_of_those_above() -> None:
    run = run_of(stack_of("rtu"))
    rules: dict[str, LearningRule] = {"exact": RtrlLayers(run.cell), "layerwise": Layerwise(run.cell)}
    for rule in rules.values():
        memory = {name: np.array(row)[None] for name, row in rule.init_memory().items()}
        rule.advance(memory, run.cell.step(run.params[None], run.state[None], run.inputs[:1]))
        credit = np.zeros((1, 1, 2, 6))
        credit[..., 2:4] = 1.0
        used = rule.gradient(memory, credit)[0, 0].any(axis=0)
        assert used.tolist() == [True] * 4 + [False] * 2


@for_every_layer
def test_what_the_first_layer_lacks_is_no_parameter_of_anything(name: str) -> None:
    run = run_of(stack_of(name))
    used = LAYERS[name][0](n_inputs=2, n_units=2).n_params_per_unit
    changed = run.params.copy()
    changed[used:, :2] = 1e3
    before = run.cell.step(run.params[None], run.state[None], run.inputs[:1])
    after = run.cell.step(changed[None], run.state[None], run.inputs[:1])
    assert before.state.tobytes() == after.state.tobytes()
    assert not before.immediate[:, :, used:, :2].any()
    assert not run.cell.init_params(np.random.default_rng(0))[used:, :2].any()


def test_a_layer_hears_those_below_and_none_above() -> None:
    run = run_of(stack_of("rtu"))
    state = run.cell.step(run.params[None], run.state[None], run.inputs[:1]).state
    for layer in range(3):
        changed = run.params.copy()
        changed[:, 2 * layer : 2 * layer + 2] += 0.1
        differs = (run.cell.step(changed[None], run.state[None], run.inputs[:1]).state != state).all(axis=1)[
            0
        ]
        assert differs.tolist() == [False] * (2 * layer) + [True] * (6 - 2 * layer)


@for_every_layer
def test_a_stack_of_one_layer_is_that_layer_under_either_rule(name: str) -> None:
    alone = LAYERS[name][0](n_inputs=2, n_units=3)
    stack = Stack(layer=LAYERS[name][0], n_inputs=2, n_units=3, n_layers=1)
    of_alone, of_stack = run_of(alone), run_of(stack)
    assert of_stack.params.tobytes() == of_alone.params.tobytes()
    expected = online_gradient(of_alone, RtrlTrace(alone))
    for rule in (RtrlLayers(stack), Layerwise(stack)):
        assert rule.exact
        assert online_gradient(of_stack, rule).tobytes() == expected.tobytes()


def test_the_gradient_is_the_product_of_credit_and_the_whole_influence() -> None:
    """Goal: cross terms are read as they are written. Method: unit credits give it, row by row."""
    cell = stack_of("elstm")
    run, rule = run_of(cell), RtrlLayers(cell)
    memory = {name: np.array(row)[None] for name, row in rule.init_memory().items()}
    state = run.state[None]
    for x in run.inputs:
        factors = cell.step(run.params[None], state, x[None])
        state = factors.state
        rule.advance(memory, factors)
    influence = rule.gradient(memory, np.eye(6).reshape(1, 6, 1, 6))[0].reshape(6, -1)
    credit = credit_to_state(cell, state, run.weights[0][None])
    expected = (credit[0].reshape(1, 6) @ influence).reshape(run.params.shape)
    np.testing.assert_allclose(rule.gradient(memory, credit[:, None])[0, 0], expected, rtol=1e-12)
    np.testing.assert_allclose(rule.memory_norm(memory), [np.linalg.norm(influence)], rtol=1e-12)


@pytest.mark.parametrize("rule_name", ["rtrl_layers", "layerwise"])
@pytest.mark.parametrize("n_layers", [1, 2, 3])
def test_the_cost_tells_the_numbers_kept(rule_name: str, n_layers: int) -> None:
    rule = RULES[rule_name](stack_of("rtu", n_layers=n_layers))
    assert rule.cost.memory == sum(np.asarray(row).size for row in rule.init_memory().values())


def test_the_units_are_shared_out_evenly_or_not_at_all() -> None:
    with pytest.raises(ValueError, match="take 6 or 9 units"):
        Stack(layer=Rtu, n_inputs=1, n_units=8, n_layers=3)
    assert Stack(layer=Rtu, n_inputs=1, n_units=1, n_layers=2).n_layers == 1
    with pytest.raises(ValueError, match="one layer"):
        Stack(layer=Rtu, n_inputs=1, n_units=4, n_layers=0)


@pytest.mark.parametrize(
    ("layer", "lacks"),
    [(Vanilla, "is dense"), (Stack, "is layered"), (Constructive, "context"), (MinGru, "input_jacobian")],
)
def test_what_cannot_be_a_layer_is_refused_with_the_reason(layer: Callable[..., Cell], lacks: str) -> None:
    factory = layer if layer is not Stack else lambda **sizes: Stack(layer=Rtu, **sizes)
    with pytest.raises(ValueError, match=lacks):
        Stack(layer=factory, n_inputs=1, n_units=4)


@pytest.mark.parametrize(
    ("rule_name", "cell_name", "advice"),
    [
        ("rtrl_trace", "rtu_stack", "use rtrl_layers"),
        ("rtrl_step", "rtu_stack", "use rtrl_layers"),
        ("rtrl_layers", "rtu", "use rtrl_trace"),
        ("layerwise", "rtu", "use rtrl_trace"),
        ("rtrl_layers", "vanilla", "use rtrl_step"),
    ],
)
def test_a_rule_refuses_a_cell_and_names_the_exact_one(rule_name: str, cell_name: str, advice: str) -> None:
    cell = CELLS[cell_name](n_inputs=2, n_units=4)
    with pytest.raises(ValueError, match=advice):
        RULES[rule_name](cell)
    assert type(exact_rule_for(cell)) is RULES[advice.removeprefix("use ")]
