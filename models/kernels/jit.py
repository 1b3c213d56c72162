"""Compiling, where numba is installed: as it stands, without fast mathematics and without threads.

So that a twin gives what the numpy path gives, to rounding, and the same bits whatever shares a call. The lock of the
interpreter is let go inside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

compiler: Any
try:
    import numba as compiler
except ImportError:  # the extra `fast` is not installed
    compiler = None

COMPILES: Final = compiler is not None
"""Whether there are compiled twins at all."""

Function = TypeVar("Function", bound=Callable[..., Any])


def jit(function: Function) -> Function:
    """Return the function compiled at its first call and kept on disk; as it is where numba is not installed."""
    if compiler is None:
        return function
    compiled: Function = compiler.njit(cache=True, nogil=True, error_model="numpy", fastmath=False)(function)
    return compiled
