"""Read tables, comma-separated with a header line, from files or from standard input.

Rules:

1. One pass, a row at a time: memory does not grow with the file.
2. A row that cannot be used is skipped and counted under a reason; the caller says so at the end. A row is used
   whole or not at all. An empty cell is no fault: the value is missing, NaN.
3. What is not named is decided on the first rows, and can be told to the user: the column of times by its name,
   the targets as the columns that hold numbers.
4. Times and the names of series are kept as text, exactly as they stand.
"""

from __future__ import annotations

import csv
import io
import itertools
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple, TextIO

from service.settings import LimitSettings
from service.stream.times import parse_time
from service.tools.problem import WRONG_USAGE, CommandError

STANDARD_INPUT = "-"
TIME_COLUMN_NAMES = ("time", "timestamp", "datetime", "date", "event_time", "ts", "ds")
SAMPLE_ROWS = 100
"""How many rows are looked at to find the columns of numbers."""
VALUE_ABS_MAX = LimitSettings().value_abs_max
"""As the worker has it by default."""


class Row(NamedTuple):
    """A row that can be used. `series` is empty where the table has no column for it; a number is NaN where its cell is."""

    time_text: str
    time: float
    series: str
    values: tuple[float, ...]
    features: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The columns that the user named; an empty one is to be found."""

    time: str = ""
    series: str = ""
    targets: tuple[str, ...] = ()
    features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a table are what. `ignored` are the others."""

    time: str
    series: str
    targets: tuple[str, ...]
    features: tuple[str, ...]
    ignored: tuple[str, ...]


@dataclass(slots=True)
class Skipped:
    """How many rows were skipped for one reason, and the line of the file at which the first of them ends."""

    count: int
    first_line: int


@dataclass(frozen=True, slots=True)
class Source:
    """A file, or standard input, and the name of the series in it."""

    path: Path | None
    name: str

    @property
    def label(self) -> str:
        """What to call it in a message."""
        return "standard input" if self.path is None else str(self.path)


def sources(files: Sequence[str]) -> list[Source]:
    """Name each file by its stem, or by as much of its path as tells it from the others.

    Raises:
        CommandError: a file is not there, or stands twice.
    """
    paths = [None if file == STANDARD_INPUT else Path(file) for file in files]
    for path in paths:
        if path is not None and not path.is_file():
            what = "is a folder; name the files in it" if path.is_dir() else "does not exist; check the path"
            raise CommandError(f"{path} {what}.", exit_code=WRONG_USAGE)
    resolved = ["-" if path is None else str(path.resolve()) for path in paths]
    for file, place in zip(files, resolved, strict=True):
        if resolved.count(place) > 1:
            raise CommandError(f"{file} stands twice; name each file once.", exit_code=WRONG_USAGE)
    stems = [("stdin",) if path is None else (*path.resolve().parts[1:-1], path.stem) for path in paths]
    return [Source(path, _shortest_name(stem, stems)) for path, stem in zip(paths, stems, strict=True)]


def _shortest_name(stem: tuple[str, ...], stems: Sequence[tuple[str, ...]]) -> str:
    others = [other for other in stems if other is not stem]
    for length in range(1, len(stem)):
        if all(other[-length:] != stem[-length:] for other in others):
            return "/".join(stem[-length:])
    return "/".join(stem)


class Table:
    """One table that is being read: its columns, its rows, and the count of those skipped."""

    def __init__(self, source: Source, stream: BinaryIO, text: TextIO, wanted: Wanted) -> None:
        self.source = source
        self.skipped: dict[str, Skipped] = {}
        self._bytes = stream
        self._cells = self._read_cells(text)
        self.header = tuple(name.strip() for name in next(self._cells, (0, []))[1])
        if not any(self.header):
            raise CommandError(f"{source.label} is empty: a header line with the columns' names is needed.")
        sample = list(itertools.islice(self._cells, SAMPLE_ROWS))
        if not sample:
            raise CommandError(f"{source.label} has no row below its header; there is nothing to read.")
        self.columns = _choose(source, self.header, [cells for _, cells in sample], wanted)
        self._cells = itertools.chain(sample, self._cells)

    @property
    def bytes_read(self) -> int:
        """How far the file has been read; a buffer's length ahead of the rows. 0 for what has no position."""
        return self._bytes.tell() if self._bytes.seekable() else 0

    def rows(self) -> Iterator[Row]:
        """Yield the rows that can be used, in the order in which they stand."""
        columns, width = self.columns, len(self.header)
        time_at = self.header.index(columns.time)
        series_at = self.header.index(columns.series) if columns.series else None
        numbers_at = [self.header.index(name) for name in (*columns.targets, *columns.features)]
        n_targets = len(columns.targets)
        for line, cells in self._cells:
            if len(cells) != width:
                if cells:
                    self._skip("it has more or fewer cells than the header", line)
                continue
            numbers = _numbers(cells, numbers_at)
            if numbers is None:
                self._skip(_wrong_number(self.header, cells, numbers_at), line)
                continue
            time = read_time(cells[time_at])
            if time is None:
                self._skip(f"column {columns.time!r} is no time", line)
                continue
            series = "" if series_at is None else cells[series_at]
            if series_at is not None and not (series and series.isprintable()):
                self._skip(f"column {columns.series!r} names no series", line)
                continue
            yield Row(cells[time_at], time, series, numbers[:n_targets], numbers[n_targets:])

    def _read_cells(self, text: TextIO) -> Iterator[tuple[int, list[str]]]:
        reader = csv.reader(text)
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                self._skip(f"it cannot be read: {error}", reader.line_num)
            else:
                yield reader.line_num, cells

    def _skip(self, reason: str, line: int) -> None:
        self.skipped.setdefault(reason, Skipped(0, line)).count += 1


