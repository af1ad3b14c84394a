"""Text in the terminal before and after a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pipeline.model import SUCCESS, Status
from pipeline.model.formatting import (
    MEANING,
    about,
    counted,
    duration,
    number,
    one_line,
    row_list,
)
from pipeline.reporter.summary import ErrorSummary, LegSummary, Summary
from pipeline.ui.html.advice import commands
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


@dataclass(frozen=True, slots=True, kw_only=True)
class SendTarget:
    """The rows that a run sends through one account, and an estimate.

    rows       operation -> number of rows
    host       host of the requests
    scope      for example "project 44056"; empty if the vendor has none
    quota_is   "assumed", "learned", or empty if it is configured
    requests   number of requests; None if unknown
    lasts_s    least time in seconds; None if unknown
    bound      what limits the rate, if it is not the quota; else empty
    """

    account: str
    vendor: str
    host: str
    rows: Mapping[str, int]
    scope: str = ""
    quota: str = ""
    quota_is: str = ""
    requests: int | None = None
    lasts_s: float | None = None
    bound: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The facts about a run that a person confirms before it starts.

    done      rows of a resumed run that have a result and are not sent again
    invalid   rows that are not sent; `examples` has some of their messages
    cleared   operation -> fields that are left out and hence cleared at the vendor
    undo      limits of an undo, a line each
    until     when it stops, and whether it will finish by then; empty if no time is set
    """

    file: Path
    rows: int
    invalid: int
    targets: tuple[SendTarget, ...]
    done: int = 0
    blank_lines: int = 0
    examples: tuple[str, ...] = ()
    cleared: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    undo: tuple[str, ...] = ()
    until: str = ""
    is_simulated: bool = False


def show_question(console: Console, question: Question, *, would: bool = False) -> None:
    """Show what a run will send, or would send; the caller reads the answer."""
    table = _pairs()
    table.add_row("file", _text(str(question.file)))
    table.add_row("rows", _rows_text(question))
    for example in question.examples:
        table.add_row("", _text(example, "dim"))
    for target in question.targets:
        table.add_row("account", _target_text(target))
    for operation, fields in question.cleared.items():
        table.add_row("clears", _text(f"{operation}: {', '.join(fields)}", "bold yellow"))
    for line in question.undo:
        table.add_row("undo", _text(line, "dim"))
    if question.until:
        table.add_row("until", _text(question.until))
    for warning in question.warnings:
        table.add_row("warning", _text(warning, "yellow"))
    title = "Would send" if would else "About to send"
    title += " to the simulator" if question.is_simulated else ""
    console.print(Panel(table, title=title, title_align="left", box=box.ROUNDED, padding=(0, 1)))


def show_result(console: Console, summary: Summary, folder: Path) -> None:
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
    headline = _text(f"{summary.why}.", style)
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
    if summary.stopped:
        yield "stopped", summary.stopped
    for name, account in summary.accounts.items():
        if account.stopped is not None:
            yield "stopped", f"{name}: {account.stopped}"
        for words in account.quota_notes() if account.requests else ():
            yield "quota", f"{name}: {words}"


def _notes(notes: Iterable[tuple[str, str]]) -> Table:
    table = _pairs()
    for label, text in notes:
        table.add_row(label, _text(text, "" if label in {"quota", "part"} else "yellow"))
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
    text = _text(f"{error.status.replace('_', ' ')}{code}", "bold")
    if words:
        text.append(f": {one_line(words)}", style="not bold")
    if error.hint:
        text.append(f"\n-> {one_line(error.hint)}", style="not bold cyan")
    return text.append(f"\n{row_list(error.rows, error.count)}", style="not bold dim")


def _rows_text(question: Question) -> Text:
    text = Text(number(question.rows))
    if question.done:
        text.append(f", {number(question.done)} of them done and not sent again")
    if question.invalid:
        text.append(f", {number(question.invalid)} of them invalid and not sent", style="yellow")
    if question.blank_lines:
        text.append(f"; {counted(question.blank_lines, 'blank line')} left out", style="dim")
    return text


def _target_text(target: SendTarget) -> Text:
    text = _text(target.account, "bold")
    scope = f", {target.scope}" if target.scope else ""
    text.append(f"  {one_line(f'{target.vendor} at {target.host}{scope}')}", style="not bold")
    for operation, rows in target.rows.items():
        text.append(f"\n{counted(rows, 'row')} of {one_line(operation)}", style="not bold")
    if target.quota:
        text.append(f"\n{one_line(_lasting(target))}", style="not bold")
    return text


def _lasting(target: SendTarget) -> str:
    requests = "" if target.requests is None else f"{counted(target.requests, 'request')}, "
    quota = f"{target.quota} ({target.quota_is})" if target.quota_is else target.quota
    if target.lasts_s is None:
        return f"{requests}quota {quota}"
    if target.bound:
        return f"{requests}about {about(target.lasts_s)}: {target.bound}; quota {quota}"
    return f"{requests}about {about(target.lasts_s)} at {quota}"


def _pairs() -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    return table


def _text(foreign: str, style: str = "") -> Text:
    """Make text that rich prints unchanged: no markup, no escape sequences."""
    return Text(one_line(foreign), style=style)
