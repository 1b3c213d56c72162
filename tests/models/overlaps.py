"""The compiled functions as plain Python, each of which looks at every call whether its arguments overlap where it writes, and at
every place of an array whether there is one.

To be run as a module of its own, `python -m tests.models.overlaps GROUP`: the kernels have to be imported with nothing to compile them.
It runs cases of the tests of the compiled twins, which hold them to numpy's results as well, and prints what calls between compiled
functions there are in the group's files that no case comes by. What is written where two arguments of a call lie raises.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pytest

from models.bank import NONE, Bank, NonFiniteError
from models.experts.recovery import RESTORE
from models.faults import CALM, JUDGED, SQUARES, WORSE
from models.protocols import Fields
from models.specification import PROFILES, Specification, from_profile
from tests.models.streams import SMALL, assert_alike, fields_of, make_stream

KERNELS: Final = Path(__file__).parents[2] / "models" / "kernels"

Function = Callable[..., Any]


class OverlapError(AssertionError):
    """A compiled function writes where two of its arguments lie."""


class Span(NamedTuple):
    """Where in memory an array lies: from its first byte up to the one behind its last."""

    first: int
    last: int


class PlaceError(AssertionError):
    """A compiled function asks for a place that an array has not, or counts it from the array's end."""


def hold_places(array: np.ndarray[Any, Any], key: Any) -> None:
    """Raise where a place is counted from an array's end, and where bounds are beyond it; beyond which numpy itself finds a place."""
    for axis, place in enumerate(key if isinstance(key, tuple) else (key,)):
        if isinstance(place, slice):
            length = array.shape[axis]
            first, last = place.start or 0, length if place.stop is None else place.stop
            held = place.step is None and 0 <= first <= last <= length
        else:
            held = place >= 0
        if not held:
            raise PlaceError(f"{key} of {array.shape}")


class Watched(np.ndarray):
    """An array that tells of each write, and is not computed with as a whole, by which it would be written untold."""

    def __getitem__(self, key: Any) -> Any:
        """Read, at places that there are."""
        hold_places(self, key)
        return super().__getitem__(key)

    def __setitem__(self, key: Any, value: object) -> None:
        """Write, unless it is where two arguments of a call that goes on lie."""
        hold_places(self, key)
        if SHARED:
            places = key if isinstance(key, tuple) else (key,)
            place = np.ndarray.__getitem__(self, (*places, ...))
            if place.base is None:
                raise TypeError(
                    "a kernel takes no copies"
                )  # of which nobody could say where it is written to
            written = span_of(place)
            for function, shared in SHARED:
                if written.first < shared.last and shared.first < written.last:
                    raise OverlapError(f"{function} writes where two of its arguments lie")
        super().__setitem__(key, value)

    def __array_ufunc__(self, *what: object, **options: object) -> Any:
        """Refuse."""
        raise TypeError("a kernel works element by element")


class AskedFor(np.ndarray):
    """An array that is asked for beforehand, and neither read nor written: so it may lie where another argument does."""

    def __getitem__(self, key: Any) -> Any:
        """Take a row or a part, not an element."""
        hold_places(self, key)
        found = np.ndarray.__getitem__(self, key)
        if not isinstance(found, np.ndarray):
            raise OverlapError("what is asked for beforehand may lie where something else is written")
        return found

    def __setitem__(self, key: Any, value: object) -> None:
        """Refuse."""
        raise OverlapError("what is asked for beforehand may lie where something else is read")


SHARED: list[tuple[str, Span]] = []
"""What two arguments share of the calls that go on."""
CALLED: set[tuple[str, int]] = set()
"""Files and lines from which compiled functions were called."""


def span_of(array: np.ndarray[Any, Any]) -> Span:
    """Return where an array lies."""
    if array.flags.c_contiguous:
        first = array.__array_interface__["data"][0]
        return Span(first, first + array.nbytes)
    return Span(*np.lib.array_utils.byte_bounds(array))


def watched(argument: Any) -> Any:
    """Return an argument whose arrays, and those in tuples, are watched."""
    if type(argument) is np.ndarray:
        return argument.view(Watched)
    if isinstance(argument, tuple) and any(type(one) is np.ndarray for one in argument):
        of = getattr(type(argument), "_make", tuple)
        return of(watched(one) for one in argument)
    return argument


