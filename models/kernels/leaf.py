"""Compiling what allocates nothing: without counting references to arrays.

A view of a row is counted when it is made and when it is left, each time with a locked instruction, which for rows of some
tens of numbers costs as much as the arithmetic. Where the caller holds the arrays there is nothing to count.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from models.kernels.jit import compiler

Function = TypeVar("Function", bound=Callable[..., Any])


def leaf(function: Function) -> Function:
    """Return the function compiled as `inner` does, for arrays that its caller holds.

    It must make no array and return none; numba refuses to compile one that makes any. numba knows the option by `_nrt`.
    """
    if compiler is None:
        return function
    compiled: Function = compiler.njit(
        nogil=True,
        error_model="numpy",
        fastmath=False,
        no_cpython_wrapper=True,
        no_cfunc_wrapper=True,
        _nrt=False,
    )(function)
    return compiled
