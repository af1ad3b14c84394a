"""Reads entities before their rows are sent; `precheck.decide` decides from the state."""

from __future__ import annotations

import json
from collections.abc import Callable

from pipeline.model import Answer, Effect, NoReply, Reply, Status, UpdateJob, Verdict
from pipeline.pacing.account_limiter import Permit
from pipeline.vendors.kit.contract import Missing, State
from pipeline.workers.answers import read_answer
from pipeline.workers.batches import Batch, Row
from pipeline.workers.dependencies import Dependencies, RequestOutcome, RequestStep
from pipeline.workers.precheck import (
    GONE,
    HELD,
    MIXED,
    MOVING,
    PrecheckAction,
    PrecheckOutcome,
    PrecheckPolicy,
    conflict,
    decide,
)
from pipeline.workers.result_writer import INTERRUPTED_EARLIER
from pipeline.workers.verification_read import VerificationRead

FRESH_S = 10.0
"""Seconds for which a state counts as current, besides the wait for a permit."""

UNREAD_HINT = "nothing was sent: send the row again later"


class Prechecks(RequestStep):
    """Prechecks the rows of one account, anew before each attempt.

    per_second  the current rate of the account's requests
    """

    def __init__(
        self,
        deps: Dependencies,
        policy: PrecheckPolicy,
        verification_read: VerificationRead,
        per_second: Callable[[], float],
    ) -> None:
        super().__init__(deps)
        self._policy = policy
        self._verification_read = verification_read
        self._per_second = per_second

    def is_due(self, batch: Batch) -> bool:
        """True if the row of `batch` is prechecked before it is sent; it is sent alone then."""
        row = batch[0]
        operation = self._account.operation(row.job.operation)
        is_due = self._policy.is_due(operation, row.job)
        return is_due and not self._verification_read.is_due(row)

    def is_fresh(self, row: Row) -> bool:
        """True if the state that was read still counts as current."""
        in_line_s = 2 * self._account.in_flight / self._per_second()
        return self._clock() - row.prechecked_s <= FRESH_S + in_line_s

    async def read(self, row: Row, permit: Permit) -> RequestOutcome | None:
        """Read the entity of `row`: it then has ended, waits, or is prechecked and may be sent.

        Return None if no request was sent.
        """
        settings, operation = self._account.settings, self._account.operation(row.job.operation)
        reading = operation.reading
        if reading is None:
            raise AssertionError("a precheck needs an operation that can be read")
        row.is_prechecked = False
        job = operation.job_type.trusted(row.job.text)
        reply = await self._exchange(reading.request(settings, job), permit)
        if not row.attempts and not row.prechecks:
            row.first_sent_s = permit.left_s
        if isinstance(reply, NoReply) and reply.lost_turn:
            self._queue.requeue([row])
            return None
        answer = read_answer(reply)
        self._deps.on_answer(permit, [row], reply, answer, is_read=True)
        row.prechecks += 1
        row.prechecked_s = permit.left_s
        state = reading.state(settings, job, reply) if isinstance(reply, Reply) else None
        if state is None:
            self._on_unreadable(row, answer)
        else:
            self._apply(row, self._decide(row, state), state)
        return RequestOutcome((answer,), is_read=True)

    def _decide(self, row: Row, state: State | Missing) -> PrecheckOutcome:
        operation = self._account.operation(row.job.operation)
        before = row.job.expects
        if row.in_doubt and not before:
            row.previous_state = (
                row.previous_state or self._deps.environment.previous_state(row.job.row) or ""
            )
            before = row.previous_state
        return decide(
            operation,
            self._account.settings,
            operation.job_type.trusted(row.job.text),
            state,
            skips=self._policy.skips,
            keeps=row.job.keeps,
            expected=State.of(before) if before else None,
            in_doubt=row.in_doubt,
        )

    def _apply(self, row: Row, outcome: PrecheckOutcome, state: State | Missing) -> None:
        row.failed_prechecks = 0
        match outcome.action:
            case PrecheckAction.SEND:
                if outcome.job is not None and isinstance(state, State):
                    self._make_ready(row, outcome.job, state)
            case PrecheckAction.UNCHANGED:
                self._result_writer.end(row, HELD, Status.UNCHANGED)
            case PrecheckAction.APPLIED:
                etag = state.etag if isinstance(state, State) else None
                receipt = "" if etag is None else json.dumps({"etag": etag})
                applied = Answer(Verdict.OK, Effect.APPLIED, receipt=receipt)
                self._result_writer.end(row, applied, Status.UPDATED)
            case PrecheckAction.CONFLICT:
                self._result_writer.end(row, conflict(outcome.differences), Status.CONFLICT)
            case PrecheckAction.MISSING:
                self._result_writer.end(row, GONE, Status.REJECTED)
            case PrecheckAction.MIXED:
                self._result_writer.end(row, MIXED, Status.UNKNOWN)

    def _make_ready(self, row: Row, job: UpdateJob, state: State) -> None:
        """Let `row` be sent as `job`, with a precondition on the state if the vendor has one."""
        settings, guard = self._account.settings, self._account.operation(row.job.operation).guard
        guarded = None if guard is None else guard.guarded(settings, job, state)
        text = "" if guarded is None else guarded.canonical_json()
        if row.refused_text and row.refused_text == text:
            # the refused precondition still holds: the refusal is about the row
            self._result_writer.end(row, row.answer or GONE, Status.REJECTED)
            return
        if row.refused_text and row.counted_attempts >= self._account.retry.max_attempts:
            self._result_writer.end(row, MOVING, Status.CONFLICT)
            return
        row.merged_text = job.canonical_json()
        row.guarded_text, row.refused_text = text, ""
        row.is_prechecked = True
        if not (row.in_doubt or row.job.expects):
            row.previous_state = state.text()

    def _on_unreadable(self, row: Row, answer: Answer) -> None:
        """Retry a precheck that showed no state, or give up."""
        if answer.verdict is Verdict.FATAL:
            self._deps.undecided.hold([row], answer, self._give_up, is_read=True)
            return
        row.failed_prechecks += self._deps.concurrency.is_counted(row, answer)
        delay_s = self._read_delay_s(row, answer, row.failed_prechecks)
        if delay_s is not None:
            self._queue.retry([row], delay_s)
        elif not row.in_doubt and answer.http_status is None and answer.effect is Effect.NONE:
            self._deps.undecided.hold_unreached(row)
        else:
            self._give_up([row], answer)

    def _give_up(self, rows: Batch, answer: Answer) -> None:
        """End a row whose entity cannot be read."""
        (row,) = rows
        if row.in_doubt:
            self._result_writer.end(row, row.answer or INTERRUPTED_EARLIER, Status.UNKNOWN)
            return
        message = f"the entity could not be read before the update: {answer.message}"
        self._result_writer.end(
            row, answer._replace(message=message, hint=UNREAD_HINT), Status.FAILED
        )
