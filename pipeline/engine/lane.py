"""One account's rows on their way: read, sent, repeated, ended. Accounts share no lane."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from pipeline.engine.gate import Gate
from pipeline.engine.recorder import Recorder
from pipeline.engine.waiting import WaitList
from pipeline.model import (
    AccountProgress,
    Answer,
    Effect,
    JobRow,
    NoReply,
    Reply,
    Request,
    RowResult,
    Status,
    Verdict,
)
from pipeline.policy.backlog import Backlog
from pipeline.policy.batches import Batch, Row
from pipeline.policy.brake import BRAKE_AFTER, Brake
from pipeline.policy.outcome import Again, end_without_success, is_in_doubt, is_judged, next_act
from pipeline.policy.split import Parts, Splitter
from pipeline.vendors import Account

Send = Callable[[Request], Awaitable[Reply | NoReply]]

OVERDUE_S = 0.020
"""How often idle workers are called while a retry is due and every worker is busy."""

INTERRUPTED = Answer(
    Verdict.TRANSIENT,
    Effect.MAYBE,
    code="interrupted",
    message="the run was stopped before the answer came",
    hint="look the entity up at the vendor, or send the row again",
)

UNREADABLE = INTERRUPTED._replace(
    code="unreadable",
    message="an answer came, and an error of this program kept it from being read",
)
BROKEN_OFF = "the run broke off"
BEHIND_UNKNOWN = "behind_unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a lane takes from outside.

    clock        monotonic seconds
    jitter       draws from [0, 1)
    brake_after  equal refusals at the start that stop the account; 0 never does
    """

    clock: Callable[[], float]
    jitter: Callable[[], float]
    brake_after: int = BRAKE_AFTER


