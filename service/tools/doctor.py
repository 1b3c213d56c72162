"""Look at all that a worker needs, and say of each thing that is not right what to do about it.

It changes nothing: no topic is made, and no checkpoint is claimed from a running worker.
"""

from __future__ import annotations

import asyncio
import http.client
import importlib.util
import os
import re
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from importlib.metadata import requires, version
from pathlib import Path
from typing import Literal

from aiokafka.errors import KafkaError
from rich.console import Console

from models.bank import Bank
from service.bootstrap import checkpoint_store
from service.checkpoints.kafka import TOPIC_CONFIG
from service.ports import CheckpointError
from service.settings import Settings, SettingsError, load_settings
from service.settings_sources import merge
from service.tools.kafka import topic_config, topics_found
from service.tools.problem import CommandError
from service.topics import needed_topics, problems

OLDEST_PYTHON = (3, 11)
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?(==|>=)([0-9.]+)")
_COLOURS = {"ok": "green", "note": "yellow", "problem": "bold red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one thing; `mend` says what to do about a problem."""

    state: Literal["ok", "note", "problem"]
    what: str
    mend: str = ""


async def run(config: Path | None, *, out: Console) -> bool:
    """Look at everything, say what was found, and return whether all is well."""
    findings: list[Finding] = []
    async for finding in examine(config):
        findings.append(finding)
        out.print(f"[{_COLOURS[finding.state]}]{finding.state:>7}[/]  ", end="")
        out.print(finding.what, markup=False, soft_wrap=True)
        for line in finding.mend.splitlines():
            out.print(f"         {line}", markup=False, soft_wrap=True)
    problems = sum(finding.state == "problem" for finding in findings)
    out.print()
    out.print(
        "All is well." if not problems else f"{problems} to mend." if problems > 1 else "One thing to mend."
    )
    return not problems


async def examine(config: Path | None) -> AsyncIterator[Finding]:
    """Yield what is found, one thing after the other."""
    for finding in _python():
        yield finding
    try:
        settings = load_settings(config)
        for finding in _sources(config, settings):
            yield finding
    except SettingsError as error:
        yield Finding("problem", "the settings cannot be used", str(error))
        return
    yield _numba()
    yield await asyncio.to_thread(_port, settings)
    async for finding in _broker(settings):
        yield finding


def _python() -> Iterator[Finding]:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < OLDEST_PYTHON:
        yield Finding("problem", f"Python {found}", "Use Python 3.11 or newer.")
    versions = [f"onward {version('onward')}", f"Python {found}"]
    for text in requires("onward") or []:
        match = None if "extra ==" in text else _REQUIREMENT.match(text)
        if match is None:
            continue
        name, relation, needed = match.groups()
        installed = version(name)
        if installed != needed if relation == "==" else _numbers(installed) < _numbers(needed):
            yield Finding("problem", f"{name} is {installed}", f"Install {name}{relation}{needed}.")
        if name in ("faust-streaming", "aiokafka", "numpy"):
            versions.append(f"{name} {installed}")
    yield Finding("ok", ", ".join(versions))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"[0-9]+", text)[:3])


def _sources(config: Path | None, settings: Settings) -> Iterator[Finding]:
    """Say which settings are not the default, and where each comes from."""
    written = merge(Settings, config, os.environ, {}).written_as
    if not written:
        yield Finding("ok", "settings: all as by default (no onward.toml here, no ONWARD_... variable)")
    for key, name in written.items():
        value: object = settings
        for part in key:
            value = getattr(value, part)
        # A secret is a SecretStr, which shows itself as asterisks.
        yield Finding("ok", f"settings: {'.'.join(key)} = {value}  ({name})")


def _memory(settings: Settings, partitions: int) -> Finding:
    banks = [Bank(make, capacity=1) for make in settings.specifications()]
    bank, size, limits = banks[0], sum(one.bytes_per_series() for one in banks), settings.limits
    beside = " with a challenger" if len(banks) > 1 else ""
    beyond = "rejected" if limits.series_full == "reject" else "taken, and the least recent forgotten"
    return Finding(
        "ok",
        f"model {settings.model.profile}{beside}, {'compiled' if bank.compiled else 'not compiled'}: {_bytes(size)} a series, "
        f"constant in time; {limits.series_max:,} series (limits.series_max) of each of {partitions} partitions are "
        f"{_bytes(size * limits.series_max * partitions)}; further ones are {beyond} (limits.series_full)",
    )


def _bytes(count: float) -> str:
    for unit in ("B", "KB", "MB"):
        if count < 1000.0:
            return f"{count:.3g} {unit}"
        count /= 1000.0
    return f"{count:,.1f} GB"


def _numba() -> Finding:
    if importlib.util.find_spec("numba") is None:
        return Finding(
            "note", "numba is not installed: the same results, slower", "pip install 'onward[fast]'"
        )
    folder = os.environ.get("NUMBA_CACHE_DIR")
    if folder is None:
        return Finding("ok", f"numba {version('numba')}")
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Finding(
            "problem",
            f"numba's cache {folder} cannot be written ({error.strerror})",
            "Make the folder writable, or let NUMBA_CACHE_DIR name another: without it every start compiles anew.",
        )
    return Finding("ok", f"numba {version('numba')}, its cache {folder} is writable")


