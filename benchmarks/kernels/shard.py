"""What a record costs the worker without its broker: decode, policy, all of the model, and the prediction as JSON.

A `Shard` takes batches of records as Faust hands them over. And what its checkpoint costs a series.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from benchmarks.tasks.plots import figure, save
from models.specification import PROFILES
from service.ports import Record
from service.settings import Settings
from service.stream.shard import Shard

SERIES, BATCH, ROUNDS = 1000, 250, 12


def measure(quick: bool) -> dict[str, Any]:
    """Give each profile's shard the same records, by turns."""
    rounds = 3 if quick else ROUNDS
    shards = {
        profile: Shard(
            topic="events", partition=0, settings=Settings.model_validate({"model": {"profile": profile}})
        )
        for profile in PROFILES
    }
    taken: dict[str, list[float]] = {profile: [] for profile in PROFILES}
    rng = np.random.default_rng(0)
    values, offset = np.zeros(SERIES), 0
    for at in range(rounds):
        values += rng.normal(size=SERIES)
        records = []
        for series in rng.permutation(SERIES).tolist():
            event = {"series": f"sensor-{series}", "time": 1.7e9 + 60.0 * at, "value": values[series]}
            records.append(
                Record("events", 0, offset, None, orjson.dumps(event, option=orjson.OPT_SERIALIZE_NUMPY))
            )
            offset += 1
        for first in range(0, SERIES, BATCH):
            for profile, shard in shards.items():
                start = time.perf_counter()
                shard.apply(records[first : first + BATCH])
                if at > 1:  # the first compile, and admit their series
                    taken[profile].append(1e6 * (time.perf_counter() - start) / BATCH)
    checkpoint = {}
    for profile, shard in shards.items():
        start = time.perf_counter()
        count = len(shard.snapshot_dirty())
        checkpoint[profile] = 1e6 * (time.perf_counter() - start) / count
    return {
        "microseconds": {profile: float(np.median(values_)) for profile, values_ in taken.items()},
        "all": taken,
        "checkpoint": checkpoint,
        "goals": [],
    }


def table(result: dict[str, Any]) -> str:
    """Return microseconds and records a second."""
    lines = [
        f"\nOne partition's learner without a broker: {SERIES} series, {BATCH} records a batch\n",
        "| profile | microseconds a record | records a second | microseconds a series of a checkpoint |\n|---|---|---|---|",
    ]
    lines += [
        f"| {profile} | {value:.0f} | {1e6 / value:,.0f} | {result['checkpoint'][profile]:.0f} |"
        for profile, value in result["microseconds"].items()
    ]
    return "\n".join(lines)


def draw(result: dict[str, Any], folder: Path) -> None:
    """Plot each batch."""
    canvas, axes = figure(width=7.0, height=3.2)
    for profile, values in result["all"].items():
        axes.plot(values, linewidth=0.8, label=profile)
    axes.set(xlabel="batch", ylabel="microseconds a record", ylim=(0.0, None))
    axes.legend(fontsize=7)
    save(canvas, folder / "kernels-shard.svg")
