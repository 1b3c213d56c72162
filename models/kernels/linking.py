"""How inner functions are compiled: once, in the function that Python calls, and not also by themselves.

numba turns each function into machine code, optimised with all that it calls, before it compiles the callers. Of an inner
function none of that is used but its unoptimised text, which is linked into the caller and optimised again there. So here it
is only linked. The parts of numba that this is built on are no public interface: `jit` takes this way with
the versions alone that are known to have them.
"""

from __future__ import annotations

from typing import Any, Final

from numba.core import codegen, compiler

_codegen: Any = codegen
_compiler: Any = compiler


class _NoEngine:
    """Stands where numba asks for the engine that runs a function: an inner one is run by none."""

    def set_env(self, name: str, environment: object) -> None:
        """Do nothing: only what talks to the interpreter has an environment."""


class LinkedLibrary(_codegen.JITCodeLibrary):  # type: ignore[misc]  # numba has few types
    """The code of an inner function and of what it calls, for linking into its callers alone."""

    @property
    def codegen(self) -> _NoEngine:
        """What runs it."""
        return _NO_ENGINE

    def get_pointer_to_function(self, name: str) -> int:
        """Return that there is no such machine code."""
        self._ensure_finalized()
        return 0

    def finalize(self) -> None:
        """Link what it calls, and leave optimising to the caller."""
        self._raise_if_finalized()
        for library in dict.fromkeys(self._linking_libraries):
            self._reload_init.update(library._reload_init)
            self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        self._finalized = True


class SealedFlags(_compiler.Flags):  # type: ignore[misc]  # as above
    """Flags that change no more, and so are gathered once: numba compares them whenever it looks for an operator."""

    def __init__(self, flags: object) -> None:
        """Gather them."""
        super().__init__(flags)
        self._gathered: dict[str, object] = super().values()

    def values(self) -> dict[str, object]:
        """Return flags by name."""
        return self._gathered


class SealedCompiler(_compiler.Compiler):  # type: ignore[misc]  # as above
    """Compiles as numba does, under flags that are gathered once."""

    def __init__(self, *what: object) -> None:
        """Take what to compile, and how."""
        super().__init__(*what)
        self.state.flags = SealedFlags(self.state.flags)


class LinkedCompiler(SealedCompiler):
    """Compiles for callers alone."""

    def __init__(self, *what: object) -> None:
        """Take what to compile, and how."""
        super().__init__(*what)
        self.state.library = LinkedLibrary(self.state.targetctx.codegen(), "inner")


_NO_ENGINE: Final = _NoEngine()
