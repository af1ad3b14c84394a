"""Ends rows: builds their results, has them recorded, and releases the next rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

from pipeline.model import Answer, Effect, JobRow, RowResult, Status, Verdict
from pipeline.vendors import Account
from pipeline.workers.answers import without_secrets
from pipeline.workers.auth import mask_of
from pipeline.workers.batches import Row
from pipeline.workers.exchange_log import ExchangeLog
from pipeline.workers.recorder import Recorder
from pipeline.workers.retry_or_end import stays_in_doubt
from pipeline.workers.row_queue import RowQueue

RUN_ENDED = "the run was interrupted"
BEHIND_UNKNOWN = "behind_unknown"
RESUME_SENDS_IT = (
    "nothing was applied: remove the cause of the stop, then `pipeline resume` sends the row"
)

INTERRUPTED = Answer(
    Verdict.TRANSIENT,
    Effect.MAYBE,
    code="interrupted",
    message="the run was stopped before an answer arrived",
    hint="look the entity up at the vendor, or send the row again",
)
UNREADABLE = INTERRUPTED._replace(
    code="unreadable",
    message="an answer arrived, and a bug in this program prevented reading it",
)
INTERRUPTED_EARLIER = INTERRUPTED._replace(
    message="an earlier process ended before an answer arrived"
)


COVERS = {
    Status.UPDATED: (Status.SUPERSEDED, "superseded", "was applied", "nothing to do"),
    Status.UNCHANGED: (Status.SUPERSEDED, "superseded", "already matches", "nothing to do"),
    Status.UNKNOWN: (
        Status.FAILED,
        "overtaken",
        "may have been applied",
        "compare it with the vendor; --force-order sends the row",
    ),
}
"""Status of a row -> how the rows that it covers end: status, code, message part and hint. After
any other status they are sent instead of it."""


class ResultWriter:
    """Ends rows of an account: writes their results, and releases the next rows.

    clock      monotonic seconds
    on_end     called with the status of each row that ends

    counts     rows that have a result, per status
    exchanges  remembers the exchanges of rows that may not succeed
    """

    def __init__(
        self,
        account: Account,
        queue: RowQueue,
        recorder: Recorder,
        clock: Callable[[], float],
        on_end: Callable[[Status], None] = lambda _status: None,
    ) -> None:
        self._on_end = on_end
        self._account = account.name
        self._hide = mask_of(account).hide
        self._can_be_read = {op.name: op.reading is not None for op in account.vendor.operations}
        self._queue = queue
        self._recorder = recorder
        self._clock = clock
        self.counts: Counter[Status] = Counter()
        self.exchanges = ExchangeLog(account)

    def end(self, row: Row, answer: Answer, status: Status) -> None:
        """Record how `row` ended; the next row of its entity waits for the commit."""
        answer = without_secrets(answer, self._hide)  # it may quote what a read showed
        self.counts[status] += 1
        job = row.job
        result = RowResult(
            row=job.row,
            operation=job.operation,
            account=self._account,
            status=status,
            http_status=answer.http_status,
            error_code=answer.code,
            error=answer.message,
            hint=answer.hint,
            attempts=row.attempts,
            seconds=round(self._clock() - row.first_sent_s, 3) if row.attempts else 0.0,
            request_id=answer.request_id,
            receipt=answer.receipt,
        )
        self._recorder.end(
            result,
            partial(self._committed, row, status),
            exchange=self.exchanges.pop(result),
            is_awaited=self._queue.is_awaited(row),
        )
        self._on_end(status)
        if row.covered and status in COVERS:
            self._end_covered(row, status)

    def _end_covered(self, row: Row, status: Status) -> None:
        """End the rows that `row` covers, in one commit with its result.

        Otherwise a resumed run would send them after it.
        """
        covered, row.covered = row.covered, []
        covered_status, code, outcome, hint = COVERS[status]
        message = f"row {row.job.row} is newer, replaces the whole entity and {outcome}"
        for job in covered:
            self._end_unsent(job, covered_status, code, message, hint)
            self._on_end(covered_status)

    def _end_unsent(self, job: JobRow, status: Status, code: str, message: str, hint: str) -> None:
        """Record how a row ended that was never given out."""
        self.counts[status] += 1
        result = RowResult(
            row=job.row,
            operation=job.operation,
            account=self._account,
            status=status,
            error_code=code,
            error=message,
            hint=hint,
        )
        self._recorder.end(result, self._queue.wake_if_done)

    def _committed(self, row: Row, status: Status) -> None:
        self._queue.done(row, status)
        self.end_blocked()
        self._queue.wake_if_done()

    def end_blocked(self) -> None:
        """End the rows that wait behind a row of their entity that ended `unknown`."""
        message = "an earlier row of the same entity ended unknown"
        hint = "look the entity up at the vendor, then send this row again"
        for job in self._queue.take_blocked():
            self._end_unsent(job, Status.NOT_ATTEMPTED, BEHIND_UNKNOWN, message, hint)

    def on_stop(self, row: Row, reason: str | None) -> None:
        """End a row that was given out when the account stopped, or leave it to `resume`.

        A row in doubt that `resume` can resolve stays claimed on record. A row that was certainly
        not applied ends `not_attempted`, whatever its answers were.

        reason  None if the run was interrupted
        """
        if self.stays_in_doubt(row):
            return
        if row.in_doubt:
            answer = _without_retry(row.answer or INTERRUPTED, reason)
            self.end(row, answer, Status.UNKNOWN)
        elif row.answer is not None and row.answer.http_status is not None:
            answer = _without_retry(row.answer, reason)._replace(hint=RESUME_SENDS_IT)
            self.end(row, answer, Status.NOT_ATTEMPTED)
        elif row.is_claimed:  # never sent
            self._recorder.release_claims([row.job.row])

    def stays_in_doubt(self, row: Row) -> bool:
        """True if a stop leaves `row` in doubt instead of ending it."""
        return stays_in_doubt(
            in_doubt=row.in_doubt,
            is_repeatable=row.is_repeatable,
            can_be_read=self._can_be_read[row.job.operation],
        )


def _without_retry(answer: Answer, reason: str | None) -> Answer:
    message = f"{answer.message}; no further attempt: {reason or RUN_ENDED}"
    return answer._replace(message=message)
