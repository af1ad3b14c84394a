"""Makes a new record of a run from one that is damaged, gone, or older than it was.

Of a run that was sent in shares, the records of all shares become one.

A result that is intact is kept. Every other row may have been sent: it is recorded as `unknown`, so
that it is not sent again without a request.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

from pipeline.jobs import read_jobs
from pipeline.jobs.snapshot_file import row_numbers
from pipeline.model import JobRow, RowResult, RunAborted, Status
from pipeline.run.prepare import Prepared
from pipeline.runs.registry import open_store
from pipeline.store import RunLedger
from pipeline.store.checksums import check_whole
from pipeline.store.commit_mark import commits_in, mark_of
from pipeline.store.files import publish
from pipeline.store.on_files.records import LEDGER, share_record_of, witness_of
from pipeline.store.run_ledger import sound_previous_states, sound_results

CODE = "record_lost"
_LOST = "the record of this row was lost: it may have been sent"
_NEVER_SENT = "the record of this row was lost; it never became a job, and was not sent"
_HINT = (
    "check the vendor, or `pipeline resume --failed {run}`: a row that a newer one has replaced is "
    "not sent, and a row that must not be repeated is read first"
)
_HINT_NEVER_SENT = "`pipeline check` shows its faults"
_IN_DATABASE = (
    "the record of run {run} is in the database: restore that to a later state, or check the rows "
    "of the run at the vendor and remove it with `pipeline runs {run} --prune`"
)
_AT_ONCE = 2_000

_Line = TypeVar("_Line")


def recover(prepared: Prepared, commits: int) -> int:
    """Replace the record of a run by a new one; the old files are copied to `lost-<time>/`.

    prepared  the run, with intact jobs and copy of the input; its lease is held
    commits   number of its last commit, as the registry knows it
    returns   number of rows that are `unknown` now

    Raises DamagedError if its jobs are damaged as well, RunAborted if files cannot be written, or
    the record is in a database.
    """
    if prepared.config.database is not None:
        raise RunAborted(_IN_DATABASE.format(run=prepared.run))
    for file in prepared.bound.jobs.values():
        check_whole(file.path, file.checksum)
    path = prepared.folder / LEDGER
    aside = path.with_name(f"{LEDGER}.new")
    try:
        _remove(aside)
        shares = _share_records(prepared)
        known = max(commits, commits_in(mark_of(path)), commits_in(witness_of(path)))
        with RunLedger.create(aside, run=prepared.run) as ledger:
            for each in (path, *shares):
                _put_kept(ledger, each, prepared.run)
            unknown = _put_lost(ledger, prepared)
            ledger.go_on_after(known)
        _keep_copies((path, *shares))
        for each in (path.with_name(f"{LEDGER}-wal"), path.with_name(f"{LEDGER}-shm")):
            each.unlink(missing_ok=True)
        witness_of(path).unlink(missing_ok=True)
        publish({mark_of(aside): mark_of(path), aside: path})
        for each in shares:
            _remove(each)
            witness_of(each).unlink(missing_ok=True)
    except OSError as error:
        raise RunAborted(f"{path} cannot be replaced: {error}") from error
    return unknown


def _share_records(prepared: Prepared) -> list[Path]:
    """Paths of the records of all shares, which may be gone."""
    shares = open_store(prepared.config).runs.shares(prepared.run)
    return [share_record_of(prepared.folder, each.share) for each in shares]


def _put_kept(ledger: RunLedger, path: Path, run: str) -> None:
    """Record intact results and previous states. Rows that were `not_attempted` are left out: they
    may have been sent since.
    """
    if not path.exists():
        return
    found = sound_results(path, run)
    for some in _batches(each for each in found if each.status is not Status.NOT_ATTEMPTED):
        _put(ledger, some)
    for states in _batches(sound_previous_states(path, run)):
        ledger.record((), (), (), states)


def _put(ledger: RunLedger, results: Sequence[RowResult]) -> int:
    """Record the results of rows that have none; their number."""
    ended = ledger.ended([each.row for each in results])
    new = {each.row: each for each in results if each.row not in ended}
    if new:
        ledger.record((), list(new.values()))
    return len(new)


def _put_lost(ledger: RunLedger, prepared: Prepared) -> int:
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


def _keep_copies(paths: Iterable[Path]) -> None:
    """Copy the old files to `lost-<time>/`, for an examination."""
    now = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    for path in paths:
        folder = path.with_name(f"lost-{now}")
        for old in (path, path.with_name(f"{path.name}-wal"), mark_of(path)):
            if old.exists():
                folder.mkdir(mode=0o700, exist_ok=True)
                shutil.copy2(old, folder / old.name)


def _remove(path: Path) -> None:
    for each in (
        path,
        mark_of(path),
        *(path.with_name(f"{path.name}-{x}") for x in ("wal", "shm")),
    ):
        each.unlink(missing_ok=True)
