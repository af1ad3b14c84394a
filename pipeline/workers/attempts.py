"""Sends an account's updates, and does what `row.py` decides after the answers.

Plain successes are acted on together; `tests/workers/test_calm.py` holds that equal to one by one.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import Any

from pipeline.http_client.held_replies import HeldReplies
from pipeline.http_client.reply_certainty import certain_at_s, update_typical_s
from pipeline.http_client.wire import unmatched_reply
from pipeline.model import Answer, Effect, NoReply, Reply, ReplyStanding, Verdict
from pipeline.pacing.account_limiter import AccountLimiter, Permit
from pipeline.pacing.margin import arrival_s
from pipeline.workers.answers import is_judged, is_plain_success, update_answers
from pipeline.workers.batches import Batch, Row, request_for
from pipeline.workers.bisection import Bisector, GroupParts
from pipeline.workers.dependencies import Dependencies, RequestStep
from pipeline.workers.own_answers import INTERRUPTED
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

    came     None until then
    answers  what it means for each row of the batch; None for a plain success, which means the same
             for all
    """

    __slots__ = ("_on_end", "answers", "batch", "came")

    def __init__(
        self,
        limiter: AccountLimiter,
        number: int | None,
        left_s: float,
        connection: Any,
        *,
        batch: Batch,
        on_end: Callable[[InFlight], None],
    ) -> None:
        super().__init__(limiter, number, left_s, connection)
        self.batch = batch
        self.came: Reply | NoReply | Exception | None = None
        self.answers: Sequence[Answer] | None = None
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
    """The update requests of one account.

    give_back  called with the batch of a request that is over
    call_soon  called when requests have ended: `act_on_ends` is due

    ended      requests that have ended, in this order, and that nothing has followed from yet
    """

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
        self._requests: set[InFlight] = set()
        self.ended: deque[InFlight] = deque()
        self.held_replies = HeldReplies(self._clock)
        self.give_back: Callable[[Batch], None] = lambda _batch: None
        self.call_soon: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        """Return how many requests were started, those in `ended` included."""
        return len(self._requests)

    # Sending...

    def start(self, batches: Sequence[Batch], connections: Sequence[Any]) -> None:
        """Send `batches`, each on its connection; as many permits are free.

        raises  what a bug raises: the rows of its batch have ended then, for it would occur again
        """
        limiter, now_s = self._account_limiter, self._clock()
        numbers = count(limiter.take(len(batches)))
        requests = [
            InFlight(limiter, number, now_s, connection, batch=batch, on_end=self._on_ended)
            for batch, connection, number in zip(batches, connections, numbers, strict=False)
        ]
        self._requests.update(requests)
        self._count_started(len(requests), now_s)
        for started, request in enumerate(requests):
            try:
                self._start(request)
            except BaseException:
                self._end_unstarted(requests[started:])
                raise

    def _start(self, request: InFlight) -> None:
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

    def _count_started(self, count: int, now_s: float) -> None:
        self._deps.traffic.on_sent(now_s, count)
        self._deps.concurrency.on_sent(self._deps.traffic.in_flight)

    def _end_unstarted(self, requests: Sequence[InFlight]) -> None:
        """End requests after a bug of ours in starting the first of them."""
        for request in requests:
            self._deps.traffic.on_end()
            self._end(request)
        for request in requests[1:]:
            self._deps.wire.give_back(request.connection)
            self._backlog.put_back(request.batch)

    def on_unreached(self, batch: Batch, left_s: float, lost: NoReply) -> None:
        """Act on an attempt that got no connection, which it began to wait for at `left_s`."""
        limiter = self._account_limiter
        request = InFlight(limiter, None, left_s, lost, batch=batch, on_end=self._on_ended)
        request.came = lost
        self._count_started(1, left_s)
        self._count_attempt(batch, left_s)
        self._act_on(request)

    # Ends...

    def _on_ended(self, request: InFlight) -> None:
        self.ended.append(request)
        if len(self.ended) == 1:
            self.call_soon()

    def act_on_ends(self) -> None:
        """Act on what came of requests, in its order: on plain successes together.

        raises  the exception that came of one, or what a bug in reading its reply raises
        """
        while self.ended:
            plain = list[InFlight]()
            if self._owner.is_calm:
                while self.ended and self._is_plain(self.ended[0]):
                    plain.append(self.ended.popleft())
            if plain:
                self._on_successes(plain)
            else:
                self._act_on(self.ended.popleft())

    def _act_on(self, request: InFlight) -> None:
        try:
            self._on_end(request, request.batch)
        finally:
            self._end(request)

    def _end(self, request: InFlight) -> None:
        self._requests.discard(request)
        self.give_back(request.batch)
        request.on_reply()

    def abort(self) -> None:
        """Abort all requests, and end or keep their rows: they may have arrived."""
        for request in tuple(self._requests):
            self._deps.wire.abort(request.connection)
            self._deps.traffic.on_end()
            for row in request.batch:
                on_cut_off(row)
                self._result_writer.on_stop(row, INTERRUPTED.message)
            self._end(request)

    def _on_end(self, request: InFlight, batch: Batch) -> None:
        self._deps.traffic.on_end()
        reply = request.came
        if reply is None or isinstance(reply, Exception):
            self._end_after_bug(batch, was_answered=False)
            raise reply or AssertionError("a request ends with what came of it")
        request.on_reply(reply)
        try:
            answers = self._answers(batch, reply)
        except Exception:
            self._end_after_bug(batch, was_answered=True)
            raise
        if isinstance(reply, NoReply) and reply.lost_turn:
            for row in batch:
                on_lost_turn(row)
            self._backlog.put_back(batch)
            return
        now_s = self._clock()
        took_s = now_s - request.left_s
        self._deps.traffic.add_latencies([took_s])
        self._deps.on_answer(request, batch, reply, answers[0])
        distinct = tuple(dict.fromkeys(answers)) if len(answers) > 1 else tuple(answers)
        if any(answer.verdict is not Verdict.OK for answer in distinct):
            self._remember(batch, reply)
            for answer in distinct:
                self._deps.traffic.recent_errors.add(answer)
        request.answers = answers
        if request.standing is not None and _is_held(distinct):
            self._typical_s = update_typical_s(self._typical_s, took_s)
            self._hold([request], request.left_s, now_s, is_urgent=True)
        else:
            self._decide([request])
        self._owner.on_answers(batch, distinct, request.left_s)

    def _is_plain(self, request: InFlight) -> bool:
        """True if one row was sent, and its reply is a plain success: `_on_successes` is enough."""
        batch = request.batch
        plain = self._plain.get(batch[0].job.operation)
        return plain is not None and len(batch) == 1 and is_plain_success(plain, request.came)

    def _on_successes(self, requests: Sequence[InFlight]) -> None:
        """As `_act_on` for each of `requests`, which are plain, while the account is calm."""
        now_s = self._clock()
        self._requests.difference_update(requests)
        self._deps.concurrency.release([request.batch for request in requests])
        trips_s = [request.trip_s(now_s) for request in requests]
        took_s = [came_s - left_s for left_s, came_s in trips_s]
        self._account_limiter.on_successes(requests, trips_s)
        self._deps.traffic.on_end(len(requests))
        self._deps.traffic.add_latencies(took_s)
        self._deps.concurrency.on_successes(trips_s, now_s)
        for each_s in took_s:
            self._typical_s = update_typical_s(self._typical_s, each_s)
        latest_s = max(trips_s)[0]
        held, certain = list[InFlight](), list[InFlight]()
        for request in requests:
            (certain if request.standing is None else held).append(request)
        if held:
            self._hold(held, latest_s, now_s, is_urgent=self._is_urgent(held))
        self._decide(certain)
        self._deps.undecided.on_success(requests[-1].batch[0], latest_s)

    def _is_urgent(self, requests: Sequence[InFlight]) -> bool:
        """True if a row or the run's end waits for these, or a kill would leave one in doubt."""
        rows = [request.batch[0] for request in requests]
        is_awaited = self._backlog.rows.are_awaited(rows) or not self._backlog.has_others
        return is_awaited or not all(row.is_repeatable for row in rows)

    # Decisions...

    def _hold(
        self, requests: Sequence[InFlight], latest_s: float, now_s: float, *, is_urgent: bool
    ) -> None:
        """Decide once it is certain that the replies answer these requests, sent by `latest_s`."""
        due_s = certain_at_s(now_s, latest_s, self._typical_s or 0.0)
        self.held_replies.hold(due_s, partial(self._decide, requests), is_urgent=is_urgent)

    def _decide(self, requests: Sequence[InFlight]) -> None:
        """End the rows of requests, or send them again; plain successes are recorded together."""
        ended, latest_s = list[tuple[Row, Finish]](), -math.inf
        is_idle = self._bisector.is_idle
        for request in requests:
            batch, standing, answers = request.batch, request.standing, request.answers
            if standing is not None and standing.is_doubtful:
                self._decide_rows(batch, self._unmatched_answers(batch), request.left_s)
                continue
            answer = self._plain[batch[0].job.operation] if answers is None else answers[0]
            if answers is not None or not is_idle:
                self._decide_rows(batch, answers or (answer,), request.left_s)
                continue
            latest_s = max(latest_s, request.left_s)
            action = after_update(batch[0], answer, self._no_facts)
            if isinstance(action, Finish):  # it always is
                ended.append((batch[0], action))
        if ended:
            self._bisector.on_answer([], latest_s, is_judged=True)
            self._result_writer.end(ended)

    def _answers(self, batch: Batch, reply: Reply | NoReply) -> tuple[Answer, ...]:
        operation = self._account.operation(batch[0].job.operation)
        plain = self._plain.get(operation.name)
        if plain is not None and is_plain_success(plain, reply):
            return (plain,) * len(batch)
        jobs = [operation.job_type.trusted(row.text) for row in batch]
        return update_answers(operation, self._account.settings, jobs, reply)

    def _end_after_bug(self, batch: Batch, *, was_answered: bool) -> None:
        for row in batch:
            end = after_bug(row, Step.UPDATE, was_answered=was_answered)
            self._perform(row, Step.UPDATE, end)

    def _unmatched_answers(self, batch: Batch) -> tuple[Answer, ...]:
        """Return the answers to `batch` if its reply may answer another request."""
        reply = unmatched_reply(self._deps.peer)
        answers = self._answers(batch, reply)
        self._remember(batch, reply)
        self._deps.traffic.recent_errors.add(answers[0])
        return answers

    def _remember(self, batch: Batch, reply: Reply | NoReply) -> None:
        sent = {row.job.row: row.text for row in batch}
        self._result_writer.exchanges.on_reply(batch[0].job.operation, sent, reply)

    def _decide_rows(self, batch: Batch, answers: Sequence[Answer], sent_s: float) -> None:
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
            self._backlog.retry(again, self._clock() + delay_s)
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
            self._backlog.send_apart(parts.now)
        for group in parts.later:
            delay_s = group_delay_s(group[0], self._account.retry, self._jitter())
            self._backlog.retry(group, self._clock() + delay_s)


_HELD_VERDICTS = (Verdict.OK, Verdict.REJECTED, Verdict.THROTTLED)  # few: no hash is quicker


def _is_held(answers: Sequence[Answer]) -> bool:
    """True if the reply alone would decide how its rows go on."""
    return all(answer.verdict in _HELD_VERDICTS for answer in answers)
