"""The summary of a run that a person confirms before it is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.panel import Panel
from rich.text import Text

from pipeline.model.formatting import about, counted, number, one_line
from pipeline.ui.terminal.printable import pairs, plain_text


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

    file: PurePath
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


def show_question(
    console: Console, question: Question, *, would: bool = False, is_agreed: bool = False
) -> None:
    """Show what a run will send, or would send; the caller reads the answer.

    is_agreed  nobody is asked: without a box, and without examples, which the result has
    """
    table = pairs()
    if not is_agreed:
        table.add_row("file", plain_text(str(question.file)))
    table.add_row("rows", _rows_text(question))
    for example in () if is_agreed else question.examples:
        table.add_row("", plain_text(example, "dim"))
    for target in question.targets:
        table.add_row("account", _target_text(target))
    for operation, fields in question.cleared.items():
        table.add_row("clears", plain_text(f"{operation}: {', '.join(fields)}", "bold yellow"))
    for line in question.undo:
        table.add_row("undo", plain_text(line, "dim"))
    if question.until:
        table.add_row("until", plain_text(question.until))
    for warning in question.warnings:
        table.add_row("warning", plain_text(warning, "yellow"))
    to = "to the simulator" if question.is_simulated else ""
    if is_agreed:
        console.print(plain_text(", ".join(filter(None, (str(question.file), to))), "bold"))
        console.print(Padding(table, (0, 0, 0, 2)))
        return
    title = f"{'Would send' if would else 'About to send'} {to}".rstrip()
    console.print(Panel(table, title=title, title_align="left", box=box.ROUNDED, padding=(0, 1)))


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
    text = plain_text(target.account, "bold")
    scope = f", {target.scope}" if target.scope else ""
    text.append(f"  {one_line(f'{target.vendor} at {target.host}{scope}')}", style="not bold")
    rows = [f"{counted(count, 'row')} of {name}" for name, count in target.rows.items()]
    lines = [", ".join(rows), *([_lasting(target)] if target.quota else [])]
    joined = ("; " if len(rows) == 1 else "\n").join(map(one_line, lines))
    return text.append(f"\n{joined}", style="not bold")


def _lasting(target: SendTarget) -> str:
    requests = "" if target.requests is None else f"{counted(target.requests, 'request')}, "
    quota = f"{target.quota} ({target.quota_is})" if target.quota_is else target.quota
    if target.lasts_s is None:
        return f"{requests}quota {quota}"
    if target.bound:
        return f"{requests}about {about(target.lasts_s)}: {target.bound}; quota {quota}"
    return f"{requests}about {about(target.lasts_s)} at {quota}"
