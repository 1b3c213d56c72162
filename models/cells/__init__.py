"""Recurrent cells. A new one is a file here and a line in the table."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from models.cells.columnar import Columnar
from models.cells.constructive import Constructive
from models.cells.delay_line import DelayLine
from models.cells.elstm import Elstm
from models.cells.gru import Gru
from models.cells.lru import Lru
from models.cells.lstm import Lstm
from models.cells.mingru import MinGru
from models.cells.narx import Narx
from models.cells.rtu import Rtu
from models.cells.rtu_nonlinear import RtuNonlinear
from models.cells.stack import Stack
from models.cells.vanilla import LEAK, Vanilla, sparse_vanilla
from models.protocols import Cell

CELLS: dict[str, Callable[..., Cell]] = {
    "feedforward": partial(DelayLine, taps=1, unit_taps=1),
    "delay_line": DelayLine,
    "narx": partial(Narx, feedback="observed"),
    "narx_free_running": partial(Narx, feedback="own"),
    "rtu": Rtu,
    "rtu_nonlinear": RtuNonlinear,
    "lru": Lru,
    "elstm": Elstm,
    "mingru": MinGru,
    "columnar": Columnar,
    "constructive": Constructive,
    "rtu_stack": partial(Stack, layer=Rtu),
    "elstm_stack": partial(Stack, layer=Elstm),
    "gru": Gru,
    "lstm": Lstm,
    "vanilla": Vanilla,
    "vanilla_sigmoid": partial(Vanilla, activation="sigmoid"),
    "vanilla_relu": partial(Vanilla, activation="relu"),
    "vanilla_sparse": sparse_vanilla,
    "vanilla_leaky": partial(Vanilla, leak=LEAK),
}
"""Factories by name; each takes the keywords n_inputs and n_units."""
