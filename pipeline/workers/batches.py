"""Rows on their way, and which of them share a request. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator

from pipeline.model import Answer, JobRow
from pipeline.pacing.throttle import NO_REFUSALS

BatchSize = Callable[[str], int]
"""Operation -> how many of its rows one request may carry at most."""


class Row:
    """A row under way.

    attempts      how often it was sent
    tries         of these, the ones that count against the account's attempts
    reads         how often its entity was read back
    first_sent_s  when its first attempt left
    last_sent_s   when its last attempt left
    is_claimed    it is on record that it may have been sent
    is_to_read    its entity is read back next, instead of an attempt
    guarded       the job with the guard that was read for it, as JSON; empty where none was
    refused       the same of the attempt that its guard may have refused; empty where none was
    covered       rows before it that are not sent if it succeeds, in row order
    answer        the last one; None before the first
    laid          the job laid over what is there, as JSON; empty where it is sent as it is
    is_looked_at  its entity was looked at, and it may be sent once
    before        what its entity held before the first attempt; empty where nobody looked
    prechecks         how often its entity was looked at before an attempt
    unread        of these, how many at the end told nothing
    looked_s      when the last look left
    refusals      its 429s
    failed_s      when a request left that failed while the vendor was not down; None where none did
    """

    __slots__ = (
        *("answer", "attempts", "before", "covered", "failed_s", "first_sent_s", "guarded"),
        *("in_doubt", "refusals"),
        *("is_claimed", "is_looked_at", "is_to_read", "job", "laid", "last_sent_s", "looked_s"),
        *("prechecks", "reads", "refused", "tries", "unread"),
    )

    def __init__(self, job: JobRow) -> None:
        self.job = job
        self.attempts = 0
        self.tries = 0
        self.reads = 0
        self.first_sent_s = 0.0
        self.last_sent_s = 0.0
        self.in_doubt = False
        self.is_claimed = False
        self.is_to_read = False
        self.guarded = ""
        self.refused = ""
        self.covered: list[JobRow] = []
        self.answer: Answer | None = None
        self.laid = ""
        self.is_looked_at = False
        self.before = ""
        self.prechecks = 0
        self.unread = 0
        self.looked_s = 0.0
        self.failed_s: float | None = None
        self.refusals = NO_REFUSALS

    @property
    def text(self) -> str:
        """The job as it is sent, as JSON."""
        return self.guarded or self.laid or self.job.text

    @property
    def was_sent(self) -> bool:
        """Whether it was, or may have been by an earlier process."""
        return self.in_doubt or self.attempts > 0

    @property
    def is_repeatable(self) -> bool:
        """Whether sending it twice, as it is now, is harmless."""
        return self.job.is_repeatable or bool(self.guarded)


Batch = list[Row]
"""The rows that one request carries, one or more."""


class OpenRows:
    """Rows that may go and were not sent yet, by what they may share a request with.

    >>> rows = OpenRows(batch_size=lambda _operation: 2)
    >>> for n, batch in enumerate("xyx", start=1):
    ...     rows.add(Row(JobRow(n, "op", f"e{n}", True, "{}", batch)))
    >>> [[row.job.row for row in rows.take()] for _ in range(2)]
    [[1, 3], [2]]
    """

    def __init__(self, batch_size: BatchSize) -> None:
        self._size = batch_size
        self._rows: OrderedDict[tuple[str, str], deque[Row]] = OrderedDict()
        self._count = 0
        self.chars = 0

    def __len__(self) -> int:
        """How many rows wait here; `chars`: how long they are in all."""
        return self._count

    def __iter__(self) -> Iterator[Row]:
        for rows in self._rows.values():
            yield from rows

    def room(self, batch: Batch) -> int:
        """How many more rows may join `batch`, which was never sent."""
        job = batch[0].job
        return self._size(job.operation) - len(batch) if job.batch else 0

    def add(self, row: Row) -> None:
        """`row` may go."""
        self._rows.setdefault(_kind(row.job), deque()).append(row)
        self._count += 1
        self.chars += len(row.job.text)

    def take(self) -> Batch:
        """The next rows that may go together; empty where none waits."""
        if not self._rows:
            return []
        batch = [self._pop(next(iter(self._rows)))]
        self.join(batch)
        return batch

    def join(self, batch: Batch) -> None:
        """Let those join `batch` that may share its request."""
        kind = _kind(batch[0].job)
        for _ in range(self.room(batch)):
            if kind not in self._rows:
                return
            batch.append(self._pop(kind))

    def take_one(self, is_such: Callable[[Row], bool], place: Callable[[int], int]) -> Row | None:
        """One of the rows that are such; None where none is.

        place  how many there are -> which of them, in row order from 0

        >>> rows = OpenRows(batch_size=lambda _operation: 1)
        >>> for n in (1, 2, 3, 4):
        ...     rows.add(Row(JobRow(n, "op", f"e{n}", n != 4, "{}")))
        >>> rows.take_one(lambda row: row.job.is_repeatable, lambda count: count - 1).job.row
        3
        """
        such = sorted(filter(is_such, self), key=lambda row: row.job.row)
        if not such:
            return None
        row = such[place(len(such))]
        kind = _kind(row.job)
        self._rows[kind].remove(row)
        self._is_out(row)
        if not self._rows[kind]:
            del self._rows[kind]
        return row

    def _is_out(self, row: Row) -> None:
        self._count -= 1
        self.chars -= len(row.job.text)

    def _pop(self, kind: tuple[str, str]) -> Row:
        rows = self._rows[kind]
        row = rows.popleft()
        self._is_out(row)
        if rows:
            self._rows.move_to_end(kind)  # others have their turn first
        else:
            del self._rows[kind]
        return row


def _kind(job: JobRow) -> tuple[str, str]:
    return job.operation, job.batch


def halves(batch: Batch) -> list[Batch]:
    """`batch` in two, or as it is where it has one row.

    >>> [len(half) for half in halves([Row(JobRow(n, "op", "e", True, "")) for n in range(5)])]
    [2, 3]
    """
    middle = len(batch) // 2
    return [half for half in (batch[:middle], batch[middle:]) if half]
