"""Binds the rows of a plan: turns them into jobs, which are sent if nothing changed since."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.jobs.jobs_file import (
    JobsWriter,
    bound_request,
    jobs_writer,
)
from pipeline.loader.bind import Emit
from pipeline.loader.bound import Bound
from pipeline.loader.make_job import IRREVERSIBLE
from pipeline.loader.plan_file import plan_rows
from pipeline.loader.rows import fault_text
from pipeline.model import (
    ROW_COLUMN,
    Fault,
    InputError,
    JobRow,
    RowResult,
    Snapshot,
    Status,
    UpdateJob,
)
from pipeline.model.plan import SENT_KINDS, PlanKind, PlanRow
from pipeline.store.parquet import read_frames
from pipeline.vendors.kit.account import Account
from pipeline.vendors.kit.contract import Operation

_ENDS: Mapping[PlanKind, Status] = {
    PlanKind.UNCHANGED: Status.UNCHANGED,
    PlanKind.MISSING: Status.REJECTED,
    PlanKind.UNREAD: Status.FAILED,
    PlanKind.CONFLICT: Status.CONFLICT,
    PlanKind.FINAL: Status.REJECTED,
    PlanKind.INVALID: Status.INVALID,
}
_HINTS: Mapping[PlanKind, str] = {
    PlanKind.UNCHANGED: "nothing to do",
    PlanKind.MISSING: "check the id and the account's settings; then make a new plan",
    PlanKind.UNREAD: "make a new plan: a row that was not read is not sent",
    PlanKind.CONFLICT: "check its current value; send what is still needed in a new file",
    PlanKind.FINAL: "this cannot be undone",
    PlanKind.INVALID: "fix the row in the file, then make a new plan",
}


def bind_plan(
    snapshot: Snapshot,
    folder: Path,
    *,
    accounts: Mapping[str, Account],
    allow_irreversible: bool,
    emit: Emit,
) -> Bound:
    """Write a jobs file per account into `folder`, and emit the results of the other rows.

    accounts  accounts of the plan

    Raises InputError if the plan cannot be used.
    """
    with ExitStack() as stack:
        binder = _PlanBinder(
            snapshot, folder, accounts, stack, allow_irreversible=allow_irreversible
        )
        for frame in read_frames(snapshot.path):
            rows = zip(frame[ROW_COLUMN].to_list(), plan_rows(frame, snapshot.source), strict=True)
            binder.bind([row._replace(row=number) for number, row in rows], emit)
    return binder.bound()


class _PlanBinder:
    def __init__(
        self,
        snapshot: Snapshot,
        folder: Path,
        accounts: Mapping[str, Account],
        stack: ExitStack,
        *,
        allow_irreversible: bool,
    ) -> None:
        self._snapshot = snapshot
        self._folder = folder
        self._accounts = accounts
        self._stack = stack
        self._allow_irreversible = allow_irreversible
        self._writers: dict[str, JobsWriter] = {}
        self._irreversible: Counter[str] = Counter()
        self._invalid = 0

    def bind(self, rows: Sequence[PlanRow], emit: Emit) -> None:
        jobs: dict[str, list[JobRow]] = {}
        ended: list[RowResult] = []
        for row in rows:
            found = self._job(row) if row.kind in SENT_KINDS else _end(row)
            if isinstance(found, RowResult):
                ended.append(found)
            else:
                jobs.setdefault(row.account, []).append(found)
        for account, some in jobs.items():
            self._writer(account).write(some)
        if ended:
            self._invalid += sum(each.status is Status.INVALID for each in ended)
            emit(ended)

    def _job(self, row: PlanRow) -> JobRow | RowResult:
        operation, job = self._trusted(row)
        settings = self._accounts[row.account].settings
        if operation.irreversible(job):
            if not self._allow_irreversible:
                return _end(
                    row._replace(kind=PlanKind.INVALID, note=fault_text([IRREVERSIBLE], None))
                )
            self._irreversible[operation.name] += 1
        return JobRow(
            row.row,
            operation.name,
            operation.entity(settings, job).text(),
            operation.repeatable(settings, job),
            job.canonical_json(),
            operation.batch_key(settings, job),
            row.origin_run,
            row.origin_row,
            row.before if row.kind is PlanKind.CHANGES else "",
            False,
            *bound_request(operation, settings, job),
        )

    def _trusted(self, row: PlanRow) -> tuple[Operation[Any, Any], UpdateJob]:
        account = self._accounts.get(row.account)
        operation = account.vendor.by_name.get(row.operation) if account else None
        if operation is None:
            what = f"{row.operation} through {row.account}: there is no such operation or account"
            raise InputError(Fault(what=what, file=str(self._snapshot.source), row=row.row))
        try:
            return operation, operation.job_type.trusted(row.job)
        except (ValueError, ValidationError) as error:
            what = f"its job cannot be read: {error}"
            fault = Fault(what=what, file=str(self._snapshot.source), row=row.row)
            raise InputError([fault]) from error

    def _writer(self, account: str) -> JobsWriter:
        if account not in self._writers:
            writer = jobs_writer(self._folder, self._accounts[account])
            self._writers[account] = self._stack.enter_context(writer)
        return self._writers[account]

    def bound(self) -> Bound:
        """The result for all rows. Call it after the files are closed."""
        return Bound(
            jobs={name: self._writers[name].file() for name in sorted(self._writers)},
            rows=self._snapshot.selected,
            invalid=self._invalid,
            irreversible=dict(self._irreversible),
            has_previous_states=True,
        )


def _end(row: PlanRow) -> RowResult:
    return RowResult(
        row=row.row,
        operation=row.operation,
        account=row.account,
        status=_ENDS[row.kind],
        error_code=str(row.kind),
        error=row.note or _words(row.kind),
        hint=_HINTS[row.kind],
    )


def _words(kind: PlanKind) -> str:
    return "the vendor held it already" if kind is PlanKind.UNCHANGED else str(kind)
