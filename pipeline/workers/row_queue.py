"""Rows as workers take them: read ahead, held until they may go, and calls to those who wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence

import anyio
import anyio.to_thread

from pipeline.model import JobRow, Status
from pipeline.pacing.circuit_breaker import are_rows_at_fault
from pipeline.workers.backlog import Backlog
from pipeline.workers.batches import Batch, Row
from pipeline.workers.bisection import Bisector, GroupParts
from pipeline.workers.recovered_state import NOTHING, RecoveredState
from pipeline.workers.slots import WaitList

MOST_HELD = 10_000
"""With so many rows of refused groups held back, nothing fresh is sent."""

ANSWERED = (Status.UPDATED, Status.REJECTED)
"""How rows end that the vendor has answered."""

OVERDUE_S, LONGEST_OVERDUE_S = 0.020, 1.0
"""How often idle workers are called while a retry is due and every worker is busy: ever later."""


class RowQueue:
    """The rows of one account that have not ended.

    backlog   decides which of them go next
    bisector  holds those of refused groups
    jobs      batches in row order; read in a thread
    recovered   what an earlier process of the run left
    clock     monotonic seconds

    `ended_before`: rows that an earlier process ended, as far as they were read.
    """

    def __init__(
        self,
        backlog: Backlog,
        bisector: Bisector,
        jobs: Iterator[Sequence[JobRow]],
        recovered: RecoveredState,
        clock: Callable[[], float],
    ) -> None:
        self._backlog = backlog
        self._bisector = bisector
        self._jobs = jobs
        self._recovered = recovered
        self._clock = clock
        self._idle = WaitList()
        self._hungry = anyio.Event()
        self._news = anyio.Event()
        self.ended_before: Counter[Status] = Counter()
        self.wait = self._idle.wait
        self.is_awaited = backlog.is_awaited
        self.take_blocked = backlog.take_blocked
        self.is_blocked_by = backlog.is_blocked_by

    @property
    def is_done(self) -> bool:
        """Whether every row has ended."""
        return self._backlog.is_done

    @property
    def is_untouched(self) -> bool:
        """Whether no row that was given out is still on its way."""
        return self._backlog.is_untouched

    def all_held(self, held: int) -> bool:
        """Whether rows were given out, and all that have not ended are these, which are held."""
        return 0 < held == self._backlog.failing

    @property
    def has_others(self) -> bool:
        """Whether rows that may go are here, or are being read, that this process has not sent."""
        return self._backlog.has_others

    @property
    def retrying(self) -> int:
        """How many rows wait for their next attempt."""
        return self._backlog.retrying + len(self._bisector)

    @property
    def is_held_up(self) -> bool:
        """Whether no more rows are taken since too many wait."""
        return self._backlog.is_held_up

    def are_at_fault(self, answered: int) -> bool:
        """Whether the rows that fail, at the end of all patience, are at fault, not the vendor.

        answered  rows that the vendor carried out or refused in this process
        """
        return are_rows_at_fault(
            answered=answered + sum(self.ended_before[status] for status in ANSWERED),
            failing=self._backlog.failing,
            may_others_go=self._backlog.has_unsent(),
            is_carried_on=bool(self._recovered.in_doubt),
        )

    # Reading ahead...

    async def feed(self, is_stopped: Callable[[], bool]) -> None:
        """Read on whenever rows run short, until there are none or the account has stopped."""
        while not is_stopped():
            batch = await anyio.to_thread.run_sync(self._read_on)
            if batch is None:
                break
            self._backlog.add(batch)
            self._idle.wake(len(batch))
            while not self._backlog.needs_more:
                self._hungry = anyio.Event()
                await self._hungry.wait()
        self._backlog.end()
        self._idle.wake_all()

    def _read_on(self) -> Sequence[JobRow] | None:
        """More rows without those that ended in an earlier process; None where there are none."""
        batch = next(self._jobs, None)
        if batch is None or self._recovered is NOTHING:
            return batch
        ended = self._recovered.ended([job.row for job in batch])
        self.ended_before.update(ended.values())
        for job in batch:
            if job.row in self._recovered.unknown:
                self._backlog.mark_unknown(job)
        return [job for job in batch if job.row not in ended]

    async def watch(self, probe_due_s: Callable[[], float | None]) -> None:
        """Call an idle worker whenever a retry or a probe is due. Until cancelled.

        probe_due_s  when the next probe is; None where the vendor is not down
        """
        overdue_s, before_s = OVERDUE_S, None
        while True:
            due_s = probe_due_s()
            if due_s is None:
                due_s = self._backlog.due_s
            overdue_s = min(LONGEST_OVERDUE_S, 2 * overdue_s) if due_s == before_s else OVERDUE_S
            wait_s = None if due_s is None else max(overdue_s, due_s - self._clock())
            before_s = due_s
            with anyio.move_on_after(wait_s):
                await self._news.wait()
            self._news = anyio.Event()
            self._idle.wake()

    def look_again(self) -> None:
        """What is due next has changed."""
        self._news.set()

    # Taking and giving back...

    def next(
        self, *, may_be_first: bool, probe: int | None = None, others_first: bool = False
    ) -> Batch:
        """The next rows that may go now together, if there are any.

        may_be_first  True lets any fresh row go; False only while no other is on its way
        others_first  rows that were not sent yet go before those that failed
        probe         its number in an outage, from 1; None where the vendor is not down
        """
        fresh = may_be_first or self._backlog.is_untouched
        if len(self._bisector) >= MOST_HELD:
            fresh = False
        now_s = self._clock()
        if probe is not None:
            batch = self._backlog.probe(probe, fresh=fresh)
        else:
            batch = self._backlog.next(now_s, fresh=fresh, others_first=others_first)
        if self._backlog.needs_more:
            self._hungry.set()
        if self._backlog.due_s is not None and self._backlog.due_s <= now_s:
            self._idle.wake()  # one more is due: somebody else can take it
        return batch

    def sample_one(self, draw: int, avoid: Container[int]) -> Batch:
        """One row to be sent alone, from any place of those that are read; see `Backlog`."""
        batch = self._backlog.sample_one(draw, avoid)
        if self._backlog.needs_more:
            self._hungry.set()
        return batch

    def read_far(self, *, enabled: bool) -> None:
        """Read on as far as memory allows, so that rows of other places can be asked; or not."""
        self._backlog.reads_far = enabled
        if self._backlog.needs_more:
            self._hungry.set()

    @property
    def needs_more(self) -> bool:
        """Whether more rows are being read."""
        return self._backlog.needs_more

    def put_back(self, batch: Batch) -> None:
        """`batch` was taken and not sent."""
        self._backlog.put_back(batch)

    def reopen(self, rows: Batch) -> None:
        """`rows` were taken with another one and not sent; they may go later."""
        self._backlog.reopen(rows)

    def requeue(self, batch: Batch) -> None:
        """What kept the request of `batch` back has nothing to do with its rows."""
        self._backlog.put_back(batch)
        self._idle.wake()

    def send_next(self, batch: Batch) -> None:
        """What `batch` had to wait for is there: it goes next."""
        self._backlog.send_next(batch)
        self._news.set()
        self._idle.wake()

    def retry(self, batch: Batch, delay_s: float) -> None:
        """The rows of `batch` want another request together, `delay_s` from now."""
        self._backlog.retry(batch, self._clock() + delay_s)
        self._news.set()

    def send_apart(self, parts: GroupParts) -> None:
        """Let the parts of refused groups go that may go now."""
        self._backlog.send_apart(parts.now)
        if parts.now or parts.later:
            self._idle.wake_all()  # also those that found nothing while too many were held

    def done(self, row: Row, status: Status) -> None:
        """The result of `row` is on record: the next row of its entity may go."""
        self._backlog.done(row, status)
        self._idle.wake()

    def wake_if_done(self) -> None:
        """Once every row has ended, workers that wait can leave."""
        if self._backlog.is_done:
            self._idle.wake_all()

    def wake(self, count: int) -> None:
        """Let so many of those who wait look again."""
        self._idle.wake(max(0, count))

    def wake_all(self) -> None:
        """Let everyone look again."""
        self._idle.wake_all()

    def drain(self) -> Batch:
        """Take out the rows that were taken, have not ended and are not in flight."""
        return [*self._backlog.drain(), *self._bisector.drain()]
