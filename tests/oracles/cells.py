"""The table of the cells' equations."""

from __future__ import annotations

import autograd.numpy as anp

from tests.oracles.columnar import columnar_step, constructive_step
from tests.oracles.delay import delay_line_step, first_parts, narx_step
from tests.oracles.diagonal import lru_step, rtu_nonlinear_step, rtu_step
from tests.oracles.equations import CellOracle, logistic, same
from tests.oracles.gated import elstm_step, gru_step, lstm_read, lstm_step, mingru_step
from tests.oracles.stack import rtu_layer_step, stack_step
from tests.oracles.vanilla import sparse_vanilla_step, vanilla_step

CELL_ORACLES: dict[str, CellOracle] = {
    "feedforward": CellOracle(step=delay_line_step(1, 1), read_out=first_parts(1)),
    "delay_line": CellOracle(step=delay_line_step(8, 4), read_out=first_parts(4)),
    "narx": CellOracle(step=narx_step(4, 3, own=False), read_out=first_parts(1)),
    "narx_free_running": CellOracle(step=narx_step(4, 3, own=True), read_out=first_parts(1)),
    "rtu": CellOracle(step=rtu_step, read_out=anp.tanh),
    "rtu_nonlinear": CellOracle(step=rtu_nonlinear_step, read_out=same),
    "elstm": CellOracle(step=elstm_step, read_out=same),
    "mingru": CellOracle(step=mingru_step, read_out=anp.tanh),
    "columnar": CellOracle(step=columnar_step, read_out=lstm_read),
    "constructive": CellOracle(step=constructive_step(None, 2500), read_out=lambda state: state[1:2]),
    "rtu_stack": CellOracle(
        step=stack_step(rtu_layer_step, anp.tanh, n_layers=2, n_params=lambda m: 2 + 2 * m), read_out=anp.tanh
    ),
    "elstm_stack": CellOracle(
        step=stack_step(elstm_step, same, n_layers=2, n_params=lambda m: 2 * (m + 2)), read_out=same
    ),
    "gru": CellOracle(step=gru_step, read_out=same),
    "lstm": CellOracle(step=lstm_step, read_out=lstm_read),
    "lru": CellOracle(step=lru_step, read_out=same),
    "vanilla": CellOracle(step=vanilla_step(anp.tanh), read_out=same),
    "vanilla_sigmoid": CellOracle(step=vanilla_step(logistic), read_out=same),
    "vanilla_relu": CellOracle(step=vanilla_step(lambda a: anp.maximum(a, 0.0)), read_out=same),
    "vanilla_sparse": CellOracle(step=sparse_vanilla_step, read_out=same),
    "vanilla_leaky": CellOracle(step=vanilla_step(anp.tanh, leak=0.3), read_out=same),
}


def cell_oracle(name: str) -> CellOracle:
    """Return the oracle of the cell that stands under this name in `models.cells.CELLS`."""
    if name not in CELL_ORACLES:
        raise LookupError(
            f"tests/oracles/cells.py has no equations for the cell {name!r}. Write its step and read-out with"
            " autograd.numpy, from the equations and not from the code, and add a line to CELL_ORACLES:"
            " without them its derivatives are compared with nothing."
        )
    return CELL_ORACLES[name]
