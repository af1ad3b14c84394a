"""The rows of an account that were read and not sent yet: which of them may be sent. Pure.

One row of an entity may be sent at a time, in row order; the others wait behind it. Behind a row
that ended `unknown` partial updates are blocked, until an update replaces the whole entity.

With `--coalesce`, a row that replaces its whole entity covers the older rows of the entity that
were not sent: they are not sent while it may succeed. If it is applied they are superseded; if it
certainly was not, the newest of them is sent instead.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from pipeline.model import JobRow, Status
from pipeline.workers.batches import Batch, BatchSize, Row


class EntityQueue:
    """A queue with one active row per entity.

    batch_size  operation -> the most rows that one request may carry
    replaces    operation -> True if its updates replace the whole entity; True if missing
    in_doubt    rows that an earlier process may have sent
    coalesce    a row that replaces the whole entity covers older rows that were not sent
    overtaking  entity -> its row in doubt that may have been sent before older rows of the entity:
                it covers them, and nothing covers it

    free          number of rows that may be sent, and `free_chars` their length
    waiting       number of rows that wait behind another one, or are covered by one that was not
                  taken; `waiting_chars` is the length of the former

    >>> rows = EntityQueue()
    >>> rows.add(JobRow(row, "op", entity, True, "{}") for row, entity in enumerate("aab", 1))
    >>> (first,), (other,) = rows.take(), rows.take()
    >>> first.job.row, other.job.row, rows.take(), rows.waiting
    (1, 3, [], 1)
    >>> rows.done(first, Status.UPDATED)
    >>> [row.job.row for row in rows.take()]
    [2]
    """

    def __init__(
        self,
        *,
        batch_size: BatchSize = lambda _operation: 1,
        replaces: Mapping[str, bool] = MappingProxyType({}),
        in_doubt: Container[int] = (),
        coalesce: bool = False,
        overtaking: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self._size = batch_size
        self._replaces = replaces
        self._in_doubt = in_doubt
        self._coalesce = coalesce
        self._overtaking = overtaking
        self._can_block = not all(replaces.values())
        self._active: dict[str, Row] = {}  # entity -> its row that is free or was taken
        self._free: OrderedDict[tuple[str, str], deque[Row]] = OrderedDict()  # by kind
        self._early: dict[str, list[JobRow]] = {}  # entity -> rows before its overtaking one
        self._unknown: set[int] = set()  # hashes of entities
        self._blocked: list[JobRow] = []
        self.free = self.free_chars = 0
        self.waiting = self.waiting_chars = 0

    def __iter__(self) -> Iterator[Row]:
        """Iterate over the rows that may be sent."""
        for rows in self._free.values():
            yield from (row for row in rows if row.is_free)

    @property
    def failing(self) -> int:
        """How many rows were taken and have not ended."""
        return len(self._active) - self.free

    @property
    def is_empty(self) -> bool:
        """True if every row that was added has ended."""
        return not (self._active or self._blocked)

    # Adding...

    def add(self, jobs: Iterable[JobRow]) -> None:
        """Add rows, in row order."""
        for job in jobs:
            self._add(job)

    def _add(self, job: JobRow) -> None:
        row, entity = self._row(job), job.entity
        if self._overtaking and job.row <= (overtaking := self._overtaking.get(entity, 0)):
            if job.row < overtaking:
                self._early.setdefault(entity, []).append(job)
                self.waiting += 1
                return
            row.covered = self._early.pop(entity, [])
        if entity not in self._active:
            if self._unknown and self._is_blocked(job):
                self._blocked.append(job)
            else:
                self._set_free(row)
        elif self._coalesce and self._covers(job):
            self._add_covering(row)
        else:
            self._add_behind(self._active[entity], row)

    def _row(self, job: JobRow) -> Row:
        row = Row(job)
        if job.row in self._in_doubt:
            row.in_doubt = row.is_claimed = True
        return row

    def _set_free(self, row: Row, *, is_next: bool = False) -> None:
        self._active[row.job.entity] = row
        kind = _kind(row.job)
        rows = self._free.get(kind)
        if rows is None:
            rows = self._free[kind] = deque()
        if is_next:
            rows.appendleft(row)
        else:
            rows.append(row)
        row.is_free = True
        self.free += 1
        self.free_chars += row.length

    def _add_behind(self, active: Row, row: Row, *, is_next: bool = False) -> None:
        if active.behind is None:
            active.behind = deque()
        if is_next:
            active.behind.appendleft(row)
        else:
            active.behind.append(row)
        self.waiting += 1
        self.waiting_chars += row.length

    def _add_covering(self, row: Row) -> None:
        """Add `row` in place of all rows of its entity that it covers."""
        active = self._active[row.job.entity]
        covered = [*(active.behind or ())]
        self.waiting -= sum(1 + len(each.covered) for each in covered)
        self.waiting_chars -= sum(each.length for each in covered)
        if active.is_free and not active.in_doubt:
            self._on_taken(active)  # left in `_free`: a search would take long
            covered.insert(0, active)
            self._set_free(row)
        else:
            active.behind = None
            self._add_behind(active, row)
        row.covered = [job for each in covered for job in (*each.covered, each.job)]
        self.waiting += len(row.covered)

    # Taking...

    def take(self) -> Batch:
        """Take the next rows that may share a request; empty if there are none."""
        while self._free:
            kind, rows = next(iter(self._free.items()))
            operation, shared = kind
            most = self._size(operation) if shared else 1
            batch: Batch = []
            while rows and len(batch) < most:
                row = rows.popleft()
                if row.is_free:  # not covered meanwhile
                    self._on_taken(row)
                    batch.append(row)
            if not rows:
                del self._free[kind]
            elif len(self._free) > 1:
                self._free.move_to_end(kind)  # round robin between kinds
            if batch:
                return batch
        return []

    def take_one(self, matches: Callable[[Row], bool], place: Callable[[int], int]) -> Batch:
        """Take one of the rows that may be sent and match; empty if none does.

        place  number of matching rows -> index of the one to take, in row order from 0

        >>> rows = EntityQueue()
        >>> rows.add(JobRow(n, "op", f"e{n}", n != 4, "{}") for n in (1, 2, 3, 4))
        >>> rows.take_one(lambda row: row.job.is_repeatable, lambda count: count - 1)[0].job.row
        3
        """
        rows = sorted(filter(matches, self), key=lambda row: row.job.row)
        if not rows:
            return []
        row = rows[place(len(rows))]
        self._remove(row)
        return [row]

    def _remove(self, row: Row) -> None:
        kind = _kind(row.job)
        self._free[kind].remove(row)
        if not self._free[kind]:
            del self._free[kind]
        self._on_taken(row)

    def _on_taken(self, row: Row) -> None:
        row.is_free = False
        self.free -= 1
        self.free_chars -= row.length
        if row.covered:
            self.waiting -= len(row.covered)

    def reopen(self, rows: Sequence[Row]) -> None:
        """Return rows that were taken and not sent; others may share their request later."""
        for row in reversed(rows):
            self._set_free(row, is_next=True)
            self.waiting += len(row.covered)

    # Ending...

    def are_awaited(self, rows: Iterable[Row]) -> bool:
        """True if a newer row of its entity waits for the end of one of `rows`."""
        return self.waiting > 0 and any(row.behind for row in rows)

    def done(self, row: Row, status: Status) -> None:
        """Free the next row of the entity: the result of `row`, which was taken, is on record."""
        if self._can_block:
            self.track_unknown(row.job, status)
        if row.covered:
            self._restore_covered(row)
        behind = row.behind
        while behind:
            following = behind.popleft()
            self.waiting -= 1
            self.waiting_chars -= following.length
            if not self._is_blocked(following.job):
                following.behind = behind
                self._set_free(following, is_next=True)
                return
            self._blocked.append(following.job)
        del self._active[row.job.entity]

    def _restore_covered(self, row: Row) -> None:
        """Queue the rows that `row` covered: it was not applied, and no newer row covers them."""
        following = row.behind[0] if row.behind else None
        if following is not None and self._covers(following.job):
            following.covered = [*row.covered, *following.covered]
            self.waiting += len(row.covered)
        else:
            *older, job = row.covered
            newest = self._row(job)
            newest.covered = older
            self.waiting += len(older)
            self._add_behind(row, newest, is_next=True)

    def track_unknown(self, job: JobRow, status: Status) -> None:
        """Track entities with an unknown state, until an update replaces the whole."""
        if status is Status.UNKNOWN and self._can_block:
            self._unknown.add(hash(job.entity))
        elif status is Status.UPDATED and self._does_replace(job.operation):
            self._unknown.discard(hash(job.entity))

    def take_blocked(self) -> list[JobRow]:
        """Take out rows that are not sent: an older row of their entity ended `unknown`."""
        blocked, self._blocked = self._blocked, []
        return blocked

    def _covers(self, job: JobRow) -> bool:
        """True if `job` overwrites everything that older rows of its entity wrote."""
        return self._does_replace(job.operation) and not (job.keeps or job.expects)

    def _does_replace(self, operation: str) -> bool:
        return self._replaces.get(operation, True)

    def _is_blocked(self, job: JobRow) -> bool:
        return hash(job.entity) in self._unknown and not self._does_replace(job.operation)


def _kind(job: JobRow) -> tuple[str, str]:
    """What rows have in common that may share a request; the others stay in row order."""
    return (job.operation, job.batch) if job.batch else ("", "")
