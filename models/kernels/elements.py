"""Elements, rows and parts of an array in LLVM's language: fewer instructions than numba makes.

numba lays an array out in memory to read one of its seven numbers, and tells two dozen cases apart. Here an array of numbers
without gaps is taken as it is; anything else is left to numba.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final

from numba.core import cgutils, types
from numba.cpython import slicing
from numba.np import arrayobj

_arrays: Any = arrayobj
_code: Any = cgutils
_slicing: Any = slicing
_types: Any = types

Build = Callable[..., Any]
"""Takes a builder, the arguments and perhaps a place in the source, and builds."""


class PlainArray:
    """An array while code is built that has to do with it."""

    def __init__(self, context: Any, builder: Any, kind: Any, value: Any) -> None:
        """Take an array of a kind, and what builds."""
        self._context, self._builder, self._kind, self._value = context, builder, kind, value

    def _member(self, name: str) -> Any:
        """Take one of the numbers that it is made of."""
        place = self._context.data_model_manager[self._kind].get_field_position(name)
        return self._builder.extract_value(self._value, place)

    def length(self, axis: int) -> Any:
        """Return how many elements there are along an axis."""
        return self._builder.extract_value(self._member("shape"), axis)

    def _address(self, places: list[Any]) -> Any:
        """Return where an element is, or the first of a row; a negative place is counted from the end."""
        builder, offset = self._builder, None
        for axis in range(self._kind.ndim):
            length = self.length(axis)
            offset = offset if offset is None else builder.mul(offset, length)
            if axis < len(places):
                place = _slicing.fix_index(builder, places[axis], length)
                offset = place if offset is None else builder.add(offset, place)
        return builder.gep(self._member("data"), [offset])

    def element(self, places: list[Any]) -> Any:
        """Read an element."""
        return _arrays.load_item(self._context, self._builder, self._kind, self._address(places))

    def write(self, places: list[Any], value: Any, kind: Any) -> None:
        """Write an element, a value of some kind."""
        value = self._context.cast(self._builder, value, kind, self._kind.dtype)
        _arrays.store_item(self._context, self._builder, self._kind, value, self._address(places))

    def row(self, place: Any, kind: Any) -> Any:
        """Take a row of a matrix, an array of this kind."""
        stride = self._builder.extract_value(self._member("strides"), 1)
        shared = {name: self._member(name) for name in ("meminfo", "parent", "itemsize")}
        shared["strides"] = _code.pack_array(self._builder, [stride])
        nothing = self._context.get_constant_undef(kind)
        return self._view(kind, nothing, self._address([place]), self.length(1), shared)

    def part(self, bounds: Any) -> Any:
        """Take what lies between two places, which are bounded as Python does."""
        builder, whole = self._builder, self.length(0)
        none, ends = whole.type(0), []
        for which in range(2):
            end = _slicing.fix_index(builder, builder.extract_value(bounds, which), whole)
            end = builder.select(builder.icmp_signed("<", end, none), none, end)
            ends.append(builder.select(builder.icmp_signed("<", end, whole), end, whole))
        size = builder.sub(ends[1], ends[0])
        size = builder.select(builder.icmp_signed("<", size, none), none, size)
        return self._view(self._kind, self._value, builder.gep(self._member("data"), [ends[0]]), size, {})

    def _view(self, kind: Any, value: Any, data: Any, size: Any, members: dict[str, Any]) -> Any:
        """Return an array with some of its numbers replaced."""
        model = self._context.data_model_manager[kind]
        shape = _code.pack_array(self._builder, [size])
        for name, member in (members | {"data": data, "nitems": size, "shape": shape}).items():
            value = self._builder.insert_value(value, member, model.get_field_position(name))
        return value


def is_plain(kind: object) -> bool:
    """Say whether a type is that of an array of numbers, row by row without gaps."""
    number = _types.Number | _types.Boolean
    return isinstance(kind, _types.Array) and kind.layout == "C" and isinstance(kind.dtype, number)


def _is_place(kind: Any) -> bool:
    return isinstance(kind, _types.Integer) and bool(kind.signed) and kind.bitwidth == _types.intp.bitwidth


def _n_places(kind: Any) -> int:
    """Return how many places an index is of; 0 where it is of anything else."""
    if isinstance(kind, _types.BaseTuple):
        return len(kind) if all(_is_place(one) for one in kind) else 0
    return int(_is_place(kind))


def _places(builder: Any, kind: Any, index: Any) -> list[Any]:
    """Return the places that an index is of."""
    found: list[Any] = _code.unpack_tuple(builder, index) if isinstance(kind, _types.BaseTuple) else [index]
    return found


def _getitem(context: Any, sig: Any) -> Build | None:
    """Return how to read an element, to take a row, or a part; None where it is anything else."""
    kind, index = sig.args

    def element(builder: Any, args: Any, loc: object = None) -> Any:  # noqa: ARG001  numba tells all
        return PlainArray(context, builder, kind, args[0]).element(_places(builder, index, args[1]))

    def row(builder: Any, args: Any, loc: object = None) -> Any:  # noqa: ARG001  as above
        return PlainArray(context, builder, kind, args[0]).row(args[1], sig.return_type)

    def part(builder: Any, args: Any, loc: object = None) -> Any:  # noqa: ARG001  as above
        return PlainArray(context, builder, kind, args[0]).part(args[1])

    if _n_places(index) == kind.ndim:
        return element
    if _is_place(index) and kind.ndim == 2:
        return row
    return part if index == _types.slice2_type and sig.return_type == kind and kind.ndim == 1 else None


def _setitem(context: Any, sig: Any) -> Build | None:
    """Return how to write an element; None where it is anything else."""
    kind, index, of = sig.args

    def write(builder: Any, args: Any, loc: object = None) -> None:  # noqa: ARG001  as above
        places = _places(builder, index, args[1])
        PlainArray(context, builder, kind, args[0]).write(places, args[2], of)

    return write if _n_places(index) == kind.ndim else None


def _len(context: Any, sig: Any) -> Build:
    """Return how to get a length."""

    def length(builder: Any, args: Any, loc: object = None) -> Any:  # noqa: ARG001  as above
        return PlainArray(context, builder, sig.args[0], args[0]).length(0)

    return length


OF_ARRAYS: Final[dict[object, Callable[[Any, Any], Build | None]]] = {
    operator.getitem: _getitem,
    operator.setitem: _setitem,
    len: _len,
}
"""What is built otherwise than numba does: each takes a context and a signature."""
