"""Guards that are read: what must not be carried out twice is tied to what the vendor holds."""

from __future__ import annotations

from typing import Any

from pipeline.model import Answer, Effect, NoReply, Reply, Status, UpdateJob, Verdict
from pipeline.model.retry import next_delay_s
from pipeline.pacing.permit import Permit
from pipeline.vendors import MISSING, Guard, Operation, State
from pipeline.vendors.kit.classify import NOT_THE_VENDOR
from pipeline.workers.answers import read_answer, update_answers
from pipeline.workers.batches import Batch, Row
from pipeline.workers.dependencies import RequestOutcome, RequestStep
from pipeline.workers.result_writer import INTERRUPTED, UNREADABLE
from pipeline.workers.retry_or_end import end_without_success

NO_GUARD = "no_guard"
OVERTAKEN = "changed_meanwhile"

_HINT_NOTHING_SENT = "nothing was sent: send the row again"
_HINT_NO_GUARD = "see what the entity holds; without a guard it goes by guard = false"
_HINT_CONFLICT = "somebody else changes this entity: look at it, then send the row again"


class Preconditions(RequestStep):
    """Reads entities before their first attempt, and again where a guard was refused."""

    def is_due(self, row: Row) -> bool:
        """Whether the next request for `row` is a read of its guard."""
        if row.is_repeatable or row.in_doubt:
            return False
        operation = self._account.operation(row.job.operation)
        guard = operation.guard
        return guard is not None and guard.needs(self._account.settings, _job(operation, row.text))

    def may_be_stale(self, row: Row, answer: Answer) -> bool:
        """Whether `answer`, which leaves no doubt, may refuse the guard of `row`, not the row."""
        guard = self._account.operation(row.job.operation).guard
        if guard is None or not row.guarded_text:
            return False
        return guard.refusal(self._account.settings, answer)

    def read_again(self, row: Row) -> None:
        """The guard of `row` may be stale: let the entity be read, which tells."""
        row.refused_text, row.guarded_text = row.guarded_text, ""
        again = Answer(Verdict.TRANSIENT, Effect.NONE)
        delay_s = next_delay_s(self._account.retry, again, row.counted_attempts, self._jitter())
        self._queue.retry([row], delay_s or 0.0)

    async def read(self, row: Row, permit: Permit) -> RequestOutcome | None:
        """Read what the guard of `row` is made of; None where nothing was asked."""
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
            (answer,) = update_answers(operation, settings, (job,), reply)  # in the vendor's words
        is_end = self._on_no_state(row, answer, is_missing=state is MISSING)
        # a row that a read refuses is a refused row: a wrong project shows here
        return RequestOutcome((answer,), is_read=not is_end)

    def _on_no_state(self, row: Row, answer: Answer, *, is_missing: bool) -> bool:
        """After a read that gave no state; whether `row` has ended for it."""
        if answer.verdict is Verdict.OK:
            answer = Answer(
                *(Verdict.TRANSIENT, Effect.NONE, answer.http_status, NOT_THE_VENDOR),
                message="what came is nothing that the vendor says of an entity",
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
        if answer.effect is Effect.MAYBE:  # of a read: nothing was to be applied
            answer = answer._replace(effect=Effect.NONE, hint=_HINT_NOTHING_SENT)
        self._result_writer.end(row, answer, status)
        return True

    def _reject(self, rows: Batch, answer: Answer) -> None:
        """The account works: what refused the read was about this row."""
        self._result_writer.end(rows[0], answer, Status.REJECTED)

    def _apply_guard(
        self,
        row: Row,
        operation: Operation[Any, Any],
        guard: Guard[Any, Any],
        job: UpdateJob,
        state: State,
    ) -> None:
        """Tie `row` to the state that was read, unless that says that it ends."""
        settings, row.reads = self._account.settings, 0
        guarded = guard.guarded(settings, job, state)
        if guarded is None:
            words = "what the vendor holds offers nothing that would keep this from happening twice"
            answer = Answer(
                Verdict.REJECTED, Effect.NONE, code=NO_GUARD, message=words, hint=_HINT_NO_GUARD
            )
            self._result_writer.end(row, answer, Status.FAILED)
            return
        text = guarded.canonical_json()
        refusal = row.answer
        if not row.refused_text or refusal is None:
            row.guarded_text = text
            self._queue.send_next([row])
        elif text == row.refused_text:  # it still holds: the refusal is about the row
            self._result_writer.end(row, refusal, Status.REJECTED)
        elif row.counted_attempts < self._account.retry.max_attempts:
            row.guarded_text, row.refused_text = text, ""
            self._queue.send_next([row])
        else:
            expected = guard.expected(settings, _job(operation, row.refused_text))
            found = guard.expected(settings, guarded)
            words = f"expected {expected}, found {found}: it was changed between read and update"
            self._result_writer.end(
                row,
                refusal._replace(code=OVERTAKEN, message=words, hint=_HINT_CONFLICT),
                Status.CONFLICT,
            )


def _job(operation: Operation[Any, Any], text: str) -> UpdateJob:
    job: UpdateJob = operation.job_type.trusted(text)
    return job
