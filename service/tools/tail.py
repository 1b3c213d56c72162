"""Follow a topic: predictions, dead letters or events, for people or as JSON lines."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TextIO

import orjson
from aiokafka import ConsumerRecord, TopicPartition

from service.ports import PLACES
from service.settings import Settings
from service.tools.kafka import consumer, require_topic, seek_to_end

Topic = Literal["predictions", "dead-letters", "events"]
POLL_MS = 200
SHOWN_LENGTH_MAX = 120
"""Of a text that nobody wrote for the screen."""


@dataclass(frozen=True, slots=True)
class TailOptions:
    """What `onward tail` was asked to show."""

    topic: Topic = "predictions"
    from_beginning: bool = False
    count_max: int | None = None
    series: str = ""
    as_json: bool = False


async def run(options: TailOptions, settings: Settings, *, out: TextIO = sys.stdout) -> None:
    """Write records as they come, without end unless `count_max` says so.

    Raises:
        CommandError: there is no broker, or no such topic.
    """
    name = getattr(settings.topics, options.topic.replace("-", "_"))
    partitions = [TopicPartition(name, n) for n in range(await require_topic(settings.kafka, name))]
    shown = 0
    async with consumer(settings.kafka, auto_offset_reset="earliest", enable_auto_commit=False) as client:
        client.assign(partitions)
        if options.from_beginning:
            await client.seek_to_beginning(*partitions)
        else:
            await seek_to_end(client, partitions)
        while options.count_max is None or shown < options.count_max:
            for records in (await client.getmany(timeout_ms=POLL_MS)).values():
                for record in records:
                    if _wanted(record, options.series) and shown != options.count_max:
                        shown += 1
                        out.writelines(f"{line}\n" for line in show(record, options))
            # Whoever reads this by a pipe waits for it.
            out.flush()


def _wanted(record: ConsumerRecord, series: str) -> bool:
    return not series or record.key == series.encode()


def show(record: ConsumerRecord, options: TailOptions) -> Iterator[str]:
    """Yield the lines of one record."""
    text = (record.value or b"").decode(errors="backslashreplace")
    try:
        message = orjson.loads(record.value or b"null")
    except orjson.JSONDecodeError:
        message = None
    if options.as_json:
        # What is no JSON becomes a text, so that every line can be read by a program.
        yield orjson.dumps(text).decode() if message is None else text.replace("\n", " ")
    elif options.topic == "predictions" and isinstance(message, dict):
        yield from _prediction(message)
    elif options.topic == "dead-letters" and isinstance(message, dict):
        where = f"{message['topic']}-{message['partition']}-{message['offset']}"
        yield f"{where}  {message['reason']}: {message['detail']}  {_short(message['value'])}"
    else:
        key = "(no key)" if record.key is None else record.key.decode(errors="backslashreplace")
        yield f"{record.partition}-{record.offset}  {key}  {_short(text)}"


def _prediction(message: dict[str, Any]) -> Iterator[str]:
    for target, one in message["targets"].items():
        name = message["series"] if len(message["targets"]) == 1 else f"{message['series']}/{target}"
        observed = one["observed"]
        parts = [message["time"], name, "no value" if observed is None else f"{observed:.6g}"]
        for horizon in one["horizons"]:
            ahead = f"+{horizon['horizon']}"
            if horizon["prediction"] is None:
                parts.append(f"{ahead} nothing yet")
                continue
            parts.append(
                f"{ahead} {horizon['prediction']:.6g} [{min(horizon['quantiles'].values()):.6g}, {max(horizon['quantiles'].values()):.6g}]"
            )
            if horizon["settled"] is not None:
                parts.append(f"was off by {horizon['settled']['error']:+.4g}")
        parts.append(f"anomaly {one['anomaly_score']:.3f}")
        parts += _of_challenger(message.get("challenger"))
        parts += [f"DRIFT of {name}" for name in one["drift"]] + [name.upper() for name in one["reaction"]]
        yield "  ".join(parts)


def _of_challenger(told: dict[str, Any] | None) -> Iterator[str]:
    """Yield what answers, and how the other one stands; nothing where the settings have no challenger, or had an older version."""
    if not told or "place" not in told:
        return
    answers = PLACES[1 - PLACES.index(told["place"])]
    if told["promoted"] is not None:
        yield f"{answers.upper()} PROMOTED by {told['promoted']}"
    yield f"{answers} answers, evidence {told['evidence']:.3g} for the {told['place']}"


def _short(text: str | None) -> str:
    text = repr(text or "")[1:-1]
    return text if len(text) <= SHOWN_LENGTH_MAX else f"{text[:SHOWN_LENGTH_MAX]}..."
