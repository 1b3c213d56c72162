"""Compiling, where numba is installed: as it stands, without fast mathematics and without threads.

So that a twin gives what the numpy path gives, to rounding, and the same bits whatever shares a call. The lock of the
interpreter is let go inside.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

compiler: Any
try:
    import numba as compiler
except ImportError:  # the extra `fast` is not installed
    compiler = None

COMPILES: Final = compiler is not None
"""Whether there are compiled twins at all."""

Function = TypeVar("Function", bound=Callable[..., Any])


def cache_folder() -> Path | None:
    """Return where compiled functions are kept: in NUMBA_CACHE_DIR, else the user's cache; None if nothing can be there.

    The folder is named by the text of all kernels. numba alone looks at the file of the function that is called, and would
    go on with yesterday's after a change in a file that it calls.
    """
    base = os.environ.get("NUMBA_CACHE_DIR")
    parent = (
        Path(base) if base else Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "onward"
    )
    text = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        text.update(source.read_bytes())
    folder = parent / f"kernels-{text.hexdigest()[:16]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # the latter where there is no home
        return None
    return folder if os.access(folder, os.W_OK) else None


FOLDER: Final = cache_folder() if COMPILES else None
"""Where this process keeps what it compiles."""

if FOLDER is not None:
    compiler.config.CACHE_DIR = str(FOLDER)


SHORTER: Final = COMPILES and compiler.__version__.startswith("0.68.")
"""Whether numba is one whose inside is known: else it compiles in its own way, to the same functions, but longer."""


def options(inside: bool, held: bool) -> dict[str, Any]:
    """Return the options of numba's.

    Args:
        inside: for other compiled functions alone, without the shell that Python would call it by.
        held: references to arrays are not counted: the caller holds them, and the function makes none.
    """
    found: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": False}
    if inside:
        found |= {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    else:
        found["cache"] = FOLDER is not None
    if held:
        found["_nrt"] = False
    if SHORTER:
        from models.kernels.linking import LinkedCompiler, SealedCompiler  # noqa: PLC0415  it is built on numba

        found["pipeline_class"] = LinkedCompiler if inside else SealedCompiler
    return found


def jit(function: Function) -> Function:
    """Return the function compiled at its first call and kept on disk; as it is where numba is not installed."""
    if compiler is None:
        return function
    compiled: Function = compiler.njit(**options(inside=False, held=False))(function)
    return compiled


def inner(function: Function) -> Function:
    """Return the function compiled for other compiled functions alone."""
    if compiler is None:
        return function
    compiled: Function = compiler.njit(**options(inside=True, held=False))(function)
    return compiled
