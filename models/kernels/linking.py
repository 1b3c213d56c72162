"""How compiled functions are compiled: all that Python calls as one, once.

numba turns each function into machine code, optimised with all that it calls, before it compiles the callers. Of an inner
function none of that is used but its unoptimised text, which is linked into the caller and optimised again there. So here it
is only kept, until a function that Python calls is linked with all that is under it, optimised and turned into machine code.

And numba asks again and again for what it has found before: which operator serves two types, and which flags are set; it
compiles a function for each constant that it is called with; and it looks for closures, contexts and the like that no function here has.
LLVM is told that arguments do not overlap where a function writes, which numba does not know of ours.
What each step becomes is told in `lowering`.

The parts of numba that this is built on are no public interface: `jit` takes this way with
the versions alone that are known to have them.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

from numba.core import (
    base,
    codegen,
    compiler,
    compiler_machinery,
    event,
    postproc,
    transforms,
    typed_passes,
    types,
    typing,
    untyped_passes,
)

from models.kernels.lowering import PlainLowering, PlainTarget

_base: Any = base
_codegen: Any = codegen
_compiler: Any = compiler
_event: Any = event
_machinery: Any = compiler_machinery
_postproc: Any = postproc
_transforms: Any = transforms
_typed: Any = typed_passes
_types: Any = types
_typing: Any = typing
_untyped: Any = untyped_passes


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

    def _optimize_functions(self, ll_module: Any) -> None:  # noqa: ANN401  as above
        """Leave it to the caller."""
        ll_module.data_layout = self._codegen._data_layout

    def finalize(self) -> None:
        """Leave linking to the caller as well."""
        self._raise_if_finalized()
        for function in self._final_module.functions:
            if not function.is_declaration:
                function.linkage = "linkonce_odr"  # may stand in several of those that are linked, and is dropped once inlined
        self._shared_module = self._final_module
        self._finalized = True


class SealedLibrary(_codegen.JITCodeLibrary):  # type: ignore[misc]  # as above
    """The code of a function that Python calls, and of all that is under it: linked once, optimised once, to a level of LLVM's."""

    level: int

    def finalize(self) -> None:
        """Link, optimise and compile."""
        found: dict[Any, None] = {}
        waiting: list[Any] = list(self._linking_libraries)
        while waiting:
            library = waiting.pop()
            if library not in found:
                found[library] = None
                self._reload_init.update(library._reload_init)
                if isinstance(library, LinkedLibrary):
                    waiting += library._linking_libraries
        self._linking_libraries: list[Any] = list(found)
        super().finalize()

    def _optimize_functions(self, ll_module: Any) -> None:  # noqa: ANN401  as above
        """Wait until all is linked."""
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        """Bring loops into the form that can be vectorised, function by function; then optimise all."""
        builder = self._codegen._pass_builder(opt=self.level)
        early = _codegen.ll.create_new_function_pass_manager()
        early.add_sroa_pass()
        early.add_loop_rotate_pass()
        early.add_instruction_combine_pass()
        early.add_jump_threading_pass()
        for function in self._final_module.functions:
            if not function.is_declaration:
                early.run(function, builder)
        builder.getModulePassManager().run(self._final_module, builder)


class SealedFlags(_compiler.Flags):  # type: ignore[misc]  # as above
    """Flags that change no more, and so are gathered once: numba compares them whenever it looks for an operator."""

    def __init__(self, flags: object) -> None:
        """Gather them."""
        super().__init__(flags)
        self._gathered: dict[str, object] = super().values()

    def values(self) -> dict[str, object]:
        """Return flags by name."""
        return self._gathered


class SealedTyping(_typing.Context):  # type: ignore[misc]  # as above
    """Numba's own knowledge of types, by which an inner function is not compiled again for each constant it is called with."""

    def __init__(self, known: Any) -> None:  # noqa: ANN401  numba has few types
        """Share what numba knows."""
        self.__dict__ = known.__dict__

    def resolve_function_type(self, func: Any, args: Any, kws: Any) -> Any:  # noqa: ANN401  as above
        """Return the signature of a call."""
        if isinstance(func, _types.Dispatcher):
            args = tuple(_types.unliteral(kind) for kind in args)
        return super().resolve_function_type(func, args, kws)


