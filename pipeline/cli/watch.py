"""`pipeline watch`: whatever is dropped is sent, until it is told to stop."""

from __future__ import annotations

import os
import sys
from datetime import UTC, tzinfo
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import anyio
import click
from rich.console import Console

from pipeline.cli.console import terminal
from pipeline.cli.drops import drops_of
from pipeline.cli.messages import from_here, tell_error, warn
from pipeline.cli.notifying import telling
from pipeline.cli.sending import open_display
from pipeline.cli.setup import ParsedOption, read_config
from pipeline.cli.side_by_side import RunDisplay
from pipeline.config import Config
from pipeline.model import UsageError
from pipeline.model.formatting import one_line
from pipeline.notify import Notifier, serve_metrics
from pipeline.notify.events import LEVELS
from pipeline.runs import RunOptions
from pipeline.watch import (
    SETTLE_S,
    Event,
    Expectation,
    ExpectedFileMissing,
    FileEnded,
    FileLeft,
    FileQuarantined,
    FileStarted,
    FileStuck,
    FileTaken,
    FileWaiting,
    Heartbeat,
    Watcher,
    parse_expectation,
)


@click.command(short_help="Send whatever is dropped, until told to stop.")
@click.option(
    "--expect",
    "expected",
    type=ParsedOption("expectation", parse_expectation),
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
@click.option("--poll", is_flag=True, hidden=True, help="Has no effect: folders are polled.")
@click.option(
    "--max-invalid",
    type=click.FloatRange(0, 100),
    default=50.0,
    metavar="PERCENT",
    show_default=False,
    help="Of a file with more rows invalid send nothing (50).",
)
@click.option(
    "--record-previous", is_flag=True, help="Read first; keep what is overwritten, for undo."
)
@click.option("--quiet", "-q", is_flag=True, help="Say nothing but errors.")
@click.option("--log", type=click.Choice(["json", "text"]), help="Log lines instead of words.")
@click.option("--log-level", type=click.Choice(LEVELS), help="row: each failed row, too.")
@click.option("--metrics-file", type=click.Path(path_type=Path), help="For Prometheus, per run.")
@click.option(
    "--metrics-port", type=click.IntRange(0, 65_535), help="Serve /metrics and /healthz there."
)
@click.option("--metrics-host", default="127.0.0.1", show_default=True, help="Or 0.0.0.0.")
@click.pass_obj
def watch(
    config_file: Path | None,
    /,
    *,
    expected: tuple[Expectation, ...],
    settle_s: float,
    poll: bool,  # noqa: ARG001 - of earlier versions
    max_invalid: float,
    record_previous: bool,
    quiet: bool,
    metrics_port: int | None,
    metrics_host: str,
    **told: Any,
) -> None:
    """Watch the drop folder and send, without asking, each file that is complete.

    A file is taken once, by a rename into .processing, and goes to .done or .failed beside it, with
    a link to its report or the reason. a.csv.done says at once that a.csv is complete. Ctrl-C or
    SIGTERM lets finish what is under way; the next start goes on with it. A second watcher stands
    by.
    """
    config = read_config(config_file)
    with telling(config, **told) as notifier:
        console = terminal(stderr=True, quiet=quiet or notifier.has_log)
        watcher = Watcher(
            drops_of(config),
            config,
            RunOptions(max_invalid=max_invalid / 100, record_previous=record_previous),
            environ=os.environ,
            tell=Listener(console, notifier, config.reports).hear,
            say=lambda words: _say(console, notifier, words),
            show=RunDisplay(lambda poll: open_display(console, poll)).watch,
            failed=notifier.rows_failed,
            settle_s=settle_s,
            expected=expected,
            zone=_zone(config, expected),
        )
        _say(console, notifier, f"Watching {from_here(config.inputs)}. Ctrl-C stops it.")
        sys.exit(anyio.run(partial(_watch, watcher, notifier, metrics_host, metrics_port, console)))


async def _watch(
    watcher: Watcher, notifier: Notifier, host: str, port: int | None, console: Console
) -> int:
    if port is None:
        return await watcher.run()
    async with serve_metrics(host, port, notifier) as bound:
        _say(console, notifier, f"Metrics are at http://{host}:{bound}/metrics")
        return await watcher.run()


def _say(console: Console, notifier: Notifier, words: str) -> None:
    console.print(words, markup=False, soft_wrap=True)
    notifier.said(words)


def _zone(config: Config, expected: tuple[Expectation, ...]) -> tzinfo:
    if config.timezone is not None:
        return ZoneInfo(config.timezone)
    if expected:
        raise UsageError('--expect needs a timezone in the configuration, such as "Europe/Berlin"')
    return UTC


class Listener:
    """Says what happens in a drop folder, a line for each event, and tells whoever is to be told.

    reports  the folder of all reports
    """

    def __init__(self, console: Console, notifier: Notifier, reports: Path) -> None:
        self._console = console
        self._notifier = notifier
        self._reports = reports

    def hear(self, event: Event) -> None:
        """One event."""
        self._tell(event)
        words = one_line(in_words(event))  # names of files may hold anything
        if self._notifier.has_log or not words:
            return
        if isinstance(event, FileQuarantined | ExpectedFileMissing | FileStuck):
            tell_error(words)
        elif isinstance(event, FileStarted):
            warn(words)
        else:
            self._console.print(words, markup=False, soft_wrap=True)

    def _tell(self, event: Event) -> None:
        match event:
            case FileStarted(file, run, rows, invalid):
                self._notifier.run_started(run, file, invalid=invalid, accounts=rows)
            case FileEnded(summary=summary, is_earlier=False):
                self._notifier.run_ended(summary, self._reports / summary.run)
            case FileQuarantined(file, _, reason, summary, safe):
                if summary is not None:
                    self._notifier.run_ended(summary, self._reports / summary.run)
                self._notifier.set_aside(file, safe or reason)
            case Heartbeat():
                self._notifier.beat()
            case _:
                self._tell_rest(event)

    def _tell_rest(self, event: Event) -> None:
        match event:
            case FileStuck(file, reason):
                self._notifier.run_failed(str(file), reason)
            case ExpectedFileMissing(expected):
                self._notifier.nothing_arrived(expected.folder, str(expected))
            case FileEnded() | FileWaiting() | FileLeft():
                self._notifier.said(in_words(event))


def in_words(event: Event) -> str:
    """An event for people; empty where it is not worth a word."""
    match event:
        case FileTaken(file, is_again):
            return f"{from_here(file)}: {'going on with it' if is_again else 'taken'}"
        case FileQuarantined(file, place, reason):
            return f"{from_here(file)} is set aside in {from_here(place.parent)}: {reason}"
        case FileStarted() | FileEnded():
            return _of_run(event)
        case ExpectedFileMissing(expected):
            return f"nothing came: {expected}"
    return _of_waiting(event)


def _of_run(event: FileStarted | FileEnded) -> str:
    file = from_here(event.file)
    if isinstance(event, FileStarted):  # a log has them at the end of the run
        return f"{file}: {'; '.join(event.warnings)}" if event.warnings else ""
    place = from_here(event.place)
    if event.is_earlier:
        return (
            f"{file}: run {event.summary.run} sent it from there before, and it has not changed "
            f"since: nothing was sent. Moved to {place}"
        )
    return f"{file}: {event.summary.why}. It lies in {place}"


def _of_waiting(event: Event) -> str:
    match event:
        case FileLeft(file, reason):
            return f"{from_here(file)}: {reason}; the next start goes on with it"
        case FileStuck(_, reason):
            return reason
        case FileWaiting(file, reason):
            return f"{from_here(file)} waits: {reason}"
    return ""
