"""Screens for plans, verifications and canaries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pipeline.cli.messages import from_here
from pipeline.model import EntityKey, RunAborted
from pipeline.model.formatting import counted, number, one_line
from pipeline.model.plan import PlanKind, Planned
from pipeline.plan import MadePlan, PlanSummary, Verified
from pipeline.plan.plan_summary import FieldCount
from pipeline.run.canary import CanaryResult
from pipeline.ui.html.plan_page import MEANING, ChangedField, PlanNote, headline, publish_plan_page

_STYLE: Mapping[PlanKind, str] = {
    PlanKind.CHANGES: "bold",
    PlanKind.BLIND: "bold yellow",
    PlanKind.UNCHANGED: "green",
}
_FIELDS_SHOWN = 8


def show_plan(console: Console, made: MadePlan, *, is_sent_next: bool = False) -> None:
    """Show a plan and the command that sends it."""
    planned, path = made.planned, from_here(made.path)
    console.print(_text(headline(planned), "bold"))
    console.print(Padding(_kinds(planned), (1, 0, 0, 2)))
    if made.page.changed:
        console.print(Padding(_fields(made.page), (1, 0, 0, 2)))
    notes = list(_notes(made))
    if notes:
        console.print(Padding(_pairs(notes), (1, 0, 0, 2)))
    console.print(_text(f"\nPlan: {path}"), soft_wrap=True)
    console.print(_text(f"Page: {from_here(_written(made))}"), soft_wrap=True)
    if planned.sends and not is_sent_next:
        console.print(_text(f"Send it: pipeline run {path}"), soft_wrap=True)


def _written(made: MadePlan) -> Path:
    """Write the page of a plan beside it; return its path. Raises RunAborted if that fails."""
    page = made.page
    changed = [
        ChangedField(*field, rows, page.cleared[field], *page.examples[field])
        for field, rows in page.changed.most_common()
    ]
    noted = [PlanNote(kind, *note) for kind, some in page.notes.items() for note in some]
    try:
        return publish_plan_page(made.path, made.planned, changed, noted, made.stopped)
    except OSError as error:
        raise RunAborted(f"{made.path}: its page cannot be written: {error.strerror}") from error


def _kinds(planned: Planned) -> Table:
    table = _columns("left", "right", "left")
    for kind in PlanKind:
        if count := planned.kinds.get(kind, 0):
            style = _STYLE.get(kind, "yellow")
            table.add_row(Text(kind, style=style), number(count), Text(MEANING[kind], "dim"))
    return table


def _fields(page: PlanSummary) -> Table:
    table = _columns("right", "left", "left")
    for field, count in page.changed.most_common(_FIELDS_SHOWN):
        table.add_row(number(count), _text(field.name), _example(page, field))
    if (more := len(page.changed) - _FIELDS_SHOWN) > 0:
        table.add_row("", Text(f"and {counted(more, 'more field')}", "dim"), "")
    return table


def _example(page: PlanSummary, field: FieldCount) -> Text:
    example = page.examples[field]
    text = _text(f"{example.entity}: {example.old} -> {example.new}", "dim")
    if cleared := page.cleared[field]:
        text.append(f"\ncleared in {counted(cleared, 'row')}", "bold yellow")
    return text


def _notes(made: MadePlan) -> Iterable[tuple[str, str]]:
    for kind, some in made.page.notes.items():
        if kind is not PlanKind.CHANGES:
            yield from ((str(kind), _note(*note)) for note in some)
    for operation, gap in made.planned.gaps.items():
        if made.planned.sends:
            yield "risk", f"{operation}: {gap}"
    for account, why in made.stopped.items():
        yield "stopped", f"{account}: {why}"
    if made.pending:
        still = f"`pipeline resume {made.planned.undoes}` would still send them"
        yield "not sent", f"{counted(made.pending, 'row')} of the run; {still}"
    yield "cost", f"{counted(made.planned.requests, 'read')}; nothing was changed"


def _note(row: int, entity: str, note: str) -> str:
    who = f" ({entity})" if entity else ""
    return f"row {number(row)}{who}: {note}"


def show_verified(console: Console, run: str, found: Verified) -> None:
    """Show whether the vendors still hold what a run applied."""
    reads = counted(found.requests, "request")
    if found.rows:
        words = "no drift" if not found.drifted else f"{number(found.drifted)} drifted"
        rows = counted(found.rows - found.unread, "row")
        console.print(_text(f"{run}: {rows} verified in {reads}, {words}", "bold"))
    notes = [("stopped", f"{account}: {why}") for account, why in found.stopped.items()]
    if found.unread:
        notes.append(
            ("unread", f"{counted(found.unread, 'row')}: the vendor did not return the state")
        )
    if found.untold:
        notes.append(
            ("not shown", f"{counted(found.untold, 'row')}: a read cannot show a change to a list")
        )
    if found.blind:
        notes.append(
            (
                "unreadable",
                f"{counted(found.blind, 'row')} of a vendor without a documented way to read",
            )
        )
    notes += [
        (
            f"row {number(each.row)}",
            f"{EntityKey.parse(each.entity).id} {each.field}: sent {each.sent}, found {each.found}",
        )
        for each in found.examples
    ]
    if notes:
        console.print(Padding(_pairs(notes), (1, 0, 0, 2)))
    if found.path is not None:
        console.print(_text(f"\nDrift: {from_here(found.path)}"), soft_wrap=True)


def show_canary(console: Console, canary: CanaryResult) -> None:
    """Show the results of the rows that were sent first."""
    of = f"{number(canary.rows)} of {counted(canary.of, 'row')}"
    counts = ", ".join(
        f"{number(count)} {status.replace('_', ' ')}" for status, count in canary.counts.items()
    )
    console.print(_text(f"Canary: {of} sent: {counts}", "bold"))
    notes = [
        (f"row {number(each.row)}", f"{each.status}: {each.error}") for each in canary.failures
    ]
    if notes:
        console.print(Padding(_pairs(notes), (0, 0, 0, 2)))


def _columns(*justified: str) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for justify in justified:
        table.add_column(justify=justify)  # type: ignore[arg-type]
    return table


def _pairs(notes: Iterable[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for label, text in notes:
        table.add_row(label, _text(text))
    return table


def _text(foreign: str, style: str = "") -> Text:
    """Text without markup; each of its lines is printable."""
    return Text("\n".join(one_line(line) if line else "" for line in foreign.split("\n")), style)
