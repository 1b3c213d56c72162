"""Print the JSON Schema of a kind of message, by the settings' names of the fields."""

from __future__ import annotations

import orjson

from service.settings import Settings
from service.stream.schemas import Kind, json_schema

KIND_OF_TOPIC: dict[str, Kind] = {
    "events": "event",
    "predictions": "prediction",
    "dead-letters": "dead-letter",
}


def render(topic: str, settings: Settings) -> str:
    """Return the schema of a topic's messages as text."""
    return orjson.dumps(json_schema(KIND_OF_TOPIC[topic], settings), option=orjson.OPT_INDENT_2).decode()
