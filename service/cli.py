"""The command `onward`.

Each command imports what it needs when it runs, so that help comes at once. Exit codes: 0 all is well, 1 a problem
was found, 2 the command line is wrong, 130 Ctrl-C. A problem that a person can mend is one paragraph; a traceback
is a bug.
"""

# ruff: noqa: PLC0415
from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from service.tools.problem import WRONG_USAGE, CommandError

if TYPE_CHECKING:
    from rich.console import Console

    from service.settings import Settings

app = typer.Typer(
    help="Forecast streams of time series, and learn at every event. New here? [bold]onward demo[/bold]",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)

checkpoint = typer.Typer(
    no_args_is_help=True, help="Look into what is saved, check it, change what answers, or forget it."
)
app.add_typer(checkpoint, name="checkpoint")

PIPED_WIDTH = 200
"""Columns for what is not read on a terminal: wide enough that nothing is folded."""


def main() -> None:
    """Run the command line; never returns."""
    # Before numpy is imported: one thread, for results must not depend on the number of cores, and the bank's
    # matrices are too small for more to pay.
    for library in ("OPENBLAS", "OMP", "MKL"):
        os.environ[f"{library}_NUM_THREADS"] = "1"
    try:
        app(prog_name="onward")
    except CommandError as problem:
        sys.stderr.write(f"onward: {problem}\n")
        sys.exit(problem.exit_code)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"onward {version('onward')}")
        raise typer.Exit


