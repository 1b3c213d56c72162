"""Compiling what allocates nothing: without counting references to arrays.

A view of a row is counted when it is made and when it is left, each time with a locked instruction, which for rows of some
tens of numbers costs as much as the arithmetic. Where the caller holds the arrays there is nothing to count.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Final, TypeVar

from models.kernels.jit import compiler, options
from models.protocols import Array

Function = TypeVar("Function", bound=Callable[..., Any])


def leaf(function: Function) -> Function:
    """Return the function compiled as `inner` does, for arrays that its caller holds.

    It must make no array and return none; numba refuses to compile one that makes any. numba knows the option by `_nrt`.
    """
    if compiler is None:
        return function
    compiled: Function = compiler.njit(**options(inside=True, held=True))(function)
    return compiled


def root(function: Function) -> Function:
    """Return the function compiled as `jit` does, for arrays that Python holds; it must make none, as above."""
    if compiler is None:
        return function
    compiled: Function = compiler.njit(**options(inside=False, held=True))(function)
    return compiled


LINE: Final = 8
"""Doubles in a line of the cache: 64 bytes."""


def asking() -> Any:
    """Return what, compiled, asks for the line of an array's element (n,), to be written to; nothing waits for it."""
    ir, cgutils = import_module("llvmlite.ir"), import_module("numba.core.cgutils")
    types, extending = import_module("numba.core.types"), import_module("numba.extending")

    def ask(_: Any, array: Any, at: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
            held = context.make_array(signature.args[0])(context, builder, given[0])
            place = builder.bitcast(builder.gep(held.data, [given[1]]), cgutils.voidptr_t)
            flag = ir.IntType(32)
            kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, flag, flag, flag])
            function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
            builder.call(function, [place, flag(1), flag(3), flag(1)])  # to write, into all caches, data
            return context.get_dummy_value()

        return types.void(array, at), generate

    return extending.intrinsic(ask)


fetch: Final[Any] = None if compiler is None else asking()


@leaf
def fetch_ahead(rows: Array) -> None:
    """Ask for all of an array (k, n) that is soon to be written to: for the next event's model, while this one is reckoned."""
    n = rows.shape[1]
    for j in range(len(rows)):
        row = rows[j]
        for i in range(0, n, LINE):
            fetch(row, i)
