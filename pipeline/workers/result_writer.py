"""How rows of an account end: their results on the way to the record, and who goes next then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

from pipeline.model import Answer, Effect, RowResult, Status, Verdict
from pipeline.vendors import Account
from pipeline.workers.answers import without_secrets
from pipeline.workers.auth import mask_of
from pipeline.workers.batches import Row
from pipeline.workers.exchange_log import ExchangeLog
from pipeline.workers.recorder import Recorder
from pipeline.workers.retry_or_end import stays_in_doubt
from pipeline.workers.row_queue import RowQueue

RUN_ENDED = "the run broke off"
BEHIND_UNKNOWN = "behind_unknown"
RESUME_SENDS_IT = (
    "nothing was applied: once the cause of the stop is gone, `pipeline resume` sends it"
)

INTERRUPTED = Answer(
    Verdict.TRANSIENT,
    Effect.MAYBE,
    code="interrupted",
    message="the run was stopped before the answer came",
    hint="look the entity up at the vendor, or send the row again",
)
UNREADABLE = INTERRUPTED._replace(
    code="unreadable",
    message="an answer came, and an error of this program kept it from being read",
)
INTERRUPTED_EARLIER = INTERRUPTED._replace(
    code="interrupted",
    message="an earlier process ended before the answer came",
)


COVERS = {
    Status.UPDATED: (Status.SUPERSEDED, "superseded", "was applied", "nothing to do"),
    Status.UNCHANGED: (Status.SUPERSEDED, "superseded", "is what is there", "nothing to do"),
    Status.UNKNOWN: (
        Status.FAILED,
        "overtaken",
        "may have been applied",
        "compare it with the vendor; --force-order sends what is wanted",
    ),
}
"""How rows end that were covered by a row that ended so: status, code, words and hint. After any
other end they are sent in its stead."""


class ResultWriter:
    """Ends rows of an account.

    clock   monotonic seconds
    on_end   is told how each row ends
    counts  rows that have a result, per status
    exchanges  is told of what came for rows that may not succeed
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
        """Record how `row` ended; the next row of its entity waits until that is done."""
        answer = without_secrets(answer, self._hide)  # what a read showed may stand in it as well
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
        """Rows that `row` covers will not be sent: on record in one commit with its result, for
        whoever carries the run on must not send them after it.
        """
        covered, row.covered = row.covered, []
        result_writer, code, what, hint = COVERS[status]
        for job in covered:
            self.counts[result_writer] += 1
            self._recorder.end(
                RowResult(
                    row=job.row,
                    operation=job.operation,
                    account=self._account,
                    status=result_writer,
                    error_code=code,
                    error=f"row {row.job.row} replaces the whole, is newer and {what}",
                    hint=hint,
                ),
                self._queue.wake_if_done,
            )
            self._on_end(result_writer)

    def _committed(self, row: Row, status: Status) -> None:
        self._queue.done(row, status)
        self.end_blocked()
        self._queue.wake_if_done()

    def end_blocked(self) -> None:
        """Rows behind one of their entity that ended `unknown` are not sent."""
        for job in self._queue.take_blocked():
            self.counts[Status.NOT_ATTEMPTED] += 1
            self._recorder.end(
                RowResult(
                    row=job.row,
                    operation=job.operation,
                    account=self._account,
                    status=Status.NOT_ATTEMPTED,
                    error_code=BEHIND_UNKNOWN,
                    error="an earlier row of the same entity ended unknown",
                    hint="look the entity up at the vendor, then send this row again",
                ),
                self._queue.wake_if_done,
            )

    def on_stop(self, row: Row, why: str | None) -> None:
        """What becomes of a row that was given out when the account stopped.

        In doubt it stays claimed on record, so that the run can be carried on to settle it. Where
        it was certainly not applied it is `not_attempted`, whatever came to it so far.

        why  None where the run broke off
        """
        if self.stays_in_doubt(row):
            return
        answer = row.answer
        if row.in_doubt:
            answer = answer or INTERRUPTED
            words = f"{answer.message}; no further attempt: {why or RUN_ENDED}"
            self.end(row, answer._replace(message=words), Status.UNKNOWN)
        elif answer is not None and answer.http_status is not None:
            words = f"{answer.message}; no further attempt: {why or RUN_ENDED}"
            answer = answer._replace(message=words, hint=RESUME_SENDS_IT)
            self.end(row, answer, Status.NOT_ATTEMPTED)
        elif row.is_claimed:  # nothing of it ever left
            self._recorder.release_claims([row.job.row])

    def stays_in_doubt(self, row: Row) -> bool:
        """Whether a stop leaves `row` in doubt, instead of ending it."""
        return stays_in_doubt(
            in_doubt=row.in_doubt,
            is_repeatable=row.is_repeatable,
            can_be_read=self._can_be_read[row.job.operation],
        )
