"""Goal: compiled code reads, writes and cuts arrays as Python does, and takes tuples of arrays that are lent.

Method: the same function compiled and as it stands, for all places and bounds of small arrays, those from the end and beyond
it too; a lent tuple handed on through two functions, by a numba whose inside is known and by one whose inside is not.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from models.protocols import Array, BoolArray, IntArray

pytest.importorskip("numba", reason="the compiled twins need the extra `fast`")

from models.kernels.jit import inner, jit, lent

N = 5
ROOT = Path(__file__).parents[2]


def cut_of(numbers: Array, first: int, last: int, out: Array) -> None:
    """Write what lies between two places: how many, a weighed sum, the last; and change the first."""
    part, ahead, behind = numbers[first:last], numbers[first:], numbers[:last]
    out[0], out[1], out[2] = len(part), len(ahead), len(behind)
    for i in range(len(part)):
        out[3] += (i + 1) * part[i]
    if len(part) > 0:
        out[4] = part[-1]
        part[0] = -7.5


def placed_of(matrix: Array, counts: IntArray, flags: BoolArray, row: int, column: int, out: Array) -> None:
    """Read and write elements of a matrix, by a row and by both places, and of whole numbers and truths."""
    taken = matrix[row]
    out[0], out[1], out[2] = taken[column], matrix[row, column], len(taken)
    taken[column] = 11.5
    out[3] = matrix[row, column]
    matrix[row, 0] = counts[column]
    counts[column] = 2
    out[4] = 1.0 if flags[column] else 0.0
    flags[column] = not flags[row]
    out[5] = matrix[-1, -1] + counts[-1] + matrix[0][1]


cut, placed = jit(cut_of), jit(placed_of)


@inner
def doubled(number: float, room: Array | None) -> float:
    """Return the number, or with room its double: code that could not be compiled without."""
    if room is None:
        return number
    room[0] = 2.0 * number
    return float(room[0])


@jit
def doubled_of(number: float, room: Array | None) -> float:
    """As above, for Python."""
    return doubled(number, room)


@lent
class Pair(NamedTuple):
    """Two arrays."""

    numbers: Array
    counts: IntArray


@inner
def weighed(pair: Pair) -> float:
    """Return the sum of the products, and count."""
    total = 0.0
    for i in range(len(pair.numbers)):
        total += pair.numbers[i] * pair.counts[i]
        pair.counts[i] += 1
    return total


@jit
def weighed_twice(pair: Pair, out: Array) -> None:
    """Write it twice, the second time of what was counted."""
    out[0] = weighed(pair)
    out[1] = weighed(pair)


def both(compiled: Any, plain: Any, *arrays: np.ndarray[Any, Any], places: tuple[int, int]) -> None:
    """Give both the same, and compare all that they leave."""
    results = []
    for function in (compiled, plain):
        own, out = [array.copy() for array in arrays], np.zeros(6)
        function(*own, *places, out)
        results.append([*own, out])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_part_of_an_array_is_bounded_as_in_python() -> None:
    for first in range(-N - 3, N + 4):
        for last in range(-N - 3, N + 4):
            both(cut, cut_of, np.arange(1.0, N + 1.0), places=(first, last))


def test_elements_and_rows_are_those_of_python_from_either_end() -> None:
    matrix, counts = np.arange(1.0, 1.0 + N * N).reshape(N, N), np.arange(10, 10 + N)
    flags = np.arange(N) % 2 == 0
    for row in range(-N, N):
        for column in range(-N, N):
            both(placed, placed_of, matrix, counts, flags, places=(row, column))


def lent_twice() -> Array:
    """Return what a lent tuple gives."""
    out = np.zeros(2)
    weighed_twice(Pair(np.array([0.5, 2.0, -1.0]), np.array([1, 2, 3])), out)
    return out


OTHER = """
import numba
numba.__version__ = "0.0"  # another than those whose inside is known
from models.kernels import jit
from tests.models.test_kernels_lowering import lent_twice
assert not jit.SHORTER
print(*lent_twice())
"""


def test_what_needs_room_is_left_out_where_there_is_none() -> None:
    assert doubled_of(1.5, None) == 1.5
    assert doubled_of(1.5, np.empty(1)) == 3.0


def test_a_lent_tuple_is_read_and_written_through_two_functions_by_any_numba(tmp_path: Path) -> None:
    assert lent_twice().tolist() == [1.5, 3.0]
    done = subprocess.run(
        [sys.executable, "-c", OTHER],
        cwd=ROOT,
        env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.split() == ["1.5", "3.0"]
