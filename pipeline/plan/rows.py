"""Rows of plans: the effect of sending a row, or of undoing it, on the state read. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from pipeline.model import JobRow, RowResult, UpdateJob
from pipeline.model.plan import FieldChange, PlanKind, PlanRow
from pipeline.plan.entity_reader import ReadResult
from pipeline.vendors import Account, Operation
from pipeline.vendors.kit.contract import Change, Difference, Missing, State

NO_FIT = "the patch does not apply to the current state: the vendor would refuse it"
STATED_BY_ROW = (
    "we found no page that shows how to read this vendor; the current value comes from the row "
    "(previous_status)"
)
GONE = "the vendor no longer has this entity"
NOT_READABLE = (
    "we found no page that shows how to read this vendor, and the row does not state the current "
    "value"
)


class PlannedRow(NamedTuple):
    """A row of a plan, and the state of its entity after it is sent; None if unknown."""

    row: PlanRow
    after: State | None


def plan_row(
    account: Account,
    operation: Operation[Any, Any],
    job: JobRow,
    seen: ReadResult,
) -> PlannedRow:
    """Return what sending a job would change.

    seen  the current state of the job's entity
    """
    blank = _blank(account.name, job)
    change, settings = operation.change, account.settings
    wanted = operation.job_type.trusted(job.text)
    if change is None or operation.reading is None:
        return _unreadable(account, operation, blank, wanted)
    if seen.state is None:
        return PlannedRow(blank._replace(kind=PlanKind.UNREAD, note=seen.why), None)
    if isinstance(seen.state, Missing):
        return PlannedRow(
            blank._replace(kind=PlanKind.MISSING, note="the vendor has no such entity"), None
        )
    state = seen.state
    if job.keeps and change.merge is not None:
        wanted = change.merge(settings, wanted, state)
        blank = blank._replace(job=wanted.canonical_json())
    blank = blank._replace(before=state.text())
    if not operation.reading.differences(settings, wanted, state):
        return PlannedRow(blank._replace(kind=PlanKind.UNCHANGED), state)
    after = change.after(settings, wanted, state)
    if after is None:
        return PlannedRow(blank._replace(note=NO_FIT), state)
    return PlannedRow(
        blank._replace(changes=_changes(change.differences(settings, after, state))), after
    )


def _unreadable(
    account: Account, operation: Operation[Any, Any], blank: PlanRow, wanted: UpdateJob
) -> PlannedRow:
    """Plan a row of a vendor that cannot be read, from the state that the row itself gives."""
    change, settings = operation.change, account.settings
    stated = None if change is None else change.stated(settings, wanted)
    if change is None or stated is None:
        return PlannedRow(blank._replace(kind=PlanKind.BLIND, note=NOT_READABLE), None)
    after = change.after(settings, wanted, stated)
    row = blank._replace(
        kind=PlanKind.BLIND,
        note=STATED_BY_ROW,
        changes=() if after is None else _changes(change.differences(settings, after, stated)),
        before=stated.text(),
    )
    return PlannedRow(row, None)


def invalid_row(result: RowResult) -> PlanRow:
    """The plan's row for a row that never became a job."""
    return PlanRow(
        result.row, PlanKind.INVALID, result.operation, result.account, "", note=result.error
    )


def _blank(account: str, job: JobRow) -> PlanRow:
    return PlanRow(
        row=job.row,
        kind=PlanKind.CHANGES,
        operation=job.operation,
        account=account,
        entity=job.entity,
        job=job.text,
        origin_run=job.origin_run,
        origin_row=job.origin_row,
    )


def _changes(found: Sequence[Difference]) -> tuple[FieldChange, ...]:
    return tuple(FieldChange(each.field, old=each.found, new=each.wanted) for each in found)


# --------------------------------------------------------------------------------------- undo


class AppliedRow(NamedTuple):
    """A row that a run applied.

    job     the recorded job
    sent    the update that was sent for it
    before  the entity's state before; None if it is not recorded
    after   its state afterwards, with the etag of the vendor's reply; None if unknown
    """

    job: JobRow
    sent: UpdateJob
    before: State | None
    after: State | None


def undo_row(
    account: Account, operation: Operation[Any, Any], applied: AppliedRow, seen: ReadResult
) -> PlannedRow:
    """Return the row that undoes an applied row, if the entity is still as the row left it.

    seen  the entity's current state; ignored if the vendor cannot be read
    """
    blank = _blank(account.name, applied.job)._replace(job="", origin_run="", origin_row=0)
    change, before = operation.change, applied.before
    if change is None or before is None:
        return PlannedRow(blank._replace(kind=PlanKind.FINAL, note=_no_before(operation)), None)
    back = change.inverse(account.settings, applied.sent, before)
    if operation.reading is None:
        return PlannedRow(_unreadable_undo(blank, change, account, applied, back), None)
    if seen.state is None:
        return PlannedRow(blank._replace(kind=PlanKind.UNREAD, note=seen.why), None)
    if isinstance(seen.state, Missing) or applied.after is None:
        return PlannedRow(blank._replace(kind=PlanKind.MISSING, note=GONE), None)
    return _undo_from(
        blank._replace(before=seen.state.text()),
        change,
        account,
        applied._replace(before=before),
        back,
        live=seen.state,
    )


def _undo_from(
    blank: PlanRow,
    change: Change[Any, Any],
    account: Account,
    applied: AppliedRow,
    back: UpdateJob | None,
    *,
    live: State,
) -> PlannedRow:
    """Undo a row whose entity's current state is known."""
    settings = account.settings
    before, after = applied.before or State({}), applied.after or State({})
    if found := change.differences(settings, after, live):
        if change.differences(settings, before, live):
            return PlannedRow(_conflict(blank, found), None)
        return PlannedRow(blank._replace(kind=PlanKind.UNCHANGED), live)
    if back is None:
        return PlannedRow(blank._replace(kind=PlanKind.UNCHANGED), live)
    blank = blank._replace(job=back.canonical_json())
    restored = change.after(settings, back, live)
    if restored is None:
        return PlannedRow(blank._replace(kind=PlanKind.FINAL, note=NO_FIT), None)
    changes = _changes(change.differences(settings, restored, live))
    kind = PlanKind.CHANGES if changes else PlanKind.UNCHANGED
    return PlannedRow(blank._replace(kind=kind, changes=changes), restored)


def _no_before(operation: Operation[Any, Any]) -> str:
    if operation.reading is None:
        return "the previous status is unknown: the row gave no previous_status"
    return "previous values are not recorded: run with --record-previous, or from a plan"


def _unreadable_undo(
    blank: PlanRow,
    change: Change[Any, Any],
    account: Account,
    applied: AppliedRow,
    back: UpdateJob | None,
) -> PlanRow:
    before = applied.before or State({})
    if back is None:
        return blank._replace(kind=PlanKind.FINAL, note="canceled is final")
    after = applied.after or State({})
    return blank._replace(
        kind=PlanKind.BLIND,
        note=STATED_BY_ROW,
        job=back.canonical_json(),
        before=after.text(),
        changes=_changes(change.differences(account.settings, before, after)),
    )


def _conflict(blank: PlanRow, found: Sequence[Difference]) -> PlanRow:
    """A row that is not sent: `old` is the value that the run left, `new` the current one."""
    both = tuple(FieldChange(each.field, old=each.wanted, new=each.found) for each in found)
    fields = ", ".join(each.field for each in found)
    return blank._replace(
        kind=PlanKind.CONFLICT,
        changes=both,
        note=f"{fields} changed after the run; old: the run's value, new: the current value",
    )
