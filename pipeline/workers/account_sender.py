"""One account's rows on their way, each request in its turn. Accounts share no lane.

What a request carries and what follows from it: `attempts`; where doubt is settled: `read_back`;
what is read before: `guards`; how rows end: `ends`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import anyio
from anyio.abc import TaskGroup

from pipeline.model import AccountProgress, Answer, Effect, JobRow, Status, Verdict
from pipeline.pacing.limiter import AccountLimiter
from pipeline.pacing.permit import Permit
from pipeline.vendors import Account, Operation
from pipeline.workers.attempts import Attempts
from pipeline.workers.backlog import Backlog
from pipeline.workers.batches import Batch
from pipeline.workers.bisection import Bisector
from pipeline.workers.concurrency_limiter import WORKERS_PER_SLOT, ConcurrencyLimiter
from pipeline.workers.dependencies import Dependencies, RequestOutcome, Send, SenderEnvironment
from pipeline.workers.fail_fast import FailFastCheck
from pipeline.workers.pauses import PauseHandler
from pipeline.workers.prechecks import Prechecks
from pipeline.workers.preconditions import Preconditions
from pipeline.workers.recorder import Recorder
from pipeline.workers.recovered_state import NOTHING, RecoveredState
from pipeline.workers.result_writer import ResultWriter
from pipeline.workers.row_queue import RowQueue
from pipeline.workers.stop_reason import FirstReply, braked, hopeless, in_words
from pipeline.workers.traffic import Traffic
from pipeline.workers.undecided import Undecided
from pipeline.workers.verification_read import VerificationRead


class AccountSender:
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
        door: AccountLimiter,
        recorder: Recorder,
        around: SenderEnvironment,
        earlier: RecoveredState = NOTHING,
    ) -> None:
        self.account = account
        self.stopped: str | None = None
        self.is_hopeless = False
        self.was_through = False  # when it was told to stop
        self._total = total
        self._recorder = recorder
        self._door = door
        backlog = _backlog(account, around, earlier)
        splitter = Bisector()
        self._traffic = Traffic(around.clock)
        self._supply = RowQueue(backlog, splitter, jobs, earlier, around.clock)
        self._ends = ResultWriter(account, self._supply, recorder, around.clock, around.ended)
        self._flow = ConcurrencyLimiter(
            account.in_flight,
            clock=around.clock,
            has_room=self._supply.wake,
            is_down=self._goes_down,
            at_fault=self._supply.are_at_fault,
            patience_s=account.max_outage_s,
        )
        brake, refused = FailFastCheck(around.brake_after), earlier.refused
        self._undecided = Undecided(self._supply, self._ends, brake, around.clock, refused)
        means = Dependencies(
            account=account,
            operations=_operations(account),
            send=send,
            flow=self._flow,
            around=around,
            traffic=self._traffic,
            supply=self._supply,
            ends=self._ends,
            undecided=self._undecided,
        )
        self._guards = Preconditions(means)
        self._read_back = VerificationRead(means, self._guards)
        self._attempts = Attempts(means, self._guards, self._read_back, splitter)
        self._looks = Prechecks(means, around.looking, self._read_back, lambda: door.per_second)
        self._first = FirstReply()
        self._asked_before = earlier.in_doubt
        self._is_concluding = False
        self._pauses = PauseHandler(account, stop=self.stop, announce=door.announce)
        self._clock = around.clock
        self._draws = int(around.jitter() * 1000)  # a run that is carried on asks elsewhere
        self._is_open = False
        self._workers = 0
        self.take_latencies = self._traffic.take_latencies
        self.take_throttled = self._flow.take_throttled

    async def run(self) -> None:
        """Send every row, or stop.

        When this returns, whatever was sent has its result, or is in doubt and claimed on record.
        """
        try:
            with self._door.watched(self._pauses.on_pause):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._supply.feed, lambda: self.stopped is not None)
                    tasks.start_soon(self._supply.watch, lambda: self._flow.due_s)
                    tasks.start_soon(self._attempts.holding.run)
                    self._start_worker(tasks)
            if self._undecided.brake.pulls_with_nobody_left():
                self.stop(braked(self._undecided.brake))
        finally:
            self._attempts.holding.release()
            for row in self._supply.left_over():
                self._ends.leave(row, self.stopped)
            self._undecided.leave(self.stopped)

    def stop(self, reason: str, *, is_hopeless: bool = False) -> None:
        """Take no further row; what is in flight finishes. Only the first reason counts.

        is_hopeless  whatever else goes to this account would meet the same
        """
        if self.stopped is None:
            self.was_through = self._supply.is_done
            self.stopped = reason
            self.is_hopeless = is_hopeless
            self._door.close()
            self._supply.wake_all()

    def progress(self) -> AccountProgress:
        """How far this account is."""
        account, traffic, rate_per_s = self.account, self._traffic, self._door.per_second
        return AccountProgress(
            account=account.name,
            rows=self._total,
            done=dict(self._ends.counts),
            done_before=dict(self._supply.ended_before),
            sent=traffic.sent,
            sending_s=traffic.sending_s,
            retries=traffic.retries,
            in_flight=traffic.in_flight,
            in_flight_limit=self._flow.limit,
            retrying=self._supply.retrying,
            pause_left_s=self._door.pause_left_s(),
            quota=account.quota,
            quota_per_s=account.mean_per_s if account.quotas else 0.0,
            rate_per_s=0.0 if math.isinf(rate_per_s) else rate_per_s,
            is_probing=self._flow.is_probing,
            is_held_up=self._supply.is_held_up,
            stopped=self.stopped,
            troubles=traffic.troubles.latest(),
        )

    # Workers...

    def _start_worker(self, tasks: TaskGroup) -> None:
        self._workers += 1
        tasks.start_soon(self._work, tasks)

    async def _work(self, tasks: TaskGroup) -> None:
        while batch := self._next() or await self._wait_for_rows():
            await self._serve(batch, tasks)
        self._workers -= 1
        if self._workers == 0:
            tasks.cancel_scope.cancel()

    def _next(self) -> Batch:
        """The next rows that may go now together, if there are any."""
        if self.stopped is not None or self._recorder.is_full or not self._flow.may_take:
            return []
        if self._undecided.is_in_question:
            batch = self._next_to_ask()
        elif not self._is_open and (self._first.asks_another or self._undecided.refused_before):
            batch = self._next_at_first()
        else:
            # the first request goes alone: nothing fresh before something has come back, unless
            # nothing else would go
            batch = self._supply.next(
                may_be_first=self._is_open or self._supply.all_wait(self._undecided.count),
                probe=self._flow.next_probe,
                others_first=self._flow.is_in_question,
            )
        self._ends.end_blocked()
        if not self._is_open and len(batch) > 1 and self._was_asked(batch):
            # a group that gets no reply is split, and none of many rows under way ends soon
            self._supply.keep(batch[1:])
            batch = batch[:1]
        if batch:
            self._flow.take(batch)
        return batch

    def _next_to_ask(self) -> Batch:
        """One row that tells whether the account works, while none is under way that does."""
        if self._undecided.asks is not None or self._supply.needs_more:
            return []
        avoid = self._undecided.refused_before
        batch = (
            self._supply.one_elsewhere(self._draw(), avoid)
            or self._undecided.one_of_a_group()
            or self._supply.next(may_be_first=False, probe=self._flow.next_probe)
        )
        self._undecided.asks = batch or None
        return batch

    def _draw(self) -> int:
        """Another one each time."""
        self._draws += 1
        return self._draws

    def _next_at_first(self) -> Batch:
        """Before any reply: another row than those that told nothing, or were refused before."""
        all_wait = self._supply.all_wait(self._undecided.count)
        if self._supply.is_untouched or self._first.asks_another:
            asked = self._asked_before if self._first.asks_another else frozenset()
            avoid = asked.union(self._undecided.refused_before)
            batch = self._supply.one_elsewhere(self._draw(), avoid)
            if not batch and self._first.asks_another:
                batch = self._supply.one_elsewhere(self._draw(), ())
            if batch:
                return batch
        return self._supply.next(may_be_first=all_wait, probe=self._flow.next_probe)

    async def _wait_for_rows(self) -> Batch:
        """The next rows as soon as any may go; none where none will."""
        while self.stopped is None and not self._supply.is_done:
            await self._recorder.wait_for_room()
            if batch := self._next():
                return batch
            if self._is_stuck:
                await self._conclude()
            else:
                await self._supply.wait()
        return []

    @property
    def _is_stuck(self) -> bool:
        """Whether nothing can go before it is decided what becomes of the account."""
        waiting, is_asking = self._undecided.count, self._undecided.is_in_question
        if self._is_concluding or not (waiting or is_asking):
            return False
        return self._supply.rests_on(waiting, is_fresh_kept=is_asking)

    async def _conclude(self) -> None:
        """With nobody left to ask: the account stops, or what waits is decided."""
        self._is_concluding = True
        try:
            if self._undecided.is_refused and await self._is_account_told():
                self._undecided.works()
            elif (why := self._undecided.why_stuck()) is not None:
                self.stop(why)
            else:
                self._undecided.decide()
        finally:
            self._is_concluding = False
            self._supply.wake_all()

    async def _is_account_told(self) -> bool:
        """Whether the vendor still tells the account what it holds, of a row that was updated."""
        row = self._undecided.known
        if row is None or (number := await self._door.permit()) is None:
            return False
        trip = Permit(self._door, number, self._clock())
        try:
            return await self._read_back.is_told(row, trip)
        finally:
            trip.back()

    async def _serve(self, batch: Batch, tasks: TaskGroup) -> None:
        """Claim `batch`, wait for its turn, send it; where it gets none it goes back."""
        if self._looks.is_due(batch):
            await self._look_and_serve(batch, tasks)
            return
        trip: Permit | None = None
        try:
            if await self._claim(batch):
                # what is under way while the vendor is down may hang: a probe waits for nobody
                async with nullcontext() if self._flow.is_probe(batch) else self._flow.slots:
                    trip = await self._permit(batch)
                    if trip is not None:
                        self._heed(await self._use_turn(batch, trip), batch, trip.left_s, tasks)
        finally:
            self._give_back(batch)
            if trip is None:
                self._supply.put_back(batch)
            else:
                trip.back()

    def _give_back(self, batch: Batch) -> None:
        """`batch` was sent, or will not be now."""
        self._flow.give_back(batch)
        if self._undecided.asks is batch:
            self._undecided.asks = None

    async def _permit(self, batch: Batch) -> Permit | None:
        """The permit for one request; None where there is none for `batch` now."""
        if not (self._flow.may_leave(batch) and self._undecided.may_leave(batch)):
            return None
        number = await self._door.permit()
        return None if number is None else Permit(self._door, number, self._clock())

    async def _look_and_serve(self, batch: Batch, tasks: TaskGroup) -> None:
        """Look at the entity of a row, then send what is to be sent; else it goes back."""
        (row,) = batch
        trips: list[Permit] = []
        is_back = True
        try:
            async with nullcontext() if self._flow.is_probe(batch) else self._flow.slots:
                if (look := await self._permit(batch)) is not None:
                    trips.append(look)
                    self._heed(await self._looks.at(row, look), batch, look.left_s, tasks)
                    is_back = row.is_looked_at
                    if is_back and await self._claim(batch):
                        attempt = await self._permit(batch)
                        if attempt is not None:
                            trips.append(attempt)
                            is_back = False
                            await self._send_if_fresh(batch, attempt, tasks)
        finally:
            self._give_back(batch)
            if is_back:
                self._supply.put_back(batch)
            for trip in trips:
                trip.back()

    async def _send_if_fresh(self, batch: Batch, trip: Permit, tasks: TaskGroup) -> None:
        if self._looks.is_fresh(batch[0]):
            self._heed(await self._attempts.make(batch, trip), batch, trip.left_s, tasks)
        else:
            self._supply.stands_in_line_again(batch)

    async def _claim(self, batch: Batch) -> bool:
        """Whether it is on record that `batch` may be sent from now on, and over what."""
        rows = [row for row in batch if not row.is_claimed]
        befores = [(row.job.row, row.before) for row in batch if row.before and not row.in_doubt]
        for row in rows:
            row.is_claimed = True  # broken off, it may be on record or not
        is_recorded = await self._recorder.claim([row.job.row for row in rows], befores)
        for row in rows:
            row.is_claimed = is_recorded
        return is_recorded

    async def _use_turn(self, batch: Batch, trip: Permit) -> RequestOutcome | None:
        (row, *others) = batch
        if not others and self._read_back.is_next(row):
            return await self._read_back.read(row, trip)
        if not others and self._guards.is_next(row):
            return await self._guards.read(row, trip)
        return await self._attempts.make(batch, trip)

    def _goes_down(self) -> None:
        """Whoever waits at the gate goes back: from now on one at a time is asked."""
        self._door.send_away()
        self._supply.look_again()

    # Starts and stops...

    def _heed(
        self, heard: RequestOutcome | None, batch: Batch, left_s: float, tasks: TaskGroup
    ) -> None:
        """Once something came back the other workers start; some answers stop the account."""
        if heard is None:
            return
        if not self._traffic.has_reply:
            self._loses_first(heard, batch)
        elif not self._is_open:
            self._is_open = True
            self._supply.read_far(is_wished=self._undecided.is_in_question)
            for _ in range(WORKERS_PER_SLOT * self.account.in_flight - 1):
                self._start_worker(tasks)
        was_in_question = self._undecided.is_in_question
        self._undecided.heard(batch, heard.answers, left_s, is_read=heard.is_read)
        for answer in heard.answers:
            self._stop_if_hopeless(answer, batch, is_read=heard.is_read)
        if self._undecided.is_in_question != was_in_question:
            self._question(is_open=not was_in_question)

    def _loses_first(self, heard: RequestOutcome, batch: Batch) -> None:
        """Nothing came back so far, nor to this request."""
        may_have_arrived = any(answer.effect is Effect.MAYBE for answer in heard.answers)
        is_known = self._was_asked(batch) and may_have_arrived
        self._first.lost(batch[0].job.entity, is_known=is_known)
        self._supply.read_far(is_wished=True)

    def _was_asked(self, batch: Batch) -> bool:
        """Whether an earlier process may have sent each of these rows."""
        return all(row.job.row in self._asked_before for row in batch)

    def _is_first_given_up(self) -> bool:
        return not self._is_open and self._first.is_given_up(
            self.account.retry.max_attempts,
            has_others=self._supply.has_others,
            has_ended=bool(self._ends.counts.keys() - {Status.NOT_ATTEMPTED}),
        )

    def _stop_if_hopeless(self, answer: Answer, batch: Batch, *, is_read: bool) -> None:
        brake = self._undecided.brake
        reason = hopeless(
            answer,
            None if is_read else brake,
            is_asked=self._undecided.asks is batch,
            down_s=self._flow.down_s,
            throttled_s=self._flow.throttled_s,
            max_outage_s=self.account.max_outage_s,
        )
        if reason is not None:
            # rows of one file that are refused alike say nothing of the next file
            self.stop(reason, is_hopeless=answer.verdict is not Verdict.REJECTED)
        elif self._is_first_given_up():
            self.stop(f"no reply came to the first requests: {in_words(answer)}", is_hopeless=True)
        elif (reason := self._undecided.why_given_up) is not None:
            self.stop(reason, is_hopeless=self._undecided.is_about_credentials)

    def _question(self, *, is_open: bool) -> None:
        """It is in question from now on whether the account works, or it is not any more."""
        self._supply.read_far(is_wished=is_open)
        if is_open:
            self._door.send_away()  # whoever waits for a permit goes back
            self._supply.look_again()
        else:
            self._supply.wake_all()


def _operations(account: Account) -> dict[str, Operation[Any, Any]]:
    return {op.name: op for op in account.vendor.operations}


def _backlog(account: Account, around: SenderEnvironment, earlier: RecoveredState) -> Backlog:
    operations = _operations(account)
    return Backlog(
        batch_size=lambda name: operations[name].batch_size(account.settings),
        replaces={op.name: op.replaces for op in account.vendor.operations},
        in_doubt=earlier.in_doubt,
        coalesce=around.coalesce,
        overtaking=earlier.overtaking,
    )
