"""The result of a run, in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import PurePath

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pipeline.model import SUCCESS, Status
from pipeline.model.formatting import (
    MEANING,
    counted,
    duration,
    number,
    one_line,
    row_list,
)
from pipeline.reporter.summary import ErrorSummary, LegSummary, Summary
from pipeline.ui.html.advice import commands
from pipeline.ui.terminal.printable import pairs, plain_text
from pipeline.ui.terminal.runs_table import moment

_STYLE: Mapping[Status, str] = {
    Status.UPDATED: "green",
    Status.UNCHANGED: "green",
    Status.SUPERSEDED: "green",
    Status.UNKNOWN: "bold red",
    Status.NOT_ATTEMPTED: "yellow",
}
_ERROR_STYLE = "red"
_MESSAGE_CHARS = 300


def show_result(console: Console, summary: Summary, folder: PurePath) -> None:
    """Show the result of a run and the path of its report."""
    console.print(_headline(summary))
    console.print()
    console.print(Padding(_status_table(summary), (0, 0, 0, 2)))
    notes = [*_stops(summary), *(("warning", warning) for warning in summary.warnings)]
    if notes:
        console.print()
        console.print(Padding(_notes(notes), (0, 0, 0, 2)))
    if summary.errors:
        console.print(Text("\nMost frequent errors", style="bold"))
        console.print(Padding(_errors(summary), (0, 0, 0, 2)))
    console.print()
    # not wrapped, so that it can be copied
    console.print(Text(f"Report: {one_line(str(folder))}"), soft_wrap=True)
    for command in commands(summary):
        console.print(Text(f"Next: {command}"), soft_wrap=True)


def _headline(summary: Summary) -> Text:
    style = "bold green" if summary.exit_code == 0 else "bold"
    headline = plain_text(f"{summary.why}.", style)
    if summary.requests:
        headline.append(f"\n{_effort(summary)}", style="not bold dim")
    if summary.is_simulated:
        headline.append("\nSimulated: no vendor was contacted.", style="not bold cyan")
    return headline


def _effort(summary: Summary) -> str:
    again = f", {number(summary.retries)} of them retries" if summary.retries else ""
    rate = f"{summary.rows_per_s:,.1f} rows/s"
    legs = f", in {len(summary.legs)} parts" if len(summary.legs) > 1 else ""
    took = f"{duration(summary.seconds)}{legs}"
    return f"{counted(summary.requests, 'request')}{again}, {took}, {rate}"


def _leg(number_: int, leg: LegSummary) -> str:
    """Describe one leg of a resumed run."""
    began = datetime.fromisoformat(leg.started)
    end = ", then its process was killed" if leg.was_killed else ""
    requests = counted(leg.requests, "request")
    return f"{number_}: {moment(began)}, {requests} in {duration(leg.seconds)}{end}"


def _status_table(summary: Summary) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(style="dim")
    for status, count in summary.statuses.items():
        if count or status is Status.UPDATED:
            output = summary.outputs["success" if status in SUCCESS else "errors"]
            table.add_row(
                Text(status.replace("_", " "), style=_STYLE.get(status, _ERROR_STYLE)),
                Text(number(count)),
                Text(output.name),
                Text(MEANING[status]),
            )
    return table


def _stops(summary: Summary) -> Iterable[tuple[str, str]]:
    if len(summary.legs) > 1:
        for number_, leg in enumerate(summary.legs, 1):
            yield "part", _leg(number_, leg)
    for worker in summary.workers:
        rows, requests = counted(worker.rows, "row"), counted(worker.requests, "request")
        yield "worker", f"{worker.name}: {rows}, {requests}"
    if summary.stopped:
        yield "stopped", summary.stopped
    for name, account in summary.accounts.items():
        if account.stopped is not None:
            yield "stopped", f"{name}: {account.stopped}"
        for words in account.quota_notes() if account.requests else ():
            yield "quota", f"{name}: {words}"


def _notes(notes: Iterable[tuple[str, str]]) -> Table:
    table = pairs()
    for label, text in notes:
        table.add_row(
            label, plain_text(text, "" if label in {"quota", "part", "worker"} else "yellow")
        )
    return table


def _errors(summary: Summary) -> RenderableType:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    for error in summary.errors:
        table.add_row(Text(number(error.count)), _error_text(error))
    if not summary.errors_not_listed:
        return table
    rest = f"and {counted(summary.errors_not_listed, 'row')} with other errors"
    return Group(table, Text(rest, style="dim"))


def _error_text(error: ErrorSummary) -> Text:
    words = error.message[:_MESSAGE_CHARS]
    code = "" if error.code == error.status else f" {error.code}"
    text = plain_text(f"{error.status.replace('_', ' ')}{code}", "bold")
    if words:
        text.append(f": {one_line(words)}", style="not bold")
    if error.hint:
        text.append(f"\n-> {one_line(error.hint)}", style="not bold cyan")
    return text.append(f"\n{row_list(error.rows, error.count)}", style="not bold dim")
