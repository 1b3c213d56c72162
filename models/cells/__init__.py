"""Recurrent cells. A new one is a file here and a line in the table."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from models.cells.elstm import Elstm
from models.cells.gru import Gru
from models.cells.lru import Lru
from models.cells.lstm import Lstm
from models.cells.mingru import MinGru
from models.cells.rtu import Rtu
from models.cells.rtu_nonlinear import RtuNonlinear
from models.cells.vanilla import Vanilla
from models.protocols import Cell

CELLS: dict[str, Callable[..., Cell]] = {
    "rtu": Rtu,
    "rtu_nonlinear": RtuNonlinear,
    "lru": Lru,
    "elstm": Elstm,
    "mingru": MinGru,
    "gru": Gru,
    "lstm": Lstm,
    "vanilla": Vanilla,
    "vanilla_sigmoid": partial(Vanilla, activation="sigmoid"),
}
"""Factories by name; each takes the keywords n_inputs and n_units."""