def asked_for(argument: Any) -> Any:
    """Return an array of which nothing is to be read or written."""
    return argument.view(AskedFor) if isinstance(argument, np.ndarray) else argument


def arrays_in(arguments: tuple[Any, ...]) -> Iterator[Watched]:
    """Yield the arrays among arguments, and in tuples among them."""
    for one in arguments:
        if isinstance(one, Watched):
            yield one
        elif isinstance(one, tuple):
            yield from arrays_in(one)


def shared_among(arguments: tuple[Any, ...]) -> list[Span]:
    """Return what any two arrays among arguments share."""
    spans = sorted((span_of(array), id(array), array) for array in arrays_in(arguments) if array.size)
    found = []
    for at, (own, _, array) in enumerate(spans):
        for other, _, another in spans[at + 1 :]:
            if other.first >= own.last:
                break
            if np.shares_memory(array, another):
                found.append(Span(other.first, min(own.last, other.last)))
    return found


def watching(function: Function, **_options: bool) -> Function:
    """Return a function that looks at its arguments, and then does as it did; takes the place of what compiles.

    Arguments by the name of `ahead` are only asked for.
    """

    marks = [asked_for if name.startswith("ahead") else watched for name in signature(function).parameters]

    @wraps(function)
    def call(*arguments: Any) -> Any:
        caller = sys._getframe(1)
        CALLED.add((Path(caller.f_code.co_filename).name, caller.f_lineno))
        handed = tuple(mark(one) for mark, one in zip(marks, arguments, strict=True))
        shared = [(function.__name__, span) for span in shared_among(handed)]
        SHARED.extend(shared)
        try:
            result = function(*handed)
        finally:
            del SHARED[len(SHARED) - len(shared) :]
        if isinstance(result, np.ndarray):
            raise TypeError(f"{function.__name__} hands an array back")
        return result

    return call


def calls_in(patterns: tuple[str, ...]) -> set[tuple[str, int]]:
    """Return files and lines of the kernels at which one compiled function calls another."""
    trees = {path.name: ast.parse(path.read_text()) for path in sorted(KERNELS.glob("*.py"))}
    compiled = {
        one.name: name
        for name, tree in trees.items()
        for one in tree.body
        if isinstance(one, ast.FunctionDef)
        and any(
            isinstance(mark, ast.Name) and mark.id in ("jit", "jit_large", "inner")
            for mark in one.decorator_list
        )
    }
    return {
        (name, call.lineno)
        for name, tree in trees.items()
        if any(Path(name).match(pattern) for pattern in patterns)
        for one in tree.body
        if isinstance(one, ast.FunctionDef) and one.name in compiled
        for call in ast.walk(one)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in compiled
    }


def as_plain_python() -> None:
    """Have the kernels, which nobody may have imported yet, run as they stand."""
    assert "models.kernels.jit" not in sys.modules
    import models.kernels
    from models.kernels import jit

    models.kernels.COMPILES = True  # type: ignore[misc]  # there are twins, of a kind
    jit.compiler = None
    jit._compiled = watching  # type: ignore[assignment]
    from models.kernels import forecaster_twin

    forecaster_twin._as_record = lambda settings: [settings]  # a record's fields have no names in Python


class Pair:
    """Series in a bank with its twin and in one without, which take each event from the same state."""

    def __init__(
        self, specification: Specification, *, series: int = 1, missing: float = 0.0, pool: bool = False
    ) -> None:
        """Admit them, and a pool before them."""
        self.twin, self.plain = Bank(specification), Bank(specification, compiled=False)
        assert self.twin.compiled
        self.slots = [self.plain.admit() for _ in range(1 + series)]
        assert self.slots == [self.twin.admit() for _ in self.slots]
        self.pools = np.full(series, self.slots[0] if pool else NONE)
        self.stream = make_stream(specification, rows=60, series=series, missing=missing)
        self.row = 0

    def go(self, rows: int) -> None:
        """Take so many rows, and hold what they say to each other."""
        for row in range(self.row, self.row + rows):
            for slot in self.slots:
                self.twin.restore(slot, self.plain.snapshot(slot))
            events = self.stream.times[row], self.stream.values[row], self.stream.features[row]
            own = np.array(self.slots[1:])
            found, self.told = (bank.step(own, *events, self.pools) for bank in (self.twin, self.plain))
            assert_alike(fields_of(found), fields_of(self.told), 1e-11)
        self.row += rows

    def state(self) -> Fields:
        """Return all of the first series."""
        return self.plain.snapshot(self.slots[1])

    def change(self, fields: Fields | Mapping[str, float]) -> None:
        """Set fields of the first series."""
        state = self.state()
        for name, value in fields.items():
            state[name][...] = value
        self.plain.restore(self.slots[1], state)


