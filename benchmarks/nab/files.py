"""NAB's files and windows: rows as text and number, and where the anomalies are.

Numenta Anomaly Benchmark v1.1, https://github.com/numenta/NAB, MIT. A folder holds `nab/data/GROUP/NAME.csv` and
`nab/labels/combined_windows.json`; six files are shipped, their windows in `windows.json`.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.series import SHIPPED
from models.bank import Array

SHIPPED_WINDOWS = Path(__file__).with_name("windows.json")
SECONDS_LENGTH = len("2014-07-01 00:00:00")


@dataclass(frozen=True, slots=True)
class NabFile:
    """A file: its path within the corpus, times as text and in seconds, values, first and last row of each window."""

    path: str
    texts: list[str]
    times: Array
    values: Array
    windows: list[tuple[int, int]]

    def first_rows(self, rows: int) -> NabFile:
        """Return the first rows with the windows that end in them."""
        return replace(
            self,
            texts=self.texts[:rows],
            times=self.times[:rows],
            values=self.values[:rows],
            windows=[window for window in self.windows if window[1] < rows],
        )


def nab_files(folder: Path | None) -> list[NabFile]:
    """Return the files of a folder that have windows listed, or those that are shipped.

    Raises:
        ValueError: a window's edge is not a time of its file.
    """
    if folder is None:
        windows = json.loads(SHIPPED_WINDOWS.read_text())
        return [_read(path, SHIPPED / Path(path).name, windows[path]) for path in sorted(windows)]
    windows = json.loads((folder / "nab" / "labels" / "combined_windows.json").read_text())
    data = folder / "nab" / "data"
    found = sorted(path for path in windows if (data / path).exists())
    return [_read(path, data / path, windows[path]) for path in found]


def _read(path: str, source: Path, windows: list[list[str]]) -> NabFile:
    with source.open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    texts = [row[0] for row in rows]
    edges = [[texts.index(edge[:SECONDS_LENGTH]) for edge in window] for window in windows]
    return NabFile(
        path,
        texts,
        np.array([datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() for text in texts]),
        np.array([float(row[1]) for row in rows]),
        [(left, right) for left, right in edges],
    )
