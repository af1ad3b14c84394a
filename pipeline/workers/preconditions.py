"""Adds preconditions to rows that must not be applied twice.

The entity is read, and the update is sent with a condition on that state (`guard` in the vendor's
declaration), so that a second delivery is refused.
"""

from __future__ import annotations

from typing import Any

from pipeline.model import Answer, Effect, NoReply, Reply, Status, UpdateJob, Verdict
from pipeline.model.retry import next_delay_s
from pipeline.pacing.account_limiter import Permit
from pipeline.vendors import MISSING, Guard, Operation, State
from pipeline.vendors.kit.classify import NOT_THE_VENDOR
from pipeline.workers.answers import read_answer, rejection, update_answers
from pipeline.workers.batches import Batch, Row
from pipeline.workers.dependencies import RequestOutcome, RequestStep
from pipeline.workers.precheck import MOVING
from pipeline.workers.result_writer import INTERRUPTED, UNREADABLE
from pipeline.workers.retry_or_end import end_without_success

NO_GUARD = "no_guard"


_HINT_NOTHING_SENT = "nothing was sent: send the row again"
_HINT_NO_GUARD = (
    "check the entity at the vendor; preconditions = false sends the row without a guard"
)


class Preconditions(RequestStep):
    """Reads entities before the first attempt, and again if a precondition was refused."""

    def is_due(self, row: Row) -> bool:
        """True if the next request for `row` is a read for its precondition."""
        if row.is_repeatable or row.in_doubt:
            return False
        operation = self._account.operation(row.job.operation)
        guard = operation.guard
        return guard is not None and guard.needs(self._account.settings, _job(operation, row.text))

    def may_be_stale(self, row: Row, answer: Answer) -> bool:
        """True if `answer`, which leaves no doubt, may refuse the precondition, not the row."""
        guard = self._account.operation(row.job.operation).guard
        if guard is None or not row.guarded_text:
            return False
        return guard.refusal(self._account.settings, answer)

    def read_again(self, row: Row) -> None:
        """Read the entity again: the precondition of `row` may be stale."""
        row.refused_text, row.guarded_text = row.guarded_text, ""
        again = Answer(Verdict.TRANSIENT, Effect.NONE)
        delay_s = next_delay_s(self._account.retry, again, row.counted_attempts, self._jitter())
        self._queue.retry([row], delay_s or 0.0)

    async def read(self, row: Row, permit: Permit) -> RequestOutcome | None:
        """Read the state for the precondition of `row`; None if no request was sent."""
        settings, operation = self._account.settings, self._account.operation(row.job.operation)
        reading, guard = operation.reading, operation.guard
        assert reading is not None and guard is not None  # noqa: PT018, S101 - `is_due`
        job = _job(operation, row.text)
        try:
            reply = await self._exchange(reading.request(settings, job), permit)
        except Exception:
            self._result_writer.end(row, UNREADABLE, Status.FAILED)
            raise
        except BaseException:
            self._result_writer.on_stop(row, INTERRUPTED.message)
            raise
        if isinstance(reply, NoReply) and reply.lost_turn:
            self._queue.requeue([row])
            return None
        answer = read_answer(reply)
        self._deps.on_answer(permit, [row], reply, answer, is_read=True)
        self._result_writer.exchanges.on_read(row, reply)
        state = reading.state(settings, job, reply) if isinstance(reply, Reply) else None
        if isinstance(state, State):
            self._apply_guard(row, operation, guard, job, state)
            return RequestOutcome((answer,), is_read=True)
        if isinstance(reply, Reply) and answer.verdict is not Verdict.OK:
            (answer,) = update_answers(operation, settings, (job,), reply)  # the vendor's message
        is_end = self._on_no_state(row, answer, is_missing=state is MISSING)
        # a refused read refuses the row: a wrong project shows here
        return RequestOutcome((answer,), is_read=not is_end)

    def _on_no_state(self, row: Row, answer: Answer, *, is_missing: bool) -> bool:
        """Handle a read that showed no state; True if `row` has ended."""
        if answer.verdict is Verdict.OK:
            answer = Answer(
                *(Verdict.TRANSIENT, Effect.NONE, answer.http_status, NOT_THE_VENDOR),
                message="the reply is not the vendor's description of an entity",
            )
        if answer.verdict is Verdict.FATAL:
            self._deps.undecided.hold([row], answer, self._reject, is_read=True)
            return False
        row.reads += self._deps.concurrency.is_counted(row, answer)
        delay_s = None if is_missing else self._read_delay_s(row, answer, row.reads)
        if delay_s is not None:
            self._queue.retry([row], delay_s)
            return False
        if answer.http_status is None and answer.effect is Effect.NONE:
            self._deps.undecided.hold_unreached(row)
            return False
        status = end_without_success(answer, in_doubt=False)
        if answer.effect is Effect.MAYBE:  # it answers a read
            answer = answer._replace(effect=Effect.NONE, hint=_HINT_NOTHING_SENT)
        self._result_writer.end(row, answer, status)
        return True

    def _reject(self, rows: Batch, answer: Answer) -> None:
        """End a row whose refused read is about the row, not the account."""
        self._result_writer.end(rows[0], answer, Status.REJECTED)

    def _apply_guard(
        self,
        row: Row,
        operation: Operation[Any, Any],
        guard: Guard[Any, Any],
        job: UpdateJob,
        state: State,
    ) -> None:
        """Add a precondition on `state` to `row`, or end the row."""
        settings, row.reads = self._account.settings, 0
        guarded = guard.guarded(settings, job, state)
        if guarded is None:
            message = (
                "the entity has no value for a precondition that would prevent a second update"
            )
            self._result_writer.end(
                row, rejection(NO_GUARD, message, hint=_HINT_NO_GUARD), Status.FAILED
            )
            return
        text = guarded.canonical_json()
        refusal = row.answer
        if not row.refused_text or refusal is None:
            row.guarded_text = text
            self._queue.send_next([row])
        elif text == row.refused_text:  # the precondition holds: the refusal is about the row
            self._result_writer.end(row, refusal, Status.REJECTED)
        elif row.counted_attempts < self._account.retry.max_attempts:
            row.guarded_text, row.refused_text = text, ""
            self._queue.send_next([row])
        else:
            expected = guard.expected(settings, _job(operation, row.refused_text))
            found = guard.expected(settings, guarded)
            message = f"expected {expected}, found {found}: it was changed between read and update"
            conflict = refusal._replace(code=MOVING.code, message=message, hint=MOVING.hint)
            self._result_writer.end(row, conflict, Status.CONFLICT)


def _job(operation: Operation[Any, Any], text: str) -> UpdateJob:
    job: UpdateJob = operation.job_type.trusted(text)
    return job