def diagonal() -> None:
    """Take events of diagonal cells by every update, where memory is far, and where a state or a trace is broken."""
    from models.kernels import fetching
    from tests.models import test_kernels_diagonal as cases

    fetching.NEAR_BYTES = 0  # type: ignore[misc]  # so that all is far
    for cell in cases.CELL_NAMES:
        for update in cases.UPDATES:
            cases.test_what_is_broken_begins_anew_as_in_numpy(cell, update, "memory.trace", 1e9)
        cases.test_what_is_broken_begins_anew_as_in_numpy(cell, "sgd", "state", np.nan)
    cases.test_the_twin_gives_what_numpy_gives("lru", "ekf_joint", 2)


def dense() -> None:
    """Take events of dense cells by both block rules, and where a state or an influence is broken."""
    from tests.models import test_kernels_dense as cases

    for cell in cases.CELL_NAMES:
        for rule in ("rtrl_block", "rtrl_block_smooth"):
            cases.test_a_state_that_is_no_number_begins_anew_as_in_the_learner("compiled", cell, rule)
            cases.test_a_broken_influence_begins_anew_as_in_the_learner("compiled", cell, rule, 1e9)
    cases.test_a_loop_gives_what_the_learner_gives("compiled", "vanilla", "sgd", "rtrl_block_smooth")


def forecaster() -> None:
    """Take events of forecasters of every kind, in pools, with challengers, in a fault, and where weights are broken."""
    for profile in PROFILES:
        Pair(from_profile(profile, horizons=(1, 3)), missing=0.2).go(14)
    many = {"targets": ("a", "b"), "features": ("f",), "horizons": (1, 3)}
    for changes in (
        {"experts": ("drift", "smoothing", "recurrent"), "optimizer": "adam"},
        {"experts": ("recurrent", "seasonal", "linear_joint"), "optimizer": "ekf_node"},
        {"mixture": "stacked", "optimizer": "sgd", "joint": True},
    ):
        Pair(replace(SMALL, **many | changes), missing=0.2).go(25)
    pooled = Pair(replace(SMALL, experts=("linear_pooled", "recurrent_pooled")), series=2, pool=True)
    pooled.go(12)
    broken = Pair(SMALL, series=2)
    broken.go(12)
    broken.change({"mixture/weights": np.nan})
    with pytest.raises(NonFiniteError):
        broken.go(1)
    challenged = Pair(replace(SMALL, drift_reaction="challenger"))
    challenged.go(30)
    challenged.change({"drift.loss/sum": 1e6, "interval/seen": 5000})
    challenged.go(12)
    assert challenged.state()["challenge/judged"][0] > 0
    of_a_fault(Pair(replace(SMALL, experts=("last_value", "linear", "recurrent"))))


def of_a_fault(pair: Pair) -> None:
    """Take a fault's first event, and one after which what was before it is put back."""
    pair.go(30)
    pair.change({"scale/seen": 5000, "interval/seen": 5000})
    pair.stream.values[pair.row] *= 1e3
    pair.go(2)
    counts, figures = (pair.state()[f"fault/{name}"] for name in ("counts", "figures"))
    counts[..., CALM] = pair.plain._forecaster.faults.clean + JUDGED - 1
    figures[..., [WORSE, SQUARES]] = -1e6, 1.0
    pair.change({"fault/counts": counts, "fault/figures": figures})
    pair.stream.values[pair.row] = pair.told.prediction[:, :, 0]
    pair.go(1)
    assert pair.told.guard[0, 0] & RESTORE


GROUPS: Final = {
    "diagonal": (diagonal, ("diagonal*.py", "descent.py", "elementary.py", "fetching.py", "reductions.py")),
    "dense": (dense, ("dense*.py",)),
    "forecaster": (forecaster, ("forecaster*.py",)),
}
"""Cases, and the files all of whose calls they come by."""

if __name__ == "__main__":
    as_plain_python()
    cases, files = GROUPS[sys.argv[1]]
    cases()
    for file, line in sorted(calls_in(files) - CALLED):
        print(f"{file}:{line}")
