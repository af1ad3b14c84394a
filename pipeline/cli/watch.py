"""`pipeline watch`: whatever is dropped is sent, until it is told to stop."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import UTC
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import anyio
import click
from rich.console import Console

from pipeline.cli.drops import drops_of
from pipeline.cli.session import open_display
from pipeline.cli.setup import read_config
from pipeline.cli.side_by_side import Board
from pipeline.cli.words import from_here, tell_error
from pipeline.config import Config
from pipeline.model import UsageError
from pipeline.report.wording import one_line
from pipeline.run import RunOptions
from pipeline.watch import (
    SETTLE_S,
    Came,
    Ended,
    Event,
    Expectation,
    Late,
    LeftAlone,
    SetAside,
    Watcher,
    parse_expectation,
)


class Expected(click.ParamType[Expectation]):
    """`xsolla.coupon by 03:00`."""

    name = "expectation"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Expectation:
        """The folder and the time."""
        if isinstance(value, Expectation):
            return value
        try:
            return parse_expectation(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command(short_help="Send whatever is dropped, until told to stop.")
@click.option(
    "--expect",
    "expected",
    type=Expected(),
    multiple=True,
    metavar="TEXT",
    help='"xsolla.coupon by 03:00": say so when nothing came.',
)
@click.option(
    "--settle",
    "settle_s",
    type=click.FloatRange(min=0),
    default=SETTLE_S,
    show_default=True,
    metavar="SECONDS",
    help="Unchanged for so long, a file is complete.",
)
@click.option("--poll", is_flag=True, help="Look again and again: for network file systems.")
@click.option(
    "--max-invalid",
    type=click.FloatRange(0, 100),
    default=50.0,
    metavar="PERCENT",
    show_default=False,
    help="Of a file with more rows invalid send nothing (50).",
)
@click.option("--keep-before", is_flag=True, help="Read first; keep what is overwritten, for undo.")
@click.option("--quiet", "-q", is_flag=True, help="Say nothing but errors.")
@click.pass_obj
def watch(
    config_file: Path | None,
    /,
    *,
    expected: tuple[Expectation, ...],
    settle_s: float,
    poll: bool,
    max_invalid: float,
    keep_before: bool,
    quiet: bool,
) -> None:
    """Watch the drop folder and send, without asking, each file that is complete.

    A file is taken once, by a rename into .processing, and goes to .done or .failed beside it, with
    a link to its report or the reason. a.csv.done says at once that a.csv is complete. Ctrl-C or
    SIGTERM lets finish what is under way; the next start goes on with it. A second watcher stands
    by.
    """
    config = read_config(config_file)
    console = Console(stderr=True, quiet=quiet, highlight=False)
    watcher = Watcher(
        drops_of(config),
        config,
        RunOptions(max_invalid=max_invalid / 100, keep_before=keep_before),
        environ=os.environ,
        tell=teller(console),
        say=lambda words: console.print(words, markup=False, soft_wrap=True),
        show=Board(lambda poll: open_display(console, poll)).watch,
        settle_s=settle_s,
        expected=expected,
        zone=_zone(config, expected),
        polls=poll,
    )
    console.print(f"Watching {from_here(config.inputs)}. Ctrl-C stops it.", soft_wrap=True)
    sys.exit(anyio.run(watcher.run))


def _zone(config: Config, expected: tuple[Expectation, ...]) -> ZoneInfo | Any:
    if config.timezone is not None:
        return ZoneInfo(config.timezone)
    if expected:
        raise UsageError('--expect needs a timezone in the configuration, such as "Europe/Berlin"')
    return UTC


def teller(console: Console) -> Callable[[Event], None]:
    """Says what happens in a drop folder, a line for each event."""

    def tell(event: Event) -> None:
        words = one_line(in_words(event))  # names of files may hold anything
        if isinstance(event, SetAside | Late):
            tell_error(words)
        elif words:
            console.print(words, markup=False, soft_wrap=True)

    return tell


def in_words(event: Event) -> str:
    """An event for people; empty where it is not worth a word."""
    match event:
        case Came(file, is_again):
            return f"{from_here(file)}: {'going on with it' if is_again else 'taken'}"
        case Ended(file, place, summary):
            return f"{from_here(file)}: {summary.why}. It lies in {from_here(place)}"
        case SetAside(file, place, reason):
            return f"{from_here(file)} is set aside in {from_here(place.parent)}: {reason}"
        case LeftAlone(file, reason):
            return f"{from_here(file)}: {reason}; the next start goes on with it"
        case Late(expected):
            return f"nothing came: {expected}"
    return ""
