"""Goal: what was compiled is taken up again only by the code that it was compiled from, and any numba does.

Method: the name of the folder as a package's text changes; folders that cannot be; a process whose numba says that it is another.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.protocols import Array

pytest.importorskip("numba", reason="the compiled twins need the extra `fast`")

from models.kernels.jit import PACKAGE, SHORTER, cache_folder
from tests.models.test_kernels_elementary import filled, tanh_of

ROOT = Path(__file__).parents[2]


def test_a_constant_anywhere_in_the_models_names_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    package = tmp_path / "models"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    first = cache_folder(package)
    assert first is not None
    assert first.parent == tmp_path / "cache"
    assert first == cache_folder(package) == cache_folder()
    scaling = package / "scaling.py"
    scaling.write_text(scaling.read_text().replace("SPAN_EVENTS = 1000.0", "SPAN_EVENTS = 1001.0"))
    assert cache_folder(package) not in (None, first)


def test_without_a_folder_to_keep_it_in_all_is_compiled_and_nothing_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    assert cache_folder() is None


OTHER = """
import numba
numba.__version__ = "0.0"  # another than those whose inside is known
from models.kernels import jit
from tests.models.test_kernels_jit import tanhs
assert not jit.SHORTER
print(tanhs().tobytes().hex())
"""


def tanhs() -> Array:
    """Return what a compiled function gives that calls two more, one in the other."""
    return filled(tanh_of, np.linspace(-3.0, 3.0, 101))[0]


def test_a_numba_whose_inside_is_not_known_compiles_to_the_same_bits(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OTHER],
        cwd=ROOT,
        env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert SHORTER
    assert tanhs().tobytes().hex() == done.stdout.strip()
