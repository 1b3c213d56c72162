"""Compiling, where numba is installed: as it stands, without fast mathematics and without threads.

So that a twin gives what the numpy path gives, to rounding, and the same bits whatever shares a call. The lock of the
interpreter is let go inside.

No function here makes an array: what it needs room for, its caller hands in. So references to arrays need not be counted. A view of a
row would be counted when it is made and when it is left, each time with a locked instruction, which for rows of some tens
of numbers costs as much as the arithmetic. numba knows this by `_nrt`, and refuses a function that makes an array all the same.

What two arguments of a call share in memory, those in tuples too, no function here writes while the call goes on, nor does one hand
an array back. The compiler is told so, see `linking`, and need not look before each loop whether what is written is what is read. A row
may stand beside the whole array where what is written lies elsewhere. `tests/models/test_kernels_overlaps.py` follows every call.

Nor does a function here raise, or ask for a place that an array has not, or for one counted from the array's end. Nobody looks for that either,
but the same test, and machine code where NUMBA_BOUNDSCHECK=1 says so, see `elements`.
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

Function = TypeVar("Function", bound=Callable[..., Any])
Tuple = TypeVar("Tuple", bound=type[tuple[object, ...]])

PACKAGE: Final = Path(__file__).parents[1]
"""What a compiled function may take its constants and its parts from."""


def digest(package: Path) -> str:
    """Return a short name of the text of a package."""
    text = hashlib.sha256()
    for source in sorted(package.rglob("*.py")):
        text.update(source.read_bytes())
    return text.hexdigest()[:16]


def cache_folder(package: Path = PACKAGE) -> Path | None:
    """Return where compiled functions are kept: in NUMBA_CACHE_DIR, else the user's cache; None if nothing can be there.

    The folder is named by the text of the package. numba alone looks at the file of the function that is called, and would
    go on with yesterday's after a change of a constant, or in a file that it calls.
    """
    base = os.environ.get("NUMBA_CACHE_DIR")
    parent = (
        Path(base) if base else Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "onward"
    )
    folder = parent / f"kernels-{digest(package)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # the latter where there is no home
        return None
    return folder if os.access(folder, os.W_OK) else None


FOLDER: Final = None if compiler is None else cache_folder()
"""Where this process keeps what it compiles."""

if FOLDER is not None:
    compiler.config.CACHE_DIR = str(FOLDER)


SHORTER: Final = compiler is not None and compiler.__version__.startswith("0.68.")
"""Whether numba is one whose inside is known: else it compiles in its own way, to the same functions, but longer."""


def options(*, inside: bool, large: bool = False) -> dict[str, Any]:
    """Return numba's options; `inside` is for other compiled functions alone, without the shell that Python would call it by.

    `large` is for what a worker's start waits for.
    """
    found: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": False, "_nrt": False}
    found["no_cfunc_wrapper"] = True  # by which C would call it
    if inside:
        found["no_cpython_wrapper"] = True
    else:
        found["cache"] = FOLDER is not None
    if SHORTER:
        from models.kernels.linking import (  # noqa: PLC0415  it is built on numba
            LargeCompiler,
            LinkedCompiler,
            SealedCompiler,
        )

        found["pipeline_class"] = LinkedCompiler if inside else LargeCompiler if large else SealedCompiler
    return found


def jit(function: Function) -> Function:
    """Return the function compiled at its first call and kept on disk; as it is where numba is not installed.

    It may write nothing that two of its arguments share.
    """
    return _compiled(function, inside=False)


def jit_large(function: Function) -> Function:
    """Return the same of a large function that a worker's start waits for: optimised less, which its events do not feel."""
    return _compiled(function, inside=False, large=True)


def inner(function: Function) -> Function:
    """Return the function compiled for other compiled functions alone; it may write nothing that two of its arguments share."""
    return _compiled(function, inside=True)


def lent(kind: Tuple) -> Tuple:
    """Return a class of tuples of arrays, which compiled functions hand on by its address from now on."""
    if compiler is not None:
        from models.kernels.lending import lend  # noqa: PLC0415  as above

        lend(kind)
    return kind


def _compiled(function: Function, *, inside: bool, large: bool = False) -> Function:
    if compiler is None:
        return function
    compiled: Function = compiler.njit(**options(inside=inside, large=large))(function)
    return compiled
