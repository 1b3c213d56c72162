"""Goal: a start that compiles its models says that it lives, and a fault of the compiler is not swallowed."""

from __future__ import annotations

import asyncio
import time

import pytest

from models.bank import Bank
from service.bootstrap import compile_models
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
