"""Drift detectors. A new one is one file here and one line in `DETECTORS`."""

from __future__ import annotations

from collections.abc import Callable

from models.drift.page_hinkley import PageHinkley
from models.forecast_protocols import DriftDetector

DETECTORS: dict[str, Callable[[], DriftDetector]] = {
    "page_hinkley": PageHinkley,
}
