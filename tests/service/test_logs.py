"""Logs: one line of JSON, or words for people; never a secret."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Literal

import pytest

from service import logs


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in logs.LIBRARY_LEVELS}
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(capture=False)
    for name, library_level in levels.items():
        logging.getLogger(name).setLevel(library_level)


def configured(form: Literal["console", "json"], level: str = "INFO") -> io.StringIO:
    stream = io.StringIO()
    logs.configure(form=form, level=level, stream=stream)
    return stream


def test_json_is_one_line_with_the_event_and_its_values() -> None:
    stream = configured("json")
    log = logging.getLogger("service.learner")
    log.info(
        "checkpoint_saved", extra={"partition": 1, "seconds": 0.25, "note": "two\nlines", "of": {1: b"x"}}
    )
    (line,) = stream.getvalue().splitlines()
    found = json.loads(line)
    assert list(found)[:4] == ["time", "level", "logger", "event"]
    assert (found["level"], found["logger"], found["event"]) == (
        "info",
        "service.learner",
        "checkpoint_saved",
    )
    assert (found["partition"], found["seconds"], found["note"]) == (1, 0.25, "two\nlines")
    assert found["time"].endswith("Z")


def test_a_traceback_stays_on_the_line() -> None:
    stream = configured("json")
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("service").exception("failed")
    (line,) = stream.getvalue().splitlines()
    assert "ValueError: no" in json.loads(line)["exception"]


def test_a_value_named_as_the_event_is_does_not_replace_it() -> None:
    stream = configured("json")
    logging.getLogger("service").info("assigned", extra={"event": "other", "level": "other"})
    assert json.loads(stream.getvalue())["event"] == "assigned"


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize(
    "name", ["password", "sasl_plain_password", "api_token", "client_secret", "ssl_private_key"]
)
def test_a_secret_is_not_written(form: Literal["console", "json"], name: str) -> None:
    stream = configured(form)
    logging.getLogger("service").warning("connecting", extra={name: "hunter2", "host": "kafka-1"})
    assert "hunter2" not in stream.getvalue()
    assert "kafka-1" in stream.getvalue()


def test_console_is_for_people() -> None:
    stream = configured("console")
    logging.getLogger("service").info(
        "assigned", extra={"partitions": "0, 1", "lag": 3, "seconds": 0.123456789}
    )
    line = stream.getvalue()
    assert line.endswith("INFO    assigned partitions='0, 1' lag=3 seconds=0.123457\n")
    assert "\033" not in line


def test_libraries_speak_only_when_something_is_wrong_or_at_debug() -> None:
    stream = configured("console")
    logging.getLogger("aiokafka.consumer").info("joined")
    logging.getLogger("mode.worker").warning("slow")
    assert "joined" not in stream.getvalue()
    assert "slow" in stream.getvalue()
    stream = configured("console", level="DEBUG")
    logging.getLogger("aiokafka.consumer").info("joined")
    assert "joined" in stream.getvalue()
