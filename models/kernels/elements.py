"""Elements, rows and parts of an array in LLVM's language: fewer instructions than numba makes.

numba lays an array out in memory to read one of its seven numbers, and tells two dozen cases apart. Here an array of numbers
without gaps is taken as it is; anything else is left to numba.

Places are counted from the beginning, and a part lies within its array: no function here asks for another, which Python and numba
would look for at every element. With NUMBA_BOUNDSCHECK=1 every place is looked at, and a wrong one ends the process.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import cached_property, partial, reduce
from typing import Any, Final

from numba.core import cgutils, errors, types
from numba.np import arrayobj

from models.kernels.building import is_constant
from models.kernels.layout import is_plain

_arrays: Any = arrayobj
_code: Any = cgutils
_types: Any = types

Build = Callable[..., Any]
"""Takes a builder, the arguments and perhaps a place in the source, and builds."""


class PlainArray:
    """An array while code is built that has to do with it."""

    def __init__(self, context: Any, builder: Any, kind: Any, value: Any) -> None:
        """Take an array of a kind, and what builds."""
        self._context, self._builder, self._kind, self._value = context, builder, kind, value

    @cached_property
    def shape(self) -> list[Any]:
        """How many elements there are along each axis."""
        shape: list[Any] = _code.unpack_tuple(
            self._builder, self._builder.extract_value(self._value, 1), self._kind.ndim
        )
        return shape

    def _hold(self, is_wrong: Callable[[], Any]) -> None:
        """End the process where something is wrong, if bounds are to be checked at all."""
        if self._context.enable_boundscheck:
            end = _code.get_or_insert_function(
                self._builder.module, _code.ir.FunctionType(_code.ir.VoidType(), []), "llvm.trap"
            )
            with self._builder.if_then(is_wrong(), likely=False):
                self._builder.call(end, [])

    def _address(self, places: list[Any]) -> Any:
        """Return where an element is, or the first of a row, which LLVM is told is within the array, or at its end."""
        builder, offset = self._builder, None
        for axis in range(self._kind.ndim):
            offset = offset if offset is None else builder.mul(offset, self.shape[axis])
            if axis < len(places):
                offset = places[axis] if offset is None else builder.add(offset, places[axis])
        return builder.gep(self._builder.extract_value(self._value, 0), [offset], inbounds=True)

    def _hold_places(self, places: list[Any]) -> list[Any]:
        """Return them: they are within the array."""
        for axis, place in enumerate(places):
            refuse_from_end(place)
            self._hold(partial(self._is_beyond, place, axis))
        return places

    def _is_beyond(self, place: Any, axis: int) -> Any:
        """Return whether a place is outside the array; a negative one is, taken as a number without a sign, beyond all."""
        return self._builder.icmp_unsigned(">=", place, self.shape[axis])

    def element(self, places: list[Any]) -> Any:
        """Read an element."""
        return _arrays.load_item(
            self._context, self._builder, self._kind, self._address(self._hold_places(places))
        )

    def write(self, places: list[Any], value: Any, kind: Any) -> None:
        """Write an element, a value of some kind."""
        value = self._context.cast(self._builder, value, kind, self._kind.dtype)
        _arrays.store_item(
            self._context, self._builder, self._kind, value, self._address(self._hold_places(places))
        )

    def row(self, places: list[Any]) -> Any:
        """Take what lies at fewer places than there are axes: an array of the axes left."""
        return self._view(self._address(self._hold_places(places)), self.shape[len(places) :])

    def part(self, places: list[Any], bounds: Any) -> Any:
        """Take the same between two places of the next axis; up to its end where the second is negative, as it is if not named."""
        builder, axis = self._builder, len(places)
        first, last = (builder.extract_value(bounds, which) for which in range(2))
        last = self.shape[axis] if is_constant(last) and last.constant < 0 else last
        self._hold_places(places)
        self._hold(lambda: builder.icmp_unsigned(">", last, self.shape[axis]))
        self._hold(lambda: builder.icmp_unsigned(">", first, last))
        return self._view(
            self._address([*places, first]), [builder.sub(last, first), *self.shape[axis + 1 :]]
        )

    def reshaped(self, shape: list[Any]) -> Any:
        """Take all of it, as an array of this shape."""
        product = self._builder.mul
        self._hold(
            lambda: self._builder.icmp_unsigned("!=", reduce(product, shape), reduce(product, self.shape))
        )
        return self._view(self._builder.extract_value(self._value, 0), shape)

    def _view(self, first: Any, shape: list[Any]) -> Any:
        """Return an array that begins there."""
        return _code.pack_struct(self._builder, [first, _code.pack_array(self._builder, shape)])


def refuse_from_end(place: Any) -> None:
    """Raise where a place is known to be negative."""
    if is_constant(place) and place.constant < 0:
        raise errors.UnsupportedError("places are counted from the beginning")


def _is_place(kind: Any) -> bool:
    return isinstance(kind, _types.Integer) and bool(kind.signed) and kind.bitwidth == _types.intp.bitwidth


def _kinds(index: Any) -> tuple[Any, ...]:
    """Return the types of what an index is made of."""
    return tuple(index) if isinstance(index, _types.BaseTuple) else (index,)


def _parts(builder: Any, index: Any, value: Any) -> list[Any]:
    """Return what it is made of."""
    found: list[Any] = _code.unpack_tuple(builder, value) if isinstance(index, _types.BaseTuple) else [value]
    return found


def _getitem(context: Any, sig: Any) -> Build | None:
    """Return how to read an element, to take a row, or a part; None where it is anything else."""
    kind, index = sig.args
    *kinds, last = _kinds(index)
    if not is_plain(kind) or not all(_is_place(one) for one in kinds):
        return None

    def element(builder: Any, args: Any, loc: object = None) -> Any:  # noqa: ARG001  numba tells all
        return PlainArray(context, builder, kind, args[0]).element(_parts(builder, index, args[1]))

    def row(builder: Any, args: Any, loc: object = None) -> Any:  # noqa: ARG001  as above
        return PlainArray(context, builder, kind, args[0]).row(_parts(builder, index, args[1]))

    def part(builder: Any, args: Any, loc: object = None) -> Any:  # noqa: ARG001  as above
        *places, bounds = _parts(builder, index, args[1])
        return PlainArray(context, builder, kind, args[0]).part(places, bounds)

    if _is_place(last):
        return element if len(kinds) + 1 == kind.ndim else row
    return part if last == _types.slice2_type and is_plain(sig.return_type) else None


def _setitem(context: Any, sig: Any) -> Build | None:
    """Return how to write an element; None where it is anything else."""
    kind, index, of = sig.args
    kinds = _kinds(index)
    if not is_plain(kind) or len(kinds) != kind.ndim or not all(_is_place(one) for one in kinds):
        return None

    def write(builder: Any, args: Any, loc: object = None) -> None:  # noqa: ARG001  as above
        PlainArray(context, builder, kind, args[0]).write(_parts(builder, index, args[1]), args[2], of)

    return write


def _slice(context: Any, sig: Any) -> Build | None:
    """Return how to name two places, of which either may be left out."""
    if sig.return_type != _types.slice2_type or len(sig.args) != 2:
        return None

    def bounds(builder: Any, args: Any, loc: object = None) -> Any:  # noqa: ARG001  as above
        for place in args:
            refuse_from_end(place)
        ends = [
            context.get_constant(_types.intp, default) if kind == _types.none else value
            for kind, value, default in zip(sig.args, args, (0, -1), strict=True)
        ]
        return _code.pack_struct(builder, [*ends, context.get_constant(_types.intp, 1)])

    return bounds


def _reshape(context: Any, sig: Any) -> Build | None:
    """Return how to look at an array as one of other axes, of as many elements."""
    kind, *to = sig.args
    if not is_plain(kind) or len(to) != 1:
        return None

    def reshaped(builder: Any, args: Any, loc: object = None) -> Any:  # noqa: ARG001  as above
        return PlainArray(context, builder, kind, args[0]).reshaped(_parts(builder, to[0], args[1]))

    return reshaped


def _len(context: Any, sig: Any) -> Build | None:
    """Return how to get a length."""
    if not is_plain(sig.args[0]):
        return None

    def length(builder: Any, args: Any, loc: object = None) -> Any:  # noqa: ARG001  as above
        return PlainArray(context, builder, sig.args[0], args[0]).shape[0]

    return length


OF_ARRAYS: Final[dict[object, Callable[[Any, Any], Build | None]]] = {
    operator.getitem: _getitem,
    operator.setitem: _setitem,
    len: _len,
    slice: _slice,
    "array.reshape": _reshape,
}
"""What is built otherwise than numba does: each takes a context and a signature."""
