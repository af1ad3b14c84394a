"""`pipeline watch`: send each file that is dropped, until stopped."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, tzinfo
from functools import partial
from pathlib import Path, PurePath
from typing import Any
from zoneinfo import ZoneInfo

import click
from rich.console import Console

from pipeline.cli.console import terminal
from pipeline.cli.drops import drops_of
from pipeline.cli.messages import from_here, print_error, warn
from pipeline.cli.notifying import command_notifier
from pipeline.cli.sending import open_display
from pipeline.cli.setup import WORKERS, ParsedOption, read_config
from pipeline.cli.side_by_side import RunDisplay
from pipeline.cli.workers_on import ON, opened_by, started_by
from pipeline.config import Config
from pipeline.model import UsageError
from pipeline.model.formatting import one_line
from pipeline.notify import Notifier, serve_metrics
from pipeline.notify.events import LEVELS
from pipeline.run.event_loop import run_async
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


@click.command(short_help="Send each file dropped in inputs/, until stopped.")
@click.option(
    "--expect",
    "expected",
    type=ParsedOption("expectation", parse_expectation),
    multiple=True,
    metavar="TEXT",
    help='Warn if no file arrived: "xsolla.coupon by 03:00".',
)
@click.option(
    "--settle",
    "settle_s",
    type=click.FloatRange(min=0),
    default=SETTLE_S,
    show_default=True,
    metavar="SECONDS",
    help="A file unchanged for this long is complete.",
)
@click.option("--poll", is_flag=True, hidden=True, help="No effect: folders are always polled.")
@click.option(
    "--max-invalid",
    type=click.FloatRange(0, 100),
    default=50.0,
    metavar="PERCENT",
    show_default=False,
    help="Send nothing of a file if more are invalid [50].",
)
@click.option(
    "--record-previous", is_flag=True, help="Read first; record previous values for undo."
)
@click.option("--workers", type=WORKERS, metavar="N", help="Send each file by N processes.")
@click.option("--on", type=ON, help="Start them by Ray: ray, or http://HOST:8265.")
@click.option("--quiet", "-q", is_flag=True, help="Print errors only.")
@click.option(
    "--log", type=click.Choice(["json", "text"]), help="Write log lines instead of messages."
)
@click.option("--log-level", type=click.Choice(LEVELS), help="row: log each failed row too.")
@click.option(
    "--metrics-file",
    type=click.Path(path_type=Path),
    help="Write Prometheus metrics after each run.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65_535),
    help="Serve /metrics and /healthz on this port.",
)
@click.option(
    "--metrics-host",
    default="127.0.0.1",
    show_default=True,
    help="Address of --metrics-port, such as 0.0.0.0.",
)
@click.pass_obj
def watch(
    config_file: Path | None,
    /,
    *,
    expected: tuple[Expectation, ...],
    settle_s: float,
    poll: bool,  # noqa: ARG001 - kept for earlier versions
    max_invalid: float,
    record_previous: bool,
    workers: int | None,
    on: str | None,
    quiet: bool,
    metrics_port: int | None,
    metrics_host: str,
    **outputs: Any,
) -> None:
    """Watch the drop folder and send each complete file without asking.

    A file is claimed once, by a rename into .processing, and ends in .done or .failed with a link
    to its report or the reason. A file a.csv.done marks a.csv as complete at once. Ctrl-C or
    SIGTERM finishes requests in flight; the next start resumes the rest. A second watcher waits for
    the first one to end.
    """
    config = read_config(config_file)
    options = RunOptions(max_invalid=max_invalid / 100, record_previous=record_previous)
    options.check()
    place = opened_by(on, workers, config, None, os.environ)
    with ExitStack() as stack:
        serves_metrics = metrics_port is not None
        notifier = stack.enter_context(
            command_notifier(config, serves_metrics=serves_metrics, **outputs)
        )
        console = terminal(stderr=True, quiet=quiet or notifier.has_log)
        say = partial(_say, console, notifier)
        placed = None if place is None else stack.enter_context(place(say))
        watcher = Watcher(
            drops_of(config),
            config,
            options,
            environ=os.environ,
            tell=WatchOutput(console, notifier, config.report_place).on_event,
            say=say,
            show=RunDisplay(lambda poll: open_display(console, poll)).watch,
            failed=notifier.rows_failed,
            workers=started_by(workers, placed, say, config, None),
            count=workers or 0,
            settle_s=settle_s,
            expected=expected,
            zone=_zone(config, expected),
        )
        say(f"Watching {config.inputs_bucket or from_here(config.inputs)}. Press Ctrl-C to stop.")
        sys.exit(run_async(_watch, watcher, notifier, metrics_host, metrics_port, console))


async def _watch(
    watcher: Watcher, notifier: Notifier, host: str, port: int | None, console: Console
) -> int:
    if port is None:
        return await watcher.run()
    async with serve_metrics(host, port, notifier) as bound:
        _say(console, notifier, f"Metrics: http://{host}:{bound}/metrics")
        return await watcher.run()


def _say(console: Console, notifier: Notifier, text: str) -> None:
    console.print(text, markup=False, soft_wrap=True)
    notifier.said(text)


def _zone(config: Config, expected: tuple[Expectation, ...]) -> tzinfo:
    if config.timezone is not None:
        return ZoneInfo(config.timezone)
    if expected:
        raise UsageError('--expect needs a timezone in the configuration, such as "Europe/Berlin"')
    return UTC


class WatchOutput:
    """Prints a line per event of a drop folder, and notifies.

    reports  returns where people find the report of a run
    """

    def __init__(
        self, console: Console, notifier: Notifier, reports: Callable[[str], PurePath]
    ) -> None:
        self._console = console
        self._notifier = notifier
        self._reports = reports

    def on_event(self, event: Event) -> None:
        """Print and notify one event."""
        self._notify(event)
        text = one_line(describe(event))  # file names are foreign text
        if self._notifier.has_log or not text:
            return
        if isinstance(event, FileQuarantined | ExpectedFileMissing | FileStuck):
            print_error(text)
        elif isinstance(event, FileStarted):
            warn(text)
        else:
            self._console.print(text, markup=False, soft_wrap=True)

    def _notify(self, event: Event) -> None:
        match event:
            case FileStarted(file, run, rows, invalid):
                self._notifier.run_started(run, file, invalid=invalid, accounts=rows)
            case FileEnded(summary=summary, is_earlier=False):
                self._notifier.run_ended(summary, self._reports(summary.run))
            case FileQuarantined(file, _, reason, summary, safe):
                if summary is not None:
                    self._notifier.run_ended(summary, self._reports(summary.run))
                self._notifier.quarantined(file, safe or reason)
            case Heartbeat():
                self._notifier.beat()
            case _:
                self._notify_rest(event)

    def _notify_rest(self, event: Event) -> None:
        match event:
            case FileStuck(file, reason):
                self._notifier.run_failed(str(file), reason)
            case ExpectedFileMissing(expected):
                self._notifier.nothing_arrived(expected.folder, str(expected))
            case FileEnded() | FileWaiting() | FileLeft():
                self._notifier.said(describe(event))


def describe(event: Event) -> str:
    """One line for people; empty if the event is not printed."""
    match event:
        case FileTaken(file, is_again):
            return f"{from_here(file)}: {'resumed' if is_again else 'claimed'}"
        case FileQuarantined(file, place, reason):
            return f"{from_here(file)} was moved to {from_here(place.parent)}: {reason}"
        case FileStarted() | FileEnded():
            return _run_text(event)
        case ExpectedFileMissing(expected):
            return f"No file arrived: {expected}"
    return _waiting_text(event)


def _run_text(event: FileStarted | FileEnded) -> str:
    file = from_here(event.file)
    if isinstance(event, FileStarted):  # a log gets the warnings at the end of the run
        return f"{file}: {'; '.join(event.warnings)}" if event.warnings else ""
    place = from_here(event.place)
    if event.is_earlier:
        return (
            f"{file}: already sent by run {event.summary.run} and unchanged since. Nothing was "
            f"sent. Moved to {place}"
        )
    return f"{file}: {event.summary.why}. Moved to {place}"


def _waiting_text(event: Event) -> str:
    match event:
        case FileLeft(file, reason):
            return f"{from_here(file)}: {reason}; the next start resumes it"
        case FileStuck(_, reason):
            return reason
        case FileWaiting(file, reason):
            return f"{from_here(file)} is waiting: {reason}"
    return ""
