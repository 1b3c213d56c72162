"""The cases of the conformance tests, made from the tables, and the few lines that drive a cell by a rule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.cells import CELLS
from models.protocols import Array, Cell, Fields, LearningRule, State, StepFactors
from models.rules import RULES

CELL_NAMES = tuple(CELLS)
SIZES = {"n_inputs": 3, "n_units": 6}


def follows(rule_name: str, cell_name: str) -> bool:
    """Say whether the rule takes the cell; it says no by a ValueError."""
    try:
        RULES[rule_name](CELLS[cell_name](**SIZES))
    except ValueError:
        return False
    return True


PAIRS = tuple((cell, rule) for cell in CELLS for rule in RULES if follows(rule, cell))


def is_exact(pair: tuple[str, str]) -> bool:
    """Say whether the rule of a pair calls itself exact for the cell."""
    cell_name, rule_name = pair
    return RULES[rule_name](CELLS[cell_name](**SIZES)).exact


EXACT_PAIRS = tuple(pair for pair in PAIRS if is_exact(pair))
APPROXIMATE_PAIRS = tuple(pair for pair in PAIRS if not is_exact(pair))
UNBIASED_PAIRS = tuple(
    (cell, rule) for cell, rule in APPROXIMATE_PAIRS if RULES[rule](CELLS[cell](**SIZES)).unbiased
)


@dataclass(frozen=True, slots=True)
class Run:
    """One model's parameters, its first state and a stretch of inputs, and weights for its loss."""

    cell: Cell
    params: Array
    state: Array
    inputs: Array
    weights: Array


def make_run(cell_name: str, *, seed: int = 0, steps: int = 32, **sizes: int) -> Run:
    """Return a run with inputs of order one and a first state that is not zero."""
    rng = np.random.default_rng(seed)
    cell = CELLS[cell_name](**(SIZES | sizes))
    return Run(
        cell=cell,
        params=cell.init_params(rng),
        state=cell.init_state() + 0.3 * rng.normal(size=cell.init_state().shape),
        inputs=rng.normal(size=(steps, cell.n_inputs)),
        weights=rng.normal(size=(steps, cell.n_read_parts, cell.n_units)),
    )


def one_row(fields: Fields) -> State:
    """Return the state of a micro-batch of one new model."""
    return {name: np.array(row)[None] for name, row in fields.items()}


def credit_to_state(cell: Cell, state: Array, credit_of_read: Array) -> Array:
    """Return credit on the read-out, (B, r, n), taken back to the state, (B, k, n)."""
    _, jacobian = cell.read_out(state)
    credit: Array = (credit_of_read[:, :, None] * jacobian).sum(axis=1)
    return credit


def advance(run: Run, rule: LearningRule, memory: State, state: Array, at: int) -> StepFactors:
    """Take step `at` of a run, in a micro-batch of one."""
    factors = run.cell.step(run.params[None], state, run.inputs[at][None])
    rule.advance(memory, factors)
    return factors


def online_gradient(run: Run, rule: LearningRule) -> Array:
    """Return the gradient of `tests.oracles.gradients.total_loss`, (q, n), carried forward by the rule over the run."""
    memory = one_row(rule.init_memory())
    state = run.state[None]
    gradient = np.zeros_like(run.params)
    for at, weights in enumerate(run.weights):
        state = advance(run, rule, memory, state, at).state
        read, _ = run.cell.read_out(state)
        credit = credit_to_state(run.cell, state, weights[None] + read)
        gradient += rule.gradient(memory, credit[:, None])[0, 0]
    return gradient


def relative_error(measured: Array, expected: Array) -> float:
    """Return the largest difference over the largest expected magnitude; what must be zero, as it is."""
    largest = np.abs(expected).max()
    return float(np.abs(measured - expected).max() / (largest if largest > 0.0 else 1.0))


def of_parts(cell: Cell, matrix: Array, *, columns: bool = True) -> Array:
    """Return the rows of a matrix that belong to the parts and not to the context, and so the columns."""
    size = cell.n_parts * cell.n_units
    return matrix[:size, :size] if columns else matrix[:size]


def full_transition(cell: Cell, factors: StepFactors) -> Array:
    """Return the first row's whole state Jacobian as a matrix, (S, S)."""
    if cell.recurrence == "dense":
        dense: Array = factors.transition[0]
        return dense
    k, n = cell.n_parts, cell.n_units
    full = np.zeros((k, n, k, n))
    for i in range(n):
        full[:, i, :, i] = factors.transition[0, :, :, i]
    return within_the_step(cell, factors) @ full.reshape(k * n, k * n)


def full_immediate(cell: Cell, factors: StepFactors) -> Array:
    """Return the first row's whole immediate Jacobian as a matrix, (S, q n)."""
    k, n, q = cell.n_parts, cell.n_units, cell.n_params_per_unit
    full = np.zeros((k, n, q, n))
    for i in range(n):
        full[:, i, :, i] = factors.immediate[0, :, :, i]
    return within_the_step(cell, factors) @ full.reshape(k * n, q * n)


def within_the_step(cell: Cell, factors: StepFactors) -> Array:
    """Return (1 - K)^-1 for a layered cell, with K the upward Jacobian as a matrix; else 1."""
    k, n = cell.n_parts, cell.n_units
    upward = np.zeros((k, n, k, n))
    if factors.upward is not None:
        below = factors.upward.shape[1]
        width = n // (below + 1)
        for layer in range(below):
            block = factors.upward[0, layer].reshape(k, width, k, width)
            first, second = layer * width, (layer + 1) * width
            upward[:, second : second + width, :, first:second] = block
    return np.asarray(np.linalg.inv(np.eye(k * n) - upward.reshape(k * n, k * n)), dtype=np.float64)


def dynamic(cell: Cell, state: Array) -> Array:
    """Return the parts of a state on which parameters act, without the context rows, (B, k, n)."""
    return state[:, : cell.n_parts]
