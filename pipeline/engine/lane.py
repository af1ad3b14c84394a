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
from pipeline.policy.backlog import Backlog, Row
from pipeline.policy.brake import BRAKE_AFTER, Brake
from pipeline.policy.outcome import Again, end_without_success, is_in_doubt, next_act
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
        self._backlog = Backlog()
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
            for row in self._backlog.attempted():
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
            retrying=self._backlog.retrying,
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

    def _wake_if_done(self) -> None:
        if self._backlog.is_done:
            self._idle.wake_all()

    # Workers...

    def _start_worker(self, tasks: TaskGroup) -> None:
        self._workers += 1
        tasks.start_soon(self._work, tasks)

    async def _work(self, tasks: TaskGroup) -> None:
        while (row := self._next() or await self._wait_for_row()) is not None:
            if not await self._permit(row):
                break
            await self._attempt(row, tasks)
        self._workers -= 1
        if self._workers == 0:
            tasks.cancel_scope.cancel()

    async def _permit(self, row: Row) -> bool:
        """Whether `row` may leave now; it goes back to the others where it may not."""
        is_permitted = False
        try:
            is_permitted = await self._gate.permit()
        finally:
            if not is_permitted:
                self._backlog.put_back(row)
        return is_permitted

    def _next(self) -> Row | None:
        """The next row that may go now, if there is one."""
        backlog = self._backlog
        if self.stopped is not None or self._recorder.is_full:
            return None
        # the first request goes alone: nothing fresh before something has come back
        fresh = self._is_open or not backlog.under_way
        now_s = self._around.clock()
        row = backlog.next(now_s, fresh=fresh)
        if backlog.needs_more:
            self._hungry.set()
        if backlog.due_s is not None and backlog.due_s <= now_s:
            self._idle.wake()  # one more is due: somebody else can take it
        return row

    async def _wait_for_row(self) -> Row | None:
        """The next row as soon as one may go; None where none will."""
        while self.stopped is None and not self._backlog.is_done:
            await self._recorder.wait_for_room()
            if (row := self._next()) is not None:
                return row
            await self._idle.wait()
        return None

    async def _attempt(self, row: Row, tasks: TaskGroup) -> None:
        """One request for `row`, and what follows from its answer."""
        settings, job = self.account.settings, row.job
        operation = self._operations[job.operation]
        left_s = self._leaves(row)
        reply: Reply | NoReply | None = None
        try:
            batch = (operation.job_type.trusted(job.text),)
            request = operation.encode(settings, batch)
            reply = await self._send(request)
            answer = operation.decode(settings, batch, reply)[0]
        except BaseException:
            self._end(row, INTERRUPTED if reply is None else UNREADABLE, Status.UNKNOWN)
            raise
        finally:
            self._in_flight -= 1
            self._last_s = self._around.clock()
        self._gate.heard(answer, self._around.clock() - left_s)
        if not self._is_open and isinstance(reply, Reply):
            self._open(tasks)
        self._decide(row, answer)

    def _leaves(self, row: Row) -> float:
        """Count an attempt; when it leaves."""
        now_s = self._around.clock()
        if row.attempts:
            self._retries += 1
        else:
            row.first_sent_s = now_s
        row.attempts += 1
        self._sent += 1
        self._in_flight += 1
        if self._first_s is None:
            self._first_s = now_s
        return now_s

    def _open(self, tasks: TaskGroup) -> None:
        """Something came back: the other workers may start."""
        self._is_open = True
        for _ in range(self.account.in_flight - 1):
            self._start_worker(tasks)

    def _decide(self, row: Row, answer: Answer) -> None:
        row.answer = answer
        row.in_doubt = is_in_doubt(answer, was_in_doubt=row.in_doubt)
        act = next_act(
            self.account.retry,
            answer,
            attempt=row.attempts,
            in_doubt=row.in_doubt,
            is_repeatable=row.job.is_repeatable,
            jitter=self._around.jitter(),
        )
        if isinstance(act, Again):
            self._backlog.again(row, self._around.clock() + act.delay_s)
            self._retry_added.set()
        else:
            self._end(row, answer, act)
        self._stop_if_hopeless(answer, has_ended=not isinstance(act, Again))

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
        )
        self._recorder.end(
            result, partial(self._committed, row), is_awaited=self._backlog.is_awaited(row)
        )

    def _committed(self, row: Row) -> None:
        self._backlog.done(row)
        self._idle.wake()
        self._wake_if_done()

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
