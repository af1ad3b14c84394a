"""One account's rows on their way, each request in its turn. Accounts share no lane.

What a request carries and what follows from it: `attempts`; where doubt is settled: `read_back`;
what is read before: `guards`; how rows end: `ends`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import anyio
from anyio.abc import TaskGroup

from pipeline.engine.attempts import Attempts
from pipeline.engine.earlier import NOTHING, Earlier
from pipeline.engine.ends import Ends
from pipeline.engine.gate import Door
from pipeline.engine.guards import Guards
from pipeline.engine.means import Heard, Means, Send, Surroundings
from pipeline.engine.read_back import ReadBack
from pipeline.engine.recorder import Recorder
from pipeline.engine.supply import Supply
from pipeline.engine.traffic import Traffic
from pipeline.model import AccountProgress, JobRow
from pipeline.policy.backlog import Backlog
from pipeline.policy.batches import Batch
from pipeline.policy.brake import Brake
from pipeline.policy.hopeless import hopeless
from pipeline.policy.split import Splitter
from pipeline.vendors import Account

WORKERS_PER_SLOT = 2
"""While one batch is under way another one is put on record."""


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
        self._total = total
        self._recorder = recorder
        self._door = door
        operations = {op.name: op for op in account.vendor.operations}
        backlog = Backlog(
            batch_size=lambda name: operations[name].batch_size(account.settings),
            replaces={op.name: op.replaces for op in account.vendor.operations},
            in_doubt=earlier.in_doubt,
        )
        splitter = Splitter()
        self._traffic = Traffic(around.clock)
        self._supply = Supply(backlog, splitter, jobs, earlier, around.clock)
        self._ends = Ends(account, self._supply, recorder, around.clock)
        means = Means(
            account=account,
            operations=operations,
            send=send,
            door=door,
            around=around,
            traffic=self._traffic,
            supply=self._supply,
            ends=self._ends,
        )
        self._guards = Guards(means)
        self._read_back = ReadBack(means, self._guards)
        self._attempts = Attempts(means, self._guards, self._read_back, splitter)
        self._brake = Brake(around.brake_after)
        self._slots = anyio.Semaphore(account.in_flight, fast_acquire=True)
        self._is_open = False
        self._workers = 0
        self.take_latencies = self._traffic.take_latencies

    async def run(self) -> None:
        """Send every row, or stop.

        When this returns, whatever was sent has its result, or is in doubt and claimed on record.
        """
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._supply.feed, lambda: self.stopped is not None)
                tasks.start_soon(self._supply.watch_retries)
                self._start_worker(tasks)
        finally:
            for row in self._supply.left_over():
                self._ends.leave(row, self.stopped)

    def stop(self, reason: str, *, is_hopeless: bool = False) -> None:
        """Take no further row; what is in flight finishes. Only the first reason counts.

        is_hopeless  whatever else goes to this account would meet the same
        """
        if self.stopped is None:
            self.stopped = reason
            self.is_hopeless = is_hopeless
            self._door.close()
            self._supply.wake_all()

    def progress(self) -> AccountProgress:
        """How far this account is."""
        account, traffic = self.account, self._traffic
        return AccountProgress(
            account=account.name,
            rows=self._total,
            done=dict(self._ends.counts),
            sent=traffic.sent,
            sending_s=traffic.sending_s,
            retries=traffic.retries,
            in_flight=traffic.in_flight,
            in_flight_limit=account.in_flight,
            retrying=self._supply.retrying,
            pause_left_s=self._door.pause_left_s(),
            quota=", ".join(map(str, account.quotas)),
            quota_per_s=min(quota.per_second for quota in account.quotas),
            stopped=self.stopped,
        )

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

    def _next(self) -> Batch:
        """The next rows that may go now together, if there are any."""
        if self.stopped is not None or self._recorder.is_full:
            return []
        # the first request goes alone: nothing fresh before something has come back
        batch = self._supply.next(may_be_first=self._is_open)
        self._ends.end_blocked()
        return batch

    async def _wait_for_rows(self) -> Batch:
        """The next rows as soon as any may go; none where none will."""
        while self.stopped is None and not self._supply.is_done:
            await self._recorder.wait_for_room()
            if batch := self._next():
                return batch
            await self._supply.wait()
        return []

    async def _serve(self, batch: Batch, tasks: TaskGroup) -> bool:
        """Claim `batch`, wait for its turn, send it; False where it goes back to the others."""
        has_left = False
        try:
            if await self._claim(batch):
                async with self._slots:
                    has_left = await self._door.permit()
                    if has_left:
                        self._heed(await self._use_turn(batch), tasks)
        finally:
            if not has_left:
                self._supply.put_back(batch)
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

    async def _use_turn(self, batch: Batch) -> Heard | None:
        (row, *others) = batch
        if not others and self._read_back.is_next(row):
            return await self._read_back.read(row)
        if not others and self._guards.is_next(row):
            return await self._guards.read(row)
        return await self._attempts.make(batch)

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
                max_wait_s=self.account.max_wait_s,
                is_first_lost=heard.is_end and not self._is_open,
            )
            if reason is not None:
                self.stop(reason, is_hopeless=True)
