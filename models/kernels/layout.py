"""What a compiled function knows of an array of numbers without gaps: where it is and how long.

numba hands on seven numbers of each array: who owns it, how far apart rows are, how long an element is. The functions here
never ask.
"""

from __future__ import annotations

from typing import Any, Final

from numba import extending
from numba.core import cgutils, pythonapi, types
from numba.core.datamodel import manager, models, registry

_api: Any = pythonapi
_code: Any = cgutils
_extending: Any = extending
_manager: Any = manager
_models: Any = models
_usual: Any = registry.default_manager
_types: Any = types


def is_plain(kind: object) -> bool:
    """Say whether a type is that of an array of numbers, row by row without gaps."""
    number = _types.Number | _types.Boolean
    return isinstance(kind, _types.Array) and kind.layout == "C" and isinstance(kind.dtype, number)


class PlainArrayModel(_models.StructModel):  # type: ignore[misc]  # numba has few types
    """The two parts of such an array."""

    def __init__(self, known: Any, kind: Any) -> None:
        """Name them."""
        shape = _types.UniTuple(_types.intp, kind.ndim)
        super().__init__(known, kind, [("data", _types.CPointer(kind.dtype)), ("shape", shape)])


class RangeModel(_models.StructModel):  # type: ignore[misc]  # as above
    """A loop over a range: where its number is kept, its end and its step."""

    def __init__(self, known: Any, kind: Any) -> None:
        """Name them."""
        number = kind.yield_type
        super().__init__(
            known, kind, [("number", _types.CPointer(number)), ("last", number), ("step", number)]
        )


def _loop(known: Any, kind: object) -> Any:
    """Return the parts of any loop over a range."""
    return (RangeModel if kind == _types.range_iter64_type else _models.RangeIteratorType)(known, kind)


def _model(known: Any, kind: object) -> Any:
    """Return the parts of any array."""
    return PlainArrayModel(known, kind) if is_plain(kind) else _models.ArrayModel(known, kind)


_own = _manager.DataModelManager()
_own.register(_types.Array, _model)
_own.register(_types.RangeIteratorType, _loop)
MODELS: Final[Any] = _own.chain(_usual)
"""What values of each type are made of: as in numba, but for such arrays."""


class PlainAPI(_api.PythonAPI):  # type: ignore[misc]  # as above
    """Takes apart what Python hands in."""

    def to_native_value(self, kind: Any, value: object) -> Any:
        """Take where an array is and how long; numba's own typing has told already that it is one of this type."""
        if not is_plain(kind):
            return super().to_native_value(kind, value)
        builder, whole = self.builder, _usual.lookup(kind)
        room = _code.alloca_once(builder, whole.get_value_type())
        failed = self.numba_array_adaptor(value, builder.bitcast(room, self.voidptr))
        parts = [
            builder.load(_code.gep_inbounds(builder, room, 0, whole.get_field_position(name)))
            for name in ("data", "shape")
        ]
        return _extending.NativeValue(
            _code.pack_struct(builder, parts), is_error=_code.is_not_null(builder, failed)
        )
