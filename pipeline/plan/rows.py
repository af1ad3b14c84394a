"""What sending a row would do, from what its entity holds. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from pipeline.model import JobRow, RowResult, UpdateJob
from pipeline.model.plan import FieldChange, PlanKind, PlanRow
from pipeline.vendors import Account, Operation
from pipeline.vendors.kit.contract import Change, Difference, Missing, State
from pipeline.workers.entity_reader import ReadResult

NO_FIT = "the patch does not fit what is there: the vendor would refuse it"
BY_THE_ROW = (
    "we found no page that shows how the vendor is read: what it holds is what the row says "
    "(previous_status)"
)
GONE = "the vendor has no such entity any more"
NOT_TOLD = (
    "we found no page that shows how the vendor is read, and the row does not say what it holds"
)


class PlannedRow(NamedTuple):
    """A row of a plan, and what its entity holds once it was sent; None where nobody knows."""

    row: PlanRow
    after: State | None


def foretold(
    account: Account,
    operation: Operation[Any, Any],
    job: JobRow,
    seen: ReadResult,
) -> PlannedRow:
    """What sending a job would do.

    seen  what its entity holds
    """
    blank = _blank(account.name, job)
    change, settings = operation.change, account.settings
    wanted = operation.job_type.trusted(job.text)
    if change is None or operation.reading is None:
        return _blind(account, operation, blank, wanted)
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
        blank._replace(changes=_changes(change.unlike(settings, after, state))), after
    )


def _blind(
    account: Account, operation: Operation[Any, Any], blank: PlanRow, wanted: UpdateJob
) -> PlannedRow:
    """Of a vendor that cannot be read: what the row itself says is all that there is."""
    change, settings = operation.change, account.settings
    said = None if change is None else change.said(settings, wanted)
    if change is None or said is None:
        return PlannedRow(blank._replace(kind=PlanKind.BLIND, note=NOT_TOLD), None)
    after = change.after(settings, wanted, said)
    changes = () if after is None else _changes(change.unlike(settings, after, said))
    row = blank._replace(kind=PlanKind.BLIND, note=BY_THE_ROW, changes=changes, before=said.text())
    return PlannedRow(row, None)


def invalid(result: RowResult) -> PlanRow:
    """A row that never became a job."""
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
        since_run=job.since_run,
        since_row=job.since_row,
    )


def _changes(found: Sequence[Difference]) -> tuple[FieldChange, ...]:
    return tuple(FieldChange(each.field, old=each.found, new=each.wanted) for each in found)


# -------------------------------------------------------------------------------- taking back


class AppliedRow(NamedTuple):
    """A row that a run has applied.

    job     as it stands on record; `sent` what went out for it
    before  what the entity held; None where nothing of that is on record
    after   what it held then, with the etag that the vendor gave back
    """

    job: JobRow
    sent: UpdateJob
    before: State | None
    after: State | None


def taken_back(
    account: Account, operation: Operation[Any, Any], applied: AppliedRow, seen: ReadResult
) -> PlannedRow:
    """What takes a row back, if the entity still is as the row left it.

    seen  what it holds now; of a vendor that cannot be read, nothing
    """
    blank = _blank(account.name, applied.job)._replace(job="", since_run="", since_row=0)
    change, before = operation.change, applied.before
    if change is None or before is None:
        return PlannedRow(blank._replace(kind=PlanKind.FINAL, note=_no_before(operation)), None)
    back = change.inverse(account.settings, applied.sent, before)
    if operation.reading is None:
        return PlannedRow(_blindly_back(blank, change, account, applied, back), None)
    if seen.state is None:
        return PlannedRow(blank._replace(kind=PlanKind.UNREAD, note=seen.why), None)
    if isinstance(seen.state, Missing) or applied.after is None:
        return PlannedRow(blank._replace(kind=PlanKind.MISSING, note=GONE), None)
    return _back_from(
        blank._replace(before=seen.state.text()),
        change,
        account,
        applied._replace(before=before),
        back,
        live=seen.state,
    )


def _back_from(
    blank: PlanRow,
    change: Change[Any, Any],
    account: Account,
    applied: AppliedRow,
    back: UpdateJob | None,
    *,
    live: State,
) -> PlannedRow:
    """The same, where it is known what is there."""
    settings = account.settings
    before, after = applied.before or State({}), applied.after or State({})
    if found := change.unlike(settings, after, live):
        if change.unlike(settings, before, live):
            return PlannedRow(_conflict(blank, found), None)
        return PlannedRow(blank._replace(kind=PlanKind.UNCHANGED), live)
    if back is None:
        return PlannedRow(blank._replace(kind=PlanKind.UNCHANGED), live)
    blank = blank._replace(job=back.canonical_json())
    restored = change.after(settings, back, live)
    if restored is None:
        return PlannedRow(blank._replace(kind=PlanKind.FINAL, note=NO_FIT), None)
    changes = _changes(change.unlike(settings, restored, live))
    kind = PlanKind.CHANGES if changes else PlanKind.UNCHANGED
    return PlannedRow(blank._replace(kind=kind, changes=changes), restored)


def _no_before(operation: Operation[Any, Any]) -> str:
    if operation.reading is None:
        return "nothing says what it held: the row gave no previous_status"
    return "what it held before is not on record: run with --record-previous, or from a plan"


def _blindly_back(
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
        note=BY_THE_ROW,
        job=back.canonical_json(),
        before=after.text(),
        changes=_changes(change.unlike(account.settings, before, after)),
    )


def _conflict(blank: PlanRow, found: Sequence[Difference]) -> PlanRow:
    """`old` is what the run left, `new` what stands there now."""
    both = tuple(FieldChange(each.field, old=each.wanted, new=each.found) for each in found)
    fields = ", ".join(each.field for each in found)
    return blank._replace(
        kind=PlanKind.CONFLICT,
        changes=both,
        note=f"somebody else changed {fields} since; old is what the run left, new what is there",
    )
