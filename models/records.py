"""A model's state as a few flat records, one an element type, with a named place for each field.

A bank keeps many models as arrays (capacity, K, size), so that a micro-batch is gathered, and written back, by one
operation an element type whatever the number of fields, and a compiled twin needs no more than where each field begins.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.protocols import Fields, State

ELEMENT_TYPES: Final = (np.dtype(np.float64), np.dtype(np.int64), np.dtype(np.bool_))
"""The first records of every layout, in this order; others follow where a model has them."""

Record = npt.NDArray[Any]
Parts = dict[str, State]
"""Named parts of a state, each of named fields."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a field lies: in which record, from where on, and its own shape."""

    record: int
    start: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many elements it has."""
        return math.prod(self.shape)


class Layout:
    """The places of the fields of one model.

    Args:
        row: the state of a new model, part by part.

    Example:
        >>> import numpy as np
        >>> layout = Layout({"clock": {"count": np.zeros((), np.int64)}, "cell": {"state": np.zeros((2, 3))}})
        >>> records = layout.empty(4, 1)
        >>> [record.shape for record in records]
        [(4, 1, 6), (4, 1, 1), (4, 1, 0)]
        >>> layout.views(records)["cell"]["state"].shape
        (4, 1, 2, 3)
    """

    def __init__(self, row: dict[str, Fields]) -> None:
        """Lay the fields out in their order."""
        types = {np.asarray(value).dtype for part in row.values() for value in part.values()}
        self.types = (*ELEMENT_TYPES, *sorted(types - set(ELEMENT_TYPES), key=str))
        sizes = [0] * len(self.types)
        self.places: dict[str, dict[str, Place]] = {}
        for part, fields in row.items():
            self.places[part] = {}
            for name, value in fields.items():
                record = self.types.index(np.asarray(value).dtype)
                place = Place(record, sizes[record], np.shape(value))
                self.places[part][name] = place
                sizes[record] += place.size
        self.sizes = tuple(sizes)

    @property
    def bytes(self) -> int:
        """Memory of one model."""
        return sum(size * kind.itemsize for size, kind in zip(self.sizes, self.types, strict=True))

    def empty(self, *shape: int) -> tuple[Record, ...]:
        """Return records with room for models of this shape, uninitialised."""
        return tuple(
            np.empty((*shape, size), kind) for size, kind in zip(self.sizes, self.types, strict=True)
        )

    def views(self, records: tuple[Record, ...]) -> Parts:
        """Return each field as a view into the records, (..., *shape)."""
        return {
            part: {name: view(records[place.record], place) for name, place in fields.items()}
            for part, fields in self.places.items()
        }


def view(record: Record, place: Place) -> Record:
    """Return the field at a place as a view into its record, (..., *shape)."""
    return record[..., place.start : place.start + place.size].reshape((*record.shape[:-1], *place.shape))


def write(views: Parts, parts: Parts) -> None:
    """Write the fields that were replaced into the views that they were; what was overwritten in place is there already."""
    for part, fields in views.items():
        for name, view in fields.items():
            value = parts[part][name]
            if value is not view:
                view[...] = value
