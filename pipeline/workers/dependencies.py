"""What the parts of a lane send and wait with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

from yarl import URL

from pipeline.model import Answer, NoReply, Reply, Request, Status
from pipeline.model.wire import UNSURE_WHOSE
from pipeline.pacing.permit import Permit
from pipeline.vendors import Account
from pipeline.workers.batches import Batch
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
    """What a lane takes from outside.

    clock        monotonic seconds
    jitter       draws from [0, 1)
    fail_fast_after  equal refusals at the start that stop the account; 0 never does
    coalesce     a row that replaces the whole of its entity covers those before it
    looking      before which rows their entity is read
    before       what the entity of a row in doubt held before its first attempt, as far as that is
                 on record
    ended        is told how each row ends
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
    """What the parts of one account's lane share."""

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
        """What came to a request for `batch`, for all who learn from it."""
        self.traffic.has_reply |= isinstance(reply, Reply) or reply.reason in UNSURE_WHOSE
        permit.heard(answer)
        self.concurrency.on_answer(batch, answer, permit.left_s, is_read=is_read)


class RequestOutcome(NamedTuple):
    """What a request brought.

    answers   what it means, each different one once
    is_read  it changes nothing: what it is refused says nothing about updates
    is_end   its rows are not sent again
    """

    answers: tuple[Answer, ...]
    is_read: bool
    is_end: bool
