"""The real series that the benchmarks run on, and by which rows each is standardised and scored.

ETTh1 and ETTh2: Zhou et al. (2021), ETDataset, https://github.com/zhouhaoyi/ETDataset, CC BY-ND 4.0, not shipped.
Laser: Huebner et al. (1989), set A of the Santa Fe competition; sunspots: monthly, SILSO, Brussels; not shipped, one number a line in `series/`.
NAB: Numenta Anomaly Benchmark v1.1, https://github.com/numenta/NAB, MIT; six of its series are shipped.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from models.bank import Array

SHIPPED = Path(__file__).parents[1] / "service" / "tools" / "data"
ETT_TRAIN_ROWS, ETT_FIRST, ETT_LAST = 2880, 3600, 14400
"""Of the published comparisons: statistics from rows 0 to 2880, scored on rows 3600 to 14400."""

NAB_WARMUP = 0.2
"""Standardised by the first fifth, scored on the rest."""


PLAIN = {"laser": 1.0, "sunspot": 30.44 * 86_400.0}
"""Series without times, and seconds between their rows; warmed up as NAB's."""


@dataclass(frozen=True, slots=True)
class Series:
    """A series, the rows on which it is scored, and the deviation by which errors are divided."""

    name: str
    group: str
    times: Array
    values: Array
    first: int
    last: int
    deviation: float


def load(folder: Path | None) -> list[Series]:
    """Return the series of a folder with `ett/`, `nab/data/` and perhaps `series/`, or those that are shipped."""
    if folder is None:
        return [_nab(path) for path in sorted(SHIPPED.glob("*.csv"))]
    found = [series for path in sorted((folder / "ett").glob("ETTh*.csv")) for series in _ett(path)]
    found += [_nab(path) for path in sorted((folder / "nab" / "data").glob("*/*.csv"))]
    plain = {folder / "series" / f"{name}.txt": seconds for name, seconds in PLAIN.items()}
    found += [_plain(path, seconds) for path, seconds in plain.items() if path.exists()]
    return found


def _ett(path: Path) -> Iterator[Series]:
    times, columns, header = _read(path)
    for place, name in enumerate(header):
        values = columns[:ETT_LAST, place]
        deviation = float(values[:ETT_TRAIN_ROWS].std())
        yield Series(
            f"{path.stem}/{name}", path.stem, times[:ETT_LAST], values, ETT_FIRST, ETT_LAST, deviation
        )


def _nab(path: Path) -> Series:
    times, columns, _ = _read(path)
    values = columns[:, 0]
    warmup = int(len(values) * NAB_WARMUP)
    deviation = float(values[:warmup].std())
    return Series(path.stem, "NAB", times, values, warmup, len(values), deviation if deviation > 0.0 else 1.0)


def _plain(path: Path, seconds: float) -> Series:
    values: Array = np.loadtxt(path, dtype=np.float64)
    warmup = int(len(values) * NAB_WARMUP)
    times: Array = np.arange(len(values), dtype=np.float64) * seconds
    return Series(path.stem, path.stem, times, values, warmup, len(values), float(values[:warmup].std()))


def _read(path: Path) -> tuple[Array, Array, list[str]]:
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    times = np.array([datetime.fromisoformat(row[0]).replace(tzinfo=UTC).timestamp() for row in rows[1:]])
    return times, np.array([[float(cell) for cell in row[1:]] for row in rows[1:]]), rows[0][1:]