def _port(settings: Settings) -> Finding:
    host, port = settings.http.host, settings.http.port
    if port == 0:
        return Finding("ok", "http: any free port")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            reason = error.strerror or str(error)
        else:
            return Finding("ok", f"http: port {port} of {host} is free")
    if (answer := _running_worker(host, port)) is not None:
        return Finding("ok", f"http: a worker runs at port {port} and says: {answer}")
    return Finding(
        "problem",
        f"http: port {port} of {host} cannot be used ({reason})",
        "Choose another by http.port or ONWARD_HTTP__PORT (0 takes a free one), or end what uses it.",
    )


def _running_worker(host: str, port: int) -> str | None:
    own = "127.0.0.1" if host in ("", "0.0.0.0") else host  # noqa: S104 - a comparison
    connection = http.client.HTTPConnection(own, port, timeout=2.0)
    try:
        connection.request("GET", "/readyz")
        body = connection.getresponse().read(2000).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    found = re.search(r'"reason":"([^"]*)","partitions"', body)
    return None if found is None else found.group(1)


async def _broker(settings: Settings) -> AsyncIterator[Finding]:
    kafka, topics = settings.kafka, settings.topics
    try:
        counts = await topics_found(kafka)
    except CommandError as error:
        yield Finding("problem", "broker: none answers", str(error))
        yield _memory(settings, topics.partitions)
        return
    yield Finding("ok", f"broker: {kafka.bootstrap_servers} answers ({kafka.security.protocol})")
    for finding in _topics(settings, counts):
        yield finding
    yield _memory(settings, counts.get(topics.events, topics.partitions))
    in_kafka = settings.checkpoint.store == "kafka"
    if in_kafka and topics.checkpoints in counts:
        yield await _compaction(settings)
    count = counts.get(topics.checkpoints if in_kafka else topics.events, 0)
    if count:
        yield await _checkpoints(settings, count)


def _topics(settings: Settings, counts: dict[str, int]) -> Iterator[Finding]:
    topics = settings.topics
    partitions = counts.get(topics.events, topics.partitions)
    for topic in needed_topics(settings):
        if topic in counts:
            yield Finding("ok", f"topic {topic}: {counts[topic]} partitions")
        elif topics.create:
            yield Finding("note", f"topic {topic}: none yet; a worker makes it, with {partitions} partitions")
        else:
            what = f"topic {topic}: there is none, and topics.create is off"
            yield Finding("problem", what, _how_to_create(settings, topic, partitions))
    present = counts | {topic: partitions for topic in needed_topics(settings) if topic not in counts}
    for problem in problems(settings, present):
        yield Finding("problem", problem)


def _how_to_create(settings: Settings, topic: str, partitions: int) -> str:
    options = TOPIC_CONFIG if topic == settings.topics.checkpoints else {}
    return (
        f"kafka-topics.sh --bootstrap-server {settings.kafka.bootstrap_servers} --create --topic {topic} "
        f"--partitions {partitions}" + "".join(f" --config {name}={value}" for name, value in options.items())
    )


async def _compaction(settings: Settings) -> Finding:
    topic = settings.topics.checkpoints
    found = await topic_config(settings.kafka, topic)
    wrong = []
    if "compact" not in (found.get("cleanup.policy") or "") or "delete" in (
        found.get("cleanup.policy") or ""
    ):
        wrong.append("cleanup.policy")
    # A broker that does not name its limit is taken at its word when the first large state comes.
    if int(found.get("max.message.bytes") or TOPIC_CONFIG["max.message.bytes"]) < int(
        TOPIC_CONFIG["max.message.bytes"]
    ):
        wrong.append("max.message.bytes")
    if not wrong:
        return Finding("ok", f"topic {topic}: compacted")
    return Finding(
        "problem",
        f"topic {topic}: {', '.join(f'{name} is {found.get(name)}' for name in wrong)}",
        f"kafka-configs.sh --bootstrap-server {settings.kafka.bootstrap_servers} --alter --entity-type topics "
        f"--entity-name {topic} --add-config {','.join(f'{name}={TOPIC_CONFIG[name]}' for name in wrong)}\n"
        "Otherwise states that were learned are deleted, or cannot be saved.",
    )


async def _checkpoints(settings: Settings, partitions: int) -> Finding:
    path = settings.checkpoint.sqlite_path
    if settings.checkpoint.store == "sqlite":
        if not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
            return Finding(
                "problem",
                f"checkpoints: {path} cannot be written",
                "Make its folder, or let checkpoint.sqlite_path name another file.",
            )
        if not path.exists():
            return Finding("ok", f"checkpoints: {path} will be made by the first worker")
    store = checkpoint_store(settings)
    try:
        await store.start()
        found = [await store.read(partition) for partition in range(partitions)]
    except (CheckpointError, KafkaError) as error:
        return Finding("problem", "checkpoints: they cannot be read", str(error))
    finally:
        await store.stop()
    saved = [one for one in found if one is not None]
    series = sum(len(one.series) for one in saved)
    return Finding(
        "ok", f"checkpoints: {len(saved)} of {partitions} partitions are saved, with {series:,} series"
    )
