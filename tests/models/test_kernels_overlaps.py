"""Goal: no compiled function is called with arguments that overlap where it writes, and none asks for a place that an array has
not, both of which its machine code counts on.

Method: what is told to LLVM, of one function. The kernels as plain Python, in a process of their own, each function of which looks at its arguments and follows its writes;
every place where one calls another is come by. What looks is shown what it is to refuse.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from models.protocols import Array

pytest.importorskip("numba", reason="the compiled twins need the extra `fast`")

from models.kernels import jit
from tests.models.overlaps import GROUPS, OverlapError, PlaceError, calls_in, watching

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("group", GROUPS)
def test_no_compiled_function_writes_where_two_of_its_arguments_lie(group: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.models.overlaps", group],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "", "calls that no case comes by"


def test_every_call_belongs_to_a_group() -> None:
    assert calls_in(("*.py",)) == set().union(*(calls_in(files) for _, files in GROUPS.values()))


class Rows(NamedTuple):
    """Two arrays."""

    one: Array
    other: Array


def put(source: Array, target: Array, place: int) -> None:
    target[place] = source[0]


def put_in_rows(source: Array, rows: Rows) -> None:
    rows.other[0] = source[0]


@watching
def put_further(whole: Array, part: Array) -> None:
    watching(put)(np.ones(1), part[1:], 0)


def test_a_write_where_two_arguments_lie_is_refused_whatever_is_written() -> None:
    numbers, rows = np.ones(6), np.ones((2, 3))
    with pytest.raises(OverlapError, match="put"):
        watching(put)(numbers[1:3], numbers, 2)
    with pytest.raises(OverlapError, match="put_in_rows"):
        watching(put_in_rows)(rows.reshape(-1), Rows(np.ones(3), rows[1]))
    with pytest.raises(OverlapError, match="put_in_rows"):
        watching(put_in_rows)(np.ones(1), Rows(numbers, numbers[:2]))
    with pytest.raises(OverlapError, match="put_further"):
        put_further(numbers, numbers[3:])
    with pytest.raises(TypeError, match="element by element"):
        watching(lambda one: np.add(one, one, out=one))(numbers)
    assert (numbers == 1.0).all()
    assert (rows == 1.0).all()


def test_what_overlaps_and_is_read_alone_passes() -> None:
    numbers, grid = np.arange(6.0), np.arange(6.0).reshape(3, 2)
    watching(put)(numbers[1:3], numbers, 3)
    assert numbers[3] == 1.0
    watching(put)(grid[:, 0], grid[:, 1], 1)  # columns of one matrix lie between each other
    assert grid[1, 1] == 0.0
    put_further(numbers, np.zeros(3))
    with pytest.raises(TypeError, match="hands an array back"):
        watching(lambda one: one[1:])(numbers)


def read_ahead(ahead: Array, target: Array) -> None:
    target[0] = ahead[1][0]


def write_ahead(ahead_of_cell: Array) -> None:
    ahead_of_cell[0][0] = 1.0


def test_what_is_asked_for_beforehand_is_neither_read_nor_written() -> None:
    numbers = np.ones((2, 3))
    for function, arguments in ((read_ahead, (numbers, np.ones(1))), (write_ahead, (numbers,))):
        with pytest.raises(OverlapError, match="asked for beforehand"):
            watching(function)(*arguments)


@pytest.mark.parametrize(
    "key", [-1, 3, slice(-1, None), slice(None, 4), slice(2, 1), slice(0, 3, 2), (0, 2), (0, slice(1, 3))]
)
def test_a_place_that_is_not_there_is_refused(key: Any) -> None:
    def read(one: Array) -> None:
        one[key]

    def write(one: Array) -> None:
        one[key] = 1.0

    def ask(ahead: Array) -> None:
        ahead[key]

    for function in (read, write, ask):
        with pytest.raises((PlaceError, IndexError)):
            watching(function)(np.ones((3, 2)))


def test_machine_code_counts_on_it() -> None:
    options = jit.options(inside=False) | {"cache": False}  # of what is kept on disk the text is not
    compiled = jit.compiler.njit(**options)(put)
    compiled(np.ones(1), np.zeros(1), 0)
    (text,) = compiled.inspect_llvm().values()
    head = next(line for line in text.splitlines() if line.startswith("define") and "%arg.source.0" in line)
    for name in ("source", "target"):
        assert re.search(rf"ptr noalias [^,%]*%arg\.{name}\.0", head) is not None, head
