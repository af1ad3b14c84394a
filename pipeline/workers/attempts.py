"""Sends update requests and acts on the answers: ends rows, or sends them again or apart.

The decision about a row is `retry_or_end.next_action`.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.model import Answer, NoReply, Reply, ReplyStanding, Status, Verdict
from pipeline.model.retry import ceiling_s
from pipeline.pacing.account_limiter import Permit
from pipeline.workers.answers import update_answers
from pipeline.workers.batches import Batch, Row, halves
from pipeline.workers.bisection import Bisector, GroupParts, goes_apart
from pipeline.workers.dependencies import Dependencies, RequestOutcome, RequestStep
from pipeline.workers.held_replies import HeldReplies
from pipeline.workers.preconditions import Preconditions
from pipeline.workers.reply_certainty import certain_at_s, update_typical_s
from pipeline.workers.requests import request_for
from pipeline.workers.result_writer import INTERRUPTED, UNREADABLE
from pipeline.workers.retry_or_end import Retry, is_in_doubt, is_judged, next_action
from pipeline.workers.transport import NeverLeftError, unmatched_reply
from pipeline.workers.verification_read import VerificationRead


class Attempts(RequestStep):
    """Sends batches of one account."""

    def __init__(
        self,
        deps: Dependencies,
        preconditions: Preconditions,
        verification_read: VerificationRead,
        bisector: Bisector,
    ) -> None:
        super().__init__(deps)
        self._preconditions = preconditions
        self._verification_read = verification_read
        self._bisector = bisector
        self._typical_s: float | None = None
        self.held_replies = HeldReplies(self._clock)

    async def send(self, batch: Batch, permit: Permit) -> RequestOutcome | None:
        """Send one request for the rows of `batch`; None if it was not sent."""
        settings = self._account.settings
        operation = self._account.operation(batch[0].job.operation)
        reply: Reply | NoReply | None = None
        try:
            with self._deps.traffic.request(permit.left_s):
                self._count_attempt(batch, permit.left_s)
                jobs = [operation.job_type.trusted(row.text) for row in batch]
                reply = await self._deps.send(request_for(operation, settings, batch, jobs))
                permit.on_reply(reply)
                answers = update_answers(operation, settings, jobs, reply)
        except Exception:
            # a bug in our code would occur again: end these rows instead of sending them again
            for row in batch:
                self._result_writer.end(
                    row, INTERRUPTED if reply is None else UNREADABLE, Status.UNKNOWN
                )
            raise
        except BaseException as error:
            for row in batch:
                row.in_doubt |= not isinstance(error, NeverLeftError)
                self._result_writer.on_stop(row, INTERRUPTED.message)
            raise
        if isinstance(reply, NoReply) and reply.lost_turn:
            for row in batch:
                row.attempts -= 1
            self._queue.requeue(batch)
            return None
        return self._on_reply(batch, permit, reply, answers)

    def _count_attempt(self, batch: Batch, now_s: float) -> None:
        self._deps.concurrency.on_sent(self._deps.traffic.in_flight)
        if batch[0].attempts:
            self._deps.traffic.retries += 1
        for row in batch:
            if not row.attempts:
                row.first_sent_s = now_s
            row.attempts += 1
            row.last_sent_s = now_s

    def _on_reply(
        self, batch: Batch, permit: Permit, reply: Reply | NoReply, answers: Sequence[Answer]
    ) -> RequestOutcome:
        took_s = self._clock() - permit.left_s
        self._deps.traffic.add_latency(took_s)
        self._deps.on_answer(permit, batch, reply, answers[0])
        distinct = tuple(dict.fromkeys(answers))
        if any(answer.verdict is not Verdict.OK for answer in answers):
            self._result_writer.exchanges.on_reply(batch, reply)
            for answer in distinct:
                self._deps.traffic.recent_errors.add(answer)
        if isinstance(reply, Reply) and reply.standing is not None and _is_held(distinct):
            self._hold(batch, answers, permit.left_s, took_s, reply.standing)
        else:
            self._decide(batch, answers, permit.left_s)
        return RequestOutcome(distinct, is_read=False)

    def _hold(
        self,
        batch: Batch,
        answers: Sequence[Answer],
        sent_s: float,
        took_s: float,
        standing: ReplyStanding,
    ) -> None:
        """Decide once it is certain that the reply answers this request."""
        self._typical_s = update_typical_s(self._typical_s, took_s)

        def decide() -> None:
            self._decide(
                batch, self._unmatched_answers(batch) if standing.is_doubtful else answers, sent_s
            )

        self.held_replies.hold(certain_at_s(sent_s + took_s, sent_s, self._typical_s), decide)

    def _unmatched_answers(self, batch: Batch) -> tuple[Answer, ...]:
        """Return the answers to `batch` if its reply may answer another request."""
        settings = self._account.settings
        operation = self._account.operation(batch[0].job.operation)
        jobs = [operation.job_type.trusted(row.text) for row in batch]
        reply = unmatched_reply(self._deps.peer)
        answers = update_answers(operation, settings, jobs, reply)
        self._result_writer.exchanges.on_reply(batch, reply)
        self._deps.traffic.recent_errors.add(answers[0])
        return answers

    def _decide(self, batch: Batch, answers: Sequence[Answer], sent_s: float) -> None:
        """End each row, or send it again: with its batch, apart from it, or after a read."""
        jitter = self._jitter()  # one for all: rows of a batch stay together
        refused: Batch = []
        fatal: Batch = []
        again: Batch = []
        delay_s = 0.0
        for row, answer in zip(batch, answers, strict=True):
            row.answer = answer
            row.in_doubt = is_in_doubt(answer, was_in_doubt=row.in_doubt)
            if self._is_sent_apart(row, answer, len(batch)):
                refused.append(row)
            elif answer.verdict is Verdict.FATAL and len(batch) > 1:
                fatal.append(row)
            elif isinstance(action := self._next_action(row, answer, jitter), Retry):
                again.append(row)
                delay_s = max(delay_s, action.delay_s)
            else:
                self._end_or_read(row, answer, action)
        if again:
            self._queue.retry(again, delay_s)
        if fatal and fatal[0].answer is not None:
            self._deps.undecided.hold(fatal, fatal[0].answer, self._split, is_group=True)
        if refused:
            parts = self._bisector.on_refused(refused, sent_s)
        else:
            parts = self._bisector.on_answer(batch, sent_s, is_judged=is_judged(answers[0]))
        self._send_parts(parts)

    def _is_sent_apart(self, row: Row, answer: Answer, size: int) -> bool:
        """True if `row` is sent apart from its batch: one of the rows may be at fault."""
        most = self._account.retry.max_attempts
        counted = self._deps.concurrency.counted_attempts(row, answer, most)
        return goes_apart(answer, size, max(row.counted_attempts + 1, counted), most)

    def _next_action(self, row: Row, answer: Answer, jitter: float) -> Retry | Status:
        """Count the attempt if it says something about the row, and decide."""
        concurrency, most = self._deps.concurrency, self._account.retry.max_attempts
        is_counted = concurrency.is_counted(row, answer)
        row.counted_attempts = concurrency.counted_attempts(row, answer, most)
        return next_action(
            self._account.retry,
            answer,
            attempt=row.throttles.attempt(row.counted_attempts, is_counted=is_counted),
            is_counted=is_counted,
            in_doubt=row.in_doubt,
            is_repeatable=row.is_repeatable,
            can_be_read=self._verification_read.can_read(row),
            jitter=jitter,
        )

    def _end_or_read(self, row: Row, answer: Answer, status: Status) -> None:
        """End `row` with `status`, unless a read or other answers may change that."""
        if status is Status.REJECTED and self._preconditions.may_be_stale(row, answer):
            self._preconditions.read_again(row)
        elif status is Status.UNKNOWN and self._verification_read.can_read(row):
            self._verification_read.schedule_read(row)
        elif answer.verdict is Verdict.FATAL:
            self._deps.undecided.hold([row], answer, self._reject)
        elif status is Status.FAILED and answer.http_status is None:
            self._deps.undecided.hold_unreached(row)
        else:
            self._result_writer.end(row, answer, status)

    def _split(self, rows: Batch, _answer: Answer) -> None:
        """Split a group that was refused because of some of its rows."""
        self._queue.send_apart(GroupParts(now=tuple(halves(rows))))

    def _reject(self, rows: Batch, answer: Answer) -> None:
        """End a row whose refusal is about the row, not the account."""
        status = Status.UNKNOWN if rows[0].in_doubt else Status.REJECTED
        self._result_writer.end(rows[0], answer, status)

    def _send_parts(self, parts: GroupParts) -> None:
        """Send the parts of refused groups; retry the groups that stay whole."""
        self._queue.send_apart(parts)
        for group in parts.later:
            ceiling = ceiling_s(self._account.retry, max(1, group[0].counted_attempts))
            self._queue.retry(group, ceiling * self._jitter())


_HELD_VERDICTS = frozenset({Verdict.OK, Verdict.REJECTED, Verdict.THROTTLED})


def _is_held(answers: Sequence[Answer]) -> bool:
    """True if the reply alone would decide how its rows go on."""
    return all(answer.verdict in _HELD_VERDICTS for answer in answers)
