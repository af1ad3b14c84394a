"""Doubt about a row is settled by a read: what the vendor holds tells whether it was applied."""

from __future__ import annotations

from pipeline.model import Answer, Effect, NoReply, Reply, Status, Verdict
from pipeline.model.retry import next_delay_s
from pipeline.pacing.account_limiter import Permit
from pipeline.workers.answers import read_answer
from pipeline.workers.batches import Batch, Row
from pipeline.workers.dependencies import Dependencies, RequestOutcome
from pipeline.workers.held_replies import sure
from pipeline.workers.outcome import end_without_success, is_unconfirmed
from pipeline.workers.preconditions import Preconditions
from pipeline.workers.read_outcome import FoundState, found
from pipeline.workers.resolve import Resolution, settled
from pipeline.workers.result_writer import FORGOTTEN, INTERRUPTED


class VerificationRead:
    """Reads entities of rows in doubt, and lets the rows go on from there."""

    def __init__(self, deps: Dependencies, preconditions: Preconditions) -> None:
        self._preconditions = preconditions
        self._account = deps.account
        self._deps = deps
        self._queue = deps.queue
        self._result_writer = deps.result_writer
        self._clock = deps.environment.clock
        self._jitter = deps.environment.jitter

    def is_next(self, row: Row) -> bool:
        """Whether the next request for `row` is a read."""
        return row.is_to_read or (row.in_doubt and not row.is_repeatable)

    def can_read(self, row: Row) -> bool:
        """Whether the vendor can be asked about `row`, once more."""
        reading = self._account.operation(row.job.operation).reading
        return reading is not None and row.reads < self._account.retry.max_attempts

    def reads_next(self, row: Row, delay_s: float = 0.0) -> None:
        """Let the entity of `row` be read, `delay_s` from now."""
        row.is_to_read = True
        self._queue.again([row], delay_s)

    async def read(self, row: Row, permit: Permit) -> RequestOutcome | None:
        """Ask the vendor what it holds for a row in doubt; None where nothing was asked."""
        settings, operation = self._account.settings, self._account.operation(row.job.operation)
        if operation.reading is None:
            self._result_writer.end(row, row.answer or FORGOTTEN, Status.UNKNOWN)
            return None
        if not row.attempts:
            row.attempts, row.first_sent_s, row.last_sent_s = 1, *[self._clock()] * 2
        job = operation.job_type.trusted(row.text)
        try:
            with self._deps.traffic.request(permit.left_s):
                reply = await self._deps.send(operation.reading.request(settings, job))
                permit.on_reply(reply)
            reply = await sure(reply, self._deps.peer)
        except Exception:
            # an error of ours would come again: the row is not left to be read once more
            self._result_writer.end(row, row.answer or INTERRUPTED, Status.UNKNOWN)
            raise
        if isinstance(reply, NoReply) and reply.lost_turn:
            self._queue.stands_in_line_again([row])
            return None
        answer = read_answer(reply)
        self._deps.heard(permit, [row], reply, answer, is_read=True)
        self._result_writer.exchanges.read(row, reply)
        row.reads += self._deps.concurrency.is_counted(row, answer)
        what = found(operation.reading, settings, job, reply)
        if what is not None:
            self._settle(row, what)
        is_end = what is None and not self._reads_again(row, answer)
        return RequestOutcome((answer,), is_read=True, is_end=is_end)

    async def is_told(self, row: Row, permit: Permit) -> bool:
        """Whether the vendor still tells what it holds for a row that was updated."""
        reading = self._account.operation(row.job.operation).reading
        if reading is None:
            return False
        settings, operation = self._account.settings, self._account.operation(row.job.operation)
        job = operation.job_type.trusted(row.text)
        with self._deps.traffic.request(permit.left_s):
            reply = await self._deps.send(reading.request(settings, job))
            permit.on_reply(reply)
        return isinstance(reply, Reply) and reading.state(settings, job, reply) is not None

    def _reads_again(self, row: Row, answer: Answer) -> bool:
        """After a read that told nothing; False where it was the last one."""
        is_counted = self._deps.concurrency.is_counted(row, answer)
        attempt = row.refusals.attempt(row.reads, is_counted=is_counted)
        delay_s = next_delay_s(
            self._account.retry, answer, attempt, self._jitter(), is_counted=is_counted
        )
        if delay_s is not None:
            self.reads_next(row, delay_s)
            return True
        if answer.verdict is Verdict.FATAL or not self._deps.traffic.has_reply:
            # where the account stops another process may settle it
            self._deps.undecided.hold([row], answer, self._is_unsettled, is_read=True)
        else:
            self._is_unsettled([row], answer)
        return False

    def _is_unsettled(self, rows: Batch, _answer: Answer) -> None:
        """The row ends in doubt: no read tells."""
        self._result_writer.end(rows[0], rows[0].answer or FORGOTTEN, Status.UNKNOWN)

    def _settle(self, row: Row, what: FoundState) -> None:
        """What a read showed."""
        since_attempt_s = self._clock() - row.last_sent_s
        match settled(
            is_held=what.is_held,
            can_tell=what.can_tell,
            since_attempt_s=since_attempt_s,
            settle_after_s=what.settle_after_s,
        ):
            case Resolution.APPLIED:
                applied = Answer(Verdict.OK, Effect.APPLIED, receipt=what.receipt)
                self._result_writer.end(row, applied, Status.UPDATED)
            case Resolution.UNDECIDED:
                self._result_writer.end(row, row.answer or FORGOTTEN, Status.UNKNOWN)
            case Resolution.TOO_EARLY:
                row.reads -= 1  # it has to be asked again, once
                self.reads_next(row, what.settle_after_s - since_attempt_s)
            case Resolution.NOT_APPLIED:
                self._was_not_applied(row)

    def _was_not_applied(self, row: Row) -> None:
        """Doubt about `row` is gone: it may be sent again if it has a try left."""
        row.in_doubt = row.is_to_read = False
        answer = row.answer or FORGOTTEN
        if self._preconditions.may_be_stale(row, answer):
            self._preconditions.read_again(row)
            return
        delay_s = None
        if not is_unconfirmed(answer):  # the vendor would answer the same without applying it
            delay_s = next_delay_s(self._account.retry, answer, row.tries, self._jitter())
        if delay_s is not None:
            self._queue.again([row], delay_s)
            return
        status = end_without_success(answer, in_doubt=False)
        if status is Status.FAILED:
            answer = answer._replace(hint="a read showed that it was not applied: send it again")
        self._result_writer.end(row, answer, status)
