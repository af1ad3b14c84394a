"""What the parts that send one account's rows share; `RequestStep` is their base."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.http_client.link_urls import host_port
from pipeline.http_client.wire import Wire
from pipeline.model import Answer, NoReply, Reply
from pipeline.model.wire import UNSURE_WHOSE
from pipeline.pacing.account_limiter import AccountLimiter, Permit
from pipeline.vendors import Account
from pipeline.workers.backlog import Backlog
from pipeline.workers.batches import Batch, Row
from pipeline.workers.concurrency_limiter import ConcurrencyLimiter
from pipeline.workers.environment import SenderEnvironment
from pipeline.workers.recorder import Recorder
from pipeline.workers.result_writer import ResultWriter
from pipeline.workers.row import Action, Facts, Finish, Hold, Step, Then, Wait
from pipeline.workers.traffic import Traffic
from pipeline.workers.undecided import Undecided

if TYPE_CHECKING:
    from pipeline.workers.account_sender import AccountSender


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """Shared dependencies of the parts that send one account's rows."""

    owner: AccountSender
    account: Account
    wire: Wire[Any]
    account_limiter: AccountLimiter
    recorder: Recorder
    concurrency: ConcurrencyLimiter
    environment: SenderEnvironment
    traffic: Traffic
    backlog: Backlog
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
        self._owner = deps.owner
        self._account = deps.account
        self._account_limiter = deps.account_limiter
        self._backlog = deps.backlog
        self._result_writer = deps.result_writer
        self._clock = deps.environment.clock
        self._jitter = deps.environment.jitter

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
            self._result_writer.end([(row, action)])
        elif isinstance(action, Wait):
            self._backlog.retry([row], self._clock() + action.delay_s)
        elif isinstance(action, Hold):
            self._deps.undecided.hold([row], step, action.answer)
        elif action is Then.AWAIT_CONNECTION:
            self._deps.undecided.hold_unreached(row)
        elif step is Step.GUARD_READ:  # a prechecked row is sent where it was prechecked
            self._backlog.send_next([row])
