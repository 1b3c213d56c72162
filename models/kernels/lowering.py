"""What the steps of a function become in LLVM's language: nothing that none of our functions needs.

No references are counted, see `models.kernels.jit`, so nothing has to be done where a variable is left or set again. What numba
makes for it LLVM has to read, to find that it is for nothing, and to throw away.
"""

from __future__ import annotations

from typing import Any, Final

from numba.core import cgutils, compiler_machinery, cpu, lowering, typed_passes

from models.kernels.elements import OF_ARRAYS, Build, is_plain

_code: Any = cgutils
_cpu: Any = cpu
_lowering: Any = lowering
_machinery: Any = compiler_machinery
_typed: Any = typed_passes


class PlainLower(_lowering.Lower):  # type: ignore[misc]  # numba has few types
    """Builds a function in which no references are counted."""

    def delvar(self, name: str) -> None:
        """Leave a variable: nothing to do."""

    def storevar(self, value: Any, name: str, argidx: int | None = None) -> None:
        """Set a variable, whatever it was before."""
        if name in self._singly_assigned_vars:
            self._blk_local_varmap[name] = value
        else:
            self._alloca_var(name, self.typeof(name))
            self.builder.store(value, self.getvar(name))

    def alloca_lltype(self, name: str, lltype: Any, datamodel: object = None) -> Any:
        """Make room for a variable; numba asks LLVM for its size as well, to tell debuggers."""
        return _code.alloca_once(self.builder, lltype, name=name)


@_machinery.register_pass(mutates_CFG=True, analysis_only=False)
class PlainLowering(_typed.BaseNativeLowering):  # type: ignore[misc]  # as above
    """The pass that does so."""

    _name = "plain_lowering"

    @property
    def lowering_class(self) -> type:
        """What builds a function."""
        return PlainLower


class PlainTarget(_cpu.CPUContext):  # type: ignore[misc]  # as above
    """Numba's own knowledge of how to build things, but for what is quicker."""

    def __init__(self, known: Any) -> None:
        """Share what numba knows."""
        self.__dict__ = known.__dict__

    def get_function(self, fn: Any, sig: Any, _firstcall: bool = True) -> Build:
        """Return how to build what an operator or a function does with arguments of these types."""
        if sig.args and is_plain(sig.args[0]):
            if fn in _NOT_OF_ARRAYS:
                raise NotImplementedError(fn)  # as numba says that there is none; its callers wait for it
            own = OF_ARRAYS.get(getattr(fn, "typing_key", fn))
            found = own(self, sig) if own else None
            if found is not None:
                return found
        got: Build = super().get_function(fn, sig, _firstcall)
        return got


_NOT_OF_ARRAYS: Final = frozenset({"__array__", "static_getitem", "static_setitem"})
"""What numba asks of arrays in vain, and then looks whether it has been registered meanwhile: a way around, and places that are constants."""
