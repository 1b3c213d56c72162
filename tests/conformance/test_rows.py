"""Goal: a row's results depend on that row alone, to the bit, whatever shares its micro-batch.

Method: a batch of different models is run through cell, rule, figures and optimizer; Hypothesis draws
rows of it, in any order and number, which are run again by themselves and compared byte by byte.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from models.cells import CELLS
from models.optimizers import OPTIMIZERS, chain, clip_by_global_norm, finite_guard
from models.protocols import State
from models.rules import RULES
from models.stability import frobenius_norm, saturated_ratio, spectral_radius
from tests.conformance.cases import PAIRS

ROWS = 7
STEPS = 3
CREDITS = 2
# The sizes go through the different code paths of a BLAS, and beyond the exact spectral radius.
SIZES = ((3, 4), (7, 6), (2, 24))


def results_of(
    pair: tuple[str, str], optimizer_name: str, sizes: tuple[int, int], rows: list[int]
) -> list[State]:
    """Return all results of a run of some of ROWS models, whose data are the same in every call."""
    cell = CELLS[pair[0]](n_inputs=sizes[0], n_units=sizes[1])
    rule = RULES[pair[1]](cell)
    k, q, n = cell.n_parts, cell.n_params_per_unit, cell.n_units
    rng = np.random.default_rng(5)
    params = np.stack([cell.init_params(np.random.default_rng(seed)) for seed in range(ROWS)])[rows]
    state = rng.normal(size=(ROWS, *cell.init_state().shape))[rows]
    inputs = rng.normal(size=(STEPS, ROWS, sizes[0]))[:, rows]
    credits_ = rng.normal(size=(STEPS, ROWS, CREDITS, k, n))[:, rows]
    active = rng.random(size=(STEPS, ROWS))[:, rows] < 0.7
    optimizer = chain(
        guard=finite_guard(1e6),
        clip=clip_by_global_norm(1.0),
        last=OPTIMIZERS[optimizer_name](learning_rate=0.1),
    )
    memory = repeated(rule.init_memory(), len(rows))
    moments = repeated(optimizer.init_state((q, n)), len(rows))
    results: list[State] = []
    for at in range(STEPS):
        factors = cell.step(params, state, inputs[at])
        state = factors.state
        rule.advance(memory, factors)
        gradients = rule.gradient(memory, credits_[at])
        update, moved = optimizer.update(moments, gradients[:, 0] + gradients[:, 1], active[at], params)
        params = params + update
        read, slope = cell.read_out(state)
        results.append(
            {
                **{f"memory.{name}": field.copy() for name, field in memory.items()},
                **{f"optimizer.{name}": field.copy() for name, field in moments.items()},
                "state": state,
                "transition": factors.transition,
                "immediate": factors.immediate,
                "gradients": gradients,
                "params": params,
                "moved": moved,
                "read": read,
                "slope": slope,
                "memory_norm": rule.memory_norm(memory),
                "gradient_norm": frobenius_norm(gradients),
                "spectral_radius": spectral_radius(factors.transition),
                "saturated_ratio": saturated_ratio(cell.saturated(state)),
            }
        )
    return results


def repeated(fields: State, rows: int) -> State:
    """Return the state of a micro-batch of so many new models."""
    return {name: np.repeat(np.asarray(row)[None], rows, axis=0) for name, row in fields.items()}


ALL_ROWS = list(range(ROWS))


@lru_cache(maxsize=len(OPTIMIZERS))
def results_of_all(pair: tuple[str, str], optimizer_name: str, sizes: tuple[int, int]) -> list[State]:
    """Return the results of all models together, kept for the examples of one test."""
    return results_of(pair, optimizer_name, sizes, ALL_ROWS)


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@hypothesis_settings(max_examples=3)
@given(
    rows=st.lists(st.sampled_from(ALL_ROWS), min_size=1, max_size=ROWS, unique=True),
    optimizer_name=st.sampled_from(sorted(OPTIMIZERS)),
)
def test_a_batchs_composition_changes_no_bit(
    pair: tuple[str, str], sizes: tuple[int, int], rows: list[int], optimizer_name: str
) -> None:
    together = results_of_all(pair, optimizer_name, sizes)
    for part, whole in zip(results_of(pair, optimizer_name, sizes, rows), together, strict=True):
        for name, values in part.items():
            assert values.tobytes() == whole[name][rows].tobytes(), name


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_every_row_alone_gives_the_bits_that_it_gives_among_others(pair: tuple[str, str]) -> None:
    whole = results_of(pair, "adam", (30, 8), ALL_ROWS)
    for row in ALL_ROWS:
        for part, expected in zip(results_of(pair, "adam", (30, 8), [row]), whole, strict=True):
            for name, values in part.items():
                assert values[0].tobytes() == expected[name][row].tobytes(), name
