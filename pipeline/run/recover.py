"""Makes a new record of a run from one that is damaged, gone, or older than it was.

Of a run that was sent in shares, the records of all shares become one.

A result that is intact is kept. Every other row may have been sent: it is recorded as `unknown`, so
that it is not sent again without a request.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import TypeVar

from pipeline.jobs import read_jobs
from pipeline.jobs.snapshot_file import row_numbers
from pipeline.model import JobRow, RowResult, Status
from pipeline.run.prepared import Prepared
from pipeline.runs.registry import open_store
from pipeline.store import Ledger
from pipeline.store.checksums import check_whole
from pipeline.store.seam import Recovery

CODE = "record_lost"
_LOST = "the record of this row was lost: it may have been sent"
_NEVER_SENT = "the record of this row was lost; it never became a job, and was not sent"
_HINT = (
    "check the vendor, or `pipeline resume --failed {run}`: a row that a newer one has replaced is "
    "not sent, and a row that must not be repeated is read first"
)
_HINT_NEVER_SENT = "`pipeline check` shows its faults"
_AT_ONCE = 2_000

_Line = TypeVar("_Line")


def recover(prepared: Prepared, commits: int) -> int:
    """Replace the record of a run by a new one; the old one is kept beside it.

    prepared  the run, with intact jobs and copy of the input; its lease is held
    commits   number of its last commit, as the registry knows it
    returns   number of rows that are `unknown` now

    Raises DamagedError if its jobs are damaged as well, RunAborted if the record cannot be written.
    """
    store = open_store(prepared.config)
    files = store.files(prepared.run)
    for file in prepared.bound.jobs.values():
        check_whole(files.fetch(file.path.name), file.checksum)
    shares = [each.share for each in store.runs.shares(prepared.run)]
    with store.recovery(prepared.run, shares, prepared.lease, commits=commits) as recovery:
        _put_kept(recovery)
        return _put_lost(recovery.ledger, prepared)


def _put_kept(recovery: Recovery) -> None:
    """Record intact results and previous states. Rows that were `not_attempted` are left out: they
    may have been sent since.
    """
    ended = (each for each in recovery.results() if each.status is not Status.NOT_ATTEMPTED)
    for some in _batches(ended):
        _put(recovery.ledger, some)
    for states in _batches(recovery.previous_states()):
        recovery.ledger.record((), (), (), states)


def _put(ledger: Ledger, results: Sequence[RowResult]) -> int:
    """Record the results of rows that have none; their number."""
    ended = ledger.ended([each.row for each in results])
    new = {each.row: each for each in results if each.row not in ended}
    if new:
        ledger.record((), list(new.values()))
    return len(new)


def _put_lost(ledger: Ledger, prepared: Prepared) -> int:
    """Record a result for every row that has none; number of rows that may have been sent."""
    unknown = 0
    for account, file in prepared.bound.jobs.items():
        lost = partial(_lost, account, _HINT.format(run=prepared.run))
        unknown += sum(_put(ledger, [*map(lost, jobs)]) for jobs in read_jobs(file.path))
    for rows in row_numbers(prepared.snapshot.path):
        _put(ledger, [*map(_never_sent, rows)])
    return unknown


def _lost(account: str, hint: str, job: JobRow) -> RowResult:
    return RowResult(
        row=job.row,
        operation=job.operation,
        account=account,
        status=Status.UNKNOWN,
        error_code=CODE,
        error=_LOST,
        hint=hint,
    )


def _never_sent(row: int) -> RowResult:
    return RowResult(
        row=row,
        operation="",
        account="",
        status=Status.INVALID,
        error_code=CODE,
        error=_NEVER_SENT,
        hint=_HINT_NEVER_SENT,
    )


def _batches(lines: Iterable[_Line]) -> Iterator[list[_Line]]:
    left = iter(lines)
    while some := list(islice(left, _AT_ONCE)):
        yield some
