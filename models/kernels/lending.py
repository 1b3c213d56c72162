"""A tuple of arrays that compiled functions hand on by its address.

numba hands a tuple on number by number, seven an array, and each function on the way packs and unpacks all of them, though it
reads a few. Of a lent tuple a function gets the address, and takes from there the arrays that it reads.
"""

from __future__ import annotations

from typing import Any

from numba import extending
from numba.core import cgutils, imputils, types
from numba.core.typing import templates
from numba.core.typing.typeof import typeof_impl

_code: Any = cgutils
_extending: Any = extending
_imputils: Any = imputils
_templates: Any = templates
_types: Any = types
_typeof: Any = typeof_impl


class Lent(_types.Type):  # type: ignore[misc]  # numba has few types
    """The type of a tuple that is lent; `whole` is numba's own of it."""

    def __init__(self, whole: Any) -> None:  # noqa: ANN401  as above
        """Name it."""
        self.whole = whole
        super().__init__(name=f"Lent({whole})")

    @property
    def key(self) -> object:
        """Return what tells it from other types."""
        return self.whole


def lend(kind: type[tuple[object, ...]]) -> None:
    """Have numba lend all tuples of this class."""

    def typeof(value: Any, context: object) -> Lent:  # noqa: ANN401  as above
        return Lent(_types.BaseTuple.from_types([_typeof(one, context) for one in value], kind))

    _typeof.register(kind, typeof)


class _Address(_extending.models.PrimitiveModel):  # type: ignore[misc]  # as above
    """What stands for it in machine code."""

    def __init__(self, manager: Any, kind: Lent) -> None:  # noqa: ANN401  as above
        super().__init__(manager, kind, manager.lookup(kind.whole).get_value_type().as_pointer())


class _Fields(_templates.AttributeTemplate):  # type: ignore[misc]  # as above
    """Of which types its fields are."""

    key = Lent

    def generic_resolve(self, kind: Lent, name: str) -> object:
        """Return a field's, None where there is none."""
        return kind.whole.types[kind.whole.fields.index(name)] if name in kind.whole.fields else None


def _field(context: Any, builder: Any, kind: Lent, address: object, name: str) -> object:  # noqa: ANN401  as above
    """Take a field from the address."""
    place = kind.whole.fields.index(name)
    value = builder.load(_code.gep_inbounds(builder, address, 0, place))
    return _imputils.impl_ret_borrowed(context, builder, kind.whole.types[place], value)


def _unboxed(kind: Lent, value: object, c: Any) -> object:  # noqa: ANN401  as above
    """Take apart what Python hands in, into room of the function that is called."""
    native = c.unbox(kind.whole, value)
    address = _code.alloca_once_value(c.builder, native.value)
    return _extending.NativeValue(address, is_error=native.is_error, cleanup=native.cleanup)


_extending.register_model(Lent)(_Address)
_templates.infer_getattr(_Fields)
_extending.lower_getattr_generic(Lent)(_field)
_extending.unbox(Lent)(_unboxed)
