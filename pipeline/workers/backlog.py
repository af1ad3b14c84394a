"""Decides which rows of an account are sent next. Pure: the time is an argument.

Rows that wait for a retry, or behind another row of their entity, block no other rows as long as
fewer than `look_ahead` rows wait.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Container, Iterable
from functools import partial
from itertools import count

from pipeline.workers.batches import Batch, Row
from pipeline.workers.entity_queue import EntityQueue
from pipeline.workers.probes import ProbeKind, ahead, place, turns

LOOK_AHEAD = 50_000
LOW_WATER = 4_000
"""With fewer rows the next ones are read ..."""

FEW_FREE = 1_000
"""... and also if so few of them may be sent, because the others wait ..."""

MAX_FRESH_CHARS = 4_000_000
"""... unless they are longer than this (`JobRow.length`), which bounds the memory."""

MAX_WAITING_CHARS = 64_000_000
"""Bounds the length of waiting rows: fewer than `look_ahead` of them wait if they are long."""


class Backlog:
    """The rows of one account that are read and have not ended.

    A row is free, or waits behind a row of its entity; once it was taken it is ready (its batch is
    put together and was not sent), given out, or waits for a retry.

    rows     those that were not taken yet
    sampled  number of samples that were taken elsewhere: they are others here

    on_news  called if there may be rows to send that there were not before, or if all have ended
    on_due   called if `due_s` may have changed

    >>> from pipeline.model import JobRow, Status
    >>> backlog = Backlog()
    >>> backlog.rows.add(JobRow(row, "op", "a", True, "{}") for row in (1, 2))
    >>> (first,) = backlog.next(now_s=0.0)
    >>> first.job.row, backlog.next(now_s=0.0)
    (1, [])
    >>> backlog.rows.done(first, Status.UPDATED)
    >>> [row.job.row for row in backlog.next(now_s=0.0)]
    [2]
    """

    def __init__(
        self, rows: EntityQueue | None = None, look_ahead: int = LOOK_AHEAD, *, sampled: int = 0
    ) -> None:
        self.rows = EntityQueue() if rows is None else rows
        self._look_ahead = look_ahead
        self._low_water = LOW_WATER
        self._ready: deque[Batch] = deque()
        self._next_up: deque[Batch] = deque()
        self._draws: Counter[ProbeKind] = Counter()
        self._sampled = sampled
        self._retrying: list[tuple[float, int, Batch]] = []
        self._numbers = count()
        self._is_fed = False
        self.on_news: Callable[[], None] = lambda: None
        self.on_due: Callable[[], None] = lambda: None
        self.reads_far = False
        self.retrying = 0

    def end(self) -> None:
        """Note that no more rows will be added."""
        self._is_fed = True

    @property
    def needs_more(self) -> bool:
        """True if more rows should be read now."""
        if self._is_fed or self._too_many_wait():
            return False
        rows = self.rows
        if self.reads_far:
            return rows.free < self._look_ahead and rows.free_chars < MAX_WAITING_CHARS
        is_short = rows.free < FEW_FREE or rows.free + rows.waiting < self._low_water
        return is_short and rows.free_chars < MAX_FRESH_CHARS

    def _too_many_wait(self) -> bool:
        waiting = self.rows.waiting + self.retrying
        return waiting >= self._look_ahead or self.rows.waiting_chars >= MAX_WAITING_CHARS

    @property
    def is_held_up(self) -> bool:
        """True if no other row may be sent because too many wait."""
        return not (self._is_fed or self.rows.free) and self._too_many_wait()

    def has_few_unsent(self, most: int) -> bool:
        """True if all rows are read, and at most `most` of those that may be sent were not yet."""
        return self._is_fed and self.rows.free <= most

    @property
    def is_done(self) -> bool:
        """True once every row has ended and no more will be added."""
        return self._is_fed and self.rows.is_empty

    @property
    def is_untouched(self) -> bool:
        """True if every row that was given out has ended."""
        return self.rows.failing == 0

    def has_unsent(self) -> bool:
        """True if rows that no process has sent may be sent now, or once more are read."""
        if self.needs_more or any(not row.was_sent for row in self.rows):
            return True
        return any(not batch[0].was_sent for batch in self._ready)

    @property
    def has_others(self) -> bool:
        """True if rows that this process has not sent may be sent, or are being read."""
        return self.needs_more or bool(self._ready or self.rows.free)

    def is_blocked_by(self, held: int, *, is_fresh_kept: bool = False) -> bool:
        """True if nothing can be sent before some of the `held` rows end.

        held           rows that were given out and are held
        is_fresh_kept  True if fresh rows must not be sent now
        """
        if self.rows.failing != held or self.needs_more:
            return False
        return is_fresh_kept or not self.rows.free

    @property
    def due_s(self) -> float | None:
        """When the next retry is due, in monotonic seconds; None if none waits."""
        return self._retrying[0][0] if self._retrying else None

    # Choosing...

    def next(self, now_s: float, *, fresh: bool = True, others_first: bool = False) -> Batch:
        """Take the next rows that may share a request; empty if nothing may be sent.

        fresh         False gives only rows that were sent before
        others_first  rows that were not sent yet go before rows that failed: another failure of
                      the same row would show nothing
        """
        if self._next_up:
            return self._next_up.popleft()
        if others_first and fresh and (batch := self._next_other()):
            return batch
        if self._retrying and self._retrying[0][0] <= now_s:
            return self._next_retry()
        return self._next_other() if fresh or self._ready else []

    def _next_other(self) -> Batch:
        return self._ready.popleft() if self._ready else self.rows.take()

    def _next_retry(self) -> Batch:
        batch = heapq.heappop(self._retrying)[2]
        self.retrying -= len(batch)
        return batch

    def probe(self, number: int, *, fresh: bool = True) -> Batch:
        """Take the rows of the next probe while the vendor is down, due or not; empty if none.

        number  of the probe in the outage, from 1
        fresh   False gives only rows that were sent before
        """
        if self._next_up:
            return self._next_up.popleft()
        self._low_water = max(self._low_water, ahead(number))
        for turn in turns(number) if fresh else (ProbeKind.FAILED,):
            if batch := self._probe_of_kind(turn, number):
                return batch
        return []

    def _probe_of_kind(self, turn: ProbeKind, number: int) -> Batch:
        if turn is ProbeKind.FAILED:
            return self._failed_probe(number)
        is_repeatable = turn is ProbeKind.UNSENT

        def matches(row: Row) -> bool:
            return not row.was_sent and row.job.is_repeatable is is_repeatable

        batch = self.rows.take_one(matches, partial(place, self._draws[turn]))
        if not batch:
            return self._take_ready(matches)
        self._draws[turn] += 1
        return batch

    def _failed_probe(self, number: int) -> Batch:
        """Take rows that were sent before: alternately retrying ones, and ones that are ready."""
        if self._retrying and number % 2:
            return self._next_retry()
        if ready := self._take_ready(lambda row: row.was_sent):
            return ready
        if batch := self.rows.take_one(lambda row: row.was_sent, lambda _count: 0):
            return batch
        return self._next_retry() if self._retrying else []

    def _take_ready(self, matches: Callable[[Row], bool]) -> Batch:
        for batch in self._ready:
            if matches(batch[0]):
                self._ready.remove(batch)
                return batch
        return []

    def sample_one(self, avoid: Container[int] = ()) -> Batch:
        """Take one row to be sent alone as a probe, from anywhere; empty if there is none.

        avoid  rows whose answer would show nothing new
        """
        self._sampled += 1
        choose = partial(place, self._sampled)
        if batch := self.rows.take_one(lambda row: row.job.row not in avoid, choose):
            return batch
        if not self._ready:
            return []
        first, *others = self._ready.pop()
        if others:
            self._ready.append(others)
        return [first]

    # Giving back...

    def retry(self, batch: Batch, due_s: float) -> None:
        """Send the rows of `batch` together again, not before `due_s`."""
        heapq.heappush(self._retrying, (due_s, next(self._numbers), batch))
        self.retrying += len(batch)
        self.on_due()

    def put_back(self, batch: Batch) -> None:
        """Return a batch that was given out and not sent."""
        self._ready.appendleft(batch)

    def send_next(self, batch: Batch) -> None:
        """Give out `batch` before all others: what it waited for is there."""
        self._next_up.append(batch)
        self.on_news()

    def send_apart(self, batches: Iterable[Batch]) -> None:
        """Queue batches that are sent now; no other row joins them."""
        self._ready.extend(batches)
        self.on_news()

    def drain(self) -> Batch:
        """Take out the rows that were given out, have not ended and are not in flight."""
        retrying = [batch for _, _, batch in self._retrying]
        waiting = [*self._next_up, *self._ready, *retrying]
        self._next_up.clear()
        self._ready.clear()
        self._retrying.clear()
        self.retrying = 0
        return [row for batch in waiting for row in batch]
