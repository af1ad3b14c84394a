"""One sending of a request, and what follows from its answers for each of its rows."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.model import Answer, NoReply, Reply, ReplyStanding, Status, Verdict
from pipeline.model.retry import ceiling_s
from pipeline.pacing.permit import Permit
from pipeline.workers.answers import update_answers
from pipeline.workers.batches import Batch, Row, halves
from pipeline.workers.bisection import Bisector, GroupParts, goes_apart
from pipeline.workers.dependencies import Dependencies, RequestOutcome
from pipeline.workers.held_replies import HeldReplies
from pipeline.workers.preconditions import Preconditions
from pipeline.workers.reply_certainty import certain_at_s, update_typical_s
from pipeline.workers.result_writer import INTERRUPTED, UNREADABLE
from pipeline.workers.retry_or_end import Retry, is_in_doubt, is_judged, next_action
from pipeline.workers.transport import NeverLeftError, unmatched_reply
from pipeline.workers.verification_read import VerificationRead


class Attempts:
    """Sends batches, and lets their rows go on: again, apart, to a read, to their end."""

    def __init__(
        self,
        deps: Dependencies,
        preconditions: Preconditions,
        verification_read: VerificationRead,
        bisector: Bisector,
    ) -> None:
        self._preconditions = preconditions
        self._account = deps.account
        self._deps = deps
        self._queue = deps.queue
        self._result_writer = deps.result_writer
        self._clock = deps.environment.clock
        self._jitter = deps.environment.jitter
        self._verification_read = verification_read
        self._bisector = bisector
        self._typical_s: float | None = None
        self.held_replies = HeldReplies(deps.environment.clock)

    async def send(self, batch: Batch, permit: Permit) -> RequestOutcome | None:
        """One request for the rows of `batch`; None where it did not leave."""
        settings = self._account.settings
        operation = self._account.operation(batch[0].job.operation)
        reply: Reply | NoReply | None = None
        try:
            with self._deps.traffic.request(permit.left_s):
                self._count_attempt(batch, permit.left_s)
                jobs = [operation.job_type.trusted(row.text) for row in batch]
                reply = await self._deps.send(operation.encode(settings, jobs))
                permit.back(reply)
                answers = update_answers(operation, settings, jobs, reply)
        except Exception:
            # an error of ours would come again: these rows are not left to be sent once more
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
        took_s = self._clock() - permit.left_s
        self._deps.traffic.add_latency(took_s)
        self._deps.on_answer(permit, batch, reply, answers[0])
        different = tuple(dict.fromkeys(answers))
        if any(answer.verdict is not Verdict.OK for answer in answers):
            self._result_writer.exchanges.on_reply(batch, reply)
            for answer in different:
                self._deps.traffic.recent_errors.add(answer)
        if isinstance(reply, Reply) and reply.standing is not None and _is_held(different):
            self._hold(batch, answers, permit.left_s, took_s, reply.standing)
            return RequestOutcome(different, is_read=False, is_end=False)
        is_end = self._decide(batch, answers, permit.left_s)
        return RequestOutcome(different, is_read=False, is_end=is_end)

    def _hold(
        self,
        batch: Batch,
        answers: Sequence[Answer],
        sent_s: float,
        took_s: float,
        standing: ReplyStanding,
    ) -> None:
        """Decide a moment later, when the reply is sure."""
        self._typical_s = update_typical_s(self._typical_s, took_s)

        def decide() -> None:
            self._decide(
                batch, self._unmatched_answers(batch) if standing.is_doubtful else answers, sent_s
            )

        self.held_replies.hold(certain_at_s(sent_s + took_s, sent_s, self._typical_s), decide)

    def _unmatched_answers(self, batch: Batch) -> tuple[Answer, ...]:
        """The answers to `batch` when it is not known whose reply came."""
        settings = self._account.settings
        operation = self._account.operation(batch[0].job.operation)
        jobs = [operation.job_type.trusted(row.text) for row in batch]
        lost = unmatched_reply(self._deps.peer)
        answers = update_answers(operation, settings, jobs, lost)
        self._result_writer.exchanges.on_reply(batch, lost)
        self._deps.traffic.recent_errors.add(answers[0])
        return answers

    def _count_attempt(self, batch: Batch, now_s: float) -> None:
        """Count an attempt."""
        self._deps.concurrency.on_sent(self._deps.traffic.in_flight)
        if batch[0].attempts:
            self._deps.traffic.retries += 1
        for row in batch:
            if not row.attempts:
                row.first_sent_s = now_s
            row.attempts += 1
            row.last_sent_s = now_s

    def _decide(self, batch: Batch, answers: Sequence[Answer], sent_s: float) -> bool:
        """What becomes of each row; whether none of them is sent again."""
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
            self._send_parts(self._bisector.on_refused(refused, sent_s))
        else:
            self._send_parts(
                self._bisector.on_answer(batch, sent_s, is_judged=is_judged(answers[0]))
            )
        return not again and not refused

    def _is_sent_apart(self, row: Row, answer: Answer, size: int) -> bool:
        """Whether `row` goes apart from the others of its request: one of them may be at fault."""
        most = self._account.retry.max_attempts
        counted_attempts = max(
            row.counted_attempts + 1, self._deps.concurrency.counted_attempts(row, answer, most)
        )
        return goes_apart(answer, size, counted_attempts, most)

    def _next_action(self, row: Row, answer: Answer, jitter: float) -> Retry | Status:
        """What becomes of `row`; its try is counted, where the answer says something about it."""
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
        """`status` is how `row` ends, unless a read can tell better."""
        if status is Status.REJECTED and self._preconditions.may_be_stale(row, answer):
            self._preconditions.read_again(row)
        elif status is Status.UNKNOWN and self._verification_read.can_read(row):
            self._verification_read.schedule_read(row)
        elif answer.verdict is Verdict.FATAL:
            self._deps.undecided.hold([row], answer, self._is_about_row)
        elif status is Status.FAILED and answer.http_status is None:
            self._deps.undecided.hold_unreached(row)
        else:
            self._result_writer.end(row, answer, status)

    def _split(self, rows: Batch, _answer: Answer) -> None:
        """The account works: what refused a group was about one of its rows, or some."""
        self._queue.send_apart(GroupParts(now=tuple(halves(rows))))

    def _is_about_row(self, rows: Batch, answer: Answer) -> None:
        """The account works: what refused a request was about its row."""
        status = Status.UNKNOWN if rows[0].in_doubt else Status.REJECTED
        self._result_writer.end(rows[0], answer, status)

    def _send_parts(self, parts: GroupParts) -> None:
        """Send the parts of refused groups, or whole groups once more."""
        self._queue.send_apart(parts)
        for group in parts.later:
            delay_s = (
                ceiling_s(self._account.retry, max(1, group[0].counted_attempts)) * self._jitter()
            )
            self._queue.retry(group, delay_s)


_SURE_TO_COUNT = frozenset({Verdict.OK, Verdict.REJECTED, Verdict.THROTTLED})


def _is_held(answers: Sequence[Answer]) -> bool:
    """Whether an answer takes the reply's word for what became of the update."""
    return all(answer.verdict in _SURE_TO_COUNT for answer in answers)
