"""Learning rules: how the gradient is carried from step to step. A new one is a file and a line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from models.protocols import Cell, LearningRule
from models.rules.bptt import Bptt
from models.rules.bptt_disjoint import BpttDisjoint
from models.rules.bptt_sliding import BpttSliding
from models.rules.dni import Dni
from models.rules.eprop import Eprop
from models.rules.immediate import Immediate
from models.rules.kernl import Kernl
from models.rules.kf_rtrl import KfRtrl
from models.rules.layerwise import Layerwise
from models.rules.optimal_kronecker import OptimalKronecker
from models.rules.r_kf import RKf
from models.rules.rflo import Rflo
from models.rules.rtrl_block import RtrlBlock, tells_gates
from models.rules.rtrl_block_smooth import RtrlBlockSmooth
from models.rules.rtrl_layers import RtrlLayers
from models.rules.rtrl_step import RtrlStep
from models.rules.rtrl_trace import RtrlTrace
from models.rules.sketched_rtrl import SketchedRtrl
from models.rules.snap_1 import Snap1
from models.rules.snap_k import Snap
from models.rules.uoro import Uoro

RULES: dict[str, Callable[..., LearningRule]] = {
    "rtrl_trace": RtrlTrace,
    "rtrl_step": RtrlStep,
    "rtrl_block": RtrlBlock,
    "rtrl_block_smooth": RtrlBlockSmooth,
    "rtrl_layers": RtrlLayers,
    "bptt": Bptt,
    "bptt_sliding": BpttSliding,
    "bptt_disjoint": BpttDisjoint,
    "snap_1": Snap1,
    "snap_2": Snap,
    "immediate": Immediate,
    "rflo": Rflo,
    "eprop": Eprop,
    "kernl": Kernl,
    "dni": Dni,
    "uoro": Uoro,
    "kf_rtrl": KfRtrl,
    "r_kf": RKf,
    "optimal_kronecker": OptimalKronecker,
    "sketched_rtrl": SketchedRtrl,
    "layerwise": Layerwise,
}
"""Rules by name; each takes a cell, and refuses one that it cannot follow with a ValueError. All else that a
rule may be told (window, rank, order, seed) has a default."""


BLOCK_FROM: Final = 2_000_000
"""Multiply-adds of the step engine from which the block engine is the faster one, in numpy: 32 to 40 units of the plain
cell, 24 of the GRU, 16 of the LSTM. Below, the Python of the block's steps costs more than it saves."""


def exact_rule_for(cell: Cell, *, compiled: bool = False) -> LearningRule:
    """Return the cheapest exact rule for a cell: traces if it is diagonal, across layers if layered, else by size.

    `compiled` says that it will run in a bank that compiles its learner (`LearnerBank`): the block engine is then the
    cheapest from the smallest cell on, since the step engine has no twin.

    Example:
        >>> from models.cells import CELLS
        >>> sizes = {"rtu": 64, "vanilla": 8, "gru": 64}
        >>> [type(exact_rule_for(CELLS[c](n_inputs=1, n_units=n))).__name__ for c, n in sizes.items()]
        ['RtrlTrace', 'RtrlStep', 'RtrlBlock']
        >>> type(exact_rule_for(CELLS["vanilla"](n_inputs=1, n_units=8), compiled=True)).__name__
        'RtrlBlock'
    """
    if cell.recurrence == "layered":
        return RtrlLayers(cell)
    if cell.recurrence != "dense":
        return RtrlTrace(cell)
    by_step = RtrlStep(cell)
    if not tells_gates(cell) or (by_step.cost.time < BLOCK_FROM and not compiled):
        return by_step
    return RtrlBlock(cell)
