"""Learning rules: how the gradient is carried from step to step. A new one is a file and a line."""

from __future__ import annotations

from collections.abc import Callable

from models.protocols import Cell, LearningRule
from models.rules.immediate import Immediate
from models.rules.rtrl_step import RtrlStep
from models.rules.rtrl_trace import RtrlTrace

RULES: dict[str, Callable[[Cell], LearningRule]] = {
    "rtrl_trace": RtrlTrace,
    "rtrl_step": RtrlStep,
    "immediate": Immediate,
}
"""Rules by name; each takes a cell, and refuses one that it cannot follow with a ValueError."""


def exact_rule_for(cell: Cell) -> LearningRule:
    """Return the cheapest exact rule for a cell: the trace engine if it is diagonal, else the step engine.

    Example:
        >>> from models.cells import CELLS
        >>> type(exact_rule_for(CELLS["rtu"](n_inputs=1, n_units=2))).__name__
        'RtrlTrace'
    """
    return RtrlStep(cell) if cell.recurrence == "dense" else RtrlTrace(cell)
