"""Resolves doubt: reads the entity of a row that may have been applied, and compares."""

from __future__ import annotations

from pipeline.model import Answer, Effect, NoReply, Reply, Status, Verdict
from pipeline.model.retry import next_delay_s
from pipeline.pacing.account_limiter import Permit
from pipeline.workers.answers import read_answer
from pipeline.workers.batches import Batch, Row
from pipeline.workers.dependencies import Dependencies, RequestOutcome, RequestStep
from pipeline.workers.held_replies import when_certain
from pipeline.workers.preconditions import Preconditions
from pipeline.workers.read_outcome import FoundState, Resolution, compare_read, resolve
from pipeline.workers.result_writer import INTERRUPTED, INTERRUPTED_EARLIER
from pipeline.workers.retry_or_end import end_without_success, is_unconfirmed


class VerificationRead(RequestStep):
    """Reads the entities of rows in doubt; then ends the rows, or has them sent or read again."""

    def __init__(self, deps: Dependencies, preconditions: Preconditions) -> None:
        super().__init__(deps)
        self._preconditions = preconditions

    def is_due(self, row: Row) -> bool:
        """True if the next request for `row` is a verification read."""
        return row.needs_read or (row.in_doubt and not row.is_repeatable)

    def can_read(self, row: Row) -> bool:
        """True if the vendor supports reads and `row` has a read left."""
        reading = self._account.operation(row.job.operation).reading
        return reading is not None and row.reads < self._account.retry.max_attempts

    def schedule_read(self, row: Row, delay_s: float = 0.0) -> None:
        """Read the entity of `row` after `delay_s` seconds."""
        row.needs_read = True
        self._queue.retry([row], delay_s)

    async def read(self, row: Row, permit: Permit) -> RequestOutcome | None:
        """Read the entity of a row in doubt; None if no request was sent."""
        settings, operation = self._account.settings, self._account.operation(row.job.operation)
        if operation.reading is None:
            self._result_writer.end(row, row.answer or INTERRUPTED_EARLIER, Status.UNKNOWN)
            return None
        if not row.attempts:
            row.attempts, row.first_sent_s, row.last_sent_s = 1, *[self._clock()] * 2
        job = operation.job_type.trusted(row.text)
        try:
            reply = await self._exchange(operation.reading.request(settings, job), permit)
            reply = await when_certain(reply, self._deps.peer)
        except Exception:
            # a bug in our code would occur again: end the row instead of reading it again
            self._result_writer.end(row, row.answer or INTERRUPTED, Status.UNKNOWN)
            raise
        if isinstance(reply, NoReply) and reply.lost_turn:
            self._queue.requeue([row])
            return None
        answer = read_answer(reply)
        self._deps.on_answer(permit, [row], reply, answer, is_read=True)
        self._result_writer.exchanges.on_read(row, reply)
        row.reads += self._deps.concurrency.is_counted(row, answer)
        found = compare_read(operation.reading, settings, job, reply)
        if found is None:
            self._retry_read(row, answer)
        else:
            self._resolve(row, found)
        return RequestOutcome((answer,), is_read=True)

    async def can_read_now(self, row: Row, permit: Permit) -> bool:
        """Read the entity of an updated row; True if the vendor still returns its state."""
        reading = self._account.operation(row.job.operation).reading
        if reading is None:
            return False
        settings, operation = self._account.settings, self._account.operation(row.job.operation)
        job = operation.job_type.trusted(row.text)
        reply = await self._exchange(reading.request(settings, job), permit)
        return isinstance(reply, Reply) and reading.state(settings, job, reply) is not None

    def _retry_read(self, row: Row, answer: Answer) -> None:
        """Read again after a read that showed no state; after the last one end or hold `row`."""
        delay_s = self._read_delay_s(row, answer, row.reads)
        if delay_s is not None:
            self.schedule_read(row, delay_s)
        elif answer.verdict is Verdict.FATAL or not self._deps.traffic.has_reply:
            # if the account stops, another process can resolve the row
            self._deps.undecided.hold([row], answer, self._end_unknown, is_read=True)
        else:
            self._end_unknown([row], answer)

    def _end_unknown(self, rows: Batch, _answer: Answer) -> None:
        """End a row that no read can resolve."""
        self._result_writer.end(rows[0], rows[0].answer or INTERRUPTED_EARLIER, Status.UNKNOWN)

    def _resolve(self, row: Row, found: FoundState) -> None:
        since_attempt_s = self._clock() - row.last_sent_s
        match resolve(found, since_attempt_s):
            case Resolution.APPLIED:
                applied = Answer(Verdict.OK, Effect.APPLIED, receipt=found.receipt)
                self._result_writer.end(row, applied, Status.UPDATED)
            case Resolution.UNDECIDED:
                self._result_writer.end(row, row.answer or INTERRUPTED_EARLIER, Status.UNKNOWN)
            case Resolution.TOO_EARLY:
                row.reads -= 1  # this read uses up none: the next one is certain to decide
                self.schedule_read(row, found.settle_after_s - since_attempt_s)
            case Resolution.NOT_APPLIED:
                self._on_not_applied(row)

    def _on_not_applied(self, row: Row) -> None:
        """Send `row` again if it has an attempt left: a read showed that it was not applied."""
        row.in_doubt = row.needs_read = False
        answer = row.answer or INTERRUPTED_EARLIER
        if self._preconditions.may_be_stale(row, answer):
            self._preconditions.read_again(row)
            return
        delay_s = None
        if not is_unconfirmed(answer):  # another attempt would get the same answer
            delay_s = next_delay_s(
                self._account.retry, answer, row.counted_attempts, self._jitter()
            )
        if delay_s is not None:
            self._queue.retry([row], delay_s)
            return
        status = end_without_success(answer, in_doubt=False)
        if status is Status.FAILED:
            answer = answer._replace(
                hint="a read showed that it was not applied: send the row again"
            )
        self._result_writer.end(row, answer, status)
