"""One account's rows on their way: read, sent, repeated, ended. Accounts share no lane."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from pipeline.engine.earlier import NOTHING, Earlier
from pipeline.engine.gate import Door
from pipeline.engine.reading import Found, found
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
from pipeline.model.sample import LATENCY_BOUNDS_S
from pipeline.policy.backlog import Backlog
from pipeline.policy.batches import Batch, Row
from pipeline.policy.brake import BRAKE_AFTER, Brake
from pipeline.policy.classify import classify
from pipeline.policy.outcome import Again, end_without_success, is_in_doubt, is_judged, next_act
from pipeline.policy.retry import next_delay_s
from pipeline.policy.settle import Settled, settled
from pipeline.policy.split import Parts, Splitter
from pipeline.vendors import Account

Send = Callable[[Request], Awaitable[Reply | NoReply]]

WORKERS_PER_SLOT = 2
"""While one batch is under way another one is put on record."""

MOST_HELD = 10_000
"""With so many rows of refused groups held back, nothing fresh is sent."""

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
FORGOTTEN = INTERRUPTED._replace(
    code="interrupted",
    message="an earlier process ended before the answer came",
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

    jobs      batches in row order; read in a thread
    total     how many jobs there are, for the display
    door      to the gate where its requests wait
    earlier   what an earlier process of the run left
    """

    def __init__(
        self,
        account: Account,
        jobs: Iterator[Sequence[JobRow]],
        total: int,
        *,
        send: Send,
        door: Door,
        recorder: Recorder,
        around: Surroundings,
        earlier: Earlier = NOTHING,
    ) -> None:
        self.account = account
        self.stopped: str | None = None
        self.is_hopeless = False
        self._jobs = jobs
        self._earlier = earlier
        self._total = total
        self._send = send
        self._recorder = recorder
        self._around = around
        self._operations = {op.name: op for op in account.vendor.operations}
        self._door = door
        self._brake = Brake(around.brake_after)
        self._backlog = Backlog(
            batch_size=self._batch_size,
            replaces={op.name: op.replaces for op in account.vendor.operations},
            in_doubt=earlier.in_doubt,
        )
        self._slots = anyio.Semaphore(account.in_flight, fast_acquire=True)
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
        self._latencies = [0] * (len(LATENCY_BOUNDS_S) + 1)

    async def run(self) -> None:
        """Send every row, or stop. When this returns, whatever was sent has its result."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._feed)
                tasks.start_soon(self._watch_retries)
                self._start_worker(tasks)
        finally:
            for row in (*self._backlog.left_over(), *self._splitter.ended()):
                self._leave(row)

    def stop(self, reason: str, *, is_hopeless: bool = False) -> None:
        """Take no further row; what is in flight finishes. Only the first reason counts.

        is_hopeless  whatever else goes to this account would meet the same
        """
        if self.stopped is None:
            self.stopped = reason
            self.is_hopeless = is_hopeless
            self._door.close()
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
            pause_left_s=self._door.pause_left_s(),
            quota=", ".join(map(str, account.quotas)),
            quota_per_s=min(quota.per_second for quota in account.quotas),
            stopped=self.stopped,
        )

    def take_latencies(self) -> tuple[int, ...]:
        """How many answers came within each of LATENCY_BOUNDS_S since the last call."""
        taken, self._latencies = self._latencies, [0] * len(self._latencies)
        return tuple(taken) if any(taken) else ()

    # Reading ahead...

    async def _feed(self) -> None:
        while self.stopped is None:
            batch = await anyio.to_thread.run_sync(self._read_on)
            if batch is None:
                break
            self._backlog.add(batch)
            self._idle.wake(len(batch))
            while not self._backlog.needs_more:
                self._hungry = anyio.Event()
                await self._hungry.wait()
        self._backlog.end()
        self._wake_if_done()

    def _read_on(self) -> Sequence[JobRow] | None:
        """More rows without those that ended in an earlier process; None where there are none."""
        batch = next(self._jobs, None)
        if batch is None or self._earlier is NOTHING:
            return batch
        ended = self._earlier.ended([job.row for job in batch])
        for job in batch:
            if job.row in self._earlier.unknown:
                self._backlog.recall(job)
        return [job for job in batch if job.row not in ended]

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
            if not await self._serve(batch, tasks):
                break
        self._workers -= 1
        if self._workers == 0:
            tasks.cancel_scope.cancel()

    async def _serve(self, batch: Batch, tasks: TaskGroup) -> bool:
        """Claim `batch`, wait for its turn, send it; False where it goes back to the others."""
        has_left = False
        try:
            if await self._claim(batch):
                async with self._slots:
                    has_left = await self._door.permit()
                    if has_left:
                        await self._use_turn(batch, tasks)
        finally:
            if not has_left:
                self._backlog.put_back(batch)
        return has_left

    async def _claim(self, batch: Batch) -> bool:
        """Whether it is on record that `batch` may be sent from now on."""
        rows = [row for row in batch if not row.is_claimed]
        for row in rows:
            row.is_claimed = True  # broken off, it may be on record or not
        is_recorded = await self._recorder.claim([row.job.row for row in rows])
        for row in rows:
            row.is_claimed = is_recorded
        return is_recorded

    async def _use_turn(self, batch: Batch, tasks: TaskGroup) -> None:
        (row, *others) = batch
        if not others and (row.is_to_read or (row.in_doubt and not row.job.is_repeatable)):
            await self._read_back(row, tasks)
        else:
            await self._attempt(batch, tasks)

    def _next(self) -> Batch:
        """The next rows that may go now together, if there are any."""
        backlog = self._backlog
        if self.stopped is not None or self._recorder.is_full:
            return []
        # the first request goes alone: nothing fresh before something has come back
        fresh = self._is_open or backlog.is_untouched
        if len(self._splitter) >= MOST_HELD:
            fresh = False
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
            self._request_ended()
        if isinstance(reply, NoReply) and reply.lost_turn:
            self._stands_in_line_again(batch)
            return
        latency_s = self._around.clock() - left_s
        self._latencies[bisect_left(LATENCY_BOUNDS_S, latency_s)] += 1
        self._door.heard(answers[0], latency_s)
        self._came_back(reply, tasks)
        self._decide(batch, answers, left_s)

    def _came_back(self, reply: Reply | NoReply, tasks: TaskGroup) -> None:
        """Once something came back the other workers start."""
        if not self._is_open and isinstance(reply, Reply):
            self._is_open = True
            for _ in range(WORKERS_PER_SLOT * self.account.in_flight - 1):
                self._start_worker(tasks)

    def _leaves(self, batch: Batch) -> float:
        """Count an attempt; when it leaves."""
        now_s = self._request_leaves()
        if batch[0].attempts:
            self._retries += 1
        for row in batch:
            if not row.attempts:
                row.first_sent_s = now_s
            row.attempts += 1
            row.last_sent_s = now_s
        return now_s

    def _request_leaves(self) -> float:
        """When, by the clock."""
        now_s = self._around.clock()
        self._sent += 1
        self._in_flight += 1
        if self._first_s is None:
            self._first_s = now_s
        return now_s

    def _request_ended(self) -> None:
        self._in_flight -= 1
        self._last_s = self._around.clock()

    def _stands_in_line_again(self, batch: Batch) -> None:
        """What kept the request back has nothing to do with its rows: no attempt is counted."""
        for row in batch:
            row.attempts -= 1
        self._backlog.put_back(batch)
        self._idle.wake()

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
            elif act is Status.UNKNOWN and self._can_read(row):
                self._reads_next(row, self._around.clock())
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
        if parts.now or parts.later:
            self._idle.wake_all()  # also those that found nothing while too many were held
        for group in parts.later:
            jitter = self._around.jitter()
            acts = [self._act(row, row.answer or INTERRUPTED, jitter) for row in group]
            again = [row for row, act in zip(group, acts, strict=True) if isinstance(act, Again)]
            if again:
                delay_s = max(act.delay_s for act in acts if isinstance(act, Again))
                self._goes_again(again, self._around.clock() + delay_s)
            for row, act in zip(group, acts, strict=True):
                if act is Status.UNKNOWN and self._can_read(row):
                    self._reads_next(row, self._around.clock())
                elif not isinstance(act, Again):
                    self._end(row, row.answer or INTERRUPTED, act)

    # Reading back...

    def _can_read(self, row: Row) -> bool:
        reading = self._operations[row.job.operation].reading
        return reading is not None and row.reads < self.account.retry.max_attempts

    def _reads_next(self, row: Row, due_s: float) -> None:
        row.is_to_read = True
        self._goes_again([row], due_s)

    async def _read_back(self, row: Row, tasks: TaskGroup) -> None:
        """Ask the vendor what it holds for a row in doubt, and go on from there."""
        settings, operation = self.account.settings, self._operations[row.job.operation]
        if operation.reading is None:
            self._end(row, row.answer or FORGOTTEN, Status.UNKNOWN)
            return
        if not row.attempts:
            row.attempts, row.first_sent_s, row.last_sent_s = 1, *[self._around.clock()] * 2
        job = operation.job_type.trusted(row.job.text)
        left_s = self._request_leaves()
        try:
            reply = await self._send(operation.reading.request(settings, job))
        except BaseException:
            self._end(row, row.answer or INTERRUPTED, Status.UNKNOWN)
            raise
        finally:
            self._request_ended()
        if isinstance(reply, NoReply) and reply.lost_turn:
            self._backlog.put_back([row])
            self._idle.wake()
            return
        answer = classify(reply)
        self._door.heard(answer, self._around.clock() - left_s)
        self._came_back(reply, tasks)
        row.reads += 1
        self._settle(row, answer, found(operation.reading, settings, job, reply))
        self._stop_if_hopeless(answer, has_ended=False)

    def _settle(self, row: Row, answer: Answer, what: Found | None) -> None:
        """`answer` to the read, and what it showed; None where it told nothing."""
        retry, clock = self.account.retry, self._around.clock
        if what is None:
            delay_s = next_delay_s(retry, answer, row.reads, self._around.jitter())
            if delay_s is None or not self._can_read(row):
                self._end(row, row.answer or FORGOTTEN, Status.UNKNOWN)
            else:
                self._reads_next(row, clock() + delay_s)
            return
        settle_after_s = what.settle_after_s
        match settled(
            is_held=what.is_held,
            can_tell=what.can_tell,
            since_attempt_s=clock() - row.last_sent_s,
            settle_after_s=settle_after_s,
        ):
            case Settled.APPLIED:
                self._end(
                    row, Answer(Verdict.OK, Effect.APPLIED, receipt=what.receipt), Status.UPDATED
                )
            case Settled.UNDECIDED:
                self._end(row, row.answer or FORGOTTEN, Status.UNKNOWN)
            case Settled.TOO_EARLY:
                row.reads -= 1  # it has to be asked again, once
                self._reads_next(row, row.last_sent_s + settle_after_s)
            case Settled.NOT_APPLIED:
                self._was_not_applied(row)

    def _was_not_applied(self, row: Row) -> None:
        """Doubt about `row` is gone: it may be sent again if it has a try left."""
        row.in_doubt = row.is_to_read = False
        answer = row.answer or FORGOTTEN
        delay_s = next_delay_s(self.account.retry, answer, row.tries, self._around.jitter())
        if delay_s is None:
            status = end_without_success(answer, in_doubt=False)
            if status is Status.FAILED:
                answer = answer._replace(
                    hint="a read showed that it was not applied: send it again"
                )
            self._end(row, answer, status)
        else:
            self._goes_again([row], self._around.clock() + delay_s)

    # Stops...

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

    def _leave(self, row: Row) -> None:
        """What becomes of a row that was given out when the account stopped."""
        if row.attempts:
            answer = row.answer or INTERRUPTED
            words = f"{answer.message}; no further attempt: {self.stopped or BROKEN_OFF}"
            status = end_without_success(answer, in_doubt=row.in_doubt)
            self._end(row, answer._replace(message=words), status)
        elif row.is_claimed and not row.in_doubt:
            self._recorder.unsent([row.job.row])


def _in_words(answer: Answer) -> str:
    """What was wrong, and what to do, in one phrase."""
    status = f"HTTP {answer.http_status}" if answer.http_status is not None else ""
    parts = [part for part in (status, answer.code, answer.message, answer.hint) if part]
    return ": ".join(parts)
