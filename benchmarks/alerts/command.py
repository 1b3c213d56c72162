"""Provoke every alert once, and tell how long each took: `python -m benchmarks alerts`."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.alerts.faults import FAULTS, HEALTHY_EVENTS, HEALTHY_SECONDS, Fault
from benchmarks.alerts.rig import NotSeenError, Rig
from benchmarks.alerts.rules import FACTOR
from benchmarks.machine import describe

QUICK: Final = ("OnwardTargetDown", "OnwardRolledBack")


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one fault; seconds since it was begun, and for the last since it was ended. None did not come."""

    alert: str
    fault: str
    ended: str
    pending: float | None = None
    firing: float | None = None
    resolved: float | None = None
    others: tuple[str, ...] = ()
    failure: str | None = None


def main(arguments: argparse.Namespace) -> int:
    """Run all faults, or those that are named; 0 where every alert fired and was resolved."""
    if shutil.which("prometheus") is None:
        print("There is no prometheus; install it: apt-get install prometheus")
        return 1
    unknown = set(arguments.only or ()) - set(FAULTS)
    if unknown:
        print(f"There is no alert {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}")
        return 2
    names = arguments.only or (QUICK if arguments.quick else list(FAULTS))
    began = time.monotonic()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="onward-alerts-") as folder, ExitStack() as stack:
        rig = Rig(Path(folder), stack)
        for name in names:
            rows.append(_run(rig, name, FAULTS[name]))
            print(_line(rows[-1]), flush=True)
    seconds = time.monotonic() - began
    print(
        f"\nEvery duration of the rules is a {FACTOR}th, and so is the interval of a scrape. {seconds:.0f} s in all.\n"
    )
    print("\n".join(_table(rows)))
    arguments.output.mkdir(parents=True, exist_ok=True)
    target = arguments.output / "alerts.json"
    found: dict[str, Any] = {
        "machine": describe() | {"prometheus": _prometheus_version()},
        "factor": FACTOR,
        "seconds": seconds,
        "alerts": [asdict(row) for row in rows],
    }
    target.write_text(json.dumps(found, indent=1))
    print(f"written: {target}")
    return 0 if all(row.failure is None for row in rows) else 1


def _run(rig: Rig, name: str, fault: Fault) -> Row:
    alerts = rig.alerts
    before: set[str] = set()
    began: float | None = None
    ended: float | None = None
    failure = None
    with rig.stage(name.lower(), fault.variables, fault.rate, fault.padding) as stage:
        try:
            stage.until_learned(min(HEALTHY_EVENTS, int(HEALTHY_SECONDS * fault.rate)))
            stage.until(lambda: name not in alerts.now, f"{name} to be silent before its fault")
            before = set(alerts.now)
            began = time.monotonic()
            provoked = fault.provoke(stage)
            next(provoked)
            try:
                stage.until(lambda: alerts.since(began, name, "firing") is not None, f"{name} to fire")
            finally:  # a broker that stays frozen would be the next alert's fault too
                ended = time.monotonic()
                next(provoked, None)
            stage.until(lambda: name not in alerts.now, f"{name} to be resolved")
        except NotSeenError as error:
            failure = str(error)
    if began is None:
        return Row(name, fault.words, fault.ended, failure=failure)
    others = {other for at, other, state in alerts.log if at >= began and state == "firing"} - {name} - before
    resolved = None if ended is None or failure else alerts.since(ended, name, "") or 0.0
    return Row(
        name,
        fault.words,
        fault.ended,
        alerts.since(began, name, "pending"),
        alerts.since(began, name, "firing"),
        resolved,
        tuple(sorted(others)),
        failure,
    )


def _line(row: Row) -> str:
    return f"{row.alert}: {row.failure or f'fired after {row.firing:.1f} s'}"


def _table(rows: list[Row]) -> Iterator[str]:
    """Yield the table as it stands in the documents."""
    yield "| alert | pending | firing | resolved | fault | ended by | fired beside it |"
    yield "|---|---:|---:|---:|---|---|---|"
    for row in rows:
        times = [_seconds(time) for time in (row.pending, row.firing, row.resolved)]
        others = ", ".join(row.others)
        yield f"| {row.alert} | {' | '.join(times)} | {row.fault} | {row.ended} | {others} |"


def _seconds(time: float | None) -> str:
    return "" if time is None else f"{time:.1f} s"


def _prometheus_version() -> str:
    done = subprocess.run(["prometheus", "--version"], check=True, capture_output=True, text=True)
    return (done.stdout or done.stderr).splitlines()[0]
