"""Goal: an entry of a table without an oracle fails with what to do, instead of passing uncompared."""

from __future__ import annotations

import pytest

from models.cells import CELLS
from models.optimizers import OPTIMIZERS
from tests.oracles.cells import CELL_ORACLES, cell_oracle
from tests.oracles.optimizers import OPTIMIZER_ORACLES, optimizer_oracle


def test_a_cell_without_equations_is_told_where_they_belong() -> None:
    with pytest.raises(LookupError, match=r"no equations for the cell 'new'.*CELL_ORACLES"):
        cell_oracle("new")


def test_an_optimizer_without_a_scalar_form_is_told_where_it_belongs() -> None:
    with pytest.raises(LookupError, match=r"no scalar form of the optimizer 'new'.*OPTIMIZER_ORACLES"):
        optimizer_oracle("new")


def test_no_oracle_is_left_over() -> None:
    assert set(CELL_ORACLES) <= set(CELLS)
    assert set(OPTIMIZER_ORACLES) <= set(OPTIMIZERS)
