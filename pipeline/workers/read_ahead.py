"""Reads an account's rows ahead of its backlog, and says when a row that waits is due."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import anyio
import anyio.to_thread

from pipeline.model import JobRow, Status
from pipeline.workers.backlog import Backlog
from pipeline.workers.environment import NOTHING, RecoveredState

OVERDUE_S, LONGEST_OVERDUE_S = 0.020, 1.0
"""First and longest interval between two calls of `Backlog.on_news` while a retry is due."""


class ReadAhead:
    """Fills the backlog of one account.

    jobs       batches in row order; read in a thread
    recovered  what earlier processes of the run recorded
    clock      monotonic seconds

    ended_before  rows read so far that earlier processes ended, per status
    """

    def __init__(
        self,
        backlog: Backlog,
        jobs: Iterator[Sequence[JobRow]],
        recovered: RecoveredState,
        clock: Callable[[], float],
    ) -> None:
        self._backlog = backlog
        self._jobs = jobs
        self._recovered = recovered
        self._clock = clock
        self._hungry = anyio.Event()
        self._due = anyio.Event()
        self.ended_before: Counter[Status] = Counter()
        backlog.on_due = self.look_again

    async def feed(self, is_stopped: Callable[[], bool]) -> None:
        """Read more rows when they run short, until the end or until the account has stopped."""
        backlog = self._backlog
        while not is_stopped():
            batch = await anyio.to_thread.run_sync(self._read_on)
            if batch is None:
                break
            backlog.rows.add(batch)
            backlog.on_news()
            while not backlog.needs_more:
                self._hungry = anyio.Event()
                await self._hungry.wait()
        backlog.end()
        backlog.on_news()

    def _read_on(self) -> Sequence[JobRow] | None:
        """Read the next rows, without those that earlier processes ended; None at the end."""
        batch = next(self._jobs, None)
        if batch is None or self._recovered is NOTHING:
            return batch
        ended = self._recovered.ended([job.row for job in batch])
        self.ended_before.update(ended.values())
        for job in batch:
            if job.row in self._recovered.unknown:
                self._backlog.rows.track_unknown(job, Status.UNKNOWN)
        return [job for job in batch if job.row not in ended]

    def read_if_few(self) -> None:
        """Read on if rows were taken and few are left."""
        if self._backlog.needs_more:
            self._hungry.set()

    def read_far(self, *, enabled: bool) -> None:
        """Read as far ahead as memory allows, so that `Backlog.sample_one` has a choice; or not."""
        self._backlog.reads_far = enabled
        self.read_if_few()

    async def watch(self, probe_due_s: Callable[[], float | None]) -> None:
        """Call `Backlog.on_news` whenever a retry or a probe is due, until cancelled.

        probe_due_s  when the next probe is due; None if the vendor is not down
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
                await self._due.wait()
            self._due = anyio.Event()
            self._backlog.on_news()

    def look_again(self) -> None:
        """Notice that the next due time has changed."""
        self._due.set()
