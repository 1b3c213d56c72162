"""Reports of made-up series, for the tests of the page and of what stands in it."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from service.tools.replay import ReplayOptions, run
from service.tools.tables import Wanted

DATA = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.DOTALL)


class Made(NamedTuple):
    """What a replay wrote: the page, the data in it, the summary, and the predictions."""

    path: Path
    text: str
    data: dict[str, Any]
    summary: dict[str, Any]
    predictions: list[dict[str, str]]
    said: str


def wave(n: int, *, period: float = 12.0, jump: int = 10**9) -> list[float]:
    """A season with a little of something else in it, and a jump."""
    return [
        10.0
        + 3.0 * math.sin(2.0 * math.pi * i / period)
        + 0.1 * ((i * 7919) % 13)
        + 8.0 * (i >= jump and i % 2)
        for i in range(n)
    ]


def table(path: Path, n: int, **columns: Sequence[object]) -> Path:
    """Write a table of hourly rows."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["time", *columns])
        times = [f"2024-{1 + i // 672:02}-{1 + i // 24 % 28:02} {i % 24:02}:00:00" for i in range(n)]
        writer.writerows(zip(times, *columns.values(), strict=True))
    return path


def make(folder: Path, *files: Path, **options: Any) -> Made:
    """Replay files with the fast profile, unless told otherwise, and read all that was written."""
    report, summary, output = folder / "report.html", folder / "summary.json", folder / "predictions.csv"
    said = io.StringIO()
    console = Console(file=said, width=200)
    defaults: dict[str, Any] = {"profile": "fast", "wanted": Wanted(), "command": "onward replay"}
    written = {"report": report, "summary": summary, "output": output}
    names = tuple(str(file) for file in files)
    run(ReplayOptions(files=names, **(defaults | written | options)), out=console, notes=console)
    text = report.read_text(encoding="utf-8")
    (found,) = DATA.findall(text)
    with output.open(encoding="utf-8", newline="") as stream:
        predictions = list(csv.DictReader(stream))
    return Made(
        report,
        text,
        json.loads(found, parse_constant=_refuse),
        json.loads(summary.read_text()),
        predictions,
        said.getvalue(),
    )


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")
