"""The result of a run, in the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
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
    verdict,
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
_FEW_ERRORS = 3
_SIMULATED = Text("Simulated: no vendor was contacted.", style="not bold cyan")


def show_result(
    console: Console,
    summary: Summary,
    folder: PurePath,
    *,
    shown: Container[str] = (),
    is_one_of_several: bool = False,
) -> None:
    """Show the result of a run and the path of its report.

    shown              warnings that the user has seen, so they are left out
    is_one_of_several  name the file, list few errors, and leave the statuses to `show_total`
    """
    gap = () if is_one_of_several else ("",)
    console.print(_headline(summary, is_one_of_several=is_one_of_several))
    if not is_one_of_several:
        console.print()
        console.print(Padding(_status_table([summary]), (0, 0, 0, 2)))
    warnings = [warning for warning in summary.warnings if warning not in shown]
    notes = [*_stops(summary), *(("warning", warning) for warning in warnings)]
    if notes:
        console.print(*gap, Padding(_notes(notes), (0, 0, 0, 2)), sep="\n")
    if summary.errors:
        title = () if is_one_of_several else ("", Text("Most frequent errors", style="bold"))
        most = _FEW_ERRORS if is_one_of_several else len(summary.errors)
        console.print(*title, Padding(_errors(summary, most), (0, 0, 0, 2)), sep="\n")
    # not wrapped, so that it can be copied
    console.print(*gap, Text(f"Report: {one_line(str(folder))}"), soft_wrap=True, sep="\n")
    for command in commands(summary):
        console.print(Text(f"Next: {command}"), soft_wrap=True)
    if is_one_of_several:
        console.print()


def show_total(console: Console, summaries: Sequence[Summary]) -> None:
    """Show the sum of several results."""
    counts = Counter[Status]()
    for summary in summaries:
        counts.update(summary.statuses)
    is_good = all(summary.exit_code == 0 for summary in summaries)
    words = f"{counted(len(summaries), 'file')}: {verdict(counts)}."
    console.print(plain_text(words, "bold green" if is_good else "bold"))
    if any(summary.is_simulated for summary in summaries):
        console.print(_SIMULATED)
    console.print()
    console.print(Padding(_status_table(summaries), (0, 0, 0, 2)))
    console.print()


def _headline(summary: Summary, *, is_one_of_several: bool) -> Text:
    style = "bold green" if summary.exit_code == 0 else "bold"
    file = f"{PurePath(summary.input.file).name}: " if is_one_of_several else ""
    headline = plain_text(f"{file}{summary.why}.", style)
    if summary.requests:
        headline.append(f"\n{_effort(summary)}", style="not bold dim")
    if summary.is_simulated and not is_one_of_several:
        headline.append("\n").append(_SIMULATED)
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


def _status_table(summaries: Sequence[Summary]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(style="dim")
    for status in Status:
        count = sum(summary.statuses[status] for summary in summaries)
        if count or status is Status.UPDATED:
            output = "success" if status in SUCCESS else "errors"
            name = summaries[0].outputs[output].name if len(summaries) == 1 else output
            table.add_row(
                Text(status.replace("_", " "), style=_STYLE.get(status, _ERROR_STYLE)),
                Text(number(count)),
                Text(name),
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


def _errors(summary: Summary, most: int) -> RenderableType:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    for error in summary.errors[:most]:
        label = row_list(error.rows, 1) if error.count == 1 else counted(error.count, "row")
        table.add_row(Text(label), _error_text(error, _stop_reasons(summary)))
    left = summary.errors_not_listed + sum(error.count for error in summary.errors[most:])
    if not left:
        return table
    return Group(table, Text(f"and {counted(left, 'row')} with other errors", style="dim"))


def _stop_reasons(summary: Summary) -> list[str]:
    return [each.stopped for each in summary.accounts.values() if each.stopped is not None]


def _error_text(error: ErrorSummary, stop_reasons: Iterable[str]) -> Text:
    words = error.message
    for reason in stop_reasons:  # shown above
        words = words.replace(reason, "the account stopped")
    words = words[:_MESSAGE_CHARS]
    code = "" if error.code == error.status else f" {error.code}"
    text = plain_text(f"{error.status.replace('_', ' ')}{code}", "bold")
    if words:
        text.append(f": {one_line(words)}", style="not bold")
    if error.hint:
        text.append(f"\n-> {one_line(error.hint)}", style="not bold cyan")
    if error.count > 1:
        text.append(f"\n{row_list(error.rows, error.count)}", style="not bold dim")
    return text
