"""The rows that a run applied, read from its record: jobs, results and previous states."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pipeline.jobs import JobsFile
from pipeline.jobs.jobs_file import job_rows
from pipeline.model import JobRow, RowResult, Status
from pipeline.plan.rows import AppliedRow
from pipeline.run import Prepared
from pipeline.runs.registry import open_store
from pipeline.store import Ledger
from pipeline.store.parquet import read_back_frames
from pipeline.vendors import Account, Operation
from pipeline.vendors.kit.contract import State

MAYBE_APPLIED = frozenset({Status.UPDATED, Status.UNKNOWN})
"""Statuses of rows that were applied or may have been; only a read can tell."""

Ended = tuple[JobRow, RowResult]


class AppliedRun:
    """The record of a run."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._claimed = frozenset(ledger.claimed())

    def backwards(self, file: JobsFile, rows: int) -> Iterator[list[Ended]]:
        """Yield the jobs of a file with their results, last row first, at most `rows` at a time.

        Jobs without a result are left out, unless a killed process may have sent them: those are
        `unknown`.
        """
        for frame in read_back_frames(file.path, batch_rows=rows):
            jobs = job_rows(frame)
            found = {
                job.row: RowResult(job.row, job.operation, account="", status=Status.UNKNOWN)
                for job in jobs
                if job.row in self._claimed
            }
            found |= {each.row: each for each in self._ledger.results(jobs[0].row, jobs[-1].row)}
            yield [(job, found[job.row]) for job in reversed(jobs) if job.row in found]

    def applied(
        self,
        account: Account,
        ended: Sequence[Ended],
    ) -> list[AppliedRow]:
        """Return each row with the state it overwrote and the state it left."""
        rows = [job.row for job, _ in ended]
        previous = self._ledger.previous_states(rows)
        return [
            self._one(
                account, account.operation(job.operation), job, result, previous.get(job.row, "")
            )
            for job, result in ended
        ]

    def _one(
        self,
        account: Account,
        operation: Operation[Any, Any],
        job: JobRow,
        result: RowResult,
        previous: str,
    ) -> AppliedRow:
        sent = operation.job_type.trusted(job.text)
        change, text = operation.change, job.expects or previous
        if change is None:
            return AppliedRow(job, sent, None, None)
        before = State.of(text) if text else change.stated(account.settings, sent)
        if before is None:
            return AppliedRow(job, sent, None, None)
        if job.keeps and change.merge is not None:
            sent = change.merge(account.settings, sent, before)
        after = change.after(account.settings, sent, before)
        if after is not None:
            after = State(after.fields, _etag(result.receipt))
        return AppliedRow(job, sent, before, after)


def _etag(receipt: str) -> str | None:
    """The etag in the vendor's reply; None if none is recorded.

    >>> _etag('{"etag": 2, "id": "b39"}'), _etag("")
    ('2', None)
    """
    found = json.loads(receipt) if receipt else {}
    etag = found.get("etag") if isinstance(found, dict) else None
    return None if etag is None else str(etag)


@contextmanager
def record_of(prepared: Prepared) -> Iterator[AppliedRun]:
    """Open the record of a run while the block runs. Raises RunAborted or LedgerError."""
    store, known = open_store(prepared.config), (prepared.commits, prepared.results)
    with store.ledger(prepared.run, None, None, commits=known[0], results=known[1]) as ledger:
        ledger.has_previous_states()  # damage is reported before anything is read at a vendor
        yield AppliedRun(ledger)
