"""Sends update requests and does what `row.py` decides after the answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from pipeline.http_client.wire import unmatched_reply
from pipeline.model import Answer, Effect, NoReply, Reply, ReplyStanding, Verdict
from pipeline.pacing.account_limiter import AccountLimiter, Permit
from pipeline.pacing.margin import arrival_s
from pipeline.workers.answers import is_judged, is_plain_success, update_answers
from pipeline.workers.batches import Batch, Row, request_for
from pipeline.workers.bisection import Bisector, GroupParts
from pipeline.workers.dependencies import Dependencies, RequestOutcome, RequestStep
from pipeline.workers.held_replies import HeldReplies
from pipeline.workers.own_answers import INTERRUPTED
from pipeline.workers.reply_certainty import certain_at_s, update_typical_s
from pipeline.workers.row import (
    Facts,
    Finish,
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


class InFlight(Permit):
    """A request that was started, and its permit. It is called with what came of it.

    came  None until then
    """

    __slots__ = ("_on_end", "batch", "came")

    def __init__(
        self,
        limiter: AccountLimiter,
        number: int,
        left_s: float,
        *,
        batch: Batch,
        connection: Any,
        on_end: Callable[[InFlight], None],
    ) -> None:
        super().__init__(limiter, number, left_s, connection)
        self.batch = batch
        self.came: Reply | NoReply | Exception | None = None
        self._on_end = on_end

    @property
    def standing(self) -> ReplyStanding | None:
        """What may still become known about its reply; None if nothing can, or there is none."""
        return self.came.standing if isinstance(self.came, Reply) else None

    def trip_s(self, now_s: float) -> tuple[float, float]:
        """When it was sent, and when what came of it arrived, which was read at `now_s`."""
        came, left_s = self.came, self.left_s
        return left_s, arrival_s(came, left_s, now_s) if isinstance(came, Reply) else now_s

    def __call__(self, came: Reply | NoReply | Exception) -> None:
        """Note what came of it."""
        self.came = came
        self._on_end(self)


class Attempts(RequestStep):
    """Sends batches of one account."""

    def __init__(self, deps: Dependencies, bisector: Bisector) -> None:
        super().__init__(deps)
        self._bisector = bisector
        self._plain = {
            op.name: Answer(Verdict.OK, Effect.APPLIED, op.plain_success)
            for op in deps.account.vendor.operations
            if op.plain_success is not None
        }
        self._no_facts = Facts(deps.account.retry)
        self._typical_s: float | None = None
        self.held_replies = HeldReplies(self._clock)

    def start(self, request: InFlight) -> None:
        """Send one request for the rows of its batch; `on_started` follows.

        raises  what a bug raises: the rows have ended then, for the bug would occur again
        """
        batch = request.batch
        self._count_attempt(batch, request.left_s)
        operation = self._account.operation(batch[0].job.operation)
        try:
            message = request_for(operation, self._account.settings, batch)
            self._deps.wire.start(request.connection, message, request)
        except Exception:
            self._end_after_bug(batch, was_answered=False)
            raise

    def _count_attempt(self, batch: Batch, now_s: float) -> None:
        if batch[0].attempts:
            self._deps.traffic.retries += 1
        for row in batch:
            on_sent(row, Step.UPDATE, now_s)

    def on_started(self, count: int, now_s: float) -> None:
        """Count requests that were started at `now_s`."""
        self._deps.traffic.on_sent(now_s, count)
        self._deps.concurrency.on_sent(self._deps.traffic.in_flight)

    def on_unreached(self, batch: Batch, permit: Permit, lost: NoReply) -> RequestOutcome | None:
        """Act on an attempt that got no connection."""
        self.on_started(1, permit.left_s)
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

    # Many plain successes at once, while nothing is in doubt about the account...

    def is_plain(self, request: InFlight) -> bool:
        """True if one row was sent, and its reply is a plain success: `on_successes` is enough."""
        batch, came = request.batch, request.came
        answer = self._plain.get(batch[0].job.operation)
        return (
            answer is not None
            and len(batch) == 1
            and isinstance(came, Reply)
            and came.status == answer.http_status
            and not (came.body or came.is_cut)
        )

    def on_successes(
        self,
        requests: Sequence[InFlight],
        trips_s: Sequence[tuple[float, float]],
        now_s: float,
    ) -> None:
        """As `on_end` for each of `requests`, which are plain and ended at `now_s`.

        Only while the account is calm; see `AccountSender.is_calm`.

        trips_s  when each was sent, and when its reply arrived
        """
        took_s = [came_s - left_s for left_s, came_s in trips_s]
        self._deps.traffic.on_end(len(requests))
        self._deps.traffic.add_latencies(took_s)
        self._deps.concurrency.on_successes(trips_s, now_s)
        for each_s in took_s:
            self._typical_s = update_typical_s(self._typical_s, each_s)
        held, certain = list[InFlight](), list[InFlight]()
        for request in requests:
            (certain if request.standing is None else held).append(request)
        if held:
            due_s = certain_at_s(now_s, max(trips_s)[0], self._typical_s or 0.0)
            is_urgent = self._is_urgent([request.batch[0] for request in held])
            self.held_replies.hold(due_s, partial(self._decide_plain, held), is_urgent=is_urgent)
        if certain:
            self._decide_plain(certain)

    def _is_urgent(self, rows: Sequence[Row]) -> bool:
        """True if a newer row waits for one of `rows`, or a kill would leave one in doubt."""
        return self._queue.backlog.are_awaited(rows) or not all(row.is_repeatable for row in rows)

    def _decide_plain(self, requests: Sequence[InFlight]) -> None:
        """As `_decide` for each of `requests`, none of which may be in doubt by now."""
        ended, latest_s = list[tuple[Row, Finish]](), -math.inf
        is_idle = self._bisector.is_idle
        for request in requests:
            batch, standing = request.batch, request.standing
            answer = self._plain[batch[0].job.operation]
            if standing is not None and standing.is_doubtful:
                self._decide(batch, self._unmatched_answers(batch), request.left_s)
            elif not is_idle:
                self._decide(batch, (answer,), request.left_s)
            else:
                latest_s = max(latest_s, request.left_s)
                action = after_update(batch[0], answer, self._no_facts)
                if isinstance(action, Finish):  # it always is
                    ended.append((batch[0], action))
        if ended:
            self._bisector.on_answer([], latest_s, is_judged=True)
            self._result_writer.end_all(ended)

    def on_abort(self, batch: Batch) -> None:
        """End or keep the rows of a request that was aborted: it may have arrived."""
        self._deps.traffic.on_end()
        for row in batch:
            on_cut_off(row)
            self._result_writer.on_stop(row, INTERRUPTED.message)

    def _answers(self, batch: Batch, reply: Reply | NoReply) -> tuple[Answer, ...]:
        operation = self._account.operation(batch[0].job.operation)
        if is_plain_success(operation, reply):
            return (self._plain[operation.name],) * len(batch)
        jobs = [operation.job_type.trusted(row.text) for row in batch]
        return update_answers(operation, self._account.settings, jobs, reply)

    def _end_after_bug(self, batch: Batch, *, was_answered: bool) -> None:
        for row in batch:
            end = after_bug(row, Step.UPDATE, was_answered=was_answered)
            self._perform(row, Step.UPDATE, end)

    def _on_reply(
        self, batch: Batch, permit: Permit, reply: Reply | NoReply, answers: Sequence[Answer]
    ) -> RequestOutcome:
        took_s = self._clock() - permit.left_s
        self._deps.traffic.add_latencies([took_s])
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
            self._queue.send_apart(parts.now)
        for group in parts.later:
            delay_s = group_delay_s(group[0], self._account.retry, self._jitter())
            self._queue.retry(group, delay_s)


_HELD_VERDICTS = (Verdict.OK, Verdict.REJECTED, Verdict.THROTTLED)  # few: no hash is quicker


def _is_held(answers: Sequence[Answer]) -> bool:
    """True if the reply alone would decide how its rows go on."""
    return all(answer.verdict in _HELD_VERDICTS for answer in answers)
