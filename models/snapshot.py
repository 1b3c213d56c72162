"""A model's state to bytes and back: named arrays in the safetensors format, versioned, no pickle.

A checksum of four bytes (CRC-32, big-endian) comes first, since the format itself would take a flipped bit
for another value. The bytes are the same for the same arrays, so equal states can be compared by a digest.
"""

from __future__ import annotations

import zlib

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as _load
from safetensors.numpy import save as _save

from models.protocols import Fields

FORMAT = 1
"""Of the layout of the fields. A change of what a field means or of its name raises it."""

_VERSION_KEY = "onward.version"
_CHECKSUM_BYTES = 4


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
    arrays = {key: np.asarray(value, order="C") for key, value in fields.items()}
    data = _save({_VERSION_KEY: name} | arrays)
    return _checksum(data) + data


def load(data: bytes, *, version: str) -> Fields:
    """Return the named arrays.

    Raises:
        SnapshotError: the bytes are damaged, or of another format or make.
    """
    checksum, content = data[:_CHECKSUM_BYTES], data[_CHECKSUM_BYTES:]
    if checksum != _checksum(content):
        raise SnapshotError("not a snapshot, or a damaged one: the checksum differs")
    try:
        fields = dict(_load(content))
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


def _checksum(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(_CHECKSUM_BYTES, "big")
