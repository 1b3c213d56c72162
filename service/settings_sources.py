"""Where settings come from: the file, the environment and a command's options; and what is said when they are wrong.

Every value keeps the name under which its user wrote it, so that a complaint names the variable or the key to change.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

FILE_NAME = "onward.toml"
FILE_VARIABLE = "ONWARD_CONFIG"
PREFIX = "ONWARD_"
DELIMITER = "__"
SECRETS = frozenset({"password"})
"""Members whose value no message shows."""

Key = tuple[str, ...]
GroupT = TypeVar("GroupT", bound=BaseModel)


class SettingsError(Exception):
    """Settings that cannot be used. The message lists where, what is wrong and what to do."""


@dataclass(slots=True)
class Merged:
    """The values of all sources in one tree, and the name under which each was written."""

    tree: dict[str, Any] = field(default_factory=dict)
    written_as: dict[Key, str] = field(default_factory=dict)

    def put(self, key: Key, value: object, name: str) -> None:
        """Set one value, over what an earlier source said."""
        node = self.tree
        for part in key[:-1]:
            below = node.get(part)
            if not isinstance(below, dict):
                below = node[part] = {}
            node = below
        node[key[-1]] = value
        self.written_as[key] = name


def merge(
    model: type[BaseModel], path: Path | None, environment: Mapping[str, str], overrides: Mapping[str, Any]
) -> Merged:
    """Return what file, environment and overrides say, the later over the earlier."""
    merged = Merged()
    file = _find_file(path, environment)
    if file is not None:
        for key, value in _leaves(model, _read_file(file)):
            merged.put(key, value, f"{'.'.join(key)} in {file}")
    for name, text in sorted(environment.items()):
        if name.startswith(PREFIX) and text.strip():
            _put_variable(model, merged, name, text)
    for name, value in overrides.items():
        if value is not None:
            merged.put(
                tuple(name.split(DELIMITER)), value, f"{name.replace(DELIMITER, '.')} given to the command"
            )
    return merged


def _put_variable(model: type[BaseModel], merged: Merged, name: str, text: str) -> None:
    # A variable without the double underscore is none of ours (Kubernetes sets ONWARD_PORT=tcp://... for a
    # Service called onward), but one that would be a setting with it is a slip that must not pass unseen.
    body = name.removeprefix(PREFIX).lower()
    if DELIMITER in body:
        merged.put(tuple(body.split(DELIMITER)), text, name)
        return
    for known in _keys(model):
        if body == "_".join(known) and not text.startswith(("tcp://", "udp://")):
            raise SettingsError(f"{name}: no such setting; write {_variable(known)}, with two underscores")


def _find_file(path: Path | None, environment: Mapping[str, str]) -> Path | None:
    if path is None and environment.get(FILE_VARIABLE):
        path = Path(environment[FILE_VARIABLE])
        if not path.is_file():
            raise SettingsError(
                f"{FILE_VARIABLE}: there is no file {path}; correct the path or unset the variable"
            )
    if path is not None:
        if not path.is_file():
            raise SettingsError(f"{path}: there is no such file; correct the path")
        return path
    return Path(FILE_NAME) if Path(FILE_NAME).is_file() else None


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror}); correct its permissions") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: is not TOML ({error}); correct that place") from error


def _leaves(
    model: type[BaseModel] | None, tree: Mapping[str, Any], above: Key = ()
) -> Iterator[tuple[Key, Any]]:
    """Yield the values of a tree, descending where the settings have a group (a mapping may be a value too)."""
    for name, value in tree.items():
        below = _group(model, name)
        if below is not None and isinstance(value, dict):
            yield from _leaves(below, value, (*above, name))
        else:
            yield (*above, name), value


def _group(model: type[BaseModel] | None, name: str) -> type[BaseModel] | None:
    info = None if model is None else model.model_fields.get(name)
    if info is not None and isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
        return info.annotation
    return None


def _keys(model: type[BaseModel], above: Key = ()) -> Iterator[Key]:
    """Yield the keys of all settings."""
    for name in model.model_fields:
        below = _group(model, name)
        if below is None:
            yield (*above, name)
        else:
            yield from _keys(below, (*above, name))


def _variable(key: Sequence[str]) -> str:
    return PREFIX + DELIMITER.join(key).upper()


def validate(model: type[GroupT], merged: Merged) -> GroupT:
    """Return the settings.

    Raises:
        SettingsError: with one line for each thing that is wrong.
    """
    try:
        return model.model_validate(merged.tree)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        raise SettingsError("\n".join(_line(model, merged, detail) for detail in details)) from None


def _line(model: type[BaseModel], merged: Merged, detail: Mapping[str, Any]) -> str:
    key = tuple(str(part) for part in detail["loc"])
    where = _where(merged, key)
    if detail["type"] == "extra_forbidden":
        return f"{where}: no such setting; {_advice(model, merged, key)}"
    message = detail["msg"].removeprefix("Value error, ").replace("Input should", "it should")
    value = detail["input"]
    if isinstance(value, str | int | float) and not SECRETS & set(key):
        message += f", not {value!r}"
    return f"{where}: {message}"


def _where(merged: Merged, key: Key) -> str:
    """Return the name under which a value was written; of a group, that of its only value, or its own."""
    for n in range(len(key), 0, -1):
        if key[:n] in merged.written_as:
            return merged.written_as[key[:n]]
    inside = [name for written, name in merged.written_as.items() if written[: len(key)] == key]
    return inside[0] if len(inside) == 1 else ".".join(key) or "settings"


def _advice(model: type[BaseModel], merged: Merged, key: Key) -> str:
    """Name the setting that the writer of an unknown one may have meant."""
    written = next((one for one in merged.written_as if one[: len(key)] == key), key)
    known = {".".join(one): one for one in _keys(model)}
    by_member = {one[-1]: ".".join(one) for one in known.values()}
    group = model
    for part in key[:-1]:
        group = _group(group, part) or group
    # A slip anywhere in the whole name; or in this part of it; or the right name in the wrong group.
    near = difflib.get_close_matches(".".join(written), known, n=1, cutoff=0.85)
    near = near or [
        ".".join((*key[:-1], n)) for n in difflib.get_close_matches(key[-1], group.model_fields, n=1)
    ]
    near = near or [by_member[n] for n in difflib.get_close_matches(key[-1], by_member, n=1, cutoff=0.8)]
    if not near:
        return f"remove it, or write one of {', '.join(group.model_fields)}"
    in_environment = merged.written_as.get(written, "").startswith(PREFIX)
    return f"did you mean {_variable(near[0].split('.')) if in_environment else near[0]}?"
