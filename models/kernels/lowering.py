"""What the steps of a function become in LLVM's language: nothing that none of our functions needs.

No references are counted, see `models.kernels.jit`, so nothing has to be done where a variable is left or set again. What numba
makes for it LLVM has to read, to find that it is for nothing, and to throw away.
"""

from __future__ import annotations

from typing import Any, Final

from numba.core import analysis, cgutils, compiler_machinery, cpu, errors, ir, lowering, typed_passes, types

from models.kernels.building import PlainBuilder
from models.kernels.elements import OF_ARRAYS, Build, PlainArray
from models.kernels.layout import MODELS, PlainAPI, is_plain
from models.kernels.loops import OF_NUMBERS

_analysis: Any = analysis
_code: Any = cgutils
_cpu: Any = cpu
_ir: Any = ir
_lowering: Any = lowering
_machinery: Any = compiler_machinery
_typed: Any = typed_passes
_types: Any = types


class PlainLower(_lowering.Lower):  # type: ignore[misc]  # numba has few types
    """Builds a function in which no references are counted."""

    def _find_singly_assigned_variable(self) -> None:
        """Find the variables that need no room, as each place that reads one comes after the only one that sets it.

        numba does so for those that are read in one block alone.
        """
        made: dict[str, int | None] = {}
        read: dict[str, set[int]] = {}
        for offset, block in self.blocks.items():
            for inst in block.body:
                for one in inst.list_vars():
                    read.setdefault(one.name, set()).add(offset)
                if isinstance(inst, _ir.Assign):
                    name = inst.target.name
                    made[name] = None if name in made else offset
        before = _analysis.compute_cfg_from_blocks(self.func_ir.blocks).dominators()
        self._singly_assigned_vars = {
            name
            for name, at in made.items()
            if at is not None and all(at in before[place] and at <= place for place in read[name])
        }
        self._blk_local_varmap: dict[str, Any] = {}

    def setup_function(self, fndesc: Any) -> None:
        """Begin a function."""
        self.function = self.context.declare_function(self.module, fndesc)
        self.entry_block = self.function.append_basic_block("entry")
        self.builder = PlainBuilder(self.entry_block)
        self.call_helper = self.call_conv.init_call_helper(self.builder)

    def lower_block(self, block: Any) -> None:
        """Build a block; numba makes ready to say where it stands before each step, and here it is said of one that fails."""
        try:
            for inst in block.body:
                self.loc = inst.loc
                self.lower_inst(inst)
        except Exception as failure:
            failure.add_note(f"at {self.loc}")
            raise

    def lower_inst(self, inst: Any) -> None:
        """Build a step; a place that is a constant is as any other where an array is written."""
        if isinstance(inst, _ir.StaticSetItem) and is_plain(self.typeof(inst.target.name)):
            self.lower_setitem(inst.target, inst.index_var, inst.value, self.fndesc.calltypes[inst])
        else:
            super().lower_inst(inst)

    def lower_expr(self, resty: Any, expr: Any) -> Any:
        """Build an expression; of an array a place that is a constant is as any other, and elements are taken apart one by one."""
        if expr.op == "static_getitem" and is_plain(self.typeof(expr.value.name)):
            signature = self.fndesc.calltypes[expr]
            return self.lower_getitem(resty, expr, expr.value, expr.index_var, signature)
        if expr.op == "exhaust_iter" and is_plain(self.typeof(expr.value.name)):
            kind, value = self.typeof(expr.value.name), self.loadvar(expr.value.name)
            array = PlainArray(self.context, self.builder, kind, value)
            places = [self.context.get_constant(_types.intp, place) for place in range(expr.count)]
            elements = [array.element([place]) for place in places]
            return self.context.make_tuple(self.builder, resty, elements)
        return super().lower_expr(resty, expr)

    def return_exception(self, exc_class: object, exc_args: object = None, loc: object = None) -> None:
        """Refuse to raise: whoever calls a function of ours does not ask whether it failed."""
        raise errors.UnsupportedError("a compiled function raises nothing", loc=self.loc)

    set_exception = return_dynamic_exception = return_exception

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

    @property
    def data_model_manager(self) -> Any:
        """What values are made of."""
        return MODELS

    def get_python_api(self, builder: object) -> PlainAPI:
        """Return what takes apart what Python hands in."""
        return PlainAPI(self, builder)

    def get_function(self, fn: Any, sig: Any, _firstcall: bool = True) -> Build:
        """Return how to build what an operator or a function does with arguments of these types."""
        sig = sig.as_function()
        own = _OWN.get(getattr(fn, "typing_key", fn)) if sig.args else None
        found = own(self, sig) if own else None
        if found is not None:
            return found
        if isinstance(fn, _types.Dispatcher):
            own = self._call(fn, sig)
            if own is not None:
                return own
        got: Build = super().get_function(fn, sig, _firstcall)
        return got

    def get_constant_generic(self, builder: object, ty: Any, val: object) -> Any:
        """Return a constant; a function of ours is called by its name, and needs none."""
        if isinstance(ty, _types.Dispatcher):
            return self.get_dummy_value()
        return super().get_constant_generic(builder, ty, val)

    def pair_first(self, builder: Any, val: object, ty: object) -> Any:
        """Take what an iterator gave."""
        return builder.extract_value(val, 0)

    def pair_second(self, builder: Any, val: object, ty: object) -> Any:
        """Take whether it gave anything."""
        return builder.extract_value(val, 1)

    def get_getattr(self, typ: Any, attr: str) -> Any:
        """Return how to get an attribute; of an array, how long an element is, is known by its type."""
        if attr == "itemsize" and is_plain(typ):
            size = self.get_constant(_types.intp, typ.dtype.bitwidth // 8)
            return lambda *_: size
        return super().get_getattr(typ, attr)

    def _call(self, fn: Any, sig: Any) -> Build | None:
        """Return how to call a function of ours, which never fails: so nothing asks whether it did."""
        compiled = fn.dispatcher.overloads.get(tuple(sig.args))
        if compiled is None:
            return None
        known = compiled.fndesc

        def call(builder: Any, args: Any, loc: object = None) -> Any:  # noqa: ARG001  numba tells all
            how = self.call_conv
            room = _code.alloca_once(builder, how.get_return_type(known.restype).pointee)
            packed = how._get_arg_packer(known.argtypes).as_arguments(builder, args)
            excinfo = how._get_excinfo_argument(builder.function)
            builder.call(self.declare_function(builder.module, known), [room, excinfo, *packed])
            self.add_linking_libs([compiled.library])
            return self.get_returned_value(builder, known.restype, builder.load(room))

        return call


_OWN: Final = OF_ARRAYS | OF_NUMBERS
"""What is built otherwise than numba does."""
