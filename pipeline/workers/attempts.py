"""Sends update requests and does what `row.py` decides after the answers."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.model import Answer, Effect, NoReply, Reply, ReplyStanding, Verdict
from pipeline.pacing.account_limiter import Permit
from pipeline.workers.answers import is_judged, is_plain_success, update_answers
from pipeline.workers.batches import Batch
from pipeline.workers.bisection import Bisector, GroupParts
from pipeline.workers.dependencies import Dependencies, RequestOutcome, RequestStep
from pipeline.workers.held_replies import HeldReplies
from pipeline.workers.own_answers import INTERRUPTED
from pipeline.workers.reply_certainty import certain_at_s, update_typical_s
from pipeline.workers.requests import request_for
from pipeline.workers.row import (
    Facts,
    Hold,
    Step,
    Then,
    Wait,
    after_bug,
    after_update,
    group_delay_s,
    on_cut_off,
    on_lost_turn,
    on_sent,
)
from pipeline.workers.transport import unmatched_reply
from pipeline.workers.wire import OnReply


class Attempts(RequestStep):
    """Sends batches of one account."""

    def __init__(self, deps: Dependencies, bisector: Bisector) -> None:
        super().__init__(deps)
        self._bisector = bisector
        self._no_facts = Facts(deps.account.retry)
        self._typical_s: float | None = None
        self.held_replies = HeldReplies(self._clock)

    def start(self, batch: Batch, permit: Permit, connection: object, on_reply: OnReply) -> None:
        """Send one request for the rows of `batch` on `connection`.

        on_reply  called later; the caller then calls `on_end`
        raises    what a bug raises: the rows have ended then, for the bug would occur again
        """
        self._deps.traffic.on_sent(permit.left_s)
        self._count_attempt(batch, permit.left_s)
        operation = self._account.operation(batch[0].job.operation)
        try:
            request = request_for(operation, self._account.settings, batch)
            self._deps.wire.start(connection, request, on_reply)
        except Exception:
            self._deps.traffic.on_end()
            self._end_after_bug(batch, was_answered=False)
            raise

    def on_unreached(self, batch: Batch, permit: Permit, lost: NoReply) -> RequestOutcome | None:
        """Act on an attempt that got no connection."""
        self._deps.traffic.on_sent(permit.left_s)
        self._count_attempt(batch, permit.left_s)
        return self.on_end(batch, permit, lost)

    def on_end(
        self, batch: Batch, permit: Permit, reply: Reply | NoReply | Exception
    ) -> RequestOutcome | None:
        """Act on what came of a request; None if it was not sent.

        raises  the exception that it is given, and as `start`
        """
        self._deps.traffic.on_end()
        if isinstance(reply, Exception):
            self._end_after_bug(batch, was_answered=False)
            raise reply
        permit.on_reply(reply)
        try:
            answers = self._answers(batch, reply)
        except Exception:
            self._end_after_bug(batch, was_answered=True)
            raise
        if isinstance(reply, NoReply) and reply.lost_turn:
            for row in batch:
                on_lost_turn(row)
            self._queue.requeue(batch)
            return None
        return self._on_reply(batch, permit, reply, answers)

    def on_abort(self, batch: Batch) -> None:
        """End or keep the rows of a request that was aborted: it may have arrived."""
        self._deps.traffic.on_end()
        for row in batch:
            on_cut_off(row)
            self._result_writer.on_stop(row, INTERRUPTED.message)

    def _answers(self, batch: Batch, reply: Reply | NoReply) -> tuple[Answer, ...]:
        operation = self._account.operation(batch[0].job.operation)
        if is_plain_success(operation, reply):
            return (Answer(Verdict.OK, Effect.APPLIED, operation.plain_success),) * len(batch)
        jobs = [operation.job_type.trusted(row.text) for row in batch]
        return update_answers(operation, self._account.settings, jobs, reply)

    def _end_after_bug(self, batch: Batch, *, was_answered: bool) -> None:
        for row in batch:
            end = after_bug(row, Step.UPDATE, was_answered=was_answered)
            self._perform(row, Step.UPDATE, end)

    def _count_attempt(self, batch: Batch, now_s: float) -> None:
        self._deps.concurrency.on_sent(self._deps.traffic.in_flight)
        if batch[0].attempts:
            self._deps.traffic.retries += 1
        for row in batch:
            on_sent(row, Step.UPDATE, now_s)

    def _on_reply(
        self, batch: Batch, permit: Permit, reply: Reply | NoReply, answers: Sequence[Answer]
    ) -> RequestOutcome:
        took_s = self._clock() - permit.left_s
        self._deps.traffic.add_latency(took_s)
        self._deps.on_answer(permit, batch, reply, answers[0])
        distinct = tuple(dict.fromkeys(answers)) if len(answers) > 1 else tuple(answers)
        if any(answer.verdict is not Verdict.OK for answer in distinct):
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
        reply = unmatched_reply(self._deps.peer)
        answers = self._answers(batch, reply)
        self._result_writer.exchanges.on_reply(batch, reply)
        self._deps.traffic.recent_errors.add(answers[0])
        return answers

    def _decide(self, batch: Batch, answers: Sequence[Answer], sent_s: float) -> None:
        """End each row, or send it again: with its batch, apart from it, or after a read."""
        jitter = self._jitter()  # one for all: rows of a batch stay together
        apart: Batch = []
        held: Batch = []
        again: Batch = []
        delay_s = 0.0
        for row, answer in zip(batch, answers, strict=True):
            is_plain = answer.verdict is Verdict.OK
            facts = self._no_facts if is_plain else self._facts(row, answer, jitter)
            action = after_update(row, answer, facts, size=len(batch))
            if action is Then.APART:
                apart.append(row)
            elif isinstance(action, Hold) and len(batch) > 1:
                held.append(row)
            elif isinstance(action, Wait) and not action.is_alone:
                again.append(row)
                delay_s = max(delay_s, action.delay_s)
            else:
                self._perform(row, Step.UPDATE, action)
        if again:
            self._queue.retry(again, delay_s)
        if held and held[0].answer is not None:
            self._deps.undecided.hold(held, Step.UPDATE, held[0].answer, is_group=True)
        if apart:
            parts = self._bisector.on_refused(apart, sent_s)
        else:
            parts = self._bisector.on_answer(batch, sent_s, is_judged=is_judged(answers[0]))
        self._send_parts(parts)

    def _send_parts(self, parts: GroupParts) -> None:
        """Send the parts of refused groups; retry the groups that stay whole."""
        if parts.now or parts.later:
            self._queue.send_apart(parts)
        for group in parts.later:
            delay_s = group_delay_s(group[0], self._account.retry, self._jitter())
            self._queue.retry(group, delay_s)


_HELD_VERDICTS = (Verdict.OK, Verdict.REJECTED, Verdict.THROTTLED)  # few: no hash is quicker


def _is_held(answers: Sequence[Answer]) -> bool:
    """True if the reply alone would decide how its rows go on."""
    return all(answer.verdict in _HELD_VERDICTS for answer in answers)