@contextmanager
def _remembering() -> Iterator[None]:
    """Do once what numba does again and again, and leave out what nobody asks for. Numba's lock is held.

    Numba tries all that an operator can mean at each place where it stands, twice, which takes a seventh of all time. Numbers
    and arrays are told apart by their types alone, whatever constant a number is. It looks at the arguments of whatever builds
    a step, each time; finds out where each variable is last used, four times; tells what it does, though nobody listens; and looks
    for garbage: there is little, and much to look through.
    """
    operator, found = _types.functions.BaseFunction, dict[Any, Any]()
    resolve, live, collects = operator.get_call_type, _postproc.PostProcessor.run, gc.isenabled()

    def remembered(self: Any, context: Any, args: Any, kws: Any) -> Any:  # noqa: ANN401  as above
        if all(isinstance(kind, _types.Number | _types.Array) for kind in args):
            key = (self, tuple(_types.unliteral(kind) for kind in args))
        else:
            key = (self, args)
        if kws:
            return resolve(self, context, args, kws)
        if key not in found:
            found[key] = resolve(self, context, args, kws)
        return found[key]

    def unused(self: Any, emit_dels: bool = False, extend_lifetimes: bool = False) -> None:  # noqa: ANN401  as above
        if emit_dels:  # for the few functions of numba's own that are compiled on the way
            live(self, emit_dels, extend_lifetimes)
        else:
            self.func_ir.blocks = _transforms.canonicalize_cfg(self.func_ir.blocks)

    instead: tuple[tuple[Any, str, object], ...] = (
        (operator, "get_call_type", remembered),
        (_postproc.PostProcessor, "run", unused),
        (_base, "_has_loc", cache(_base._has_loc)),
        (_event, "broadcast", lambda _: None),
    )
    before = [getattr(owner, name) for owner, name, _ in instead]
    gc.disable()
    for owner, name, value in instead:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for (owner, name, _), value in zip(instead, before, strict=True):
            setattr(owner, name, value)
        if collects:
            gc.enable()


class PlainPasses(_machinery.PassManager):  # type: ignore[misc]  # as above
    """Passes that are run, and neither timed nor described."""

    def __init__(self, known: Any) -> None:  # noqa: ANN401  as above
        """Take those that change what is compiled here: no closures, contexts, array expressions, or code for Python."""
        self.__dict__ = known.__dict__
        self.passes = [
            (PlainLowering if one is _typed.NativeLowering else one, why)
            for one, why in known.passes
            if one not in _IDLE
        ]

    def _runPass(self, index: int, pss: Any, internal_state: Any) -> None:  # noqa: ANN401, N802  numba's names
        """Run one; that which leaves out what is done where an argument is not None, of functions that are handed None."""
        if isinstance(pss, _untyped.DeadBranchPrune) and not any(
            isinstance(kind, _types.NoneType) for kind in internal_state.args
        ):
            return
        pss.analysis = self._analysis
        for step in (pss.run_initialization, pss.run_pass, pss.run_finalizer):
            step(internal_state)


class SealedCompiler(_compiler.Compiler):  # type: ignore[misc]  # as above
    """Compiles as numba does, but what it would do over and over once."""

    level = 3  # LLVM's last, as numba itself takes it

    def __init__(self, typing: object, *what: object) -> None:
        """Take what to compile, and how."""
        super().__init__(typing, *what)
        state = self.state
        state.flags.noalias = True  # of the pointers that a function is handed: what `jit` promises
        state.flags = SealedFlags(state.flags)
        state.typingctx = SealedTyping(typing)
        state.targetctx = PlainTarget(state.targetctx)
        state.library = SealedLibrary(state.targetctx.codegen(), "sealed")
        state.library.level = self.level
        state.library.enable_object_caching()

    def compile_extra(self, func: object) -> object:
        """Compile a function that Python calls, with all that is under it."""
        with _remembering():
            return super().compile_extra(func)

    def define_pipelines(self) -> list[object]:
        """Return the passes."""
        return [PlainPasses(known) for known in super().define_pipelines()]


class LargeCompiler(SealedCompiler):
    """Compiles what is large and waited for: LLVM's first level, which brings as much where few loops are short."""

    level = 1


class LinkedCompiler(SealedCompiler):
    """Compiles for callers alone."""

    def __init__(self, *what: Any) -> None:
        """Take what to compile, and how."""
        super().__init__(*what)
        self.state.library = LinkedLibrary(self.state.targetctx.codegen(), "inner")

    def compile_extra(self, func: object) -> object:
        """Compile a function, within one that Python calls."""
        return super(SealedCompiler, self).compile_extra(func)


_NO_ENGINE: Final = _NoEngine()
_IDLE: Final = frozenset(
    {
        _untyped.WithLifting,
        _untyped.InlineClosureLikes,
        _untyped.RewriteDynamicRaises,
        _untyped.MakeFunctionToJitFunction,
        _untyped.InlineInlinables,
        _untyped.FindLiterallyCalls,
        _untyped.LiteralUnroll,
        _untyped.LiteralPropagationSubPipelinePass,
        _typed.InlineOverloads,
        _typed.NopythonRewrites,
        _typed.NoPythonSupportedFeatureValidation,
        _typed.DumpParforDiagnostics,
        _typed.IRLegalization,
    }
)
"""Passes for what no function here has: closures, contexts, literal tuples, array expressions, parallel loops, references to count."""
