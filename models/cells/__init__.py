"""Recurrent cells. A new one is a file here and a line in the table."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from models.cells.rtu import Rtu
from models.cells.vanilla import Vanilla
from models.protocols import Cell

CELLS: dict[str, Callable[..., Cell]] = {
    "rtu": Rtu,
    "vanilla": Vanilla,
    "vanilla_sigmoid": partial(Vanilla, activation="sigmoid"),
}
"""Factories by name; each takes the keywords n_inputs and n_units."""
