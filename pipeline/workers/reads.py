"""Reads the entities of rows: to resolve doubt, for a precondition, and before each attempt.

`row.py` decides which read is due and what follows from it.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from pipeline.http_client.held_replies import when_certain
from pipeline.model import Answer, NoReply, Reply, Request, UpdateJob, Verdict
from pipeline.pacing.account_limiter import Permit
from pipeline.pacing.permits import exchange, permit_for
from pipeline.vendors import MISSING, Operation, State
from pipeline.vendors.kit.classify import classify_read
from pipeline.vendors.kit.contract import Missing
from pipeline.workers.answers import update_answers
from pipeline.workers.batches import Batch, Row
from pipeline.workers.dependencies import Dependencies, RequestStep
from pipeline.workers.own_answers import INTERRUPTED
from pipeline.workers.precheck import PrecheckOutcome, decide
from pipeline.workers.row import (
    Action,
    Finish,
    FoundState,
    GuardOutcome,
    Readied,
    Step,
    after_bug,
    after_failed_precheck,
    after_guard_read,
    after_precheck,
    after_unread_guard,
    after_verification,
    next_step,
    on_sent,
)

FRESH_S = 10.0
"""Seconds for which a prechecked state counts as current, besides the wait for a permit."""


class _Read(NamedTuple):
    """A read that was answered; `state` is None if the reply shows none."""

    row: Row
    operation: Operation[Any, Any]
    job: UpdateJob
    reply: Reply | NoReply
    answer: Answer
    state: State | Missing | None


class Reads(RequestStep):
    """Reads for the rows of one account."""

    def __init__(self, deps: Dependencies) -> None:
        super().__init__(deps)
        self._policy = deps.environment.prechecks

    def next_step(self, batch: Batch) -> Step | Finish:
        """Return the next request for `batch`; only rows that are sent alone need a read."""
        row = batch[0]
        operation = self._account.operation(row.job.operation)
        is_prechecked_first = self._policy.is_due(operation, row.job)
        if len(batch) > 1:
            return Step.PRECHECK if is_prechecked_first else Step.UPDATE
        guard, settings = operation.guard, self._account.settings
        return next_step(
            row,
            can_be_read=operation.reading is not None,
            is_prechecked_first=is_prechecked_first,
            needs_guard=lambda: (
                guard is not None and guard.needs(settings, _job(operation, row.text))
            ),
            has_previous=lambda: bool(self._previous(row)),
        )

    def _previous(self, row: Row) -> str:
        """Return what the entity of a row in doubt held before it; empty if that is not known."""
        if row.job.expects:
            return row.job.expects
        if not row.previous_state:
            row.previous_state = self._deps.environment.previous_state(row.job.row) or ""
        return row.previous_state

    async def read(self, batch: Batch, step: Step, permit: Permit) -> None:
        """Read the entity of the row in `batch`, and act on the answer."""
        (row,) = batch
        operation = self._account.operation(row.job.operation)
        reading = operation.reading
        if reading is None:
            raise AssertionError("no read is due of an entity that cannot be read")
        is_verification = step is Step.VERIFICATION
        on_sent(row, step, self._clock() if is_verification else permit.left_s)
        job = _job(operation, row.job.text if step is Step.PRECHECK else row.text)
        try:
            reply = await self._exchange(reading.request(self._account.settings, job), permit)
            if is_verification:
                reply = await when_certain(reply, self._deps.peer)
        except Exception:
            if step is not Step.PRECHECK:
                self._perform(row, step, after_bug(row, step, was_answered=False))
            raise
        except BaseException:
            if step is Step.GUARD_READ:
                self._result_writer.on_stop(row, INTERRUPTED.message)
            raise
        if isinstance(reply, NoReply) and reply.lost_turn:
            self._backlog.put_back([row])
            return
        answer = classify_read(reply)
        self._deps.on_answer(permit, batch, reply, answer, is_read=True)
        settings = self._account.settings
        state = reading.state(settings, job, reply) if isinstance(reply, Reply) else None
        answer, is_read = self._on_reply(_Read(row, operation, job, reply, answer, state), step)
        self._owner.on_answers(batch, (answer,), permit.left_s, is_read=is_read)

    def _on_reply(self, read: _Read, step: Step) -> tuple[Answer, bool]:
        """Return the answer, and False if it is as good as one to an update."""
        if step is not Step.PRECHECK:
            row, exchanges = read.row, self._result_writer.exchanges
            exchanges.on_read(row.job.operation, row.job.row, row.text, read.reply)
        if step is Step.VERIFICATION:
            action = self._after_verification(read)
        elif step is Step.PRECHECK:
            action = self._after_precheck(read)
        elif isinstance(read.state, State):
            guard = self._guard(read, read.state)
            action = after_guard_read(read.row, guard, self._account.retry)
        else:
            return self._on_unread_guard(read)
        self._perform(read.row, step, action)
        return read.answer, True

    async def can_read_now(self, row: Row) -> bool:
        """Read the entity of an updated row; True if the vendor still returns its state."""
        settings, operation = self._account.settings, self._account.operation(row.job.operation)
        reading = operation.reading
        if reading is None:
            return False
        permit = await permit_for(self._deps.wire, self._account_limiter, self._clock)
        if permit is None:
            return False
        job = _job(operation, row.text)
        reply = await self._exchange(reading.request(settings, job), permit)
        return isinstance(reply, Reply) and reading.state(settings, job, reply) is not None

    async def _exchange(self, request: Request, permit: Permit) -> Reply | NoReply:
        """Send a read, and count it as traffic."""
        traffic = self._deps.traffic
        traffic.on_sent(permit.left_s)
        try:
            return await exchange(self._deps.wire, permit, request)
        finally:
            traffic.on_end()

    def is_fresh(self, row: Row) -> bool:
        """True if the state that a precheck read still counts as current."""
        in_line_s = 2 * self._account.in_flight / self._account_limiter.per_second
        return self._clock() - row.prechecked_s <= FRESH_S + in_line_s

    # To resolve doubt...

    def _after_verification(self, read: _Read) -> Action:
        row = read.row
        since_s = self._clock() - row.last_sent_s
        facts = self._facts(row, read.answer, self._jitter())
        return after_verification(
            row, self._compare(read), read.answer, facts, since_attempt_s=since_s
        )

    def _compare(self, read: _Read) -> FoundState | None:
        """Compare the state with what the job writes; None if there is none."""
        reading, state = read.operation.reading, read.state
        if state is None or reading is None:
            return None
        settle_after_s = reading.settle_after_s
        if isinstance(state, Missing):
            return FoundState(is_held=False, can_tell=True, settle_after_s=settle_after_s)
        differences = reading.differences(self._account.settings, read.job, state)
        can_tell = any(each.is_decided for each in differences)
        return FoundState(not differences, can_tell, settle_after_s, _receipt(state))

    # For a precondition...

    def _guard(self, read: _Read, state: State) -> GuardOutcome:
        """Return the precondition on `state`."""
        settings, guard = self._account.settings, read.operation.guard
        guarded = None if guard is None else guard.guarded(settings, read.job, state)
        if guard is None or guarded is None:
            return GuardOutcome("")
        text, refused_text = guarded.canonical_json(), read.row.refused_text
        if not refused_text:
            return GuardOutcome(text)
        expected = guard.expected(settings, _job(read.operation, refused_text))
        return GuardOutcome(text, f"expected {expected}, found {guard.expected(settings, guarded)}")

    def _on_unread_guard(self, read: _Read) -> tuple[Answer, bool]:
        row, answer, reply = read.row, read.answer, read.reply
        if isinstance(reply, Reply) and answer.verdict is not Verdict.OK:
            # the vendor's message
            settings = self._account.settings
            (answer,) = update_answers(read.operation, settings, (read.job,), reply)
        facts = self._facts(row, answer, self._jitter())
        action = after_unread_guard(row, answer, facts, is_missing=read.state is MISSING)
        self._perform(row, Step.GUARD_READ, action)
        # a refused read refuses the row: a wrong project shows here
        return answer, not isinstance(action, Finish)

    # Before an attempt...

    def _after_precheck(self, read: _Read) -> Action:
        row, state = read.row, read.state
        if state is None:
            facts = self._facts(row, read.answer, self._jitter())
            return after_failed_precheck(row, read.answer, facts)
        outcome = self._decide(read, state)
        readied = self._readied(read.operation, outcome.job, state)
        retry = self._account.retry
        return after_precheck(row, outcome, retry, readied=readied, receipt=_receipt(state))

    def _decide(self, read: _Read, state: State | Missing) -> PrecheckOutcome:
        row = read.row
        before = self._previous(row) if row.in_doubt else row.job.expects
        return decide(
            read.operation,
            self._account.settings,
            read.job,
            state,
            skips=self._policy.skips,
            keeps=row.job.keeps,
            expected=State.of(before) if before else None,
            in_doubt=row.in_doubt,
        )

    def _readied(
        self, operation: Operation[Any, Any], job: UpdateJob | None, state: State | Missing
    ) -> Readied | None:
        """Return `job` as it is sent, with a precondition on the state if the vendor has one."""
        if job is None or isinstance(state, Missing):
            return None
        guard = operation.guard
        guarded = None if guard is None else guard.guarded(self._account.settings, job, state)
        text = "" if guarded is None else guarded.canonical_json()
        return Readied(job.canonical_json(), text, state.text())


def _job(operation: Operation[Any, Any], text: str) -> UpdateJob:
    job: UpdateJob = operation.job_type.trusted(text)
    return job


def _receipt(state: State | Missing) -> str:
    """Return what is recorded of a read, as JSON; empty if nothing is."""
    etag = state.etag if isinstance(state, State) else None
    return "" if etag is None else json.dumps({"etag": etag})
