"""Which row of an account goes next. Pure: the time is an argument.

Rows that wait for their next attempt, and rows that wait behind one of their own entity, wait here
and hold nothing else up, as long as fewer than `look_ahead` of them wait.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator

from pipeline.model import Answer, JobRow
from pipeline.policy.order import EntityOrder

LOOK_AHEAD = 50_000
LOW_WATER = 4_000
"""With fewer fresh rows at hand the next batch is read ..."""

MOST_FRESH_CHARS = 4_000_000
"""... unless these are so long that memory would suffer."""

MOST_WAITING_CHARS = 64_000_000
"""Rows that wait may hold so much text; long rows are fewer than `look_ahead`."""


class Row:
    """A row under way.

    first_sent_s  when its first attempt left
    answer        the last one; None before the first
    """

    __slots__ = ("answer", "attempts", "first_sent_s", "in_doubt", "job")

    def __init__(self, job: JobRow) -> None:
        self.job = job
        self.attempts = 0
        self.first_sent_s = 0.0
        self.in_doubt = False
        self.answer: Answer | None = None


class Backlog:
    """The rows of one account that are read and not yet done.

    >>> backlog = Backlog()
    >>> backlog.add([JobRow(1, "op", "a", True, "{}"), JobRow(2, "op", "a", True, "{}")])
    >>> first = backlog.next(now_s=0.0)
    >>> first.job.row, backlog.next(now_s=0.0)
    (1, None)
    >>> backlog.done(first)
    >>> backlog.next(now_s=0.0).job.row
    2
    """

    def __init__(self, look_ahead: int = LOOK_AHEAD) -> None:
        self._look_ahead = look_ahead
        self._fresh: deque[JobRow] = deque()
        self._fresh_chars = 0
        self._waiting_chars = 0
        self._ready: deque[Row] = deque()
        self._retrying: list[tuple[float, int, Row]] = []
        self._order: EntityOrder[JobRow] = EntityOrder()
        self._is_fed = False

    def add(self, jobs: Iterable[JobRow]) -> None:
        """More rows, in row order."""
        for job in jobs:
            self._fresh.append(job)
            self._fresh_chars += len(job.text)

    def end(self) -> None:
        """There are no more rows to add."""
        self._is_fed = True

    @property
    def needs_more(self) -> bool:
        """Whether the next batch should be read now."""
        return len(self._fresh) < LOW_WATER and self._fresh_chars < MOST_FRESH_CHARS

    @property
    def is_done(self) -> bool:
        """Whether every row that was added is done, and no more will be added."""
        return self._is_fed and not self._fresh and not self._order

    @property
    def under_way(self) -> int:
        """Rows given out and not done, those that wait for another attempt included."""
        return len(self._order)

    @property
    def retrying(self) -> int:
        """Rows that wait for their next attempt."""
        return len(self._retrying)

    @property
    def due_s(self) -> float | None:
        """When the next retry is due; None where none waits."""
        return self._retrying[0][0] if self._retrying else None

    def next(self, now_s: float, *, fresh: bool = True) -> Row | None:
        """The next row that may go, or None; `fresh=False` gives only rows already under way."""
        if self._retrying and self._retrying[0][0] <= now_s:
            return heapq.heappop(self._retrying)[2]
        if self._ready:
            return self._ready.popleft()
        return self._next_fresh() if fresh else None

    def _next_fresh(self) -> Row | None:
        while self._fresh and not self._too_many_wait():
            job = self._fresh.popleft()
            self._fresh_chars -= len(job.text)
            if self._order.enter(job.entity, job):
                return Row(job)
            self._waiting_chars += len(job.text)
        return None

    def _too_many_wait(self) -> bool:
        waiting = self._order.waiting + len(self._retrying)
        return waiting >= self._look_ahead or self._waiting_chars >= MOST_WAITING_CHARS

    def again(self, row: Row, due_s: float) -> None:
        """`row` wants another attempt, not before `due_s`."""
        heapq.heappush(self._retrying, (due_s, row.job.row, row))

    def put_back(self, row: Row) -> None:
        """`row` was given out and not sent."""
        self._ready.appendleft(row)

    def is_awaited(self, row: Row) -> bool:
        """Whether a later row of the same entity waits for the end of `row`."""
        return self._order.is_awaited(row.job.entity)

    def done(self, row: Row) -> None:
        """The result of `row` is on record: the next row of its entity may go."""
        job = self._order.leave(row.job.entity)
        if job is not None:
            self._waiting_chars -= len(job.text)
            self._ready.append(Row(job))

    def attempted(self) -> Iterator[Row]:
        """Take out the rows that were sent, have no result and are not in flight."""
        rows = [row for row in self._ready if row.attempts]
        rows += [row for _, _, row in self._retrying]
        self._ready = deque(row for row in self._ready if not row.attempts)
        self._retrying.clear()
        return iter(rows)
