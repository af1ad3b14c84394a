"""The queue of an account's rows: reads ahead, gives out rows, and says when there are more.

`backlog.py` decides which rows are next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence

import anyio
import anyio.to_thread

from pipeline.model import JobRow, Status
from pipeline.pacing.circuit_breaker import are_rows_at_fault
from pipeline.workers.backlog import Backlog
from pipeline.workers.batches import Batch, Row
from pipeline.workers.bisection import Bisector
from pipeline.workers.environment import NOTHING, RecoveredState

MAX_HELD = 10_000
"""With more rows of refused groups held, nothing fresh is sent."""

ANSWERED = (Status.UPDATED, Status.REJECTED)
"""Statuses of rows that the vendor has answered."""

OVERDUE_S, LONGEST_OVERDUE_S = 0.020, 1.0
"""First and longest interval between two calls of `on_news` while a retry is due."""


class RowQueue:
    """The rows of one account that have not ended.

    backlog    decides which rows are next
    bisector   holds rows of refused groups
    jobs       batches in row order; read in a thread
    recovered  what earlier processes of the run recorded
    clock      monotonic seconds

    ended_before  rows read so far that earlier processes ended, per status
    on_news       called if there may be rows to send that there were not before, or if all have
                  ended
    """

    def __init__(
        self,
        backlog: Backlog,
        bisector: Bisector,
        jobs: Iterator[Sequence[JobRow]],
        recovered: RecoveredState,
        clock: Callable[[], float],
    ) -> None:
        self.backlog = backlog
        self._bisector = bisector
        self._jobs = jobs
        self._recovered = recovered
        self._clock = clock
        self._hungry = anyio.Event()
        self._news = anyio.Event()
        self.ended_before: Counter[Status] = Counter()
        self.on_news: Callable[[], None] = lambda: None

    def all_held(self, held: int) -> bool:
        """True if rows were given out, and the ones that have not ended are the `held` rows."""
        return 0 < held == self.backlog.failing

    @property
    def retrying(self) -> int:
        """How many rows wait for their next attempt."""
        return self.backlog.retrying + len(self._bisector)

    def are_at_fault(self, answered: int) -> bool:
        """True if the failing rows are at fault after a long outage, not the vendor.

        answered  rows that the vendor applied or refused in this process
        """
        return are_rows_at_fault(
            answered=answered + sum(self.ended_before[status] for status in ANSWERED),
            failing=self.backlog.failing,
            may_others_go=self.backlog.has_unsent(),
            is_resumed=bool(self._recovered.in_doubt),
        )

    # Reading ahead...

    async def feed(self, is_stopped: Callable[[], bool]) -> None:
        """Read more rows when they run short, until the end or until the account has stopped."""
        while not is_stopped():
            batch = await anyio.to_thread.run_sync(self._read_on)
            if batch is None:
                break
            self.backlog.add(batch)
            self.on_news()
            while not self.backlog.needs_more:
                self._hungry = anyio.Event()
                await self._hungry.wait()
        self.backlog.end()
        self.on_news()

    def _read_on(self) -> Sequence[JobRow] | None:
        """Read the next rows, without those that earlier processes ended; None at the end."""
        batch = next(self._jobs, None)
        if batch is None or self._recovered is NOTHING:
            return batch
        ended = self._recovered.ended([job.row for job in batch])
        self.ended_before.update(ended.values())
        for job in batch:
            if job.row in self._recovered.unknown:
                self.backlog.track_unknown(job, Status.UNKNOWN)
        return [job for job in batch if job.row not in ended]

    def _read_if_few(self) -> None:
        if self.backlog.needs_more:
            self._hungry.set()

    async def watch(self, probe_due_s: Callable[[], float | None]) -> None:
        """Call `on_news` whenever a retry or a probe is due, until cancelled.

        probe_due_s  when the next probe is due; None if the vendor is not down
        """
        overdue_s, before_s = OVERDUE_S, None
        while True:
            due_s = probe_due_s()
            if due_s is None:
                due_s = self.backlog.due_s
            overdue_s = min(LONGEST_OVERDUE_S, 2 * overdue_s) if due_s == before_s else OVERDUE_S
            wait_s = None if due_s is None else max(overdue_s, due_s - self._clock())
            before_s = due_s
            with anyio.move_on_after(wait_s):
                await self._news.wait()
            self._news = anyio.Event()
            self.on_news()

    def look_again(self) -> None:
        """Notice that the next due time has changed."""
        self._news.set()

    # Taking and giving back...

    def next(
        self, *, may_be_first: bool, probe: int | None = None, others_first: bool = False
    ) -> Batch:
        """Take the next rows that may share a request now; empty if there are none.

        may_be_first  False gives fresh rows only while no other row is being sent
        probe         number of the probe in the outage, from 1; None if the vendor is not down
        others_first  rows that were not sent yet go before rows that failed
        """
        fresh = may_be_first or self.backlog.is_untouched
        if len(self._bisector) >= MAX_HELD:
            fresh = False
        now_s = self._clock()
        if probe is not None:
            batch = self.backlog.probe(probe, fresh=fresh)
        else:
            batch = self.backlog.next(now_s, fresh=fresh, others_first=others_first)
        self._read_if_few()
        return batch

    def next_many(self, most: int, room: int, places: int) -> list[Batch]:
        """Take batches as `next` does while rows may be first; see `Backlog.next_many`."""
        if len(self._bisector) >= MAX_HELD:
            return []
        batches = self.backlog.next_many(self._clock(), most, room, places)
        self._read_if_few()
        return batches

    def sample_one(self, avoid: Container[int] = ()) -> Batch:
        """Take one row to be sent alone, from anywhere in the rows read; see `Backlog`."""
        batch = self.backlog.sample_one(avoid)
        self._read_if_few()
        return batch

    def read_far(self, *, enabled: bool) -> None:
        """Read ahead as far as memory allows, so that `sample_one` has a choice; or not."""
        self.backlog.reads_far = enabled
        self._read_if_few()

    def requeue(self, batch: Batch) -> None:
        """Return a batch whose request was not sent, for a reason that is not about its rows."""
        self.backlog.put_back(batch)
        self.on_news()

    def send_next(self, batch: Batch) -> None:
        """Send `batch` before all others: what it waited for is there."""
        self.backlog.send_next(batch)
        self._news.set()
        self.on_news()

    def retry(self, batch: Batch, delay_s: float) -> None:
        """Send the rows of `batch` together again, after `delay_s` seconds."""
        self.backlog.retry(batch, self._clock() + delay_s)
        self._news.set()

    def send_apart(self, batches: Iterable[Batch]) -> None:
        """Queue batches that are sent now; no other row joins them."""
        self.backlog.send_apart(batches)
        self.on_news()

    def done(self, rows: Iterable[Row], status: Status) -> None:
        """Release the next rows of the entities: the results of `rows` are on record."""
        for row in rows:
            self.backlog.done(row, status)
        self.on_news()

    def drain(self) -> Batch:
        """Take out the rows that were given out, have not ended and are not in flight."""
        return [*self.backlog.drain(), *self._bisector.drain()]
