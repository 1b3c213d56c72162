"""Drift detectors. A new one is one file here and one line in `DETECTORS`."""

from __future__ import annotations

from collections.abc import Callable

from models.drift.adwin import Adwin
from models.drift.cusum import Cusum
from models.drift.ddm import Ddm
from models.drift.eddm import Eddm
from models.drift.hddm_a import HddmA
from models.drift.hddm_w import HddmW
from models.drift.kswin import Kswin
from models.drift.page_hinkley import PageHinkley
from models.forecast_protocols import DriftDetector

DETECTORS: dict[str, Callable[[], DriftDetector]] = {
    "page_hinkley": PageHinkley,
    "cusum": Cusum,
    "adwin": Adwin,
    "kswin": Kswin,
    "ddm": Ddm,
    "eddm": Eddm,
    "hddm_a": HddmA,
    "hddm_w": HddmW,
}
