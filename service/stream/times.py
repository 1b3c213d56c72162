"""Times of events, as text or as numbers, to seconds since the epoch.

Text is ISO-8601's calendar form, to the day or finer: `2024-03-01`, `2024-03-01T12:30:00Z`, `2024-03-01 12:30:00`,
`20240301T123000+0100`. Without a zone it is UTC. Digits alone are no text of a time but eight of them, a date: epoch
seconds in quotes would otherwise pass for some year or other.

A number is epoch seconds or milliseconds, by `fields.time_unit`. What is finer than a microsecond is cut off in
text, and a float of seconds holds a quarter of a microsecond today.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Literal

TimeUnit = Literal["auto", "s", "ms"]

MILLISECONDS_FROM = 1e11
"""With the unit `auto`, numbers from here on are milliseconds: as seconds it would be the year 5138, as
milliseconds it is March 1973."""
SECONDS_MIN = datetime.min.replace(tzinfo=UTC).timestamp()
SECONDS_MAX = datetime.max.replace(tzinfo=UTC).timestamp()

_TEXT = re.compile(
    r"[0-9]{4}-?[0-9]{2}-?[0-9]{2}"
    r"(?:[Tt ][0-9]{2}(?::?[0-9]{2}(?::?[0-9]{2}(?:[.,][0-9]{1,12})?)?)?(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)?)?"
)


def parse_time(value: str | float, unit: TimeUnit = "auto") -> float:
    """Return a time in seconds since the epoch.

    Raises:
        ValueError: a sentence that says what is wrong with it.
    """
    if isinstance(value, str):
        return _parse_text(value)
    milliseconds = unit == "ms" or (unit == "auto" and abs(value) >= MILLISECONDS_FROM)
    seconds = value / 1000.0 if milliseconds else float(value)
    if not SECONDS_MIN <= seconds <= SECONDS_MAX:
        raise ValueError(
            f"{value!r} is beyond the years 1 to 9999; write epoch seconds or milliseconds, or ISO-8601 text"
        )
    return seconds


def _parse_text(text: str) -> float:
    if _TEXT.fullmatch(text) is None:
        raise ValueError(f"{text[:40]!r} is not ISO-8601 text, such as 2024-03-01T12:30:00Z")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no time that exists ({error})") from None
    return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).timestamp()
