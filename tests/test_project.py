"""The project itself: what is imported, what the wheel holds, and what no file may say."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

import models
import service
from tests.prerequisites import PROGRAMS, REQUIRE_ALL, require

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("models", "service")
# Their loaders run what they are given; state is named arrays.
UNSAFE_SERIALIZERS = {"_pickle", "cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "pickle", "shelve"}
# What a person reads in one sitting.
LINES_MAX = 400
# In halves, so that this file does not find itself.
REGISTRY_HOSTS = tuple(
    ".".join(halves)
    for halves in [
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("crates", "io"),
        ("golang", "org"),
        ("maven", "org"),
        ("repo.maven.apache", "org"),
        ("debian", "org"),
        ("archive.ubuntu", "com"),
    ]
)
INDEX_OPTIONS = ("--index" + "-url", "--extra-index" + "-url", "--find" + "-links", "--trusted" + "-host")


def sources() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def project_files() -> list[Path]:
    """Every file that is, or would be, in the repository."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    paths = [ROOT / name for name in os.fsdecode(listing.stdout).split("\0") if name]
    return [path for path in paths if path.is_file()]


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """The project's text files by their name; data is read too, binary files are not."""
    found = {}
    for path in project_files():
        content = path.read_bytes()
        if b"\0" not in content[:8192]:
            found[str(path.relative_to(ROOT))] = content.decode(errors="replace")
    return found


def lines_with(texts: dict[str, str], *needles: str) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()[:120]}"
        for name, text in texts.items()
        if any(needle in text for needle in needles)
        for number, line in enumerate(text.splitlines(), start=1)
        if any(needle in line for needle in needles)
    ]


def imports_of(path: Path) -> set[str]:
    """The first parts of the names of all that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(), filename=str(path))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return {name.partition(".")[0] for name in names}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_packages_imported_are_those_of_the_checkout() -> None:
    """Goal: what is tested is what is here, not some other `models` or `service`. Method: where they come from."""
    assert Path(models.__file__).parent == ROOT / "models"
    assert Path(service.__file__).parent == ROOT / "service"


def test_project_cannot_be_published_by_mistake(project: dict[str, Any]) -> None:
    """Goal: names as common as ours never reach a public index. Method: the classifier that indexes refuse."""
    assert "Private :: Do Not Upload" in project["project"]["classifiers"]
    assert tuple(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == PACKAGES


def test_wheel_holds_every_file_of_both_packages_and_nothing_else(tmp_path: Path) -> None:
    """Goal: an installed service finds its page and data. Method: build the wheel, compare it with the checkout."""
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        points = next(name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "onward = service.cli:main" in archive.read(points).decode()
    files = {str(path.relative_to(ROOT)) for path in project_files()}
    assert held == {name for name in files if name.startswith(tuple(f"{package}/" for package in PACKAGES))}


def test_files_are_short(texts: dict[str, str]) -> None:
    """Goal: files that fit a head, tests and benchmarks too. Method: count the lines."""
    lengths = {name: len(text.splitlines()) for name, text in texts.items() if name.endswith(".py")}
    assert {name: length for name, length in lengths.items() if length > LINES_MAX} == {}, "split them"


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_file_loads_no_code_from_data(path: Path) -> None:
    """Goal: no pickle anywhere. Method: read the syntax tree."""
    assert not imports_of(path) & UNSAFE_SERIALIZERS, "state is named arrays: see models/snapshot.py"


def test_nothing_is_loaded_with_pickle_allowed() -> None:
    """Goal: numpy's own door to pickle stays shut. Method: no call in either package passes allow_pickle but False."""
    allowing = [
        f"{path.relative_to(ROOT)}:{node.value.lineno}"
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle"
        if not (isinstance(node.value, ast.Constant) and node.value.value is False)
    ]
    assert allowing == []


def test_no_file_names_a_package_registry_or_an_index(texts: dict[str, str]) -> None:
    """Goal: whoever builds this chooses where packages come from. Method: search all text files."""
    assert lines_with(texts, *REGISTRY_HOSTS, *INDEX_OPTIONS) == []


def test_no_file_holds_a_path_of_the_machine_it_was_written_on(texts: dict[str, str]) -> None:
    """Goal: the project runs from any folder. Method: search all text files for this checkout and this home."""
    # Not as the tail of a longer path, such as "$image"/root/.
    places = [
        re.compile(rf"""(?<![\w.}}/])(?<![\w}}]["']){re.escape(str(place))}/""")
        for place in (ROOT, Path.home())
    ]
    found = [
        f"{name}:{number}: {line.strip()[:120]}"
        for name, text in texts.items()
        for number, line in enumerate(text.splitlines(), start=1)
        if any(place.search(line) for place in places)
    ]
    assert found == []


@pytest.mark.parametrize("purpose", ["build", "runtime", "demo", "dev"])
def test_lock_pins_every_package_by_hash_and_agrees_with_the_development_lock(purpose: str) -> None:
    """Goal: what is deployed is what was tested. Method: read the locks, compare the pins."""

    def pins(name: str) -> dict[str, str]:
        text = (ROOT / "requirements" / f"{name}.lock").read_text()
        entries = [entry.strip() for entry in text.replace("\\\n", " ").splitlines() if entry[:1].isalnum()]
        assert all("==" in entry and "--hash=sha256:" in entry for entry in entries)
        return dict(entry.split()[0].split("==") for entry in entries)

    assert pins(purpose).items() <= pins("dev").items()


@pytest.mark.parametrize(("require_all", "outcome"), [("", "Skipped"), ("1", "Failed")])
def test_missing_tool_skips_or_fails_where_everything_is_required(
    require_all: str, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: nothing is skipped unnoticed in continuous integration. Method: ask for a tool that is not there."""
    monkeypatch.setenv(REQUIRE_ALL, require_all)
    require("a tool", present=True, hint="none needed")
    with pytest.raises(BaseException, match="a tool is missing; install it") as raised:
        require("a tool", present=False, hint="install it")
    assert raised.typename == outcome


def test_every_marker_with_programs_is_declared(project: dict[str, Any]) -> None:
    """Goal: a marker means one thing. Method: compare pytest's list of markers with the table of programs."""
    declared = {line.partition(":")[0] for line in project["tool"]["pytest"]["ini_options"]["markers"]}
    assert set(PROGRAMS) <= declared


def test_continuous_integration_installs_every_program_that_a_test_may_need() -> None:
    """Goal: a test that may not be skipped there can run there. Method: compare .ci/run with the table of programs."""
    script = (ROOT / ".ci" / "run").read_text()
    needed = {program for programs, _ in PROGRAMS.values() for program in programs}
    assert {program for program in needed if f'    "{program} ' not in script} == set()
