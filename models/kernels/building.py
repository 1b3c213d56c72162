"""Writing a function in LLVM's language, without what falls away as soon as LLVM looks at it.

Each instruction is made and printed in Python, then read by LLVM, and most of the time goes there: so a number that has just been put
into a tuple is taken as it is.
"""

from __future__ import annotations

from typing import Any

from numba.core import cgutils

_code: Any = cgutils
_ir: Any = _code.ir  # of llvmlite


class PlainBuilder(_ir.IRBuilder):  # type: ignore[misc]  # it has no types
    """Appends instructions to a block."""

    def extract_value(self, agg: Any, idx: Any, name: str = "") -> Any:
        """Take a part of a tuple: where the tuple has been put together in this function, the part that was put in."""
        places = list(idx) if isinstance(idx, list | tuple) else [idx]
        while isinstance(agg, _ir.instructions.InsertValue):
            put = list(agg.indices)
            if put == places:
                return agg.value
            if put[0] == places[0]:
                break
            agg = agg.aggregate
        return super().extract_value(agg, places, name)


def is_constant(value: object) -> bool:
    """Say whether a value is a whole number that is known."""
    return isinstance(value, _ir.Constant) and isinstance(value.constant, int)
