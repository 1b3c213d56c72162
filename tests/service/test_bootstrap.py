"""Goal: a start that compiles its models says that it lives, and a fault of the compiler is not swallowed."""

from __future__ import annotations

import asyncio
import time
from typing import cast

import pytest

from models.bank import Bank
from service.bootstrap import compile_models, until_read
from service.observe.http import HttpServer
from service.settings import Settings

pytest.importorskip("numba", reason="the compiled twins need the extra `fast`")


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("service.bootstrap.COMPILE_TOLD_SECONDS", 0.05)
    caplog.set_level("INFO")


def test_a_start_that_compiles_says_so_until_it_has(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Bank, "warm", lambda _: time.sleep(0.2))
    asyncio.run(compile_models(Settings()))
    assert caplog.messages[0] == "still compiling the models"
    assert caplog.messages[-1] == "models compiled"


def test_a_make_without_a_twin_starts_at_once(caplog: pytest.LogCaptureFixture) -> None:
    asyncio.run(compile_models(Settings.model_validate({"model": {"cell": "gru"}})))
    assert [message[:22] for message in caplog.messages] == ["models run uncompiled:"]


def test_the_challenger_is_compiled_too(monkeypatch: pytest.MonkeyPatch) -> None:
    warmed: list[int] = []
    monkeypatch.setattr(Bank, "warm", lambda bank: warmed.append(bank.specification.units))
    asyncio.run(compile_models(Settings.model_validate({"challenger": {"units": 5}})))
    assert warmed == [16, 5]


def test_a_fault_of_the_compiler_ends_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Bank) -> None:
        raise RuntimeError("no such target")

    monkeypatch.setattr(Bank, "warm", fail)
    with pytest.raises(RuntimeError, match="no such target"):
        asyncio.run(compile_models(Settings()))


class Reader:
    """In the place of the HTTP server: /metrics was read once, and is read again after some seconds, or never."""

    def __init__(self, first: float | None, again: float | None = None) -> None:
        self._first, self._again = first, again
        self._made = time.monotonic()

    @property
    def read_at(self) -> float | None:
        again = None if self._again is None else self._made + self._again
        return again if again is not None and time.monotonic() >= again else self._first


@pytest.mark.parametrize(
    ("reader", "at_least", "at_most"),
    [
        (Reader(None), 0.0, 0.2),  # nobody ever reads
        (Reader(-1.0, again=0.5), 0.4, 1.4),
        (Reader(-1.0), 0.9, 1.8),  # whoever read it is gone
    ],
    ids=("nobody", "once more", "gone"),
)
def test_a_worker_that_failed_waits_for_its_last_figures_to_be_read(
    reader: Reader, at_least: float, at_most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure that is counted as the process ends is seen by nobody otherwise: a checkpoint that could not be saved."""
    monkeypatch.setattr("service.bootstrap.LAST_READ_SECONDS_MAX", 1.0)
    reader._made = started = time.monotonic()
    asyncio.run(until_read(cast("HttpServer", reader), asyncio.Event()))
    assert at_least <= time.monotonic() - started <= at_most


def test_it_does_not_wait_when_it_is_asked_to_stop() -> None:
    async def run() -> None:
        stop = asyncio.Event()
        stop.set()
        await until_read(cast("HttpServer", Reader(-1.0)), stop)

    started = time.monotonic()
    asyncio.run(run())
    assert time.monotonic() - started < 1.0
