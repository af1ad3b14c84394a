"""The state of a row while it is sent, which rows share a request, and that request. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pipeline.model import Answer, JobRow, Request
from pipeline.pacing.throttle import NO_REFUSALS
from pipeline.vendors import Operation, VendorSettings

BatchSize = Callable[[str], int]
"""Operation -> the most rows that one request may carry."""


class Row:
    """The mutable state of one row, from the moment it leaves the backlog until it ends.

    A row is queued, claimed on record, prechecked if that is due, then sent, until an answer or a
    verification read ends it. `row.py` decides after each answer.

    job              what is sent, as bound from the input
    covered          older rows of the entity that are not sent if this one succeeds, in row order

    is_claimed       the ledger records that the row may have been sent

    attempts         how often it was sent
    counted_attempts  attempts that count toward `max_attempts`: not those that failed because the
                     account was throttled or the vendor down
    answer           the last answer; None before the first
    first_sent_s     when its first request was sent, in monotonic seconds
    last_sent_s      when its last attempt was sent
    failed_s         when an attempt was sent that failed while the vendor was up; None if none did
    throttles        its 429 answers so far

    in_doubt         an attempt may have been applied, and nothing has confirmed it
    needs_read       the next request is a verification read, not an attempt
    reads            reads of its entity that count toward `max_attempts`

    guarded_text     the job with its precondition, as JSON; empty without a precondition
    refused_text     `guarded_text` of the attempt whose precondition may have been refused; else
                     empty

    is_prechecked    its entity was read, and it may be sent once
    failed_prechecks  consecutive counted prechecks that showed no state
    prechecked_s     when the last precheck was sent
    merged_text      the job merged into the state that was read, as JSON; empty if sent as it is
    previous_state   what the entity held before the first attempt; empty if not read
    """

    covered: Sequence[JobRow] = ()
    is_claimed = False
    attempts = 0
    counted_attempts = 0
    answer: Answer | None = None
    first_sent_s = 0.0
    last_sent_s = 0.0
    failed_s: float | None = None
    throttles = NO_REFUSALS
    in_doubt = False
    needs_read = False
    reads = 0
    guarded_text = ""
    refused_text = ""
    is_prechecked = False
    failed_prechecks = 0
    prechecked_s = 0.0
    merged_text = ""
    previous_state = ""

    def __init__(self, job: JobRow) -> None:
        self.job = job  # all others are set once they change, for most rows change few

    @property
    def text(self) -> str:
        """The job as it is sent, as JSON."""
        return self.guarded_text or self.merged_text or self.job.text

    @property
    def is_as_bound(self) -> bool:
        """True if it is sent as bound: without a precondition, and not merged into a state."""
        return not (self.guarded_text or self.merged_text)

    @property
    def was_sent(self) -> bool:
        """True if it was sent, or may have been sent by an earlier process."""
        return self.in_doubt or self.attempts > 0

    @property
    def is_repeatable(self) -> bool:
        """True if sending it twice, as it is now, is harmless."""
        return self.job.is_repeatable or bool(self.guarded_text)


Batch = list[Row]
"""The rows of one request, one or more."""


def may_be_claimed(batch: Batch, room: int, places: int) -> bool:
    """True if `batch` may be claimed though it may be sent some time later.

    Each row that must not be sent twice may end `unknown` after a kill, so no more of them are
    claimed than can be in flight. Being in doubt costs other rows a repetition.

    room    how many more batches may be in flight or wait claimed
    places  how many more batches may be in flight

    >>> batch = [Row(JobRow(1, "op", "e", False, "{}"))]
    >>> may_be_claimed(batch, room=8, places=1), may_be_claimed(batch, room=8, places=0)
    (True, False)
    """
    if not batch[0].is_repeatable:
        return places > 0
    return len(batch) == 1 or room > 0


def request_for(
    operation: Operation[Any, Any],
    settings: VendorSettings,
    batch: Batch,
) -> Request:
    """Return the request for `batch`: the one written when its row was bound, or a new one."""
    row = batch[0]
    path, body, head = row.job.path, row.job.body, operation.head
    if path is None or body is None or head is None or len(batch) > 1 or not row.is_as_bound:
        return operation.encode(settings, [operation.job_type.trusted(row.text) for row in batch])
    method, headers = head(settings)
    return Request(method, path, body, headers)


class OpenRows:
    """Rows that may be sent and were not sent yet, grouped by what may share a request.

    >>> rows = OpenRows(batch_size=lambda _operation: 2)
    >>> for n, batch in enumerate("xyx", start=1):
    ...     rows.add(Row(JobRow(n, "op", f"e{n}", True, "{}", batch)))
    >>> batch = [rows.pop()]
    >>> rows.join(batch)
    >>> [row.job.row for row in batch], len(rows)
    ([1, 3], 1)
    """

    def __init__(self, batch_size: BatchSize) -> None:
        self._size = batch_size
        self._rows: OrderedDict[tuple[str, str], deque[Row]] = OrderedDict()
        self._count = 0
        self.chars = 0

    def __len__(self) -> int:
        """Return the number of rows; `chars` is their total length."""
        return self._count

    def __iter__(self) -> Iterator[Row]:
        for rows in self._rows.values():
            yield from rows

    def room(self, batch: Batch) -> int:
        """Return how many more rows may join `batch`, which was never sent."""
        job = batch[0].job
        return self._size(job.operation) - len(batch) if job.batch else 0

    def add(self, row: Row) -> None:
        """Add a row that may be sent."""
        self._rows.setdefault(_kind(row.job), deque()).append(row)
        self._count += 1
        self.chars += row.job.length

    def pop(self) -> Row | None:
        """Take the next row; None if there is none."""
        return self._pop(next(iter(self._rows))) if self._rows else None

    def join(self, batch: Batch) -> None:
        """Move rows that may share its request to `batch`, until it is full."""
        kind = _kind(batch[0].job)
        for _ in range(self.room(batch)):
            if kind not in self._rows:
                return
            batch.append(self._pop(kind))

    def take_one(self, matches: Callable[[Row], bool], place: Callable[[int], int]) -> Row | None:
        """Take one of the rows that match; None if none does.

        place  number of matching rows -> index of the one to take, in row order from 0

        >>> rows = OpenRows(batch_size=lambda _operation: 1)
        >>> for n in (1, 2, 3, 4):
        ...     rows.add(Row(JobRow(n, "op", f"e{n}", n != 4, "{}")))
        >>> rows.take_one(lambda row: row.job.is_repeatable, lambda count: count - 1).job.row
        3
        """
        rows = sorted(filter(matches, self), key=lambda row: row.job.row)
        if not rows:
            return None
        row = rows[place(len(rows))]
        kind = _kind(row.job)
        self._rows[kind].remove(row)
        self._on_removed(row)
        if not self._rows[kind]:
            del self._rows[kind]
        return row

    def _on_removed(self, row: Row) -> None:
        self._count -= 1
        self.chars -= row.job.length

    def _pop(self, kind: tuple[str, str]) -> Row:
        rows = self._rows[kind]
        row = rows.popleft()
        self._on_removed(row)
        if rows:
            self._rows.move_to_end(kind)  # round robin between kinds
        else:
            del self._rows[kind]
        return row


def _kind(job: JobRow) -> tuple[str, str]:
    return job.operation, job.batch


def halves(batch: Batch) -> list[Batch]:
    """Split `batch` in two; a batch of one row stays as it is.

    >>> [len(half) for half in halves([Row(JobRow(n, "op", "e", True, "")) for n in range(5)])]
    [2, 3]
    """
    middle = len(batch) // 2
    return [half for half in (batch[:middle], batch[middle:]) if half]
