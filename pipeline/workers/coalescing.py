"""Queues rows that were read; with `--coalesce`, newer rows cover older ones. Pure.

A row that replaces its whole entity covers the older rows of the entity that are still queued: they
are not sent while it may succeed. If it is applied they are superseded; if it certainly was not,
they are sent instead.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from pipeline.model import JobRow


class FreshRows:
    """A queue of rows in row order.

    covers      True if a row covers the older rows of its entity; None if no row does
    overtaking  entity -> its row in doubt that an earlier process may have sent before older rows
                of the entity. It covers them, and nothing covers it

    >>> rows = FreshRows(covers=lambda job: job.operation == "whole")
    >>> for row, operation in enumerate(["whole", "part", "whole", "part"], 1):
    ...     rows.add(JobRow(row, operation, "e", True, "{}"))
    >>> job, covered = rows.pop()
    >>> job.row, [each.row for each in covered], rows.pop()[0].row, rows.pop()
    (3, [1, 2], 4, None)
    """

    def __init__(
        self,
        covers: Callable[[JobRow], bool] | None = None,
        overtaking: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self._does_cover = covers
        self._overtaking = overtaking
        self._queue: deque[JobRow] = deque()
        self._by_entity: dict[str, list[JobRow]] = {}
        self._early: dict[str, list[JobRow]] = {}
        self._covered: dict[int, list[JobRow]] = {}
        self._gone: set[int] = set()
        self.chars = 0

    def __len__(self) -> int:
        """Return the number of queued rows, covered ones included."""
        return len(self._queue)

    def __iter__(self) -> Iterator[JobRow]:
        return iter(self._queue)

    def add(self, job: JobRow) -> None:
        """Add a row; rows MUST be added in row order."""
        if self._does_cover is not None and not self._takes(job):
            return
        self._queue.append(job)
        self.chars += job.length

    def pop(self) -> tuple[JobRow, list[JobRow]] | None:
        """Take the next row and the rows that it covers, in row order; None if there is none."""
        while self._queue:
            job = self._queue.popleft()
            self.chars -= job.length
            if job.row in self._gone:
                self._gone.remove(job.row)
            elif self._does_cover is None:
                return job, []
            else:
                self._forget(job)
                return job, self._covered.pop(job.row, [])
        return None

    def take_one(
        self, may_go: Callable[[JobRow], bool], place: Callable[[int], int]
    ) -> tuple[JobRow, list[JobRow]] | None:
        """Take a row that is the first of its entity, and the rows that it covers; None if none.

        place  number of such rows -> index of the one to take, in row order from 0

        >>> rows = FreshRows()
        >>> for row, entity in enumerate("abca", 1):
        ...     rows.add(JobRow(row, "op", entity, True, "{}"))
        >>> rows.take_one(lambda _job: True, lambda count: count - 1)[0].row, len(rows)
        (3, 3)
        """
        seen: set[str] = set()
        firsts = []
        for index, job in enumerate(self._queue):
            if job.row not in self._gone and job.entity not in seen:
                seen.add(job.entity)
                if may_go(job):
                    firsts.append(index)
        if not firsts:
            return None
        index = firsts[place(len(firsts))]
        job = self._queue[index]
        del self._queue[index]
        self.chars -= job.length
        if self._does_cover is None:
            return job, []
        self._forget(job)
        return job, self._covered.pop(job.row, [])

    def _forget(self, job: JobRow) -> None:
        waiting = self._by_entity.get(job.entity, [])
        if job in waiting:
            waiting.remove(job)
        if not waiting:
            self._by_entity.pop(job.entity, None)

    def _takes(self, job: JobRow) -> bool:
        """Update what `job` covers; False if a row that was sent before covers `job` itself."""
        overtaken_by = self._overtaking.get(job.entity, 0)
        if job.row < overtaken_by:
            self._early.setdefault(job.entity, []).append(job)
            return False
        if job.row == overtaken_by:
            self._covered[job.row] = self._early.pop(job.entity, [])
            return True
        covered: list[JobRow] = []
        if self._does_cover is not None and self._does_cover(job):
            for earlier in self._by_entity.pop(job.entity, ()):
                covered += [*self._covered.pop(earlier.row, ()), earlier]
                self._gone.add(earlier.row)
        if covered:
            self._covered[job.row] = covered
        self._by_entity.setdefault(job.entity, []).append(job)
        return True
