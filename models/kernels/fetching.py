"""To ask for memory before it is needed: an event's model lies anywhere among thousands, and the caches cannot guess which is next.

A row is asked for beside each row that is worked on: memory hands out lines one by one, and a core waits for few at once. It is
asked for into the second of a core's caches, since the first holds little more than the model at work.

Functions are handed what is asked for by the name of `ahead`. It is neither read nor written, so that it may lie where another
argument does, as at a call's last event, see `jit`.
"""

from __future__ import annotations

from typing import Any, Final

from models.kernels.arrays import LINE_BYTES
from models.kernels.jit import compiler, inner
from models.protocols import Array, IntArray, SingleOrDouble, State

AHEAD: Final = 2
"""Events beforehand at which a model of a few KB is asked for: one is soon done, and memory slow where many use it."""

SHARES: Final = 5
"""In which a record is asked for that is not worked on row by row."""

NEAR_BYTES: Final = 2**20
"""What a core's own caches hold: models that fit are there anyway, and to ask for them only costs."""

if compiler is None:  # as all functions here, which then run as they stand

    def ask(row: SingleOrDouble, place: int) -> None:
        """Ask for the memory of a row's byte."""

else:
    from numba.core import cgutils, types
    from numba.extending import intrinsic

    _code: Any = cgutils
    _intrinsic: Any = intrinsic
    _types: Any = types

    @_intrinsic  # type: ignore[untyped-decorator]  # numba has few types
    def ask(typing: object, row: Any, place: Any) -> tuple[Any, Any]:  # noqa: ARG001  by their names it is called
        """Ask for the memory of a row's byte; nothing waits for it."""

        def build(context: Any, builder: Any, signature: Any, arguments: list[Any]) -> Any:
            byte, count = _code.voidptr_t, _code.int32_t
            held = context.make_array(signature.args[0])(context, builder, arguments[0])
            address = builder.gep(builder.bitcast(held.data, byte), [arguments[1]])
            form = _code.ir.FunctionType(_code.ir.VoidType(), [byte, count, count, count])
            prefetch = _code.get_or_insert_function(builder.module, form, "llvm.prefetch.p0")
            to_read, into_second_cache, of_data = count(0), count(2), count(1)
            builder.call(prefetch, [address, to_read, into_second_cache, of_data])
            return context.get_dummy_value()

        return _types.void(row, _types.intp), build


@inner
def fetch(row: SingleOrDouble, far: bool) -> None:
    """Ask for the memory of a row, (n,), where models are far."""
    if far:
        for place in range(0, len(row) * row.itemsize, LINE_BYTES):
            ask(row, place)


@inner
def fetch_share(row: Array, parts: IntArray, share: int, far: bool) -> None:
    """Ask for a share, of SHARES, of the memory of parts of a row, (P, 2), each from one place up to another, where models are far."""
    if far:
        for part in range(len(parts)):
            first, size = parts[part, 0], parts[part, 1] - parts[part, 0]
            start, end = first + share * size // SHARES, first + (share + 1) * size // SHARES
            for place in range(start * row.itemsize, end * row.itemsize, LINE_BYTES):
                ask(row, place)


def are_far(slabs: State) -> bool:
    """Say whether slabs are larger than what lies near a core."""
    return sum(slab.nbytes for slab in slabs.values()) > NEAR_BYTES
