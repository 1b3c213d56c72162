"""What groups of settings are made of: their base, and values that are a text in the environment."""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class Group(BaseModel):
    """A group of settings: a key that nobody knows is an error, and nothing changes once it is read."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


def _split(value: object) -> object:
    """Read `a,b` or a JSON array as a list; leave the rest to the validation."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [part.strip() for part in value.split(",") if part.strip()]


def _pairs(value: object) -> object:
    """Read a list, `a,b`, `name=path,...` or JSON as a mapping from a name to the path of a field."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        return json.loads(value)
    value = _split(value)
    if not isinstance(value, list | tuple) or not all(isinstance(part, str) for part in value):
        return value
    pairs = [part.split("=", 1) if "=" in part else [part, part] for part in value]
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a name stands twice; give each field once")
    return {name.strip(): path.strip() for name, path in pairs}


Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
Numbers = Annotated[tuple[int, ...], BeforeValidator(_split)]
Fractions = Annotated[tuple[float, ...], BeforeValidator(_split)]
Paths = Annotated[dict[str, str], BeforeValidator(_pairs)]
Topic = Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,249}$")]
