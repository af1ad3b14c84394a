"""What the parts that send one account's rows share; `RequestStep` is their base."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

from yarl import URL

from pipeline.model import Answer, NoReply, Reply, Request, Status
from pipeline.model.retry import next_delay_s
from pipeline.model.wire import UNSURE_WHOSE
from pipeline.pacing.account_limiter import Permit
from pipeline.vendors import Account
from pipeline.workers.batches import Batch, Row
from pipeline.workers.concurrency_limiter import ConcurrencyLimiter
from pipeline.workers.fail_fast import FAIL_FAST_AFTER
from pipeline.workers.precheck import NO_PRECHECKS, PrecheckPolicy
from pipeline.workers.result_writer import ResultWriter
from pipeline.workers.row_queue import RowQueue
from pipeline.workers.traffic import Traffic
from pipeline.workers.transport import host_port
from pipeline.workers.undecided import Undecided

Send = Callable[[Request], Awaitable[Reply | NoReply]]


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
    """

    clock: Callable[[], float]
    jitter: Callable[[], float]
    fail_fast_after: int = FAIL_FAST_AFTER
    coalesce: bool = False
    prechecks: PrecheckPolicy = NO_PRECHECKS
    previous_state: Callable[[int], str | None] = lambda _row: None
    on_end: Callable[[Status], None] = lambda _status: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """Shared dependencies of one account's request steps."""

    account: Account
    send: Send
    concurrency: ConcurrencyLimiter
    environment: SenderEnvironment
    traffic: Traffic
    queue: RowQueue
    result_writer: ResultWriter
    undecided: Undecided

    @property
    def peer(self) -> str:
        """The vendor's host and port, for messages."""
        return host_port(URL(self.account.link.base_url))

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
        permit.on_answer(answer)
        self.concurrency.on_answer(batch, answer, permit.left_s, is_read=is_read)


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
        with self._deps.traffic.request(permit.left_s):
            reply = await self._deps.send(request)
            permit.on_reply(reply)
        return reply

    def _read_delay_s(self, row: Row, answer: Answer, reads: int) -> float | None:
        """Return the seconds until `row` is read again; None if `answer` was the last read's.

        reads  reads of the row that count toward `max_attempts`, this one included
        """
        is_counted = self._deps.concurrency.is_counted(row, answer)
        attempt = row.throttles.attempt(reads, is_counted=is_counted)
        return next_delay_s(
            self._account.retry, answer, attempt, self._jitter(), is_counted=is_counted
        )


class RequestOutcome(NamedTuple):
    """The answers to one request.

    answers  the distinct answers of its rows
    is_read  True for a read: a refusal says nothing about updates
    """

    answers: tuple[Answer, ...]
    is_read: bool
