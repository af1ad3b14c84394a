"""What the parts that send one account's rows share; `RequestStep` is their base."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipeline.http_client.link_urls import host_port
from pipeline.http_client.wire import Wire
from pipeline.model import Answer, NoReply, Reply, Request, Status
from pipeline.model.wire import UNSURE_WHOSE
from pipeline.pacing.account_limiter import Permit
from pipeline.pacing.permits import exchange
from pipeline.vendors import Account
from pipeline.workers.batches import Batch, Row
from pipeline.workers.concurrency_limiter import ConcurrencyLimiter
from pipeline.workers.fail_fast import FAIL_FAST_AFTER
from pipeline.workers.precheck import NO_PRECHECKS, PrecheckPolicy
from pipeline.workers.result_writer import ResultWriter
from pipeline.workers.row import Action, Facts, Finish, Hold, Step, Then, Wait
from pipeline.workers.row_queue import RowQueue
from pipeline.workers.traffic import Traffic
from pipeline.workers.undecided import Undecided


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderEnvironment:
    """What an account's sender gets from the run.

    clock            monotonic seconds
    jitter           draws from [0, 1)
    fail_fast_after  equal refusals at the start that stop the account; 0 never stops it
    coalesce         a row that replaces its whole entity covers older rows of the entity
    prechecks        which rows have their entity read before they are sent
    previous_state   row in doubt -> what its entity held before the first attempt; None if that is
                     not on record
    on_end           called with the status of each row that ends
    is_gated         True if `on_end` may stop the account: few rows are undecided at a time then
    """

    clock: Callable[[], float]
    jitter: Callable[[], float]
    fail_fast_after: int = FAIL_FAST_AFTER
    coalesce: bool = False
    prechecks: PrecheckPolicy = NO_PRECHECKS
    previous_state: Callable[[int], str | None] = lambda _row: None
    on_end: Callable[[Status], None] = lambda _status: None
    is_gated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """Shared dependencies of one account's request steps."""

    account: Account
    wire: Wire[Any]
    concurrency: ConcurrencyLimiter
    environment: SenderEnvironment
    traffic: Traffic
    queue: RowQueue
    result_writer: ResultWriter
    undecided: Undecided

    @property
    def peer(self) -> str:
        """The vendor's host and port, for messages."""
        return host_port(self.account.link.base_url)

    def on_answer(
        self,
        permit: Permit,
        batch: Batch,
        reply: Reply | NoReply,
        answer: Answer,
        *,
        is_read: bool = False,
    ) -> None:
        """Pass the answer to a request for `batch` to the limiters."""
        self.traffic.has_reply |= isinstance(reply, Reply) or reply.reason in UNSURE_WHOSE
        is_stray = permit.on_answer(answer)
        left_s = permit.left_s
        self.concurrency.on_answer(batch, answer, left_s, is_read=is_read, is_stray=is_stray)


class RequestStep:
    """Base of the steps of a row that make requests: attempts and the three kinds of reads."""

    def __init__(self, deps: Dependencies) -> None:
        self._deps = deps
        self._account = deps.account
        self._queue = deps.queue
        self._result_writer = deps.result_writer
        self._clock = deps.environment.clock
        self._jitter = deps.environment.jitter

    async def _exchange(self, request: Request, permit: Permit) -> Reply | NoReply:
        """Send a read and count it as traffic."""
        traffic = self._deps.traffic
        traffic.on_sent(permit.left_s)
        try:
            return await exchange(self._deps.wire, permit, request)
        finally:
            traffic.on_end()

    def _facts(self, row: Row, answer: Answer, jitter: float) -> Facts:
        """Return what the account knows, now that `answer` has arrived for `row`."""
        operation, settings = self._account.operation(row.job.operation), self._account.settings
        guard, concurrency = operation.guard, self._deps.concurrency
        return Facts(
            self._account.retry,
            can_be_read=operation.reading is not None,
            jitter=jitter,
            is_counted=concurrency.is_counted(row, answer),
            is_last_call=concurrency.is_last_call(row, answer),
            has_reply=self._deps.traffic.has_reply,
            refuses_guard=lambda answer: guard is not None and guard.refusal(settings, answer),
        )

    def _perform(self, row: Row, step: Step, action: Action) -> None:
        """Carry out what follows from the answer to the request `step` for `row` alone."""
        if isinstance(action, Finish):
            self._result_writer.end(row, action.answer, action.status)
        elif isinstance(action, Wait):
            self._queue.retry([row], action.delay_s)
        elif isinstance(action, Hold):
            self._deps.undecided.hold([row], step, action.answer)
        elif action is Then.AWAIT_CONNECTION:
            self._deps.undecided.hold_unreached(row)
        elif step is Step.GUARD_READ:  # a prechecked row is sent where it was prechecked
            self._queue.send_next([row])


class RequestOutcome(NamedTuple):
    """The answers to one request.

    answers  the distinct answers of its rows
    is_read  True for a read: a refusal says nothing about updates
    """

    answers: tuple[Answer, ...]
    is_read: bool
