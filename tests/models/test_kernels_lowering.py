"""Goal: compiled code reads, writes and cuts arrays and loops as Python does, and takes tuples of arrays that are lent.

Method: the same function compiled and as it stands, for all places and bounds of small arrays, and many loops. What is no place
of an array is refused where it is a constant, and ends the process where places are looked at. A lent tuple is handed on through two
functions, by a numba whose inside is known and by one whose inside is not.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from models.protocols import Array, BoolArray, IntArray

pytest.importorskip("numba", reason="the compiled twins need the extra `fast`")

from numba.core import errors

from models.kernels.jit import SHORTER, inner, jit, lent

N = 5
ROOT = Path(__file__).parents[2]


def cut_of(numbers: Array, first: int, last: int, out: Array) -> None:
    """Write what lies between two places: how many, a weighed sum, the last; and change the first."""
    part, ahead, behind, three = numbers[first:last], numbers[first:], numbers[:last], numbers[:3]
    out[0], out[1], out[2] = len(part), len(ahead), len(behind)
    for i in range(len(part)):
        out[3] += (i + 1) * part[i]
    if len(part) > 0:
        out[4] = part[len(part) - 1]
        part[0] = -7.5
    out[5] = len(three) + three[2]


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
    below, one_of_row = matrix[row:], matrix[row, column:]
    out[5] = below[0, column] + len(below) + one_of_row[0] + len(one_of_row) + matrix[0][1]


def reshaped_of(numbers: Array, first: int, last: int, out: Array) -> None:
    """Look at an array as a cube, take it apart, and write through it."""
    cube = numbers.reshape((first, last, 2))
    plane = cube[first - 1]
    plane[last - 1, 1] = 5.0
    out[0], out[1], out[2] = cube.shape
    out[3] = plane[0, 0] + cube[first - 1, last - 1, 1]
    out[4], out[5] = cube[0, 0]


def looped_of(numbers: Array, first: int, last: int, out: Array) -> None:
    """Loop upwards, downwards, in steps, within each other and early out of it; with variables that are set once and read later."""
    begin = first * 2
    for i in range(last):
        out[0] += i
    for i in range(first, last):
        if i == 2:
            continue
        out[1] += 10 * i + begin
    for i in range(last, first, -1):
        out[2] = 3.0 * out[2] + i
    for i in range(first, last, 1 + abs(first)):
        row = i + begin
        for j in range(i):
            if j > 2:
                break
            out[3] += row * j
    count = 0
    while count < last:
        double = 2 * count
        count += 1
        if double > 4:
            out[4] += double
    out[5] = first / last + numbers[0] / first


cut, placed, reshaped, looped = jit(cut_of), jit(placed_of), jit(reshaped_of), jit(looped_of)


@jit
def last_of(numbers: Array) -> float:
    """Return the last number, as no compiled function may ask for it."""
    return float(numbers[-1])


@jit
def but_last(numbers: Array) -> int:
    """Return how many numbers there are before the last, as no compiled function may ask for them."""
    return len(numbers[:-1])


@jit
def positive(number: float) -> float:
    """Raise, as no compiled function may."""
    if number < 0.0:
        raise ValueError("negative")
    return number


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


def both(compiled: Any, plain: Any, *arrays: np.ndarray[Any, Any], places: tuple[Any, Any]) -> None:
    """Give both the same, and compare all that they leave."""
    results = []
    for function in (compiled, plain):
        own, out = [array.copy() for array in arrays], np.zeros(6)
        function(*own, *places, out)
        results.append([*own, out])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_part_of_an_array_is_that_of_python() -> None:
    for first in range(N + 1):
        for last in range(first, N + 1):
            both(cut, cut_of, np.arange(1.0, N + 1.0), places=(first, last))


def test_elements_and_rows_are_those_of_python() -> None:
    matrix, counts = np.arange(1.0, 1.0 + N * N).reshape(N, N), np.arange(10, 10 + N)
    flags = np.arange(N) % 2 == 0
    for row in range(N):
        for column in range(N):
            both(placed, placed_of, matrix, counts, flags, places=(row, column))


def test_an_array_is_looked_at_in_another_shape() -> None:
    for shape in ((1, 1), (3, 2), (2, 5)):
        both(reshaped, reshaped_of, np.arange(2.0 * shape[0] * shape[1]), places=shape)


def test_loops_and_quotients_are_those_of_python() -> None:
    with np.errstate(divide="ignore", invalid="ignore"):
        for first in range(-4, 6):
            for last in range(-4, 6):
                places = (
                    np.int64(first),
                    np.int64(last),
                )  # whole numbers of Python's own cannot be divided by zero
                both(looped, looped_of, np.zeros(1), places=places)


@pytest.mark.skipif(not SHORTER, reason="of a numba whose inside is known")
def test_a_place_from_the_end_and_a_failure_are_refused() -> None:
    for function in (last_of, but_last):
        with pytest.raises(errors.UnsupportedError, match="from the beginning") as failure:
            function(np.ones(3))
        assert any(Path(__file__).name in note for note in failure.value.__notes__), "says where"
    with pytest.raises(errors.UnsupportedError, match="raises nothing"):
        positive(1.0)


WRONG = """
import sys
import numpy as np
from tests.models.test_kernels_lowering import cut, placed, reshaped
what, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
out, rows = np.zeros(6), np.ones((5, 5))
if what == "cut":
    cut(np.ones(5), first, last, out)
elif what == "placed":
    placed(rows, np.ones(5, np.int64), np.ones(5, np.bool_), first, last, out)
else:
    reshaped(np.ones(12), first, last, out)
print("done")
"""


@pytest.mark.skipif(not SHORTER, reason="as above")
def test_a_wrong_place_ends_the_process_where_places_are_looked_at(tmp_path: Path) -> None:
    env = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_BOUNDSCHECK": "1"}

    def run(*what: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", WRONG, *what]
        return subprocess.run(
            command, cwd=ROOT, env=env, check=False, capture_output=True, text=True, timeout=300
        )

    right = ("cut", "0", "5"), ("placed", "4", "4"), ("reshaped", "3", "2")
    wrong = (
        ("cut", "3", "2"),
        ("cut", "-1", "2"),
        ("cut", "1", "6"),
        ("placed", "5", "0"),
        ("reshaped", "3", "3"),
    )
    assert [run(*what).stdout for what in right] == ["done\n"] * len(right)
    for what in wrong:
        done = run(*what)
        assert done.stdout == ""
        assert done.returncode in {-signal.SIGILL, -signal.SIGTRAP}, (what, done.stderr)


@pytest.mark.skipif(not SHORTER, reason="as above")
def test_no_forecaster_asks_for_a_wrong_place(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "from_the_same_state"]
    done = subprocess.run(
        [*command, "tests/models/test_kernels_forecaster.py"],
        cwd=ROOT,
        env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_BOUNDSCHECK": "1"},
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\b\d\d passed", done.stdout) is not None


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