@app.callback()
def _onward(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def _names(text: str) -> tuple[str, ...]:
    """Read `a,b`."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _numbers(text: str) -> tuple[int, ...]:
    """Read `1,24` in ascending order."""
    try:
        return tuple(sorted({int(number) for number in _names(text)}))
    except ValueError:
        raise CommandError(
            f"--horizons: whole numbers such as 1,24 are needed, not {text!r}.", exit_code=WRONG_USAGE
        ) from None


def _console(*, error: bool = False) -> Console:
    from rich.console import Console

    console = Console(stderr=error, highlight=False)
    return console if console.is_terminal else Console(stderr=error, highlight=False, width=PIPED_WIDTH)


Config = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The settings. Without it onward.toml in this folder, if any."),
]


def _settings(config: Path | None) -> Settings:
    from service.settings import SettingsError, load_settings

    try:
        return load_settings(config)
    except SettingsError as error:
        raise CommandError(f"The settings cannot be used.\n{error}", exit_code=WRONG_USAGE) from error


Files = Annotated[
    list[str], typer.Argument(metavar="FILE...", help="Tables with a header line; - is standard input.")
]
TimeColumn = Annotated[
    str, typer.Option(metavar="NAME", help="The column of times. Found by its name if not given.")
]
SeriesColumn = Annotated[
    str, typer.Option(metavar="NAME", help="The column that names the series. Without it a file is a series.")
]
TargetColumns = Annotated[
    str, typer.Option(metavar="A,B", help="The columns to forecast. All columns of numbers if not given.")
]
FeatureColumns = Annotated[str, typer.Option(metavar="A,B", help="Columns that help to forecast.")]


@app.command()
def demo(
    rate: Annotated[
        float | None, typer.Option(min=0.1, metavar="R", help="Events a second; 80 if not given.")
    ] = None,
    speed_up: Annotated[
        float | None, typer.Option(min=1.0, metavar="S", help="So many times as fast as the data were made.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, metavar="P", help="Of the page: 8000, or a free one if taken."),
    ] = None,
    series: Annotated[
        str, typer.Option(metavar="A,B", help="Only these series of those that come with it.")
    ] = "",
    seconds: Annotated[float | None, typer.Option(min=1.0, metavar="N", help="Stop after so many.")] = None,
    browser: Annotated[bool, typer.Option("--browser", help="Open the page in the browser.")] = False,
) -> None:
    """See all of it at once: a broker, real data, a worker, and a page that shows it live."""
    from service.tools.demo import DemoOptions, run

    options = DemoOptions(
        port=port, rate=rate, speed_up=speed_up, seconds=seconds, series=_names(series), browser=browser
    )
    run(options, notes=_console(error=True))


@app.command()
def worker(config: Config = None) -> None:
    """Forecast and learn from the events topic, until SIGTERM or Ctrl-C."""
    settings = _settings(config)
    from service import logs
    from service.bootstrap import run_worker

    logs.configure(form=settings.log.format, level=settings.log.level)
    raise typer.Exit(run_worker(settings))


@app.command()
def replay(
    files: Files,
    time_column: TimeColumn = "",
    series_column: SeriesColumn = "",
    target_columns: TargetColumns = "",
    feature_columns: FeatureColumns = "",
    horizons: Annotated[
        str, typer.Option(metavar="1,24", help="How many rows ahead to forecast; 1 if nothing says.")
    ] = "",
    profile: Annotated[
        str,
        typer.Option(
            help="The make of the model: accurate, balanced, fast or pooled; accurate if nothing says."
        ),
    ] = "",
    joint: Annotated[
        bool, typer.Option("--joint", help="Let the model of each target see the other targets of its row.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(metavar="P.csv", help="Write every prediction to this file.")
    ] = None,
    summary: Annotated[
        Path | None, typer.Option(metavar="S.json", help="Write the errors to this file.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Stop after N rows of each file.")
    ] = None,
    warmup: Annotated[
        str,
        typer.Option(
            metavar="N|P%", help="Do not score the first rows of each series: a number, or percents."
        ),
    ] = "0",
    standardise: Annotated[
        str,
        typer.Option(metavar="N|P%", help="Divide errors by the standard deviation of a series' first rows."),
    ] = "",
    report: Annotated[
        Path | None,
        typer.Option(metavar="R.html", help="Write a page with charts of it all, to open in a browser."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Settings of which the model and its challenger are taken."),
    ] = None,
) -> None:
    """Learn from files, without a broker, and show the errors beside those of simple methods.

    One pass: each row is first predicted, then scored, then learned from, by the same code as the worker's.
    """
    import shlex

    from service.settings import Settings
    from service.tools.replay import ReplayOptions, run
    from service.tools.score import Share
    from service.tools.tables import Wanted

    def share(option: str, text: str) -> Share:
        try:
            return Share.parse(text)
        except ValueError:
            message = f"{option}: a number of rows or percents, such as 3600 or 20%, not {text!r}."
            raise CommandError(message, exit_code=WRONG_USAGE) from None

    settings = Settings() if config is None else _settings(config)
    options = ReplayOptions(
        files=tuple(files),
        wanted=Wanted(time_column, series_column, _names(target_columns), _names(feature_columns)),
        horizons=_numbers(horizons) or settings.model.horizons,
        profile=profile or settings.model.profile,
        joint=joint or bool(settings.model.joint),
        output=output,
        summary=summary,
        limit=limit,
        warmup=share("--warmup", warmup),
        standardise=share("--standardise", standardise) if standardise else None,
        report=report,
        settings=settings,
        command=shlex.join(["onward", *sys.argv[1:]]),
    )
    run(options, out=_console(), notes=_console(error=True))


@app.command()
def produce(
    files: Files,
    time_column: TimeColumn = "",
    series_column: SeriesColumn = "",
    target_columns: TargetColumns = "",
    feature_columns: FeatureColumns = "",
    rate: Annotated[
        float | None, typer.Option(min=1e-3, metavar="R", help="So many events a second.")
    ] = None,
    speed_up: Annotated[
        float | None, typer.Option(min=1e-3, metavar="S", help="So many times as fast as the rows were made.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="Stop after N events.")] = None,
    config: Config = None,
) -> None:
    """Send the rows of files to the events topic, as fast as it goes or at a pace; several files side by side."""
    from service.tools.produce import Pace, ProduceOptions, run
    from service.tools.tables import Wanted

    options = ProduceOptions(
        files=tuple(files),
        wanted=Wanted(time_column, series_column, _names(target_columns), _names(feature_columns)),
        pace=Pace(rate=rate, speed_up=speed_up),
        limit=limit,
    )
    run(options, _settings(config), notes=_console(error=True))


class TopicName(StrEnum):
    """The topics that people read."""

    PREDICTIONS = "predictions"
    DEAD_LETTERS = "dead-letters"
    EVENTS = "events"


@app.command()
def tail(
    topic: Annotated[TopicName, typer.Option(help="What to follow.")] = TopicName.PREDICTIONS,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Start with the oldest that the topic holds.")
    ] = False,
    count_max: Annotated[
        int | None, typer.Option("--max", min=1, metavar="N", help="Stop after N messages.")
    ] = None,
    series: Annotated[str, typer.Option(metavar="NAME", help="Only this series.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="The messages themselves, one to a line.")] = False,
    config: Config = None,
) -> None:
    """Follow the predictions, the dead letters or the events."""
    import asyncio

    from service.tools.tail import TailOptions, run

    options = TailOptions(
        topic=topic.value, from_beginning=from_beginning, count_max=count_max, series=series, as_json=as_json
    )
    asyncio.run(run(options, _settings(config)))


@app.command()
def schema(
    topic: Annotated[TopicName, typer.Argument(help="Whose messages.")],
    config: Config = None,
) -> None:
    """Print the JSON Schema of a topic's messages, with your names of the fields."""
    from service.tools.schema import render

    print(render(topic.value, _settings(config)))


@app.command()
def doctor(config: Config = None) -> None:
    """Check the settings, the broker, the topics and the checkpoints, and say what to mend."""
    import asyncio

    from service.tools.doctor import run

    if not asyncio.run(run(config, out=_console())):
        raise typer.Exit(1)


Partition = Annotated[int | None, typer.Option(min=0, metavar="P", help="Only this partition.")]
SeriesNames = Annotated[
    list[str] | None, typer.Option("--series", metavar="NAME", help="Only this series; may be given again.")
]


@checkpoint.command()
def inspect(
    partition: Partition = None,
    series: Annotated[
        str | None, typer.Option(metavar="NAME", help="The arrays of this series, by name.")
    ] = None,
    config: Config = None,
) -> None:
    """Show what is saved of each partition."""
    import asyncio

    from service.tools import checkpoint

    asyncio.run(checkpoint.inspect(_settings(config), partition, series, out=_console()))


@checkpoint.command()
def verify(partition: Partition = None, config: Config = None) -> None:
    """Read all that is saved as a worker would, and say whether it could go on."""
    import asyncio

    from service.tools import checkpoint

    asyncio.run(checkpoint.verify(_settings(config), partition, out=_console()))


@checkpoint.command()
def reset(
    partition: Partition = None,
    series: SeriesNames = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    config: Config = None,
) -> None:
    """Forget what is saved; the events that the log still holds are then learned from anew, of a series those to come."""
    import asyncio

    from service.tools import checkpoint

    settings = _settings(config)
    partitions = asyncio.run(checkpoint.partitions_of(settings, partition))
    what = f"partition {partition}" if partition is not None else f"all {len(partitions)} partitions"
    what = f"series {', '.join(series)} in {what}" if series else what
    if not yes:
        where = checkpoint.where(settings)
        typer.confirm(f"Forget what was learned of {what} in {where}? Stop the workers first.", abort=True)
    asyncio.run(checkpoint.reset(settings, partitions, series, out=_console()))


@checkpoint.command()
def promote(
    place: Annotated[Literal["challenger", "model"], typer.Argument(help="What answers from now on.")],
    partition: Partition = None,
    series: SeriesNames = None,
    config: Config = None,
) -> None:
    """Let the challenger answer, or the model again, from each series' next event on. Stop the workers first."""
    import asyncio

    from service.tools import checkpoint

    settings = _settings(config)
    partitions = asyncio.run(checkpoint.partitions_of(settings, partition))
    asyncio.run(checkpoint.promote(settings, partitions, place, series, out=_console()))
