"""Decides which rows of an account are sent next. Pure: the time is an argument.

Rows that wait for a retry, or behind another row of their entity, block no other rows as long as
fewer than `look_ahead` rows wait.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Container, Iterable, Mapping
from functools import partial
from itertools import count
from types import MappingProxyType

from pipeline.model import JobRow, Status
from pipeline.workers.batches import Batch, BatchSize, OpenRows, Row, may_be_claimed
from pipeline.workers.coalescing import FreshRows
from pipeline.workers.entity_order import EntityOrder
from pipeline.workers.probes import ProbeKind, ahead, place, turns

LOOK_AHEAD = 50_000
LOW_WATER = 4_000
"""With fewer fresh rows the next batch is read ..."""

MAX_FRESH_CHARS = 4_000_000
"""... unless they are longer than this (`JobRow.length`), which bounds the memory."""

MAX_WAITING_CHARS = 64_000_000
"""Bounds the length of waiting rows: fewer than `look_ahead` of them wait if they are long."""

MAX_OPEN_CHARS = 16_000_000
"""Bounds the length of rows that are opened to choose a probe."""

MAX_OPEN = 2_000
"""Bounds the rows that are searched for ones that may share a request."""


class Backlog:
    """The rows of one account that are read and have not ended.

    A row is fresh (read), open (its entity is free, so it may be sent), ready (its batch is put
    together), given out, retrying, or waiting behind a row of its entity.

    batch_size  operation -> the most rows that one request may carry
    replaces    operation -> True if its updates replace the whole entity; True if missing
    in_doubt    rows that an earlier process may have sent
    coalesce    a row that replaces the whole entity covers older rows that were not sent
    overtaking  entity -> its row in doubt that may have been sent before rows that it covers
    sampled     number of samples that were taken elsewhere: they are others here

    >>> backlog = Backlog()
    >>> backlog.add([JobRow(1, "op", "a", True, "{}"), JobRow(2, "op", "a", True, "{}")])
    >>> (first,) = backlog.next(now_s=0.0)
    >>> first.job.row, backlog.next(now_s=0.0)
    (1, [])
    >>> backlog.done(first, Status.UPDATED)
    >>> [row.job.row for row in backlog.next(now_s=0.0)]
    [2]
    """

    def __init__(
        self,
        look_ahead: int = LOOK_AHEAD,
        *,
        batch_size: BatchSize = lambda _operation: 1,
        replaces: Mapping[str, bool] = MappingProxyType({}),
        in_doubt: Container[int] = (),
        coalesce: bool = False,
        overtaking: Mapping[str, int] = MappingProxyType({}),
        sampled: int = 0,
    ) -> None:
        self._look_ahead = look_ahead
        self._replaces = replaces
        self._in_doubt = in_doubt
        self._can_block = not all(replaces.values())
        self._coalesce = coalesce
        self._fresh = FreshRows(self._covers if coalesce else None, overtaking)
        self._covered: dict[int, list[JobRow]] = {}
        self._covered_rows = 0
        self._waiting_chars = 0
        self._open = OpenRows(batch_size)
        self._ready: deque[Batch] = deque()
        self._next_up: deque[Batch] = deque()
        self._draws: Counter[ProbeKind] = Counter()
        self._sampled = sampled
        self._retrying: list[tuple[float, int, Batch]] = []
        self._numbers = count()
        self._order: EntityOrder[JobRow] = EntityOrder()
        self._unknown: set[int] = set()
        self._blocked: list[JobRow] = []
        self._is_fed = False
        self.reads_far = False
        self.retrying = 0

    def add(self, jobs: Iterable[JobRow]) -> None:
        """Add rows, in row order."""
        for job in jobs:
            self._fresh.add(job)

    def mark_unknown(self, job: JobRow) -> None:
        """Block partial updates of the row's entity: an earlier process ended it `unknown`."""
        self._track_unknown(job, Status.UNKNOWN)

    def end(self) -> None:
        """Note that no more rows will be added."""
        self._is_fed = True

    @property
    def needs_more(self) -> bool:
        """True if more rows should be read now."""
        most, most_chars = LOW_WATER, MAX_FRESH_CHARS
        if self.reads_far:
            most, most_chars = self._look_ahead, MAX_WAITING_CHARS
        return not self._is_fed and len(self._fresh) < most and self._fresh.chars < most_chars

    @property
    def is_held_up(self) -> bool:
        """True if no fresh row may be sent because too many others wait."""
        return bool(self._fresh) and self._too_many_wait()

    def has_few_unsent(self, most: int) -> bool:
        """True if all rows are read, and at most `most` of them were not given out yet."""
        return self._is_fed and len(self._fresh) + len(self._open) <= most

    @property
    def is_done(self) -> bool:
        """True once every row has ended and no more will be added."""
        return self._is_fed and not self._fresh and not self._order

    @property
    def is_untouched(self) -> bool:
        """True if every row that was given out has ended."""
        return self.failing == 0

    @property
    def failing(self) -> int:
        """How many rows were given out and have not ended."""
        return len(self._order) - len(self._open)

    def has_unsent(self) -> bool:
        """True if rows that no process has sent may be sent now, or once more are read."""
        self._open_ahead(len(self._open) + 1)
        open_rows = [*self._open, *(batch[0] for batch in self._ready)]
        if not all(row.was_sent for row in open_rows):
            return True
        if self._too_many_wait():
            return False
        return self.needs_more or self._has_free(self._in_doubt)

    @property
    def due_s(self) -> float | None:
        """When the next retry is due, in monotonic seconds; None if none waits."""
        return self._retrying[0][0] if self._retrying else None

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

    def next_many(self, now_s: float, most: int, room: int, places: int) -> list[Batch]:
        """Take batches as `next` does, at most `most`; for the others see `may_be_claimed`."""
        taken: list[Batch] = []
        while len(taken) < most and (batch := self.next(now_s)):
            if not may_be_claimed(batch, room - len(taken), places - len(taken)):
                self.put_back(batch)
                break
            taken.append(batch)
        return taken

    def _next_other(self) -> Batch:
        return self._ready.popleft() if self._ready else self._next_fresh()

    def probe(self, number: int, *, fresh: bool = True) -> Batch:
        """Take the rows of the next probe while the vendor is down, due or not; empty if none.

        number  of the probe in the outage, from 1
        fresh   False gives only rows that were sent before
        """
        if self._next_up:
            return self._next_up.popleft()
        if fresh:
            self._open_ahead(ahead(number))
        for turn in turns(number) if fresh else (ProbeKind.FAILED,):
            if batch := self._probe_of_kind(turn, number):
                return batch
        return []

    def _open_ahead(self, rows: int) -> None:
        """Open fresh rows until `rows` rows are open."""
        while len(self._open) < rows and self._open.chars < MAX_OPEN_CHARS:
            row = self._enter_next()
            if row is None:
                return
            self._open.add(row)

    def _probe_of_kind(self, turn: ProbeKind, number: int) -> Batch:
        if turn is ProbeKind.FAILED:
            return self._failed_probe(number)
        is_repeatable = turn is ProbeKind.UNSENT

        def matches(row: Row) -> bool:
            return not row.was_sent and row.job.is_repeatable is is_repeatable

        row = self._open.take_one(matches, partial(place, self._draws[turn]))
        if row is None:
            return self._take_ready(matches)
        self._draws[turn] += 1
        return [row]

    def _failed_probe(self, number: int) -> Batch:
        """Take rows that were sent before: alternately retrying ones, and ones that are ready."""
        if self._retrying and number % 2:
            return self._next_retry()
        if ready := self._take_ready(lambda row: row.was_sent):
            return ready
        if row := self._open.take_one(lambda row: row.was_sent, lambda _count: 0):
            return [row]
        return self._next_retry() if self._retrying else []

    def sample_one(self, avoid: Container[int]) -> Batch:
        """Take one row to be sent alone as a probe, from anywhere; empty if there is none.

        avoid  rows whose answer would show nothing new: taken only if no other was given out
        """
        self._sampled += 1
        choose = partial(place, self._sampled)
        found = self._fresh.take_one(
            lambda job: self._is_free(job) and job.row not in avoid, choose
        )
        if found is not None:
            job, covered = found
            self._cover(job, covered)
            self._order.enter(job.entity, job)
            return [self._row(job)]
        if self._ready:
            first, *others = self._ready.pop()
            if others:
                self._ready.append(others)
            return [first]
        row = self._open.take_one(lambda row: row.job.row not in avoid, choose)
        row = row or self._open.take_one(lambda _row: True, choose)
        return [] if row is None else [row]

    def _is_free(self, job: JobRow) -> bool:
        return not (self._order.is_under_way(job.entity) or self._is_blocked(job))

    def _has_free(self, avoid: Container[int] = ()) -> bool:
        """True if a fresh row may be sent whose entity is neither active nor blocked."""
        return any(self._is_free(job) and job.row not in avoid for job in self._fresh)

    @property
    def has_others(self) -> bool:
        """True if rows that this process has not sent may be sent, or are being read."""
        return self.needs_more or bool(self._ready or len(self._open)) or self._has_free()

    def is_blocked_by(self, held: int, *, is_fresh_kept: bool = False) -> bool:
        """True if nothing can be sent before some of the `held` rows end.

        held           rows that were given out and are held
        is_fresh_kept  True if fresh rows must not be sent now
        """
        if len(self._order) != held:
            return False
        if self._too_many_wait():
            return True
        return not self.needs_more and (is_fresh_kept or not self._has_free())

    def _take_ready(self, matches: Callable[[Row], bool]) -> Batch:
        for batch in self._ready:
            if matches(batch[0]):
                self._ready.remove(batch)
                return batch
        return []

    def _next_retry(self) -> Batch:
        batch = heapq.heappop(self._retrying)[2]
        self.retrying -= len(batch)
        return batch

    def _next_fresh(self) -> Batch:
        row = self._open.pop() or self._enter_next()
        if row is None:
            return []
        batch = [row]
        if not row.job.batch:
            return batch  # it is sent alone
        self._open.join(batch)
        while self._open.room(batch) and len(self._open) < MAX_OPEN:
            row = self._enter_next()
            if row is None:
                break
            self._open.add(row)
            self._open.join(batch)
        return batch

    def _enter_next(self) -> Row | None:
        """Take the next fresh row whose entity is free; rows before it wait or are blocked."""
        while not self._too_many_wait() and (found := self._fresh.pop()):
            job, covered = found
            if covered:
                self._cover(job, covered)
            if self._unknown and self._is_blocked(job):
                self._blocked.append(job)
            elif self._order.enter(job.entity, job):
                return self._row(job)
            else:
                self._enqueue(job)
        return None

    def _enqueue(self, job: JobRow) -> None:
        """Let `job` wait behind a row of its entity, in place of the rows that it covers."""
        self._waiting_chars += job.length
        if self._coalesce and self._covers(job):
            earlier = self._order.take_waiting(job.entity)[:-1]
            self._order.put_first(job.entity, job)
            self._waiting_chars -= sum(each.length for each in earlier)
            covered = [one for each in earlier for one in (*self._uncover(each), each)]
            self._cover(job, [*covered, *self._uncover(job)])

    def _cover(self, job: JobRow, covered: list[JobRow]) -> None:
        if covered:
            self._covered[job.row] = covered
            self._covered_rows += len(covered)

    def _uncover(self, job: JobRow) -> list[JobRow]:
        covered = self._covered.pop(job.row, [])
        self._covered_rows -= len(covered)
        return covered

    def _too_many_wait(self) -> bool:
        waiting = self._order.waiting + self.retrying + self._covered_rows
        return waiting >= self._look_ahead or self._waiting_chars >= MAX_WAITING_CHARS

    def retry(self, batch: Batch, due_s: float) -> None:
        """Send the rows of `batch` together again, not before `due_s`."""
        heapq.heappush(self._retrying, (due_s, next(self._numbers), batch))
        self.retrying += len(batch)

    def put_back(self, batch: Batch) -> None:
        """Return a batch that was given out and not sent."""
        self._ready.appendleft(batch)

    def reopen(self, rows: Batch) -> None:
        """Return rows that were given out and not sent; others may share their request later."""
        for row in rows:
            self._open.add(row)

    def send_next(self, batch: Batch) -> None:
        """Give out `batch` before all others: what it waited for is there."""
        self._next_up.append(batch)

    def send_apart(self, batches: Iterable[Batch]) -> None:
        """Queue batches that are sent now; no other row joins them."""
        self._ready.extend(batches)

    def are_awaited(self, rows: Iterable[Row]) -> bool:
        """True if a newer row of its entity waits for the end of one of `rows`."""
        order = self._order
        return order.waiting > 0 and any(order.is_awaited(row.job.entity) for row in rows)

    def done(self, row: Row, status: Status) -> None:
        """Release the next row of the entity: the result of `row` is on record."""
        if self._can_block:
            self._track_unknown(row.job, status)
        if row.covered:
            self._requeue_covered(row)
        while (job := self._order.leave(row.job.entity)) is not None:
            self._waiting_chars -= job.length
            if not self._is_blocked(job):
                self._open.add(self._row(job))
                return
            self._blocked.append(job)

    def _requeue_covered(self, row: Row) -> None:
        """Queue the rows that `row` covered: it was not applied, and no newer row covers them."""
        following = self._order.first_waiting(row.job.entity)
        if following is not None and self._covers(following):
            self._cover(following, [*row.covered, *self._uncover(following)])
        else:
            *covered, job = row.covered
            self._order.put_first(job.entity, job)
            self._waiting_chars += job.length
            self._cover(job, covered)

    def _row(self, job: JobRow) -> Row:
        row = Row(job)
        if self._covered:
            row.covered = self._uncover(job)
        if job.row in self._in_doubt:
            row.in_doubt = row.is_claimed = True
        return row

    def _track_unknown(self, job: JobRow, status: Status) -> None:
        """Track entities with an unknown state, until an update replaces the whole."""
        if status is Status.UNKNOWN and self._can_block:
            self._unknown.add(hash(job.entity))
        elif status is Status.UPDATED and self._does_replace(job.operation):
            self._unknown.discard(hash(job.entity))

    def _covers(self, job: JobRow) -> bool:
        """True if `job` overwrites everything that older rows of its entity wrote."""
        return self._does_replace(job.operation) and not (job.keeps or job.expects)

    def _does_replace(self, operation: str) -> bool:
        return self._replaces.get(operation, True)

    def _is_blocked(self, job: JobRow) -> bool:
        return hash(job.entity) in self._unknown and not self._does_replace(job.operation)

    def take_blocked(self) -> list[JobRow]:
        """Take out rows that are not sent: an older row of their entity ended `unknown`."""
        blocked, self._blocked = self._blocked, []
        return blocked

    def drain(self) -> Batch:
        """Take out the rows that were given out, have not ended and are not in flight."""
        retrying = [batch for _, _, batch in self._retrying]
        waiting = [*self._next_up, *self._ready, *retrying]
        self._next_up.clear()
        self._ready.clear()
        self._retrying.clear()
        self.retrying = 0
        return [row for batch in waiting for row in batch]
