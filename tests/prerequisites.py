"""What a test needs beyond the Python packages: programs of the system's.

A test whose program is missing is skipped, so that `make test` passes on any machine; where everything must be there
(ONWARD_REQUIRE_ALL=1, as .ci/run sets it) the same test fails, so that nothing is skipped without being noticed.
"""

from __future__ import annotations

import os
import shutil

import pytest

REQUIRE_ALL = "ONWARD_REQUIRE_ALL"

# The programs that each marker stands for, and how Debian and Ubuntu call what brings them. One line a marker.
PROGRAMS: dict[str, tuple[tuple[str, ...], str]] = {
    "browser": (("chromium", "chromedriver"), "apt-get install chromium chromium-driver"),
    "image": (("buildah", "debootstrap"), "apt-get install buildah debootstrap"),
    "kafka": (("java", "mvn"), "apt-get install default-jre-headless maven"),
    "prometheus": (("prometheus", "promtool"), "apt-get install prometheus"),
}


def require(tool: str, present: bool, hint: str) -> None:
    """Skip the running test if the tool is not present, or fail it where everything must be.

    Args:
        tool: what is needed, as a person would call it.
        present: whether it is there.
        hint: how to get it.
    """
    if present:
        return
    message = f"{tool} is missing; {hint}"
    if os.environ.get(REQUIRE_ALL) == "1":
        pytest.fail(f"{message} ({REQUIRE_ALL}=1 allows no skip)", pytrace=False)
    pytest.skip(message)


def require_programs_of(marker: str) -> None:
    """Require every program that a marker stands for."""
    programs, hint = PROGRAMS[marker]
    for program in programs:
        require(program, shutil.which(program) is not None, hint)
