"""Looking a name up in one of the explicit tables of cells, experts, mixtures and detectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

Entry = TypeVar("Entry")


def entry(table: Mapping[str, Entry], name: str, field: str) -> Entry:
    """Return a table's entry.

    Raises:
        ValueError: there is none of that name; says which field named it, and which names there are.

    Example:
        >>> entry({"rtu": 1, "vanilla": 2}, "gru", "cell")
        Traceback (most recent call last):
        ...
        ValueError: cell: one of rtu, vanilla, not 'gru'
    """
    if name not in table:
        raise ValueError(f"{field}: one of {', '.join(table)}, not {name!r}")
    return table[name]
