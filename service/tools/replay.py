"""Replay tables through the worker's learner without a broker: predict, score, then learn, in one pass."""

from __future__ import annotations

import itertools
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import orjson
from rich.console import Console

from models.bank import StepResult
from models.specification import Specification
from service.settings import Settings
from service.stream.pools import Groups
from service.tools.learners import Learners
from service.tools.predictions_file import Made, PredictionsFile
from service.tools.problem import WRONG_USAGE, CommandError
from service.tools.report import page
from service.tools.report.document import Asked, File, document
from service.tools.report.recorder import Recorder, Round
from service.tools.score import NOTHING, Array, Score, Share, table_lines
from service.tools.tables import Row, Source, Table, Wanted, open_table, sources
from service.tools.terminal import progress, say_columns, say_skipped

ROUND_ROWS_MAX = 256
"""Rows of different series that are learned in one call; beyond this a call is no cheaper per row."""


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What `onward replay` was asked to do."""

    files: tuple[str, ...]
    wanted: Wanted
    horizons: tuple[int, ...] = (1,)
    profile: str = "accurate"
    joint: bool = False
    output: Path | None = None
    summary: Path | None = None
    limit: int | None = None
    warmup: Share = NOTHING
    standardise: Share | None = None
    report: Path | None = None
    command: str = ""
    """As it was typed, for the report's head."""
    settings: Settings = field(default_factory=Settings)
    """Of which the model and its challenger are taken; the fields above stand over them."""


