"""A model's state to bytes and back: named arrays in the safetensors format, versioned, no pickle.

The bytes are the same for the same arrays, so equal states can be compared by a digest.
"""

from __future__ import annotations

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as _load
from safetensors.numpy import save as _save

from models.protocols import Fields

FORMAT = 1
"""Of the layout of the fields. A change of what a field means or of its name raises it."""

_VERSION_KEY = "onward.version"


class SnapshotError(ValueError):
    """The bytes are not a snapshot of this make of model."""


def dump(fields: Fields, *, version: str) -> bytes:
    """Return named arrays as bytes; `version` names the make of the model and is checked by `load`.

    Example:
        >>> import numpy as np
        >>> load(dump({"a": np.arange(2.0)}, version="v"), version="v")["a"].tolist()
        [0.0, 1.0]
    """
    name = np.frombuffer(f"{FORMAT}:{version}".encode(), dtype=np.uint8)
    return _save({_VERSION_KEY: name} | {key: np.ascontiguousarray(value) for key, value in fields.items()})


def load(data: bytes, *, version: str) -> Fields:
    """Return the named arrays.

    Raises:
        SnapshotError: the bytes are damaged, or of another format or make.
    """
    try:
        fields = dict(_load(data))
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        raise SnapshotError(f"not a snapshot: {error}") from error
    marker = fields.pop(_VERSION_KEY, None)
    found = bytes(marker).decode(errors="replace") if marker is not None else "none"
    expected = f"{FORMAT}:{version}"
    if found != expected:
        raise SnapshotError(
            f"the snapshot is of format and model {found}, this service runs {expected}: "
            "go back to the settings that wrote it, or reset the checkpoint"
        )
    return fields