class Lane:
    """Sends the jobs of one account.

    jobs   batches in row order; read in a thread
    total  how many jobs there are, for the display
    gate   where its requests wait; lives longer than the lane where more runs follow
    """

    def __init__(
        self,
        account: Account,
        jobs: Iterator[Sequence[JobRow]],
        total: int,
        *,
        send: Send,
        gate: Gate,
        recorder: Recorder,
        around: Surroundings,
    ) -> None:
        self.account = account
        self.stopped: str | None = None
        self.is_hopeless = False
        self._jobs = jobs
        self._total = total
        self._send = send
        self._recorder = recorder
        self._around = around
        self._operations = {op.name: op for op in account.vendor.operations}
        self._gate = gate
        self._brake = Brake(around.brake_after)
        self._backlog = Backlog(
            batch_size=self._batch_size,
            replaces={op.name: op.replaces for op in account.vendor.operations},
        )
        self._splitter = Splitter()
        self._idle = WaitList()
        self._hungry = anyio.Event()
        self._retry_added = anyio.Event()
        self._is_open = False
        self._workers = 0
        self._sent = 0
        self._retries = 0
        self._in_flight = 0
        self._first_s: float | None = None
        self._last_s = 0.0
        self._ended: Counter[Status] = Counter()

    async def run(self) -> None:
        """Send every row, or stop. When this returns, whatever was sent has its result."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._feed)
                tasks.start_soon(self._watch_retries)
                self._start_worker(tasks)
        finally:
            for row in (*self._backlog.attempted(), *self._splitter.ended()):
                self._end_stopped(row)

    def stop(self, reason: str, *, is_hopeless: bool = False) -> None:
        """Take no further row; what is in flight finishes. Only the first reason counts.

        is_hopeless  whatever else goes to this account would meet the same
        """
        if self.stopped is None:
            self.stopped = reason
            self.is_hopeless = is_hopeless
            self._gate.close()
            self._idle.wake_all()

    def progress(self) -> AccountProgress:
        """How far this account is."""
        account = self.account
        return AccountProgress(
            account=account.name,
            rows=self._total,
            done=dict(self._ended),
            sent=self._sent,
            sending_s=0.0 if self._first_s is None else max(0.0, self._last_s - self._first_s),
            retries=self._retries,
            in_flight=self._in_flight,
            in_flight_limit=account.in_flight,
            retrying=self._backlog.retrying + len(self._splitter),
            pause_left_s=self._gate.pause_left_s(),
            quota=", ".join(map(str, account.quotas)),
            quota_per_s=min(quota.per_second for quota in account.quotas),
            stopped=self.stopped,
        )

    # Reading ahead...

    async def _feed(self) -> None:
        while self.stopped is None:
            batch = await anyio.to_thread.run_sync(next, self._jobs, None)
            if batch is None:
                break
            self._backlog.add(batch)
            self._idle.wake(len(batch))
            while not self._backlog.needs_more:
                self._hungry = anyio.Event()
                await self._hungry.wait()
        self._backlog.end()
        self._wake_if_done()

    async def _watch_retries(self) -> None:
        while True:
            due_s = self._backlog.due_s
            wait_s = None if due_s is None else max(OVERDUE_S, due_s - self._around.clock())
            with anyio.move_on_after(wait_s):
                await self._retry_added.wait()
            self._retry_added = anyio.Event()
            self._idle.wake()

    def _batch_size(self, operation: str) -> int:
        return self._operations[operation].batch_size(self.account.settings)

    def _wake_if_done(self) -> None:
        if self._backlog.is_done:
            self._idle.wake_all()

    # Workers...

    def _start_worker(self, tasks: TaskGroup) -> None:
        self._workers += 1
        tasks.start_soon(self._work, tasks)

    async def _work(self, tasks: TaskGroup) -> None:
        while batch := self._next() or await self._wait_for_rows():
            if not await self._permit(batch):
                break
            await self._attempt(batch, tasks)
        self._workers -= 1
        if self._workers == 0:
            tasks.cancel_scope.cancel()

    async def _permit(self, batch: Batch) -> bool:
        """Whether `batch` may leave now; it goes back to the others where it may not."""
        is_permitted = False
        try:
            is_permitted = await self._gate.permit()
        finally:
            if not is_permitted:
                self._backlog.put_back(batch)
        return is_permitted

    def _next(self) -> Batch:
        """The next rows that may go now together, if there are any."""
        backlog = self._backlog
        if self.stopped is not None or self._recorder.is_full:
            return []
        # the first request goes alone: nothing fresh before something has come back
        fresh = self._is_open or backlog.is_untouched
        now_s = self._around.clock()
        batch = backlog.next(now_s, fresh=fresh)
        self._end_blocked()
        if backlog.needs_more:
            self._hungry.set()
        if backlog.due_s is not None and backlog.due_s <= now_s:
            self._idle.wake()  # one more is due: somebody else can take it
        return batch

    async def _wait_for_rows(self) -> Batch:
        """The next rows as soon as any may go; none where none will."""
        while self.stopped is None and not self._backlog.is_done:
            await self._recorder.wait_for_room()
            if batch := self._next():
                return batch
            await self._idle.wait()
        return []

    async def _attempt(self, batch: Batch, tasks: TaskGroup) -> None:
        """One request for the rows of `batch`, and what follows from its answers."""
        self._backlog.fill(batch)  # rows that came while it waited for its turn
        settings, operation = self.account.settings, self._operations[batch[0].job.operation]
        left_s = self._leaves(batch)
        reply: Reply | NoReply | None = None
        try:
            jobs = [operation.job_type.trusted(row.job.text) for row in batch]
            reply = await self._send(operation.encode(settings, jobs))
            answers = operation.decode(settings, jobs, reply)
        except BaseException:
            for row in batch:
                self._end(row, INTERRUPTED if reply is None else UNREADABLE, Status.UNKNOWN)
            raise
        finally:
            self._in_flight -= 1
            self._last_s = self._around.clock()
        if isinstance(reply, NoReply) and reply.lost_turn:
            self._stands_in_line_again(batch)
            return
        self._gate.heard(answers[0], self._around.clock() - left_s)
        if not self._is_open and isinstance(reply, Reply):
            self._open(tasks)
        self._decide(batch, answers, left_s)

    def _leaves(self, batch: Batch) -> float:
        """Count an attempt; when it leaves."""
        now_s = self._around.clock()
        if batch[0].attempts:
            self._retries += 1
        for row in batch:
            if not row.attempts:
                row.first_sent_s = now_s
            row.attempts += 1
        self._sent += 1
        self._in_flight += 1
        if self._first_s is None:
            self._first_s = now_s
        return now_s

    def _stands_in_line_again(self, batch: Batch) -> None:
        """What kept the request back has nothing to do with its rows: no attempt is counted."""
        for row in batch:
            row.attempts -= 1
        self._backlog.put_back(batch)
        self._idle.wake()

    def _open(self, tasks: TaskGroup) -> None:
        """Something came back: the other workers may start."""
        self._is_open = True
        for _ in range(self.account.in_flight - 1):
            self._start_worker(tasks)

    def _decide(self, batch: Batch, answers: Sequence[Answer], left_s: float) -> None:
        jitter = self._around.jitter()  # one for all: rows of a batch stay together
        refused: Batch = []
        again: Batch = []
        due_s = 0.0
        for row, answer in zip(batch, answers, strict=True):
            row.answer = answer
            row.in_doubt = is_in_doubt(answer, was_in_doubt=row.in_doubt)
            if answer.verdict is Verdict.SPLIT and len(batch) > 1:
                refused.append(row)
            elif isinstance(act := self._act(row, answer, jitter), Again):
                again.append(row)
                due_s = max(due_s, self._around.clock() + act.delay_s)
            else:
                self._end(row, answer, act)
        if again:
            self._goes_again(again, due_s)
        if refused:
            self._go_on_with(self._splitter.refused(refused, left_s))
        else:
            self._go_on_with(self._splitter.heard(batch, left_s, is_judged=is_judged(answers[0])))
        for answer in dict.fromkeys(answers):
            self._stop_if_hopeless(answer, has_ended=not again and not refused)

    def _act(self, row: Row, answer: Answer, jitter: float) -> Again | Status:
        """What becomes of `row`; its try is counted."""
        row.tries += 1
        return next_act(
            self.account.retry,
            answer,
            attempt=row.tries,
            in_doubt=row.in_doubt,
            is_repeatable=row.job.is_repeatable,
            jitter=jitter,
        )

    def _goes_again(self, batch: Batch, due_s: float) -> None:
        self._backlog.again(batch, due_s)
        self._retry_added.set()

    def _go_on_with(self, parts: Parts) -> None:
        """Send the parts of refused groups, or whole groups once more."""
        self._backlog.send_apart(parts.now)
        self._idle.wake(len(parts.now))
        for group in parts.later:
            jitter = self._around.jitter()
            acts = [self._act(row, row.answer or INTERRUPTED, jitter) for row in group]
            again = [row for row, act in zip(group, acts, strict=True) if isinstance(act, Again)]
            if again:
                delay_s = max(act.delay_s for act in acts if isinstance(act, Again))
                self._goes_again(again, self._around.clock() + delay_s)
            for row, act in zip(group, acts, strict=True):
                if not isinstance(act, Again):
                    self._end(row, row.answer or INTERRUPTED, act)

    def _stop_if_hopeless(self, answer: Answer, *, has_ended: bool) -> None:
        reason = self._hopeless(answer, has_ended=has_ended)
        if reason is not None:
            self.stop(reason, is_hopeless=True)

    def _hopeless(self, answer: Answer, *, has_ended: bool) -> str | None:
        """Why no further row should go to this account, or None."""
        wait_s = answer.retry_after_s or 0.0
        if answer.verdict is Verdict.FATAL:
            return _in_words(answer)
        if self._brake.pulls(answer):
            return (
                f"the first {self._around.brake_after} answers were all the same refusal: "
                f"{_in_words(answer)}. Nothing was sent after that; --no-brake sends all the same"
            )
        if wait_s > self.account.max_wait_s:
            return (
                f"the vendor asks for a pause of {wait_s:.0f} s, longer than max_wait_s = "
                f"{self.account.max_wait_s:.0f}"
            )
        if has_ended and not self._is_open:
            return f"no reply came to the first request: {_in_words(answer)}"
        return None

    # Ends...

    def _end(self, row: Row, answer: Answer, status: Status) -> None:
        """Record how `row` ended; the next row of its entity waits until that is done."""
        self._ended[status] += 1
        job = row.job
        result = RowResult(
            row=job.row,
            operation=job.operation,
            account=self.account.name,
            status=status,
            http_status=answer.http_status,
            error_code=answer.code,
            error=answer.message,
            hint=answer.hint,
            attempts=row.attempts,
            seconds=round(self._around.clock() - row.first_sent_s, 3),
            request_id=answer.request_id,
            receipt=answer.receipt,
        )
        self._recorder.end(
            result, partial(self._committed, row, status), is_awaited=self._backlog.is_awaited(row)
        )

    def _committed(self, row: Row, status: Status) -> None:
        self._backlog.done(row, status)
        self._end_blocked()
        self._idle.wake()
        self._wake_if_done()

    def _end_blocked(self) -> None:
        """Rows behind one of their entity that ended `unknown` are not sent."""
        for job in self._backlog.take_blocked():
            self._ended[Status.NOT_ATTEMPTED] += 1
            self._recorder.end(
                RowResult(
                    row=job.row,
                    operation=job.operation,
                    account=self.account.name,
                    status=Status.NOT_ATTEMPTED,
                    error_code=BEHIND_UNKNOWN,
                    error="an earlier row of the same entity ended unknown",
                    hint="look the entity up at the vendor, then send this row again",
                ),
                self._wake_if_done,
            )

    def _end_stopped(self, row: Row) -> None:
        """A row that was waiting for another attempt when the account stopped."""
        answer = row.answer or INTERRUPTED
        words = f"{answer.message}; no further attempt: {self.stopped or BROKEN_OFF}"
        self._end(
            row,
            answer._replace(message=words),
            end_without_success(answer, in_doubt=row.in_doubt),
        )


def _in_words(answer: Answer) -> str:
    """What was wrong, and what to do, in one phrase."""
    status = f"HTTP {answer.http_status}" if answer.http_status is not None else ""
    parts = [part for part in (status, answer.code, answer.message, answer.hint) if part]
    return ": ".join(parts)