def run(options: ReplayOptions, *, out: Console, notes: Console) -> None:
    """Replay the files; the table of errors goes to `out`, all else that is said to `notes`.

    Raises:
        CommandError: something is wrong with a file, its columns, or what was asked for.
    """
    files = sources(options.files)
    _check(options, files)
    with ExitStack() as stack:
        predictions = None
        if options.output is not None:
            stream = stack.enter_context(options.output.open("w", encoding="utf-8", newline=""))
            predictions = PredictionsFile(stream, options.horizons, _makes(options)[0].quantile_names)
        totals = _count_rows(files, options)
        replay: Replay | None = None
        done: list[File] = []
        started = time.perf_counter()
        for file in files:
            with open_table(file, options.wanted) as table:
                say_columns(table, options.wanted, notes)
                if replay is None:
                    replay = Replay(
                        options,
                        Learners(
                            _makes(options, table),
                            options.settings.challenger,
                            Groups(options.settings.fields.group),
                        ),
                        totals,
                        predictions,
                    )
                rows = _show_progress(replay.run(table), table, options, notes)
                done.append(File.of(table, rows))
                say_skipped(table, notes)
        if predictions is not None:
            predictions.finish()
        seconds = time.perf_counter() - started
    if replay is None or not replay.score.events:
        labels = ", ".join(file.label for file in files)
        raise CommandError(f"Nothing to learn from: no row of {labels} could be used.")
    summary = replay.score.summary(seconds)
    if replay.learners.places:
        summary["promotions"] = [one._asdict() for one in replay.learners.promotions]
    if options.summary is not None:
        text = orjson.dumps(summary, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        options.summary.write_bytes(text)
    if options.report is not None:
        replay.write_report(options.report, done, notes)
    replay.learners.tell(notes)
    for line in table_lines(summary, standardised=options.standardise is not None, width=out.width):
        out.print(line, markup=False, soft_wrap=True)
    notes.print(
        f"{summary['events']:,} events, {len(summary['series']):,} series, {seconds:.1f} s: "
        f"{summary['events'] / max(seconds, 1e-9):,.0f} a second."
    )


@dataclass(frozen=True, slots=True)
class Series:
    """A series of the bank: its slot and its pool's, its index in the score, and its targets' names in what is written."""

    slot: int
    pool: int
    index: int
    names: tuple[str, ...]


class Replay:
    """The learner over tables: a bank, its series, and what is made of each result."""

    def __init__(
        self,
        options: ReplayOptions,
        learners: Learners,
        totals: Counter[str],
        predictions: PredictionsFile | None,
    ) -> None:
        self.score = Score(learners.specification, learners.places)
        self._options = options
        self.learners = learners
        self._totals = totals
        self._predictions = predictions
        self._series: dict[tuple[str, ...], Series] = {}
        self._warmups: dict[str, int] = {}
        self._recorder = None if options.report is None else Recorder(learners.specification, learners.places)

    def run(self, table: Table) -> Iterator[int]:
        """Learn a table's rows; after each call of the bank yield how many rows that was."""
        self._require_fitting(table)
        groups: dict[str, list[Series]] = {}
        for rows in _rounds(table.rows(), self._options.limit):
            for row in rows:
                if row.series not in groups:
                    groups[row.series] = self._admit(table, row.series)
            series = [one for row in rows for one in groups[row.series]]
            width = len(series) // len(rows)
            values = np.array([row.values for row in rows]).reshape(len(series), -1)
            times = np.repeat(np.array([row.time for row in rows]), width)
            result, judged = self.learners.step(
                np.array([one.slot for one in series]),
                times,
                values,
                np.repeat(np.array([row.features for row in rows]), width, axis=0),
                np.array([one.pool for one in series]),
            )
            index = [one.index for one in series]
            texts = [row.time_text for row in rows for _ in range(width)]
            if judged is not None:
                self.learners.note(
                    judged, [one.names[0] for one in series], self.score.rows_of(np.array(index)), texts
                )
            self.score.add(np.array(index), values, result, () if judged is None else judged.results)
            if self._predictions is not None:
                _write(self._predictions, texts, series, values, result)
            if self._recorder is not None:
                self._recorder.add(Round(index, texts, times, values, result, judged))
            yield len(rows)
        if self._predictions is not None and not table.columns.series:
            # No other file goes on with these series, so nothing that they wait for will come.
            self._predictions.finish(
                [name for group in groups.values() for one in group for name in one.names]
            )

    def write_report(self, path: Path, files: Sequence[File], notes: Console) -> None:
        """Write the page of what was learned."""
        recorder = self._recorder
        if recorder is None:
            raise ValueError("no report was asked for, so nothing was kept for one")
        recorder.finish()
        options = self._options
        asked = Asked(options.command, options.profile, options.standardise is not None, self._warmups)
        data = page.render_within(
            recorder, lambda: document(asked, self.learners, files, self.score, recorder)
        )
        page.write(path, data)
        notes.print(
            f"{path}: {len(data) / 1e6:.1f} MB; open it in a browser.",
            style="dim",
            markup=False,
            soft_wrap=True,
        )

    def _require_fitting(self, table: Table) -> None:
        needed, targets = self.learners.specification.targets, table.columns.targets
        if self._options.joint and targets != needed:
            raise CommandError(
                f"With --joint all files need the same targets: {table.source.label} has {', '.join(targets)}, "
                f"those before it {', '.join(needed)}. Name them with --target-columns.",
                exit_code=WRONG_USAGE,
            )

    def _admit(self, table: Table, series: str) -> list[Series]:
        """Return the series of the bank to which a row of this series goes: one per target, unless joint."""
        base = series or table.source.name
        targets = table.columns.targets
        names = (base,) if len(targets) == 1 else tuple(f"{base}/{target}" for target in targets)
        groups = [names] if self._options.joint else [(name,) for name in names]
        return [self._find_or_make(base, group, table) for group in groups]

    def _find_or_make(self, base: str, names: tuple[str, ...], table: Table) -> Series:
        if names not in self._series:
            total, standardise = self._totals[base], self._options.standardise
            warmup = self._options.warmup.of(total)
            index = self.score.admit(
                names,
                warmup=warmup,
                statistics_rows=0 if standardise is None else standardise.of(total),
            )
            pool = self.learners.pool_of(base)
            self._series[names] = Series(self.learners.admit(), pool, index, names)
            if self._recorder is not None:
                self._recorder.admit(index, names)
                self._warmups.update(dict.fromkeys(names, warmup))
        elif not table.columns.series:
            raise CommandError(f"Two series would be named {names[0]!r}; rename {table.source.label}.")
        return self._series[names]


def _rounds(rows: Iterator[Row], limit: int | None) -> Iterator[list[Row]]:
    """Cut the rows into runs in which each series stands at most once."""
    group: list[Row] = []
    seen: set[str] = set()
    for row in itertools.islice(rows, limit):
        if row.series in seen or len(group) == ROUND_ROWS_MAX:
            yield group
            group, seen = [], set()
        group.append(row)
        seen.add(row.series)
    if group:
        yield group


def _write(
    file: PredictionsFile,
    times: Sequence[str],
    series: Sequence[Series],
    values: Array,
    result: StepResult,
) -> None:
    # Lists at once: an array's elements one by one are ten times slower.
    scores = (result.anomaly_score, result.anomaly_log_score)
    columns = (values, result.prediction, result.quantiles, *scores)
    for time_text, one, *rows in zip(times, series, *(column.tolist() for column in columns), strict=True):
        for name, *made in zip(one.names, *rows, strict=True):
            file.add(name, Made(time_text, *made))


def _show_progress(steps: Iterator[int], table: Table, options: ReplayOptions, notes: Console) -> int:
    """Go through the steps and draw how far they are: in rows up to a limit, or else in the file's bytes.

    Return how many rows that was.
    """
    path, by_bytes = table.source.path, options.limit is None
    size = options.limit if path is None or not by_bytes else path.stat().st_size
    with progress(table.source.name, size, notes) as advance:
        rows = 0

        def done() -> int:
            return table.bytes_read if by_bytes else rows

        for step in steps:
            rows += step
            advance(done)
    return rows


def _count_rows(files: Sequence[Source], options: ReplayOptions) -> Counter[str]:
    """Count each series' rows, if a share in percent needs it."""
    totals: Counter[str] = Counter()
    if options.warmup.percent is None and (
        options.standardise is None or options.standardise.percent is None
    ):
        return totals
    for file in files:
        if file.path is None:
            message = "Standard input has no end to take percents of; give a number of rows."
            raise CommandError(message, exit_code=WRONG_USAGE)
        with open_table(file, options.wanted) as table:
            rows = itertools.islice(table.rows(), options.limit)
            totals.update(row.series or file.name for row in rows)
    return totals


def _makes(options: ReplayOptions, table: Table | None = None) -> tuple[Specification, ...]:
    """Return what learns, the model first; a joint one's targets are those of the first table."""
    targets = table.columns.targets if table is not None and options.joint else ("value",)
    settings = options.settings
    asked = {"profile": options.profile, "horizons": options.horizons, "joint": options.joint}
    try:
        model = settings.model.model_copy(update=asked)
        return settings.model_copy(update={"model": model}).specifications(targets, options.wanted.features)
    except ValueError as error:
        raise CommandError(f"This model cannot be made: {error}.", exit_code=WRONG_USAGE) from error


def _check(options: ReplayOptions, files: Sequence[Source]) -> None:
    """Refuse before the first row what would only fail after many."""
    _makes(options)
    for file in files:
        if file.path is not None:
            with open_table(file, options.wanted):
                pass
    named = {"--output": options.output, "--summary": options.summary, "--report": options.report}
    written = {option: path for option, path in named.items() if path is not None}
    read = {file.path.resolve() for file in files if file.path is not None}
    for option, path in written.items():
        if path.resolve() in read:
            raise CommandError(
                f"{path} is one of the files that are read; write to another.", exit_code=WRONG_USAGE
            )
        if not _can_write(path, whole=option == "--report"):
            message = f"{path} cannot be written: check that its folder exists and is yours."
            raise CommandError(message, exit_code=WRONG_USAGE)
    for (first, one), (second, other) in itertools.combinations(written.items(), 2):
        if one.resolve() == other.resolve():
            message = f"{first} and {second} name the same file; give each its own."
            raise CommandError(message, exit_code=WRONG_USAGE)


def _can_write(path: Path, *, whole: bool) -> bool:
    """Whether a file can be written there; a `whole` one is put in the place of what is there, in its folder."""
    if path.is_dir():
        return False
    if whole:
        place = path.resolve()
        return os.access(place.parent, os.W_OK) and (place.is_file() or not place.exists())
    return os.access(path if path.exists() else path.parent, os.W_OK)