@contextmanager
def open_table(source: Source, wanted: Wanted) -> Iterator[Table]:
    """Open a table and find its columns.

    Raises:
        CommandError: it cannot be read, is empty, or has not the columns that are wanted.
    """
    with ExitStack() as stack:
        if source.path is None:
            stream: BinaryIO = sys.stdin.buffer
        else:
            try:
                stream = stack.enter_context(source.path.open("rb"))
            except OSError as error:
                raise CommandError(f"{source.path} cannot be read: {error.strerror}.") from error
        # What is not UTF-8 in a column that nobody uses does no harm; where it is used, the row is skipped.
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
        # Otherwise standard input would be closed with the wrapper.
        stack.callback(text.detach)
        yield Table(source, stream, text, wanted)


def read_time(cell: str) -> float | None:
    """Return a time in seconds since the epoch, from ISO-8601 text or from a number; None if it is neither."""
    try:
        return parse_time(cell)
    except ValueError:
        pass
    try:
        return parse_time(float(cell))
    except ValueError:
        return None


def _choose(source: Source, header: tuple[str, ...], sample: Sequence[list[str]], wanted: Wanted) -> Columns:
    named = [*filter(None, (wanted.time, wanted.series)), *wanted.targets, *wanted.features]
    for name in named:
        if name not in header:
            raise _usage(f"{source.label} has no column {name!r}; it has {', '.join(header)}.")
        if header.count(name) > 1:
            raise _usage(f"{source.label} has several columns {name!r}; give each a name of its own.")
        if named.count(name) > 1:
            raise _usage(f"Column {name!r} is named for two things; name each column once.")
    time = wanted.time or _guess_time(source, header, named)
    taken = {time, *named}
    targets = wanted.targets or tuple(
        name for at, name in enumerate(header) if name not in taken and _holds_numbers(sample, at)
    )
    if not targets:
        raise _usage(
            f"{source.label} has no column of numbers beside the others; name one with --target-columns."
        )
    if len(set(targets)) != len(targets):
        raise _usage(f"{source.label} has two columns of one name; name the targets with --target-columns.")
    ignored = tuple(name for name in header if name not in {*taken, *targets})
    return Columns(time, wanted.series, targets, wanted.features, ignored)


def _guess_time(source: Source, header: tuple[str, ...], named: Sequence[str]) -> str:
    for known in TIME_COLUMN_NAMES:
        for name in header:
            if name.lower() == known and name not in named:
                return name
    raise _usage(
        f"Which column of {source.label} holds the times? Name it with --time-column: {', '.join(header)}."
    )


def _holds_numbers(sample: Sequence[list[str]], at: int) -> bool:
    """Whether more than half of what stands in the column's first cells is numbers: a few bad ones are no reason to drop it."""
    cells = [cells[at] for cells in sample if len(cells) > at and cells[at].strip()]
    return 2 * sum(map(_is_number, cells)) > len(cells)


def _numbers(cells: list[str], numbers_at: Sequence[int]) -> tuple[float, ...] | None:
    """Return the numbers in some cells, NaN where one is empty; None if one cannot be used."""
    numbers = []
    for at in numbers_at:
        try:
            number = float(cells[at])
        except ValueError:
            if cells[at].strip():
                return None
            numbers.append(math.nan)
        else:
            if not -VALUE_ABS_MAX <= number <= VALUE_ABS_MAX:
                return None
            numbers.append(number)
    return tuple(numbers)


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _wrong_number(header: tuple[str, ...], cells: list[str], numbers_at: Sequence[int]) -> str:
    wrong = next(at for at in numbers_at if _numbers(cells, [at]) is None)
    if _is_number(cells[wrong]):
        return f"column {header[wrong]!r} is beyond {VALUE_ABS_MAX:g}"
    return f"column {header[wrong]!r} is no finite number"


def _usage(message: str) -> CommandError:
    return CommandError(message, exit_code=WRONG_USAGE)
