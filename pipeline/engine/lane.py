"""One account's rows on their way, each request in its turn. Accounts share no lane.

What a request carries and what follows from it: `attempts`; where doubt is settled: `read_back`;
what is read before: `guards`; how rows end: `ends`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext

import anyio
from anyio.abc import TaskGroup

from pipeline.engine.attempts import Attempts
from pipeline.engine.earlier import NOTHING, Earlier
from pipeline.engine.ends import Ends
from pipeline.engine.flow import WORKERS_PER_SLOT, Flow
from pipeline.engine.gate import Door
from pipeline.engine.guards import Guards
from pipeline.engine.looks import Looks
from pipeline.engine.means import Heard, Means, Send, Surroundings
from pipeline.engine.pauses import PauseHandler
from pipeline.engine.read_back import ReadBack
from pipeline.engine.recorder import Recorder
from pipeline.engine.supply import Supply
from pipeline.engine.traffic import Traffic
from pipeline.engine.trip import Trip
from pipeline.model import AccountProgress, JobRow
from pipeline.policy.backlog import Backlog
from pipeline.policy.batches import Batch, Row
from pipeline.policy.brake import Brake
from pipeline.policy.hopeless import hopeless
from pipeline.policy.split import Splitter
from pipeline.vendors import Account


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
        self.was_through = False  # when it was told to stop
        self._total = total
        self._recorder = recorder
        self._door = door
        operations = {op.name: op for op in account.vendor.operations}
        backlog = Backlog(
            batch_size=lambda name: operations[name].batch_size(account.settings),
            replaces={op.name: op.replaces for op in account.vendor.operations},
            in_doubt=earlier.in_doubt,
            coalesce=around.coalesce,
            overtaking=earlier.overtaking,
        )
        splitter = Splitter()
        self._traffic = Traffic(around.clock)
        self._supply = Supply(backlog, splitter, jobs, earlier, around.clock)
        self._ends = Ends(account, self._supply, recorder, around.clock, around.ended)
        self._flow = Flow(
            account.in_flight,
            clock=around.clock,
            has_room=self._supply.wake,
            is_down=self._goes_down,
            at_fault=self._supply.are_at_fault,
            patience_s=account.max_outage_s,
        )
        means = Means(
            account=account,
            operations=operations,
            send=send,
            flow=self._flow,
            around=around,
            traffic=self._traffic,
            supply=self._supply,
            ends=self._ends,
        )
        self._guards = Guards(means)
        self._read_back = ReadBack(means, self._guards)
        self._attempts = Attempts(means, self._guards, self._read_back, splitter)
        self._looks = Looks(means, around.looking, self._read_back, lambda: door.per_second)
        self._brake = Brake(around.brake_after)
        self._pauses = PauseHandler(account, stop=self.stop, announce=door.announce)
        self._clock = around.clock
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
                    self._start_worker(tasks)
        finally:
            for row in self._supply.left_over():
                self._ends.leave(row, self.stopped)

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
        # the first request goes alone: nothing fresh before something has come back
        batch = self._supply.next(
            may_be_first=self._is_open,
            probe=self._flow.next_probe,
            others_first=self._flow.is_in_question,
        )
        self._ends.end_blocked()
        if batch:
            self._flow.take(batch)
        return batch

    async def _wait_for_rows(self) -> Batch:
        """The next rows as soon as any may go; none where none will."""
        while self.stopped is None and not self._supply.is_done:
            await self._recorder.wait_for_room()
            if batch := self._next():
                return batch
            await self._supply.wait()
        return []

    async def _serve(self, batch: Batch, tasks: TaskGroup) -> None:
        """Claim `batch`, wait for its turn, send it; where it gets none it goes back."""
        if self._looks.is_due(batch):
            await self._look_and_serve(batch, tasks)
            return
        trip: Trip | None = None
        try:
            if await self._claim(batch):
                # what is under way while the vendor is down may hang: a probe waits for nobody
                async with nullcontext() if self._flow.is_probe(batch) else self._flow.slots:
                    trip = await self._permit(batch)
                    if trip is not None:
                        self._heed(await self._use_turn(batch, trip), tasks)
        finally:
            self._flow.give_back(batch)
            if trip is None:
                self._supply.put_back(batch)
            else:
                trip.back()

    async def _permit(self, batch: Batch) -> Trip | None:
        """The permit for one request; None where there is none for `batch` now."""
        if not self._flow.may_leave(batch):
            return None
        number = await self._door.permit()
        return None if number is None else Trip(self._door, number, self._clock())

    async def _look_and_serve(self, batch: Batch, tasks: TaskGroup) -> None:
        """Look at the entity of a row, then send what is to be sent; else it goes back."""
        (row,) = batch
        trips: list[Trip] = []
        is_back = True
        try:
            async with nullcontext() if self._flow.is_probe(batch) else self._flow.slots:
                if (look := await self._permit(batch)) is not None:
                    trips.append(look)
                    self._heed(await self._looks.at(row, look), tasks)
                    is_back = row.is_looked_at
                    if is_back and await self._claim(batch):
                        attempt = await self._permit(batch)
                        if attempt is not None:
                            trips.append(attempt)
                            is_back = False
                            await self._send_if_fresh(row, attempt, tasks)
        finally:
            self._flow.give_back(batch)
            if is_back:
                self._supply.put_back(batch)
            for trip in trips:
                trip.back()

    async def _send_if_fresh(self, row: Row, trip: Trip, tasks: TaskGroup) -> None:
        if self._looks.is_fresh(row):
            self._heed(await self._attempts.make([row], trip), tasks)
        else:
            self._supply.stands_in_line_again([row])

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

    async def _use_turn(self, batch: Batch, trip: Trip) -> Heard | None:
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

    def _heed(self, heard: Heard | None, tasks: TaskGroup) -> None:
        """Once something came back the other workers start; some answers stop the account."""
        if heard is None:
            return
        if not self._is_open and self._traffic.has_reply:
            self._is_open = True
            for _ in range(WORKERS_PER_SLOT * self.account.in_flight - 1):
                self._start_worker(tasks)
        for answer in heard.answers:
            reason = hopeless(
                answer,
                None if heard.is_read else self._brake,
                down_s=self._flow.down_s,
                max_outage_s=self.account.max_outage_s,
                is_first_lost=heard.is_end and not self._is_open,
            )
            if reason is not None:
                self.stop(reason, is_hopeless=True)
