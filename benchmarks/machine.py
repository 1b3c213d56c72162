"""What a figure was measured on."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version
from pathlib import Path


def describe() -> dict[str, str]:
    """Return the machine and the versions that a reader needs to compare figures."""
    processor = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                processor = line.split(":", 1)[1].strip()
                break
    return {
        "python": sys.version.split()[0],
        "numpy": version("numpy"),
        "onward": version("onward"),
        "system": platform.system(),
        "processor": processor,
    }
