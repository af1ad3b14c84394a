"""The state of a row while it is sent, which rows share a request, and that request. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from pipeline.model import Answer, JobRow, Request
from pipeline.pacing.throttle import NO_REFUSALS
from pipeline.vendors import Operation, VendorSettings

BatchSize = Callable[[str], int]
"""Operation -> the most rows that one request may carry."""


class Row:
    """The mutable state of one row, from the moment it is read until it ends.

    A row is queued, claimed on record, prechecked if that is due, then sent, until an answer or a
    verification read ends it. `row.py` decides after each answer.

    job              what is sent, as bound from the input; `length` as that of the job
    covered          older rows of the entity that are not sent if this one succeeds, in row order
    behind           newer rows of the entity, which wait until this one has ended
    is_free          it may be sent, and nobody has taken it yet

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
    behind: deque[Row] | None = None
    is_free = False
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
        self.job, self.length = job, job.length
        # all others are set once they change, for most rows change few

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


def halves(batch: Batch) -> list[Batch]:
    """Split `batch` in two; a batch of one row stays as it is.

    >>> [len(half) for half in halves([Row(JobRow(n, "op", "e", True, "")) for n in range(5)])]
    [2, 3]
    """
    middle = len(batch) // 2
    return [half for half in (batch[:middle], batch[middle:]) if half]
