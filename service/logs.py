"""Structured logs on the standard logging: an event's name and key-values, as one line of JSON or for people.

Any module logs as usual, and what is to be a key-value goes into `extra`:

    logging.getLogger(__name__).info("checkpoint_saved", extra={"partition": 1, "size_bytes": 5120})

A value under a name that tells a secret is not written, whoever logged it.
"""

from __future__ import annotations

import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import orjson

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
"""What every record has; all else came by `extra`."""
_SECRET = re.compile(r"passw|secret|token|credential|private_?key", re.IGNORECASE)
_HIDDEN = "**********"

LIBRARY_LEVELS = {
    # Each tells at INFO what our own events tell once, and aiokafka logs every reconnection as an error of its own.
    "aiokafka": logging.WARNING,
    "asyncio": logging.WARNING,
    "faust": logging.WARNING,
    "kafka": logging.WARNING,
    "mode": logging.WARNING,
}
_COLOURS = {logging.DEBUG: "2", logging.WARNING: "33", logging.ERROR: "31", logging.CRITICAL: "1;31"}


def configure(*, form: Literal["console", "json"], level: str, stream: TextIO | None = None) -> None:
    """Send all logs of this process to `stream`, standard error by default, in one form.

    At level DEBUG the libraries speak too; at every other level only their warnings are shown.
    """
    stream = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if form == "json" else ConsoleFormatter(colours=stream.isatty()))
    logging.basicConfig(handlers=[handler], level=level, force=True)
    logging.captureWarnings(capture=True)
    for name, library_level in LIBRARY_LEVELS.items():
        logging.getLogger(name).setLevel(logging.DEBUG if level == "DEBUG" else library_level)


class JsonFormatter(logging.Formatter):
    """One line of JSON: time, level, logger, event, then the key-values; a traceback is one of them."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        if traceback := _traceback(self, record):
            line["exception"] = traceback
        # A key-value never stands in for one of these.
        line |= {name: value for name, value in _fields(record).items() if name not in line}
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class ConsoleFormatter(logging.Formatter):
    """For people: the time of day, the level, the event, the key-values; a traceback on lines of its own."""

    def __init__(self, *, colours: bool) -> None:
        super().__init__()
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        parts = [f"{_time(record).astimezone():%H:%M:%S}", self._level(record), record.getMessage()]
        parts += [f"{name}={_shown(value)}" for name, value in _fields(record).items()]
        line = " ".join(parts)
        traceback = _traceback(self, record)
        return f"{line}\n{traceback}" if traceback else line

    def _level(self, record: logging.LogRecord) -> str:
        text, colour = f"{record.levelname:<7}", _COLOURS.get(record.levelno)
        return f"\033[{colour}m{text}\033[0m" if self._colours and colour else text


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {
        name: _HIDDEN if _SECRET.search(name) else value
        for name, value in vars(record).items()
        if name not in _STANDARD
    }


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts = []
    if record.exc_info and record.exc_info[0] is not None:
        parts.append(formatter.formatException(record.exc_info))
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return "\n".join(parts)


def _shown(value: object) -> str:
    """Write a value so that the key-values can be told apart."""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return repr(text) if not text or any(character.isspace() for character in text) else text
