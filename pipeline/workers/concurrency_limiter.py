"""How much of an account may be under way at once, as its answers teach."""

from __future__ import annotations

import math
from collections.abc import Callable

from pipeline.model import Answer, Effect, Verdict
from pipeline.model.wire import UNSURE_WHOSE
from pipeline.pacing.circuit_breaker import CircuitBreaker
from pipeline.pacing.concurrency import Concurrency
from pipeline.pacing.throttle import Throttle
from pipeline.workers.batches import Batch, Row
from pipeline.workers.retry_or_end import is_judged, is_unreached
from pipeline.workers.slots import Slots

WORKERS_PER_SLOT = 2
"""While one batch is under way another one is put on record."""


class ConcurrencyLimiter:
    """Slots for requests under way; one request at a time while the vendor is down.

    most       never more at once
    clock      monotonic seconds
    on_room   is called where more batches may be taken than before: so many more
    is_down    is called where the vendor is down from now on
    at_fault   whether the rows that fail are, and not the vendor, which has answered so many
    patience_s so long a vendor that is down is waited for
    """

    def __init__(
        self,
        most: int,
        *,
        clock: Callable[[], float],
        on_room: Callable[[int], None],
        on_down: Callable[[], None],
        at_fault: Callable[[int], bool] = lambda _answered: False,
        patience_s: float = math.inf,
    ) -> None:
        self._concurrency = Concurrency(most)
        self._breaker = CircuitBreaker()
        self._throttle = Throttle()
        self._clock = clock
        self._on_room = on_room
        self._on_down = on_down
        self._at_fault = at_fault
        self._patience_s = patience_s
        self._answered = 0
        self._was_reached = False
        self._is_last_call = False
        self._is_last_refusal = False
        self._probe: Batch | None = None
        self._taken = 0
        self._throttled = 0
        self.slots = Slots(self._concurrency.limit)

    @property
    def limit(self) -> int:
        """Requests that may be under way at once."""
        return 1 if self._breaker.is_down else self._concurrency.limit

    @property
    def is_probing(self) -> bool:
        """Whether the vendor is down, and asked with one request at a time."""
        return self._breaker.is_down

    @property
    def is_suspected(self) -> bool:
        """Whether the next answers tell a vendor that is down from rows that fail."""
        return self._breaker.is_in_question

    @property
    def next_probe(self) -> int | None:
        """The number of the next probe in its outage, from 1; None where the vendor is not down."""
        return self._breaker.asked + 1 if self._breaker.is_down else None

    @property
    def due_s(self) -> float | None:
        """When it is asked next; None where it is not down."""
        return self._breaker.due_s

    @property
    def down_s(self) -> float:
        """How long it has been down; 0 where it is not."""
        since_s = self._breaker.down_since_s
        return 0.0 if since_s is None else self._clock() - since_s

    # Taking batches...

    @property
    def may_acquire(self) -> bool:
        """Whether one more batch may be taken."""
        if self._breaker.is_down:
            return self._breaker.may_probe(self._clock())
        return self._taken < WORKERS_PER_SLOT * self._concurrency.limit

    def acquire(self, batch: Batch) -> None:
        """`batch` is taken; while the vendor is down it is the probe."""
        self._taken += 1
        if self._breaker.is_down:
            self._probe = batch
            self._breaker.probes(self._clock())

    def release(self, batch: Batch) -> None:
        """`batch` was sent, or will not be now."""
        self._taken -= 1
        if self._probe is batch:
            self._probe = None

    def is_probe(self, batch: Batch) -> bool:
        """Whether `batch` is to go although the vendor is down, whatever else is under way."""
        return self._probe is batch

    def may_send(self, batch: Batch) -> bool:
        """Whether a batch that was taken may still go."""
        return not self._breaker.is_down or self.is_probe(batch)

    # What requests teach...

    def on_sent(self, in_flight: int) -> None:
        """A request leaves; with it so many are under way."""
        self._concurrency.left(in_flight)

    def on_answer(
        self, batch: Batch, answer: Answer, sent_s: float, *, is_read: bool = False
    ) -> None:
        """`answer` came to a request for `batch` that left at `sent_s`.

        is_read  it changes nothing
        """
        down_since_s, before = self._breaker.failing_since_s, self.limit
        was_down = self._breaker.is_down
        now_s = self._clock()
        self._was_reached = self._was_reached or answer.http_status is not None
        if answer.verdict is Verdict.THROTTLED:
            self._on_throttled(batch, now_s)
        works = is_judged(answer)
        if works:
            self._on_success(batch, sent_s, now_s, is_read=is_read)
        elif answer.verdict is Verdict.TRANSIENT and answer.code not in UNSURE_WHOSE:
            self._on_failure(batch, answer, sent_s, now_s, is_read=is_read)
        elif answer.verdict is Verdict.SPLIT and not was_down:
            self._mark_failed(batch, sent_s)
        self._check_patience(answer)
        self._concurrency.heard(Verdict.OK if works else answer.verdict, sent_s, now_s)
        if was_down and not self._breaker.is_down:
            self._concurrency.restart(down_since_s, now_s)
        self._adjust(before)
        if self._breaker.is_down and not was_down:
            self._on_down()

    def _on_success(self, batch: Batch, sent_s: float, now_s: float, *, is_read: bool) -> None:
        self._breaker.worked(sent_s, is_read=is_read)
        if is_read:
            self._breaker.goes_on(now_s)
        else:
            self._throttle.accepted()
            self._is_last_refusal = False
            self._answered += len(batch)
            self._is_last_call = False

    def _on_throttled(self, batch: Batch, now_s: float) -> None:
        self._throttled += 1
        refusals = self._throttle.refused(batch[0].throttles, now_s)
        for row in batch:
            row.throttles = refusals
        is_over = self._clock() - (self._throttle.since_s or now_s) > self._patience_s
        self._is_last_refusal = is_over and self._at_fault(self._answered)

    @property
    def throttled_s(self) -> float:
        """So long the vendor has refused, as too many, all that it answered; 0 where it has not,
        or where the few rows that are left are at fault.
        """
        since_s = self._throttle.since_s
        return 0.0 if since_s is None or self._is_last_refusal else self._clock() - since_s

    def is_counted(self, row: Row, answer: Answer) -> bool:
        """Whether the answer that was just heard uses up an attempt of `row`: not while the account
        is throttled, nor while nobody gets one.
        """
        if self._breaker.is_down or self._is_unreached(answer):
            return False
        if answer.verdict is not Verdict.THROTTLED:
            return True
        return row.throttles.is_counted or self._is_last_refusal

    def _is_unreached(self, answer: Answer) -> bool:
        """Whether no connection was made to a vendor that was reached before: about no row."""
        return self._was_reached and is_unreached(answer)

    def _on_failure(
        self, batch: Batch, answer: Answer, sent_s: float, now_s: float, *, is_read: bool
    ) -> None:
        row, was_down = batch[0], self._breaker.is_down
        if self._is_unreached(answer):
            self._breaker.failed(None, sent_s, now_s, is_read=is_read)
        elif was_down:
            self._breaker.failed(row.job.entity, sent_s, now_s, is_read=is_read)
        elif not (self._is_last_call and row.attempts > 1):
            entity, before_s = row.job.entity, row.failed_s
            self._breaker.failed(entity, sent_s, now_s, before_s=before_s, is_read=is_read)
            self._is_last_call = self._is_last_call and not self._breaker.is_down
        if not was_down:
            self._mark_failed(batch, sent_s)

    def _mark_failed(self, batch: Batch, sent_s: float) -> None:
        """If the vendor works after that, and one of these rows fails again, it is at fault."""
        for row in batch:
            row.failed_s = sent_s

    def _check_patience(self, answer: Answer) -> None:
        """After so long rows may be at fault; not for a connection that was not made."""
        may_be_rows = answer.verdict is not Verdict.TRANSIENT or answer.effect is Effect.MAYBE
        if self.down_s > self._patience_s and may_be_rows and self._at_fault(self._answered):
            self._breaker.end()
            self._is_last_call = True

    def counted_attempts(self, row: Row, answer: Answer, most: int) -> int:
        """How many of its counted_attempts, at most so many, `row` has used with the answer just heard: none
        where it is not counted, the last where all that is left are rows that fail.
        """
        if not self.is_counted(row, answer):
            return row.counted_attempts
        if answer.verdict is Verdict.THROTTLED and self._is_last_refusal:
            return most
        return most if self._is_last_call and row.attempts > 1 else row.counted_attempts + 1

    def take_throttled(self) -> int:
        """How many answers said that there were too many requests, since the last call."""
        taken, self._throttled = self._throttled, 0
        return taken

    def _adjust(self, before: int) -> None:
        limit = self.limit
        if limit != before:
            self.slots.limit = limit
        if limit > before:
            self._on_room(WORKERS_PER_SLOT * limit - self._taken)
