"""The page of a plan: the changes that sending it would make."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.model.formatting import counted, number
from pipeline.model.plan import SENT_KINDS, PlanKind, Planned
from pipeline.store.files import atomic_write

MAX_FIELDS = 200

MEANING: Mapping[PlanKind, str] = {
    PlanKind.CHANGES: "would be sent",
    PlanKind.BLIND: "would be sent without a comparison: "
    "no documentation shows how to read the entity",
    PlanKind.UNCHANGED: "already up to date; not sent",
    PlanKind.MISSING: "the vendor has no such entity; not sent",
    PlanKind.UNREAD: "the current values could not be read; not sent",
    PlanKind.CONFLICT: "changed by somebody else since; not sent",
    PlanKind.FINAL: "cannot be undone; not sent",
    PlanKind.INVALID: "never became a job; not sent",
}


class ChangedField(NamedTuple):
    """A field that rows of an operation change, with one entity as example.

    rows     number of rows that change it; `cleared` of them empty it
    """

    operation: str
    name: str
    rows: int
    cleared: int
    entity: str
    old: str
    new: str


class PlanNote(NamedTuple):
    """A row of a plan with a note."""

    kind: PlanKind
    row: int
    entity: str
    note: str


def headline(planned: Planned) -> str:
    """Describe a plan in one sentence."""
    what = f"Plan to undo {planned.source}" if planned.undoes else f"Plan of {planned.source}"
    where = " at the simulator" if planned.is_simulated else ""
    return f"{what}{where}: {counted(planned.rows, 'row')}, {number(planned.sends)} would be sent"


def publish_plan_page(
    plan: Path,
    planned: Planned,
    changed: Sequence[ChangedField],
    noted: Sequence[PlanNote],
    stopped: Mapping[str, str],
) -> Path:
    """Write the page of a plan beside its file; return its path. Raises OSError.

    changed  fields, most rows first
    stopped  account -> why reading it stopped
    """
    # commands without a page start faster without jinja2
    from pipeline.ui.html.render import render  # noqa: PLC0415

    page = plan.with_suffix(".html")
    text = render(
        "plan.html",
        headline=headline(planned),
        planned=planned,
        plan=plan.name,
        command=f"pipeline run {shlex.quote(str(plan.absolute()))}",
        meaning=MEANING,
        kinds={kind: planned.kinds[kind] for kind in PlanKind if planned.kinds.get(kind)},
        sent_kinds=SENT_KINDS,
        changed=changed[:MAX_FIELDS],
        left_out=max(0, len(changed) - MAX_FIELDS),
        noted=noted,
        stopped=stopped,
        tone="bad" if stopped else "attention" if any(each.cleared for each in changed) else "good",
    )
    atomic_write(page, text.encode())
    return page
