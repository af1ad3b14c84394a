"""Shows the rows of one entity in all runs on record."""

from __future__ import annotations

import json
from typing import Any

from rich.padding import Padding
from rich.text import Text

from pipeline.cli.runs_output import RunsOutput, iso
from pipeline.config import Config
from pipeline.loader.suggestions import nearest
from pipeline.model import UsageError
from pipeline.model.formatting import number, one_line
from pipeline.run.history import Touch, touches
from pipeline.ui.terminal.runs_table import EntityQuery, moment

_JOB_CHARS = 150


def show_entity(config: Config, text: str, output: RunsOutput) -> None:
    """Show each row of the entity `OPERATION:ID`. Raises UsageError if it names none."""
    wanted = _entity(config, text)
    found = 0
    for touch in touches(config, wanted, output.note):
        found += 1
        if output.is_json:
            output.line(**_touch_facts(touch))
        else:
            _show_touch(touch, output)
    if not found:
        output.say(
            f"No recorded run has a row for the {wanted.kind} {one_line(wanted.id)}. The id must "
            "match exactly, as it is sent."
        )


def _entity(config: Config, text: str) -> EntityQuery:
    """The entity that `xsolla.coupon:ID` names. Raises UsageError if it names none."""
    name, _, id_ = text.partition(":")
    known = {
        op.name: (vendor, op) for vendor in config.vendors.values() for op in vendor.operations
    }
    if name not in known:
        near = nearest(name, known)
        hint = f"did you mean {near}?" if near else f"known: {', '.join(known)}"
        raise UsageError(f"unknown operation {name!r}; {hint}")
    if not id_:
        raise UsageError(f"--entity needs an id after the operation: {name}:ID")
    vendor, operation = known[name]
    return EntityQuery(vendor.name, operation.entity_kind, id_)


def _show_touch(touch: Touch, output: RunsOutput) -> None:
    run, request, result = touch.entry.run, touch.request, touch.result
    row = Text(f"{run.name}  row {number(request.row)}  ", style="bold")
    row.append(touch.status.replace("_", " "))
    if touch.entry.condition == "under_way" and result is None:
        row.append(" yet: the run is not finished", style="not bold")
    output.console.print(row, soft_wrap=True)
    where = f"{moment(run.started)}  {touch.account}  {request.operation}"
    lines = [where, _shortened(request.job)]
    if result is not None and result.error:
        lines.append(_shortened(f"{result.error_code}: {result.error}"))
    words = Text("\n".join(map(one_line, lines)), style="dim", overflow="fold")
    output.console.print(Padding(words, (0, 0, 0, 2), expand=False))


def _shortened(text: str) -> str:
    return text if len(text) <= _JOB_CHARS else f"{text[: _JOB_CHARS - 3]}..."


def _touch_facts(touch: Touch) -> dict[str, Any]:
    run, request, result = touch.entry.run, touch.request, touch.result
    return {
        "sequence": run.sequence,
        "run": run.name,
        "started": iso(run.started),
        "state": touch.entry.condition,
        "row": request.row,
        "operation": request.operation,
        "account": touch.account,
        "entity": request.entity,
        "status": touch.status,
        "http_status": result.http_status if result else None,
        "error_code": result.error_code if result else "",
        "error": result.error if result else "",
        "job": json.loads(request.job),
    }
