"""Make the report's page: one file with its styles, scripts and data in it, which asks for nothing else.

The look, the charts and the words are the live page's. The modules are joined into one script, since a module
cannot be imported from a page that was opened from the disk. The page's policy names its scripts and styles by
their hashes and forbids all else, so that nothing in the data can ever run or ask.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from service.observe.live import PAGE as LIVE
from service.tools.problem import CommandError
from service.tools.report.recorder import Recorder

OWN = Path(__file__).parent / "page"
VENDOR = LIVE / "vendor" / "uplot"
STYLES = (VENDOR / "uPlot.min.css", LIVE / "style.css", OWN / "report.css")
MODULES = (LIVE / "words.js", LIVE / "charts.js", OWN / "facts.js", OWN / "figures.js", OWN / "report.js")
BYTES_MAX = 15_000_000
"""A page of this size still opens in about a second."""

_PLACE = re.compile(r"\{\{ (\w+) \}\}")
_IMPORT = re.compile(r"^import [^;]*;\n", re.MULTILINE)
_EXPORT = re.compile(r"^export ", re.MULTILINE)


def render(data: dict[str, Any]) -> bytes:
    """Return the page with its data."""
    licence = (VENDOR / "LICENSE").read_text(encoding="utf-8")
    library = f"/*\n{licence}*/\n{(VENDOR / 'uPlot.iife.min.js').read_text(encoding='utf-8')}"
    script = "\n".join(_EXPORT.sub("", _IMPORT.sub("", _text(path))) for path in MODULES)
    style = "\n".join(map(_text, STYLES))
    icon = base64.b64encode((LIVE / "favicon.svg").read_bytes()).decode()
    policy = (
        f"default-src 'none'; script-src {_hash(library)} {_hash(script)}; style-src {_hash(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    # In JSON these stand in strings alone, where an escape is the same; in HTML no "<" means no end of the script.
    text = orjson.dumps(_encodable(data), option=orjson.OPT_SERIALIZE_NUMPY).decode()
    text = text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    parts = {
        "policy": policy,
        "icon": f"data:image/svg+xml;base64,{icon}",
        "style": style,
        "library": library,
        "script": script,
        "data": text,
    }
    # One pass: what is put in is not looked through again.
    return _PLACE.sub(lambda match: parts[match[1]], _text(OWN / "report.html")).encode()


def render_within(recorder: Recorder, make: Callable[[], dict[str, Any]]) -> bytes:
    """Return the page of `make()`, thinned until it is no larger than `BYTES_MAX` or nothing is left to thin."""
    page = render(make())
    while len(page) > BYTES_MAX and recorder.largest > 2:
        recorder.thin()
        page = render(make())
    return page


def write(path: Path, page: bytes) -> None:
    """Write the page: whole, or not at all.

    Raises:
        CommandError: it cannot be written.
    """
    place = path.resolve()
    temporary = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        temporary.write_bytes(page)
        temporary.replace(place)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CommandError(f"{path} cannot be written: {error.strerror}.") from error


def _encodable(data: object) -> object:
    """Return the tree with a question mark for what is no character: a file's name may be any bytes."""
    match data:
        case str():
            return data.encode(errors="replace").decode()
        case dict():
            return {_encodable(name): _encodable(one) for name, one in data.items()}
        case list() | tuple():
            return [_encodable(one) for one in data]
        case _:
            return data


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
