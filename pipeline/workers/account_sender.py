"""Sends one account's rows. Each account has a sender of its own.

It chooses which rows are next, and stops the account if its answers require it. `pump` claims and
sends them, `row` decides what becomes of a row, `attempts` sends updates, `reads` reads entities,
`result_writer` ends rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from functools import partial
from itertools import islice
from typing import Any

import anyio
import anyio.abc

from pipeline.http_client.wire import Wire
from pipeline.model import AccountProgress, Answer, Effect, JobRow, Status, Verdict
from pipeline.pacing.account_limiter import AccountLimiter
from pipeline.pacing.circuit_breaker import are_rows_at_fault
from pipeline.pacing.pause_handler import PauseHandler
from pipeline.vendors import Account
from pipeline.workers.attempts import Attempts
from pipeline.workers.backlog import Backlog
from pipeline.workers.batches import Batch, may_be_claimed
from pipeline.workers.bisection import Bisector
from pipeline.workers.concurrency_limiter import ConcurrencyLimiter
from pipeline.workers.dependencies import Dependencies
from pipeline.workers.entity_queue import EntityQueue
from pipeline.workers.environment import NOTHING, RecoveredState, SenderEnvironment
from pipeline.workers.pump import Pump
from pipeline.workers.read_ahead import ReadAhead
from pipeline.workers.reads import Reads
from pipeline.workers.recorder import Recorder
from pipeline.workers.refusals import MAX_PROBES
from pipeline.workers.result_writer import ResultWriter
from pipeline.workers.stop_reason import FirstReply, describe, stop_reason
from pipeline.workers.traffic import Traffic
from pipeline.workers.undecided import Undecided

MAX_HELD = 10_000
"""With more rows of refused groups held, nothing fresh is sent."""

ANSWERED = (Status.UPDATED, Status.REJECTED)
"""Statuses of rows that the vendor has answered."""


class RowSource(Enum):
    """Where the next rows of an account come from."""

    ANY = "the next rows"
    SENT = "the next rows that were sent before; others only if every one of those has ended"
    SAMPLE = "one row from anywhere"
    NEWS = "the same, but none whose answer would show nothing new"
    GROUP = "one row of a refused group"


class AccountSender:
    """Sends the jobs of one account.

    jobs             batches in row order; read in a thread
    total            number of jobs, for the display
    wire             sends its requests
    account_limiter  where its requests wait for permits
    recovered        what earlier processes of the run recorded

    stopped           why it stopped; None while it has not
    is_permanent      True if every further file for the account would stop it too
    was_done_at_stop  True if every row had ended when it was stopped
    on_open           called once its answers show that the account works
    on_stop           called when it stops
    """

    def __init__(
        self,
        account: Account,
        jobs: Iterator[Sequence[JobRow]],
        total: int,
        *,
        wire: Wire[Any],
        account_limiter: AccountLimiter,
        recorder: Recorder,
        environment: SenderEnvironment,
        recovered: RecoveredState = NOTHING,
    ) -> None:
        self.account = account
        self.stopped: str | None = None
        self.is_permanent = self.was_done_at_stop = False
        self.on_open: Callable[[], None] = lambda: None
        self.on_stop: Callable[[], None] = lambda: None
        self._total, self._recorder = total, recorder
        self._account_limiter = account_limiter
        self._backlog = backlog = _backlog(account, environment, recovered)
        self._clock = clock = environment.clock
        self._bisector = bisector = Bisector()
        self._traffic = Traffic(clock)
        self._reader = ReadAhead(backlog, jobs, recovered, clock)
        self._result_writer = ResultWriter(account, backlog, recorder, clock, environment.on_end)
        self._concurrency = ConcurrencyLimiter(
            account.in_flight,
            clock=clock,
            on_room=self._pump_soon,
            on_down=self._send_only_probes,
            at_fault=self._are_rows_at_fault,
            patience_s=account.max_outage_s,
        )
        self._undecided = Undecided(backlog, self._result_writer, environment, recovered.refused)
        deps = Dependencies(
            owner=self,
            account=account,
            wire=wire,
            account_limiter=account_limiter,
            recorder=recorder,
            concurrency=self._concurrency,
            environment=environment,
            traffic=self._traffic,
            backlog=backlog,
            result_writer=self._result_writer,
            undecided=self._undecided,
        )
        self._attempts = Attempts(deps, bisector)
        self._reads = Reads(deps)
        self._pump = Pump(deps, self._attempts, self._reads)
        backlog.on_news = self._pump.call_soon
        self._first = FirstReply()
        self._in_doubt_before = recovered.in_doubt
        self._is_deciding = self._is_open = False
        self._pauses = PauseHandler(account, self.stop, account_limiter.announce)
        sizes = (account.batch_size(op.name) for op in account.vendor.operations)
        self._last_rows = MAX_PROBES + max(sizes, default=1)
        self._tasks: anyio.abc.TaskGroup
        self.take_latencies = self._traffic.take_latencies
        self.take_throttled = self._concurrency.take_throttled

    async def run(self) -> None:
        """Send every row, or stop.

        When this returns, each row that was sent has its result, or is in doubt and claimed on
        record.
        """
        try:
            with self._account_limiter.watched(self._pauses.on_pause):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._reader.feed, lambda: self.stopped is not None)
                    tasks.start_soon(self._reader.watch, lambda: self._concurrency.due_s)
                    self._tasks = tasks
                    await self._pump.run(tasks)
                    tasks.cancel_scope.cancel()
            if self._undecided.fail_fast.is_suspected:
                self.stop(self._undecided.fail_fast.reason)
        finally:
            self._pump.release()
            self._attempts.held_replies.release()
            for row in [*self._backlog.drain(), *self._bisector.drain()]:
                self._result_writer.on_stop(row, self.stopped)
            self._undecided.on_stop(self.stopped)

    def stop(self, reason: str, *, is_permanent: bool = False) -> None:
        """Send no further row; requests in flight finish. Only the first reason counts.

        is_permanent  True if every further file for the account would stop it too
        """
        if self.stopped is None:
            self.was_done_at_stop = self._backlog.is_done
            self.stopped = reason
            self.is_permanent = is_permanent
            self._account_limiter.close()
            self._pump.stop()
            self.on_stop()

    def open(self) -> None:
        """Begin as an account that works: another sender's answers have shown that it does."""
        self._is_open = self._traffic.has_reply = True
        self._undecided.fail_fast.is_over = True

    def progress(self) -> AccountProgress:
        """Return the progress of the account."""
        account, traffic, rate_per_s = self.account, self._traffic, self._account_limiter.per_second
        return AccountProgress(
            account=account.name,
            rows=self._total,
            done=dict(self._result_writer.counts),
            done_before=dict(self._reader.ended_before),
            sent=traffic.sent,
            sending_s=traffic.sending_s,
            retries=traffic.retries,
            in_flight=traffic.in_flight,
            in_flight_limit=self._concurrency.limit,
            retrying=self._backlog.retrying + len(self._bisector),
            pause_left_s=self._account_limiter.pause.left_s,
            quota=account.quota,
            quota_per_s=account.mean_per_s if account.quotas else 0.0,
            rate_per_s=0.0 if math.isinf(rate_per_s) else rate_per_s,
            is_probing=self._concurrency.is_probing,
            is_held_up=self._backlog.is_held_up,
            stopped=self.stopped,
            recent_errors=traffic.recent_errors.latest(),
        )

    # Choosing rows...

    def next_batches(self, ahead: int) -> list[Batch]:
        """Take the next batches that may be claimed now: many at once only while `is_calm`.

        ahead  how many batches may wait claimed
        """
        concurrency, undecided = self._concurrency, self._undecided
        if self.stopped is not None:
            return []
        if not self._is_open and (concurrency.taken or self._is_deciding):
            return []  # before the first reply one request at a time
        if not self._is_open or undecided.is_suspected or concurrency.is_suspected:
            ahead = 0
        if not concurrency.may_acquire(ahead):
            return []
        most = concurrency.room(ahead) if self.is_calm else 1
        if undecided.had_refusals and self._backlog.has_few_unsent(self._last_rows * (1 + most)):
            most = 1  # the last of these may be kept as probes
        taken = (self._take(source, most) for source in self._sources())
        batches = next(filter(None, taken), [])
        if undecided.is_suspected and batches:
            (undecided.probe,) = batches
        self._result_writer.end_blocked()
        self._reader.read_if_few()
        if batches:
            concurrency.acquire(batches)
        return batches

    def _sources(self) -> tuple[RowSource, ...]:
        """Return where the next rows come from: the first of these that has any.

        | the account | the next rows |
        | --- | --- |
        | is suspected | one probe at a time: a row with news, of a refused group, or sent before |
        | has not replied, and a request for one entity was lost | a row of another entity |
        | has not replied, and rows were refused before | a row that was not |
        | has not replied otherwise | the first; others if all that were given out are held |
        | refused rows, and has few left | rows that were sent before; another one if none is left |
        | works otherwise | any |
        """
        concurrency, undecided, backlog = self._concurrency, self._undecided, self._backlog
        if undecided.is_suspected:
            is_due = undecided.probe is None and not backlog.needs_more
            return (RowSource.NEWS, RowSource.GROUP, RowSource.SENT) if is_due else ()
        if self._is_open:
            if not self._keeps_last_rows:
                return (RowSource.ANY,)
            return (RowSource.SENT,) if concurrency.taken else (RowSource.SENT, RowSource.SAMPLE)
        last = RowSource.ANY if self._are_all_held else RowSource.SENT
        if self._first.needs_another:
            # rows that no process has sent may be among those that are being read
            return () if backlog.needs_more else (RowSource.NEWS, RowSource.SAMPLE, last)
        may_have_news = undecided.refused_before and backlog.is_untouched
        return (RowSource.NEWS, last) if may_have_news else (last,)

    def _take(self, source: RowSource, most: int) -> list[Batch]:
        """Take the next batches from `source`, while the vendor is down those of a probe."""
        concurrency, undecided, backlog = self._concurrency, self._undecided, self._backlog
        if source is RowSource.GROUP:
            return _one_or_none(undecided.row_of_held_group())
        if source is RowSource.SAMPLE:
            return _one_or_none(backlog.sample_one())
        if source is RowSource.NEWS:
            is_one_lost = self._first.needs_another and not undecided.is_suspected
            lost = self._in_doubt_before if is_one_lost else frozenset()
            return _one_or_none(backlog.sample_one(lost.union(undecided.refused_before)))
        fresh = source is RowSource.ANY or backlog.is_untouched
        fresh = fresh and len(self._bisector) < MAX_HELD
        if (probe := concurrency.next_probe) is not None:
            return _one_or_none(self._cut(backlog.probe(probe, fresh=fresh)))
        room, places = concurrency.room(), concurrency.places
        take = partial(
            backlog.next, self._clock(), fresh=fresh, others_first=concurrency.is_suspected
        )
        batches = list[Batch]()
        for batch in map(self._cut, islice(iter(take, []), most)):
            is_early = not may_be_claimed(batch, room - len(batches), places - len(batches))
            if is_early and not undecided.is_suspected:
                backlog.put_back(batch)
                break
            batches.append(batch)
        return batches

    def _cut(self, batch: Batch) -> Batch:
        """Cut a group that was sent before to its first row, as long as there was no reply.

        A group that gets no reply is split, and its many rows would all end late.
        """
        if not self._is_open and len(batch) > 1 and self._was_sent_before(batch):
            self._backlog.rows.reopen(batch[1:])
            del batch[1:]
        return batch

    @property
    def _are_all_held(self) -> bool:
        """True if rows were given out, and all that have not ended are held."""
        return 0 < self._undecided.count == self._backlog.rows.failing

    def _are_rows_at_fault(self, answered: int) -> bool:
        """True if the failing rows are at fault after a long outage, not the vendor.

        answered  rows that the vendor applied or refused in this process
        """
        return are_rows_at_fault(
            answered=answered + sum(self._reader.ended_before[status] for status in ANSWERED),
            failing=self._backlog.rows.failing,
            may_others_go=self._backlog.has_unsent(),
            is_resumed=bool(self._in_doubt_before),
        )

    @property
    def _keeps_last_rows(self) -> bool:
        """True while the last rows are sent sparingly: refused rows may need them as probes.

        If nothing but refused rows is left, nothing shows whether the account works.
        """
        concurrency, undecided = self._concurrency, self._undecided
        if not undecided.had_refusals or concurrency.is_probing or concurrency.is_suspected:
            return False  # else other rules decide what is sent
        is_amid = concurrency.taken or undecided.count
        return bool(is_amid) and self._backlog.has_few_unsent(self._last_rows)

    def on_idle(self) -> None:
        """Let the sender end, or decide the account if nothing can be sent before that."""
        if self.stopped is not None or self._backlog.is_done:
            if not self._is_deciding:
                self._pump.end()
        elif not self._recorder.is_full and self._is_stuck:
            self._is_deciding = True
            self._tasks.start_soon(self._decide_account)

    @property
    def _is_stuck(self) -> bool:
        """True if nothing can be sent before `_decide_account`."""
        held, is_suspected = self._undecided.count, self._undecided.is_suspected
        if self._is_deciding or not (held or is_suspected):
            return False
        return self._backlog.is_blocked_by(held, is_fresh_kept=is_suspected)

    async def _decide_account(self) -> None:
        """Stop the account or end its held rows: no row is left as a probe."""
        try:
            if self._undecided.has_open_refusals and await self._can_read_known_row():
                self._undecided.account_works()
            elif (reason := self._undecided.stuck_reason()) is not None:
                self.stop(reason)
            else:
                self._undecided.decide()
        finally:
            self._is_deciding = False
            self._pump_soon()

    async def _can_read_known_row(self) -> bool:
        """Read the entity of an updated row; True if the credentials still work for reads."""
        row = self._undecided.updated_row
        return row is not None and await self._reads.can_read_now(row)

    def _send_only_probes(self) -> None:
        """Put the rows back that wait to be sent, and those whose reads wait for permits."""
        self._pump.put_back_ready()
        self._account_limiter.cancel_waits()
        self._reader.look_again()

    # Starts and stops...

    @property
    def is_calm(self) -> bool:
        """True if all that was answered lately was a success: another one changes only counts."""
        return (
            self._is_open
            and self._concurrency.is_calm
            and self._undecided.is_calm
            and self._account_limiter.is_plain
            and not self._pump.is_gated
        )

    def on_answers(
        self, batch: Batch, answers: Sequence[Answer], sent_s: float, *, is_read: bool = False
    ) -> None:
        """Let other rows go after the first reply, and stop the account if an answer requires it.

        answers  the distinct answers to a request for `batch`, sent at `sent_s`
        is_read  True for a read: a refusal says nothing about updates
        """
        was_known = self._is_open and self._undecided.fail_fast.is_over
        if not self._traffic.has_reply:
            self._on_no_reply(batch, answers)
        elif not self._is_open:
            self._is_open = True
            self._reader.read_far(enabled=self._undecided.is_suspected)
        was_suspected = self._undecided.is_suspected
        self._undecided.on_answer(batch, answers, sent_s, is_read=is_read)
        for answer in answers:
            self._stop_if_pointless(answer)
        is_known = self._is_open and self._undecided.fail_fast.is_over
        if is_known and not was_known and self.stopped is None:
            self.on_open()
        if self._undecided.is_suspected != was_suspected:
            self._on_suspicion(is_suspected=not was_suspected)

    def _on_no_reply(self, batch: Batch, answers: Sequence[Answer]) -> None:
        """Note that this request, like all before it, got no reply."""
        may_have_arrived = any(answer.effect is Effect.MAYBE for answer in answers)
        is_known = self._was_sent_before(batch) and may_have_arrived
        self._first.on_no_reply(batch[0].job.entity, is_known=is_known)
        self._reader.read_far(enabled=True)

    def _was_sent_before(self, batch: Batch) -> bool:
        """True if an earlier process may have sent each row of `batch`."""
        return all(row.job.row in self._in_doubt_before for row in batch)

    def _is_given_up_unanswered(self) -> bool:
        return not self._is_open and self._first.is_given_up(
            self.account.retry.max_attempts,
            has_others=self._backlog.has_others,
            has_ended=bool(self._result_writer.counts.keys() - {Status.NOT_ATTEMPTED}),
        )

    def _stop_if_pointless(self, answer: Answer) -> None:
        if answer.verdict is Verdict.OK and not self._concurrency.is_probing:
            return
        fail_fast = self._undecided.fail_fast
        reason = stop_reason(
            answer,
            down_s=self._concurrency.down_s,
            throttled_s=self._concurrency.throttled_s,
            max_outage_s=self.account.max_outage_s,
        )
        if reason is None and fail_fast.has_failed:
            reason = fail_fast.reason
        if reason is not None:
            # equal refusals of one file's rows say nothing about the next file
            self.stop(reason, is_permanent=answer.verdict is not Verdict.REJECTED)
        elif self._is_given_up_unanswered():
            self.stop(f"no reply came to the first requests: {describe(answer)}", is_permanent=True)
        elif (reason := self._undecided.stop_reason) is not None:
            self.stop(reason, is_permanent=self._undecided.is_about_credentials)

    def _pump_soon(self) -> None:
        self._pump.call_soon()

    def _on_suspicion(self, *, is_suspected: bool) -> None:
        """Send only probes while the account is suspected, then everything again."""
        self._reader.read_far(enabled=is_suspected)
        if is_suspected:
            self._send_only_probes()
        self._pump_soon()


def _one_or_none(batch: Batch) -> list[Batch]:
    return [batch] if batch else []


def _backlog(
    account: Account, environment: SenderEnvironment, recovered: RecoveredState
) -> Backlog:
    rows = EntityQueue(
        batch_size=account.batch_size,
        replaces={op.name: op.replaces for op in account.vendor.operations},
        in_doubt=recovered.in_doubt,
        coalesce=environment.coalesce,
        overtaking=recovered.overtaking,
    )
    return Backlog(rows, sampled=int(environment.jitter() * 1000))  # a resumed run: other rows
