"""Goal: what docs/EXTENDING.md and CONTRIBUTING.md add is one file and one line each, and passes every check.

Method: the pages' blocks are written into a copy of the project, a new process runs the checks over the tables
for the names that are new, and its report is read. Then a wrong derivative is put in, which must be found.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import pytest

from models.cells import CELLS
from models.drift import DETECTORS
from models.experts import EXPERTS

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "docs" / "EXTENDING.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text()
BLOCK = re.compile(r"^```(python|diff) (\S+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
USE = re.compile(r"^```pycon\n(.*?)^```$", re.DOTALL | re.MULTILINE)
CHECKS_MIN = {"leaky": 55, "mean_change": 11, "ewma_chart": 11}
"""So many checks there were of each at least when this was written; fewer would mean that tables are passed over."""


def put_lines(text: str, diff: str) -> str:
    """Return the text with the diff's new lines, each run of them after the line that stands before it there."""
    lines, at = text.splitlines(), 0
    for line in diff.splitlines():
        if line.startswith("+"):
            lines.insert(at, line[1:])
            at += 1
        else:
            at = lines.index(line[1:], at) + 1
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with what the page adds."""
    copy = tmp_path_factory.mktemp("extended")
    for folder in ("models", "tests"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "service").symlink_to(ROOT / "service")
    shutil.copy(ROOT / "pyproject.toml", copy)
    (copy / "use.txt").write_text("\n".join(USE.findall(PAGES)))
    for kind, name, content in BLOCK.findall(PAGES):
        path = copy / name
        if kind == "python":
            assert not path.exists(), f"{name} is there already; the page must add something new"
            path.write_text(content)
        else:
            path.write_text(put_lines(path.read_text(), content))
    return copy


def run_in(copy: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_page_adds_what_is_not_there_by_one_file_and_one_line_each() -> None:
    blocks = BLOCK.findall(PAGES)
    assert [name for kind, name, _ in blocks if kind == "python"] == [
        "models/cells/leaky.py",
        "models/experts/mean_change.py",
        "models/drift/ewma_chart.py",
    ]
    for kind, name, content in blocks:
        if kind == "diff" and name.startswith("models/"):
            added = [line[1:] for line in content.splitlines() if line.startswith("+")]
            assert len([line for line in added if not line.startswith("from ")]) == 1, name
    assert not {"leaky", "mean_change", "ewma_chart"} & {*CELLS, *EXPERTS, *DETECTORS}


@pytest.mark.timeout(400)
def test_what_the_page_adds_passes_every_check(extended: Path) -> None:
    report = extended / "report.xml"
    names = " or ".join((*CHECKS_MIN, "use.txt"))
    # Cells that are here already and have such a name in theirs are checked where they are.
    others = [cell for cell in CELLS if any(name in cell for name in CHECKS_MIN)]
    done = run_in(
        extended,
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--junitxml={report}",
        "--doctest-glob=use.txt",
        "-k",
        " and not ".join((f"({names})", *others)),
        "use.txt",
        "models/cells/leaky.py",
        "tests/conformance",
        "tests/models",
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    cases = list(ET.parse(report).getroot().iter("testcase"))
    assert not [case.get("name") for case in cases if len(case)], "failed or skipped"
    counts = Counter(name for name in CHECKS_MIN for case in cases if name in str(case.get("name")))
    assert {name: counts[name] for name in CHECKS_MIN if counts[name] < CHECKS_MIN[name]} == {}
    assert any(str(case.get("name")) == "use.txt" for case in cases)


def test_a_wrong_derivative_in_the_pages_cell_is_found(extended: Path) -> None:
    path = extended / "models" / "cells" / "leaky.py"
    right = path.read_text()
    try:
        path.write_text(right.replace("rate * (1.0 - rate) * gap", "rate * gap"))
        assert path.read_text() != right
        done = run_in(
            extended,
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-k",
            "leaky",
            "tests/conformance/test_cells.py",
        )
    finally:
        path.write_text(right)
    assert done.returncode == 1
    assert "test_factors_equal_central_differences_of_the_step[leaky]" in done.stdout
    assert "test_factors_equal_automatic_differentiation_of_the_equations[leaky]" in done.stdout


def test_what_the_page_adds_is_written_as_the_project_is(extended: Path) -> None:
    added = [name for kind, name, _ in BLOCK.findall(PAGES) if kind == "python"]
    for command in (("ruff", "check"), ("ruff", "format", "--check")):
        done = run_in(extended, *command, "--no-cache", *added)
        assert done.returncode == 0, done.stdout + done.stderr
