"""Loops over ranges, and division, in LLVM's language: fewer instructions than numba makes.

numba counts beforehand how often a loop runs, by a division, and counts down. Here a loop runs while its number is below its end, or above
it, which LLVM counts by itself.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final

from numba.core import cgutils, types

from models.kernels.elements import Build

_code: Any = cgutils
_types: Any = types


def _range(context: Any, sig: Any) -> Build | None:
    """Return how to make a range."""
    if sig.return_type != _types.range_state64_type:
        return None

    def made(builder: Any, args: Any, loc: object = None) -> Any:  # noqa: ARG001  as above
        none, one = (context.get_constant(_types.intp, value) for value in (0, 1))
        ends = [none, *args] if len(args) == 1 else [*args]
        return _code.pack_struct(builder, [*ends, one][:3])

    return made


def _begin(context: object, sig: Any) -> Build | None:  # noqa: ARG001  as above
    """Return how to begin a loop over a range: with room for its number, as it is before the first.

    With room for the next one LLVM would carry two numbers through the loop, which a short loop feels.
    """
    if sig.args[0] != _types.range_state64_type:
        return None

    def begun(builder: Any, args: Any, loc: object = None) -> Any:  # noqa: ARG001  as above
        first, last, step = _code.unpack_tuple(builder, args[0], 3)
        room = _code.alloca_once(builder, first.type)
        builder.store(builder.sub(first, step), room)
        return _code.pack_struct(builder, [room, last, step])

    return begun


def _next(context: Any, sig: Any) -> Build | None:
    """Return how to take a loop's next number, and whether there is one."""
    if sig.args[0] != _types.range_iter64_type:
        return None

    def taken(builder: Any, args: Any, loc: object = None) -> Any:  # noqa: ARG001  as above
        room, last, step = (builder.extract_value(args[0], which) for which in range(3))
        number = builder.add(builder.load(room), step, flags=["nsw"])
        builder.store(number, room)
        below, above = (builder.icmp_signed(sign, number, last) for sign in "<>")
        none = context.get_constant(_types.intp, 0)
        within = builder.select(builder.icmp_signed(">", step, none), below, above)
        return _code.pack_struct(builder, [number, within])

    return taken


def _divided(context: object, sig: Any) -> Build | None:  # noqa: ARG001  as above
    """Return how to divide; by nothing as well, which numba looks for though it has been told that nothing is to be done."""
    if not all(isinstance(kind, _types.Float) and kind == sig.return_type for kind in sig.args):
        return None

    def quotient(builder: Any, args: Any, loc: object = None) -> Any:  # noqa: ARG001  as above
        return builder.fdiv(*args)

    return quotient


OF_NUMBERS: Final[dict[object, Callable[[Any, Any], Build | None]]] = {
    range: _range,
    "getiter": _begin,
    "iternext": _next,
    operator.truediv: _divided,
}
"""What is built otherwise than numba does: each takes a context and a signature, and returns None where it leaves it to numba."""
